"""Charts agree with the records."""

import itertools
import json
import shutil
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from spectralseg.data.audit import read_audit
from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.interpretation import spectra
from spectralseg.metrics.calibration import Reliability
from spectralseg.reporting.drawing import series, style
from spectralseg.reporting.example_cases import METHODS
from spectralseg.reporting.figures import build_figure, learning_curves
from spectralseg.reporting.figures.cost import costs
from spectralseg.reporting.figures.forest import _Line, _two
from spectralseg.reporting.figures.frequency import _of_case, half_octaves
from spectralseg.reporting.figures.leak_free import STAGES, left
from spectralseg.reporting.figures.reliability import curve, expected_error
from spectralseg.reporting.figures.scatter import _short, per_case
from spectralseg.reporting.results import Results
from spectralseg.statistics.equivalence import MARGIN

CHARTS = [
    *("forest", "scatter", "severity", "lambda_curves", "reliability", "frequency", "cost", "leak_free"),
    "learning_curves",
]


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def prose(figure):
    return " ".join(texts(figure).split())


def panels(figure):
    return [panel for panel in figure.axes if panel.get_visible()]


@pytest.fixture(scope="module")
def drawn(study, published):
    results = Results(study, published)
    with style.applied():
        return {name: build_figure(name, results) for name in CHARTS}


@pytest.fixture
def without(study, tmp_path):
    """The study with only the records that satisfy a condition."""

    def keep(condition):
        for name in ("config.yaml", "leakage.parquet"):
            shutil.copy(study / name, tmp_path)
        shutil.copytree(study / "prepared", tmp_path / "prepared")
        records = pd.read_parquet(study / "records.parquet")
        records[condition(records)].to_parquet(tmp_path / "records.parquet")
        return Results(tmp_path)

    return keep


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_counts_of_seeds_and_cases_are_given(drawn, name):
    text = prose(drawn[name])
    assert "3 seed" in text or "3 × 5" in text or "Seeds: 0, 1, 2" in text


@pytest.mark.parametrize("name", CHARTS)
def test_an_empty_results_folder_has_no_data(tmp_path, name):
    assert "no data" in texts(build_figure(name, Results(tmp_path)))


class TestForest:
    def test_shows_every_effect(self, study, drawn):
        table = Results(study).comparisons
        effects = table[(table["class"] == "mean") & (table["protocol"] == "sound") & (table["metric"] == "dsc")]
        assert f"of {len(effects)}" in prose(drawn["forest"])

    def test_leaves_out_corrupted_images_first_and_counts_them(self, study, monkeypatch):
        module = import_module("spectralseg.reporting.figures.forest")
        for limit, left_out in ((60, 4), (30, 5)):
            monkeypatch.setattr(module, "TWO_COLUMNS", limit)
            figure = build_figure("forest", Results(study))
            assert f"corrupted images first: {left_out} of 7 conditions" in prose(figure)
            assert "ghosting" not in texts(figure)
            assert ("ISIC-18 → ISIC-17" in texts(figure).split("\n")) == (left_out == 4)

    def test_small_studies_show_all(self, phantom):
        text = prose(build_figure("forest", Results(phantom)))
        assert "no data" in text  # as nothing was compared

    def test_margin_and_zero_are_marked(self, drawn):
        (band,) = [patch for patch in drawn["forest"].axes[0].patches if patch.get_width() > 0]
        assert (band.get_x(), band.get_width()) == pytest.approx((-100 * MARGIN, 200 * MARGIN))

    @pytest.mark.parametrize(("seeds", "filled"), [(2, False), (3, True)])
    def test_an_effect_is_filled_from_three_seeds_on(self, study, seeds, filled):
        results = Results(study)
        results.comparisons = results.comparisons.assign(seeds=seeds)
        panel = build_figure("forest", results).axes[0]
        faces = {line.get_markerfacecolor() for line in panel.get_lines() if line.get_marker() in ("o", "D")}
        assert (faces - {"white"} != set()) == filled

    def test_margins_that_differ_are_drawn_line_by_line(self, study):
        results = Results(study)
        own = np.where(results.comparisons["dataset"] == "acdc", 0.01, 0.002)
        results.comparisons = results.comparisons.assign(margin=own)
        figure = build_figure("forest", results)
        bands = {round(patch.get_width(), 6) for patch in figure.axes[0].patches if patch.get_width() > 0}
        assert bands == {2.0, 0.4}
        assert "DSC: ± 0.2 or 1 percentage points." in prose(figure)

    def test_two_columns_repeat_a_heading(self):
        group = [_Line("ACDC", {}), *(_Line(str(i), {"dsc": {}}) for i in range(9))]
        first, second = _two([group])
        assert [line.text for line in first] == ["ACDC", "0", "1", "2", "3"]
        assert [line.text for line in second] == ["ACDC (continued)", "4", "5", "6", "7", "8"]

    def test_no_column_ends_with_a_heading(self):
        groups = [[_Line(name, {}), *[_Line("x", {"dsc": {}})] * size] for name, size in (("a", 3), ("b", 4))]
        first, second = _two(groups)
        assert not first[-1].heading
        assert [line.text for line in second] == ["b", "x", "x", "x", "x"]


class TestSeverity:
    def test_lines_have_a_point_per_severity_and_fall(self, drawn):
        panel = next(p for p in panels(drawn["severity"]) if p.get_title() == "ghosting")
        lines = panel.get_lines()
        assert len(lines) == 4
        for line in lines:
            assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 5]
            assert np.diff(line.get_ydata()) == pytest.approx([-4] * 5, abs=1)

    def test_single_severities_are_counted(self, drawn):
        assert "Corruptions with a single severity: 2 of 4" in prose(drawn["severity"])

    def test_missing_runs_are_counted(self, without):
        results = without(lambda r: (r["suite"] != "noise") | (r["architecture"] == "unet") | (r["dataset"] == "acdc"))
        assert "Lines without a run: 4." in prose(build_figure("severity", results))


class TestReliability:
    def test_error_is_that_of_the_metric(self):
        rng = np.random.default_rng(0)
        parts = []
        for seed in range(2):
            p = rng.random(2000)
            sums = Reliability.of(p, rng.random(2000) < p**2)
            pixels, probability, foreground = sums.binned()
            frame = {"pixels": pixels, "probability": probability, "foreground": foreground, "bin": np.arange(15)}
            parts.append((sums.expected_error(), pd.DataFrame(frame).assign(seed=seed, **{"class": "polyp"})))
        expected = 100 * np.mean([error for error, _ in parts])
        assert expected_error(pd.concat([frame for _, frame in parts])) == pytest.approx(expected)

    def test_calibrated_models_lie_on_the_diagonal(self, drawn):
        panel = panels(drawn["reliability"])[0]
        for line in panel.get_lines():
            assert line.get_xdata() == pytest.approx(line.get_ydata())
        assert "0.0 (0.0)" in texts(drawn["reliability"])

    def test_bins_with_few_pixels_are_left_out(self):
        bins = pd.DataFrame({"bin": [0, 1], "pixels": [9_999_999, 1], "probability": [0.0, 0.1], "foreground": [0, 1]})
        probability, observed = curve(bins)
        assert (list(probability), list(observed)) == ([0], [0])


class TestLambda:
    def test_all_forms_and_the_paper_are_shown(self, drawn):
        text = prose(drawn["lambda_curves"])
        for part in ("spatial_spectral: L + λA", "printed: L + λ(1 − A), as printed", "convex: (1 − λ)L + λA", "paper"):
            assert part in text
        assert "All forms were run" in text

    def test_crosses_are_the_published_numbers(self, drawn):
        panel = panels(drawn["lambda_curves"])[0]
        crosses = [line for line in panel.get_lines() if line.get_marker() == "x"]
        assert panel.get_title() == "ACDC, UNet"
        assert list(crosses[0].get_ydata()) == [88.96, 89.69, 89.33, 87.54, 79.88]

    def test_points_are_means_over_classes_seeds_and_cases(self, study, drawn):
        records = pd.read_parquet(study / "records.parquet").query(
            "dataset == 'acdc' and architecture == 'unet' and objective == 'printed' and suite == 'iid'"
            " and metric == 'dsc' and protocol == 'published'"
        )
        means = 100 * records.groupby("lambda")["value"].mean()
        line = next(line for line in panels(drawn["lambda_curves"])[0].get_lines() if line.get_marker() == "s")
        assert line.get_ydata() == pytest.approx(means.to_numpy())

    def test_forms_without_runs_are_listed(self, without):
        results = without(lambda r: ~r["objective"].isin(["printed", "convex"]))
        text = prose(build_figure("lambda_curves", results))
        assert "Forms that were not run: L + λ(1 − A), as printed; (1 − λ)L + λA." in text

    def test_one_weight_is_not_a_curve(self, without):
        assert "no data" in texts(build_figure("lambda_curves", without(lambda r: r["lambda"].isin(["0", "0.2"]))))


class TestScatter:
    def test_pairs_classes_seeds_and_cases(self):
        base = {"architecture": "unet", "objective": "spatial", "lambda": "0", "class": "a", "metric": "dsc"}
        other = {**base, "objective": "spatial_spectral", "lambda": "0.2"}
        rows = [
            {**base, "seed": 0, "case": "x", "value": 0.5},
            {**base, "seed": 1, "case": "x", "value": 0.7},
            {**base, "seed": 0, "case": "y", "value": np.nan},
            {**other, "seed": 0, "case": "x", "value": 0.4},
            {**other, "seed": 2, "case": "x", "value": 0.9},
            {**other, "seed": 0, "case": "y", "value": 0.9},
        ]
        cases = per_case(pd.DataFrame(rows), METHODS[0], METHODS[2])
        assert cases.to_dict("records") == [{"case": "x", "before": 50, "after": 40, "change": pytest.approx(-10)}]

    def test_long_ids_are_shortened_in_the_middle(self):
        assert _short("short", 1.0) == "short"
        cut = _short("a" * 20 + "z" * 20, 0.8)
        assert cut[0] + cut[-1] == "az"
        assert "…" in cut


class TestFrequency:
    def test_a_perfect_prediction_has_the_same_power_and_agrees(self):
        mask = np.zeros((1, 32, 32))
        mask[0, 10:20, 8:25] = 1
        ratio, correlation = _of_case(mask, mask, half_octaves(32))
        assert ratio == pytest.approx(0, abs=1e-9)
        assert correlation == pytest.approx(1)

    def test_a_smooth_prediction_lacks_high_frequencies(self):
        mask = np.zeros((1, 32, 32))
        mask[0, 10:20, 8:25] = 1
        smooth = np.fft.ifft2(np.fft.ifftshift(spectra.spectrum(mask) * (spectra.radii(32) < 4), axes=(-2, -1))).real
        ratio, _ = _of_case(smooth, mask, half_octaves(32))
        assert ratio[0] == pytest.approx(0, abs=1e-9)
        assert (np.nan_to_num(ratio[-3:], nan=-99) < -10).all()

    def test_bins_cover_all_rings_once(self):
        for side in (32, 64, 224):
            starts = half_octaves(side)
            assert starts[0] == 1
            assert (np.diff(starts) > 0).all()
            assert starts[-1] < side // 2


class TestLeakFree:
    def test_leaves_out_matching_cases(self, study):
        audit = read_audit(study / "leakage.parquet")
        cases = [f"isic2017_{i}" for i in range(5)]
        records = pd.DataFrame({"dataset": "isic2018", "test_dataset": "isic2017", "case": cases})
        counts = [len(left(records, audit, part)) for part in STAGES]
        assert counts == [5, 4, 4, 3]

    def test_numbers_of_cases_are_below(self, drawn):
        labels = [label.get_text().split("\n")[-1] for label in panels(drawn["leak_free"])[0].get_xticklabels()]
        assert labels == ["5", "4", "4", "3"]


class TestCost:
    def test_device_memory_counts_only_where_all_have_it(self):
        info = {"seconds": 1, "parameters": 2, "hardware": {"device_name": "x", "threads": 1}}
        runs = [Run("acdc", "unet", "spatial", "0", seed) for seed in (0, 1)]
        peaks = [{"resident_mib": 1024, "cuda_mib": 2048}, {"resident_mib": 1024}]
        both = costs({run: {**info, "peak_memory": peaks[0]} for run in runs})
        without_device = costs({run: {**info, "peak_memory": peak} for run, peak in zip(runs, peaks, strict=True)})
        assert list(both["memory"]) == [2, 2]
        assert list(without_device["memory"]) == [1, 1]
        assert "on_device" in both

    def test_missing_runs_are_counted(self, study, without, tmp_path):
        results = without(lambda r: (r["dataset"] != "acdc") | (r["architecture"] == "unet"))
        shutil.copytree(study / "runs", tmp_path / "runs")
        assert "Points without a run: 2." in prose(build_figure("cost", results))

    def test_a_damaged_file_is_reported(self, study, without, tmp_path):
        results = without(lambda r: r["seed"] == 0)
        file = tmp_path / "runs" / Run("acdc", "unet", "spatial", "0", 0).folder / "run.json"
        file.parent.mkdir(parents=True)
        file.write_text("{")
        with pytest.raises(Exception, match=r"run\.json: cannot be read as the description of a run"):
            build_figure("cost", results)


class TestMethods:
    def test_one_weight_per_objective_in_the_order_of_the_study(self, study):
        results = Results(study)
        compared = series.compared(results, series.read(results, ["dsc"]), limit=3)
        assert [method.label for method in compared.methods] == ["UNet", "TransUNet", "UNet (ours)"]
        assert compared.left_out == 3  # TransUNet with the term, and UNet with its other forms

    def test_shares_stay_within_their_range(self):
        rows = pd.DataFrame(
            {
                "seed": [0, 0],
                "case": ["a", "b"],
                "group": ["a", "b"],
                "class": "x",
                "metric": "dsc",
                "value": [0.2, 1.0],
            }
        )
        interval = series.mean(rows)
        assert interval.estimate == pytest.approx(60)
        assert (interval.low, interval.high) == (0, 100)
        assert all(np.isnan(series.mean(rows[:0])))

    def test_no_two_looks_share_colour_or_marker(self):
        for key in ("color", "marker", "linestyle"):
            assert len({json.dumps(look[key]) for look in style.LOOKS}) == len(style.LOOKS)


class TestLearningCurves:
    @pytest.fixture
    def trained(self, tmp_path):
        """``trained(datasets, architectures, objectives, seeds, diverged)``: results of runs with five validations.

        Each of the runs in ``diverged``, by (architecture, seed), has the given number of validations.
        """

        def make(datasets, architectures, objectives, seeds, diverged=None):
            for run in itertools.starmap(Run, itertools.product(datasets, architectures, objectives, ["0"], seeds)):
                folder = tmp_path / "runs" / run.folder
                folder.mkdir(parents=True)
                length = (diverged or {}).get((run.architecture, run.seed))
                dice = [0.1 * n + 0.02 * run.seed for n in range(1, 6)][:length]
                lines = [
                    {"iteration": 10 * n, "loss": 1.0, "validation_dice": value} for n, value in enumerate(dice, 1)
                ]
                (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
                info = {"seconds": 1.0, "parameters": 1, "peak_memory": {}, "hardware": {}}
                info |= {
                    "diverged": None if length is None else "loss",
                    "best_iteration": 40 if length is None else None,
                }
                (folder / "run.json").write_text(json.dumps(info))
            return build_figure("learning_curves", Results(tmp_path))

        return make

    def test_lines_are_the_logs_of_the_runs_and_their_mean(self, trained):
        (panel,) = panels(trained(["acdc"], ["unet"], ["spatial"], [0, 2]))
        lines = {(line.get_linewidth(), tuple(np.round(line.get_ydata(), 6))) for line in panel.get_lines()}
        thin, bold = 0.4, 1.3
        assert lines >= {
            (thin, (10, 20, 30, 40, 50)),
            (thin, (14, 24, 34, 44, 54)),
            (bold, (12, 22, 32, 42, 52)),
        }
        marks = [line for line in panel.get_lines() if line.get_marker() == "o"]
        assert sorted((line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in marks) == [(40, 40), (40, 44)]

    def test_diverged_runs_end_in_a_cross_and_are_counted(self, trained):
        figure = trained(["acdc"], ["unet"], ["spatial"], [0, 1, 2], {("unet", 1): 2, ("unet", 2): 0})
        (panel,) = panels(figure)
        (cross,) = [line for line in panel.get_lines() if line.get_marker() == "x"]
        assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (20, pytest.approx(22))
        (bold,) = [line for line in panel.get_lines() if line.get_linewidth() == 1.3]
        assert list(bold.get_ydata()) == pytest.approx([10, 20, 30, 40, 50]), "of the only run that did not diverge"
        text = prose(figure)
        assert "Runs: 3, 3 seeds per method and dataset. Diverged: 2." in text
        assert "Diverged before the first validation, without a curve: 1." in text

    def test_a_study_without_diverged_runs_says_so(self, study, drawn):
        assert f"Runs: {len(Results(study).study.runs)}, 3 seeds per method and dataset. Diverged: 0." in prose(
            drawn["learning_curves"]
        )

    @pytest.mark.parametrize(
        ("architectures", "objectives", "headings", "sizes"),
        [
            (2, 3, [], [6]),
            (2, 4, ["a0", "a1"], [4, 4]),
            (8, 1, ["o0", "o0 (continued)"], [4, 4]),
            (1, 10, ["a0", "a0 (continued)"], [5, 5]),
        ],
    )
    def test_more_methods_than_looks_are_divided(self, trained, architectures, objectives, headings, sizes):
        names = [f"a{n}" for n in range(architectures)], [f"o{n}" for n in range(objectives)]
        figure = trained(["acdc"], *names, [0])
        assert [text.get_text() for text in figure.texts if text.get_weight() == "bold"] == headings
        assert [len(legend.get_lines()) for legend in figure.legends] == sizes
        assert [len({line.get_color() for line in panel.get_lines()}) for panel in panels(figure)] == sizes

    @pytest.mark.parametrize(("datasets", "objectives", "seeds"), [(1, 1, 1), (2, 10, 10), (10, 1, 2), (10, 12, 1)])
    def test_a_study_of_any_size_fits_a_page(self, trained, datasets, objectives, seeds):
        figure = trained(
            [f"d{n}" for n in range(datasets)], ["unet"], [f"o{n}" for n in range(objectives)], range(seeds)
        )
        width, height = figure.get_size_inches()
        assert width <= style.PAGE_WIDTH + 1e-6
        assert height <= 10.2
        assert len(panels(figure)) == datasets * -(-objectives // series.LIMIT)
        assert "left out" not in prose(figure)

    def test_what_does_not_fit_is_counted(self, trained, monkeypatch):
        monkeypatch.setattr(learning_curves, "_ROWS", 2)
        figure = trained([f"d{n}" for n in range(11)], ["a", "b"], [f"o{n}" for n in range(4)], [0])
        assert "Datasets left out as they do not fit: 1. Methods left out as they do not fit: 4." in prose(figure)

    def test_a_damaged_log_is_an_error(self, trained, tmp_path):
        trained(["acdc"], ["unet"], ["spatial"], [0])
        (file,) = tmp_path.glob("runs/**/history.jsonl")
        file.write_text('{"iteration": "ten"}\n')
        with pytest.raises(InputError, match=r"history\.jsonl: .* train the run again"):
            build_figure("learning_curves", Results(tmp_path))
