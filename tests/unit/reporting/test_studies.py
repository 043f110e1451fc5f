import math
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.standins.study import grid_of
from tests.unit.reporting.conftest import CLASSES

from spectralseg.config import Objective
from spectralseg.errors import InputError
from spectralseg.interpretation import spectra
from spectralseg.metrics.records import COLUMNS
from spectralseg.outputs import names
from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.studies import build_study
from spectralseg.reporting.studies._common import Effect
from spectralseg.reporting.studies.study_equation_2 import compared, controls
from spectralseg.reporting.studies.study_mid_band import Band
from spectralseg.reporting.studies.study_protocols import compare_rankings, of_counts
from spectralseg.reporting.studies.study_sign import verdict
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.significance import holm

NAMES = names("studies")
EXAMPLES = {  # runs with stored predictions
    "datasets": ["synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg"],
    "architectures": ["unet", "transunet"],
    "objectives": ["spatial", "spatial_spectral"],
    "lambdas": ["0.2"],
    "seeds": [0],
}
SEEDS = (0, 1, 2)
CASES = 8
OBJECTIVES = {
    "spatial": {"base": "bce_dice"},
    "spatial_spectral": {"base": "bce_dice", "auxiliary": "spectral"},
    "printed": {"base": "bce_dice", "auxiliary": "spectral", "form": "printed"},
    "convex": {"base": "bce_dice", "auxiliary": "spectral", "form": "convex"},
    "squared_dice": {
        "base": "bce_dice",
        "auxiliary": "dice",
        "auxiliary_options": {"denominator": "squared", "smooth": 0.05},
    },
    "dice_1_2": {"base": "bce_dice", "base_options": {"dice_weight": 1.2}},
    "middle": {
        "base": "bce_dice",
        "auxiliary": "spectral",
        "auxiliary_options": {"band": [8, 32], "matched": True},
    },
    "high": {"base": "bce_dice", "auxiliary": "spectral", "auxiliary_options": {"band": [32, None], "matched": True}},
    "annuli": {
        "base": "bce_dice",
        "auxiliary": "spectral",
        "auxiliary_options": {"band": [8, 32], "annuli_seed": 0, "matched": True},
    },
}


def objective(name):
    return Objective.model_validate(OBJECTIVES[name])


def rows(objective, lam, value, *, dataset="kvasir_seg", test="", metric="dsc", seeds=SEEDS, cases=CASES, **fixed):
    """Records of a method under both protocols; ``value`` is a number or a function of seed, case and protocol."""
    test = test or dataset
    for seed in seeds:
        for case in range(cases):
            for protocol in ("published", "sound"):
                yield {
                    **{"dataset": dataset, "architecture": "unet", "objective": objective, "lambda": lam, "seed": seed},
                    **{"suite": "iid" if test == dataset else "ood", "test_dataset": test},
                    **{"corruption": "none", "severity": "0", "case": f"{test}_{case}", "group": f"g{case}"},
                    **{"class": "polyp", "protocol": protocol, "metric": metric, "flag": ""},
                    "value": value(seed, case, protocol) if callable(value) else value,
                    **fixed,
                }


def about(mean, spread=0.002):
    """Values that scatter evenly about a mean."""

    def value(seed, case, protocol):
        return mean + spread * (-1) ** (seed + case)

    return value


@pytest.fixture
def study(official, published, tmp_path):
    """Build results from the prepared data, examples and audit of the tiny study, and from given records."""

    def make(records, objectives=tuple(OBJECTIVES)):
        for name in ("prepared", "runs", "leakage.parquet", "leakage.csv"):
            (tmp_path / name).symlink_to(official / name)
        configured = {name: OBJECTIVES[name] for name in objectives}
        records = pd.DataFrame(list(records), columns=list(COLUMNS))
        recorded = {name: OBJECTIVES[name] for name in (*EXAMPLES["objectives"], *records["objective"].unique())}
        config = {
            "name": "tiny",
            "datasets": {"kvasir_seg": {}, **{name: {} for name in CLASSES}},
            "architectures": {name: {"model": name} for name in ("unet", "transunet")},
            "objectives": configured | recorded,
            "grid": {"examples": EXAMPLES, **grid_of(records, configured | recorded)},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        records.to_parquet(tmp_path / "records.parquet")
        return Results(tmp_path, published)

    return make


def lead(study):
    return {word: " ".join((text, *points)) for word, text, points in study.page.lead}


@pytest.mark.slow
class TestPages:
    @pytest.mark.parametrize("name", NAMES)
    def test_files(self, phantom, published, tmp_path, name):
        study = build_study(name, Results(phantom, published))
        files = study.write(tmp_path)
        assert [file.name for file in files] == [
            f"{name}.{suffix}" for suffix in ("csv", "json", "md", "html", "pdf", "png")
        ]
        assert len(pd.read_csv(files.csv)) == len(study.numbers)
        text = files.md.read_text()
        assert text.startswith(f"**{BANNER}**")
        assert re.search(r"\?\n\n\*\*Answer\.\*\* \w", text)  # the question, then the answer
        assert text.endswith(f"({name}.png)\n")
        page = files.html.read_text()
        assert page.index(BANNER) < page.index("<h1>") < page.index("<b>Answer.</b>") < page.index("<img")
        assert 'src="data:image/png;base64,' in page
        assert not re.search(r"(src|href)=.(?!data:)", page)

    @pytest.mark.parametrize("name", NAMES)
    def test_equal_results_give_equal_files(self, official, published, tmp_path, name):
        results = Results(official, published)
        first, second = (build_study(name, results).write(tmp_path / folder) for folder in ("first", "second"))
        assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
        assert BANNER not in first.md.read_text()

    @pytest.mark.parametrize("name", NAMES)
    def test_without_records_the_page_states_what_is_needed(self, study, name):
        page = build_study(name, study(rows("spatial", "0", 0.5, metric="nsd"))).page
        assert page.lead[0][1]
        assert page.lead[-1][0] == "Needed"
        assert all(section.blocks for section in page.sections)

    @pytest.mark.parametrize("name", ["study_sign", "study_leakage", "study_protocols"])
    def test_published_numbers_are_required(self, official, name):
        with pytest.raises(InputError, match="published numbers; give their folder"):
            build_study(name, Results(official))


class TestEquation2:
    @pytest.mark.parametrize("side", [16, 33])
    def test_three_formulas_agree_and_bands_sum_to_the_whole(self, side):
        rng = np.random.default_rng(side)
        reference, probability = (rng.random((2, side, side)) < 0.3).astype(float), rng.random((2, side, side))
        result = compared(reference, probability)
        expected = 2 * (reference * probability).sum((1, 2)) / ((reference + probability**2).sum((1, 2)))
        for name in ("fourier", "closed_form", "squared_dice"):
            np.testing.assert_allclose(result[name], expected, atol=1e-12)
        assert (np.abs(result["linear_dice"] - expected) > 0.01).all()
        parts = [result[f"weight_{band}"] * np.nan_to_num(result[f"similarity_{band}"]) for band in spectra.BANDS]
        np.testing.assert_allclose(sum(parts), expected, atol=1e-12)

    def test_two_empty_masks_are_undefined(self):
        result = compared(np.zeros((1, 8, 8)), np.zeros((1, 8, 8)))
        assert all(np.isnan(value).all() for value in result.values())

    def test_answer(self, official, published):
        study = build_study("study_equation_2", Results(official, published))
        masks = study.numbers["fourier"].notna().sum()
        assert lead(study)["Answer"].startswith(f"The squared Dice: on {masks} predicted masks of 23 runs")
        assert "config/objectives.yaml" in lead(study)["Needed"]

    def test_a_difference_is_reported(self, official, published, monkeypatch):
        similarity = spectra.similarity
        monkeypatch.setattr(spectra, "similarity", lambda crossed: similarity(crossed) + 0.02)
        study = build_study("study_equation_2", Results(official, published))
        assert lead(study)["Answer"].startswith("Not the squared Dice")
        assert "differ by up to 0.02" in lead(study)["Answer"]

    @pytest.mark.parametrize(
        ("value", "seeds", "same"),
        [(about(0.8), SEEDS, 1), (about(0.77), SEEDS, 0), (about(0.8), (0, 1), 0), (about(0.8), (0,), 0)],
    )
    def test_training_with_the_control(self, study, value, seeds, same):
        records = [
            *rows("spatial_spectral", "0.2", about(0.8), seeds=seeds),
            *rows("squared_dice", "0.2", value, seeds=seeds),
            *rows("squared_dice", "0.3", about(0.5), seeds=seeds),  # of another λ, so not compared
        ]
        result = build_study("study_equation_2", study(records))
        assert f"within ± 0.5 percentage points, in {same} of 1 comparison" in lead(result)["Answer"]
        assert ("Without 3 seeds" in lead(result)["Answer"]) == (seeds != SEEDS)
        effect = result.numbers[result.numbers["part"] == "effect"].iloc[0]
        assert effect["seeds"] == len(seeds)
        assert effect["margin"] == 0.5
        assert (effect["margin_needed"] <= 0.5) == bool(same)
        assert "Needed" not in lead(result)

    def test_controls(self):
        objectives = {name: objective(name) for name in OBJECTIVES}
        assert list(controls(objectives, "spatial_spectral", "0.2")) == [("squared_dice", "0.2"), ("dice_1_2", "0")]
        assert list(controls(objectives, "spatial_spectral", "0.3")) == [("squared_dice", "0.3")]
        assert list(controls(objectives, "printed", "0.2")) == []


class TestSign:
    def records(self, seeds=SEEDS):
        """Under the printed sign the results fall by as much as in the paper, under the others not at all."""
        for dataset, fall in (("acdc", 0.0981), ("kvasir_seg", 0.0470)):
            for name in ("spatial_spectral", "printed", "convex"):
                for lam in ("0.2", "0.9"):
                    drop = fall if (name, lam) == ("printed", "0.9") else 0
                    spread = 0.01 if lam == "0.2" else -0.01
                    yield from rows(name, lam, about(0.85 - drop, spread), dataset=dataset, seeds=seeds)

    def test_the_matching_reading_is_reported(self, study):
        result = build_study("study_sign", study(self.records()))
        verdicts = result.numbers[result.numbers["part"] == "change"].groupby("form")["verdict"].unique()
        assert {form: list(kinds) for form, kinds in verdicts.items()} == {
            "add": ["contradicts"],
            "convex": ["contradicts"],
            "printed": ["draws"],
        }
        answer = lead(result)["Answer"]
        assert "by −9.81 on ACDC and −4.70 on Kvasir-SEG" in answer
        assert "Reproduces the published changes in DSC: L + λS ('printed')" in answer
        assert "is not compatible with the published changes: L + λ(1 − S) ('spatial_spectral') and (1 − λ)L" in answer
        assert "Needed" not in lead(result)

    def test_numbers(self, study):
        numbers = build_study("study_sign", study(self.records())).numbers
        change = numbers[(numbers["part"] == "change") & (numbers["objective"] == "printed")].set_index(
            ["dataset", "protocol"]
        )
        assert change.loc[("kvasir_seg", "sound"), "estimate"] == pytest.approx(-4.70)
        assert change.loc[("kvasir_seg", "sound"), "published"] == pytest.approx(-4.70)
        assert set(change["seeds"]) == {3}
        assert set(change["cases"]) == {CASES}

    @pytest.mark.parametrize("seeds", [[0], [0, 1]])
    def test_few_seeds_are_undecided(self, study, seeds):
        result = build_study("study_sign", study(self.records(seeds=seeds)))
        assert set(result.numbers["verdict"].dropna()) == {"untold"}
        assert "Without 3 seeds" in lead(result)["Answer"]

    def test_missing_forms_are_listed(self, study):
        records = [row for row in self.records() if row["objective"] != "printed"]
        needed = lead(build_study("study_sign", study(records)))["Needed"]
        assert "'printed'" in needed
        assert "'convex'" not in needed

    @pytest.mark.parametrize(
        ("limits", "published", "expected"),
        [
            ((-12, -8), -10, "draws"),
            ((-12, 1), -10, "untold"),
            ((-22, -18), -10, "direction"),
            ((-2, 1), -10, "contradicts"),
            ((2, 3), -10, "contradicts"),
        ],
    )
    def test_verdict(self, limits, published, expected):
        effect = Effect("dsc", Interval(sum(limits) / 2, *limits), 3, 4, 8)
        assert verdict(effect, published) == expected

    @pytest.mark.parametrize(("seeds", "groups"), [(2, 9), (9, 2)])
    def test_no_verdict_from_few_seeds_or_patients(self, seeds, groups):
        assert verdict(Effect("dsc", Interval(-10, -12, -8), seeds, groups, 9), -10) == "untold"


@pytest.mark.slow
class TestMidBand:
    def records(self, gain, control=0.0):
        for test in ("kvasir_seg", "polypgen"):
            values = {"spatial": 0.8, "spatial_spectral": 0.8, "middle": 0.8 + gain, "annuli": 0.8 + control}
            for name, value in {**values, "high": 0.8}.items():
                lam = "0" if name == "spatial" else "0.2"
                yield from rows(name, lam, about(value), test=test)
                yield from rows(name, lam, about(10 - 100 * (value - 0.8)), test=test, metric="hd95")

    def test_a_gain_beats_each_reference(self, study):
        result = build_study("study_mid_band", study(self.records(0.03)))
        middle = result.numbers[result.numbers["objective"] == "middle"]
        assert set(zip(middle["reference"], middle["against"], strict=True)) == {
            ("baseline", "spatial"),
            ("full band", "spatial_spectral"),
            ("control", "annuli"),
        }
        assert set(middle["direction"]) == {1}  # more Dice, less distance
        assert set(middle["suite"]) == {"iid", "ood"}
        assert set(middle["improved"]) == {1.0}
        answer = lead(result)["Answer"]
        assert answer.startswith("In 2 of 2 results it beats the baseline, and its control")
        assert "'middle' against the control ('annuli'): DSC better beyond chance in 2 of 2 comparisons" in answer

    def test_a_gain_of_the_control_is_not_credited_to_the_band(self, study):
        result = build_study("study_mid_band", study(self.records(0.03, control=0.03)))
        answer = lead(result)["Answer"]
        assert answer.startswith("In 0 of 2 results")
        assert "against the baseline ('spatial'): DSC better beyond chance in 2 of 2 comparisons" in answer
        middle = result.numbers[(result.numbers["objective"] == "middle") & (result.numbers["metric"] == "dsc")]
        assert middle.loc[middle["reference"] == "control", "equivalent"].all()
        assert not middle.loc[middle["reference"] == "baseline", "equivalent"].any()

    @pytest.mark.parametrize("seeds", [{0}, {0, 1}])
    def test_few_seeds_are_undecided(self, study, seeds):
        result = build_study("study_mid_band", study(row for row in self.records(0.03) if row["seed"] in seeds))
        assert set(result.numbers["direction"]) == {0}
        assert "Without 3 seeds" in lead(result)["Answer"]

    def test_distances_are_equivalent_only_with_a_margin_for_distances(self, study):
        results = study(self.records(0.0005))
        result = build_study("study_mid_band", results).numbers
        distances = result[result["metric"] == "hd95"]
        assert not distances["equivalent"].any()
        assert distances["margin"].isna().all()
        assert distances["margin_needed"].notna().all()
        file = results.root / "config.yaml"
        file.write_text(file.read_text() + "comparison: {margins: {hd95: {kvasir_seg: 1}}}\n")
        again = build_study("study_mid_band", Results(results.root, results.published))
        same = again.numbers[again.numbers["metric"] == "hd95"].groupby("test_dataset")["equivalent"].all()
        assert same.to_dict() == {"kvasir_seg": True, "polypgen": False}
        prefix = "Margin of equivalence in HD95, mean over classes:"
        assert [note for note in again.page.notes if note.startswith(prefix)] == [f"{prefix} ± 1 mm or pixels."]

    def test_holm_adjusts_over_the_objectives_of_a_test_set(self, study):
        numbers = build_study("study_mid_band", study(self.records(0.03))).numbers
        families = numbers.groupby(["test_dataset", "metric", "reference"])
        assert {len(family) for _, family in families} == {1, 3}  # only 'middle' has a control
        for _, family in families:
            np.testing.assert_allclose(family["p_holm"], holm(family["p"]))

    def test_without_a_band_there_is_no_conclusion(self, study):
        result = build_study("study_mid_band", study(rows("spatial", "0", 0.8), ["spatial", "spatial_spectral"]))
        assert lead(result)["Answer"].startswith("No conclusion")
        assert "config/objectives.yaml" in lead(result)["Needed"]
        assert result.numbers.empty

    def test_kinds_and_controls_of_bands(self):
        kinds = {name: Band.of(objective(name)).kind for name in ("middle", "high", "annuli")}
        assert kinds == {"middle": "middle", "high": "other", "annuli": "control"}
        assert Band.of(objective("annuli")).controls(Band.of(objective("middle")))
        assert not Band.of(objective("annuli")).controls(Band.of(objective("high")))
        assert Band.of(objective("high")).text == "spectral, from 32 cycles per image"


class TestLeakage:
    def records(self, cases=3):
        """The method gains 20 points on the case that is a training image, and 1 on the others."""

        def value(gain):
            return lambda seed, case, protocol: 0.7 + gain * (0.2 if case == 0 else 0.01) + 0.001 * seed

        for name, lam, gain in (("spatial", "0", 0), ("spatial_spectral", "0.2", 1)):
            yield from rows(name, lam, value(gain), dataset="isic2018", test="isic2017", cases=cases)
            yield from rows(name, lam, value(gain), dataset="kvasir_seg", test="polypgen", cases=3)

    def test_gains_with_and_without_leaked_cases(self, study):
        result = build_study("study_leakage", study(self.records()))
        numbers = result.numbers[result.numbers["objective"] == "spatial_spectral"]
        gains = numbers[numbers["protocol"] == "sound"].set_index(["dataset", "leak_free"])["gain"]
        assert gains["isic2018", ""] == pytest.approx((20 + 1 + 1) / 3)
        assert gains["isic2018", "train"] == gains["isic2018", "validation"] == pytest.approx(1)
        assert gains["isic2018", "test"] == pytest.approx(1)
        assert gains["kvasir_seg", "validation"] == gains["kvasir_seg", ""]
        assert set(numbers["published_gain"].round(2)) == {0.37, -3.63}
        answer = lead(result)["Answer"]
        assert "ISIC-18 → ISIC-17: 1 of 3 test cases match" in answer
        assert "published gain +0.37, measured +7.33" in answer
        assert "+1.00 [+1.00, +1.00] on leak-free" in answer
        assert "Kvasir-SEG → PolypGen: none of 3 test cases matches" in answer
        assert answer.startswith("1 of 2 pairs of datasets leak")
        assert result.page.warnings == (
            "Leakage audit. isic2018 → isic2017: 2 of 3 test cases match cases of isic2018 (1 train, 1 test).",
        )

    @pytest.mark.parametrize(("seeds", "decided"), [([0, 1, 2], 1), ([0, 1], 0), ([0], 0)])
    def test_few_seeds_are_undecided(self, study, seeds, decided):
        records = [row for row in self.records(cases=4) if row["seed"] in seeds]
        answer = lead(build_study("study_leakage", study(records)))["Answer"]
        assert f"and {decided} of 1 on leak-free" in answer

    def test_few_patients_are_undecided(self, study):
        records = self.records(cases=3)  # two without the leaked one
        answer = lead(build_study("study_leakage", study(records)))["Answer"]
        assert "and 0 of 1 on leak-free" in answer

    def test_an_audit_is_required(self, study):
        results = study(self.records())
        (results.root / "leakage.parquet").unlink()
        with pytest.raises(InputError, match="leakage was not audited"):
            build_study("study_leakage", results)


class TestProtocols:
    def test_moves_and_rankings(self, study):
        """The first method is best under one protocol, the second under the other."""

        def value(published, sound):
            return lambda seed, case, protocol: published if protocol == "published" else sound

        records = [*rows("spatial", "0", value(0.8, 0.7)), *rows("spatial_spectral", "0.2", value(0.78, 0.73))]
        result = build_study("study_protocols", study(records))
        moves = result.numbers[result.numbers["part"] == "protocol"].set_index("objective")
        assert moves.loc["spatial", "sound"] - moves.loc["spatial", "published"] == pytest.approx(-10)
        assert moves.loc["spatial_spectral", "gain_published"] == pytest.approx(-2)
        assert moves.loc["spatial_spectral", "gain_sound"] == pytest.approx(3)
        answer = lead(result)["Answer"]
        assert "2 results move by 7.50 percentage points on average and 10.00 at most" in answer
        assert "methods differ from the baseline by 3.00, where the paper claims" in answer
        assert "1 of 1 gains change sign, and another method is best in 1 of 1 rankings" in answer
        entries = result.page.sections[0].blocks[0].rows[0].entries
        assert [entry.text for entry in entries][-2:] == ["−1.00", "1 of 1"]

    def test_four_averagings_of_images(self):
        tp, fp, fn = np.array([[30.0], [1.0]]), np.array([[10.0], [1.0]]), np.array([[0.0], [8.0]])
        result = of_counts({"tp": tp, "fp": fp, "fn": fn, "tn": 100 - tp - fp - fn})
        dice, iou = result["dsc"], result["iou"]
        assert dice["per_image"] == dice["per_case"] == pytest.approx((60 / 70 + 2 / 11) / 2)
        assert dice["pooled"] == pytest.approx(62 / 81)
        background = 2 * 150 / (2 * 150 + 8 + 11)
        assert dice["foreground_background"] == pytest.approx((62 / 81 + background) / 2)
        assert iou["per_case"] == pytest.approx((30 / 40 + 1 / 10) / 2)
        assert iou["pooled"] == pytest.approx(31 / 50)

    def test_volumes_are_weighted_by_their_slices(self):
        counts = {name: np.array([[5.0], [5.0]]) for name in ("tp", "fp", "fn", "tn")}
        slices = {"slice": np.array([[0.8], [0.2]]), "slices": np.array([[3.0], [1.0]])}
        stored = {f"{kind}_{metric}": values for kind, values in slices.items() for metric in ("dsc", "iou")}
        result = of_counts(counts | stored)
        assert result["dsc"]["per_image"] == pytest.approx((3 * 0.8 + 0.2) / 4)
        assert result["dsc"]["per_case"] == pytest.approx(0.5)

    def test_averagings_per_case_are_the_sound_protocol(self, study):
        """Counts and Dice of the same predictions."""
        tp = [30, 1, 12, 0, 40, 22, 7, 19]
        records = [*rows("spatial", "0", lambda s, c, p: 2 * tp[c] / (2 * tp[c] + 30))]
        for name, value in {"tp": tp, "fp": [10] * 8, "fn": [20] * 8, "tn": [500] * 8}.items():
            records += rows("spatial", "0", lambda s, c, p, value=value: float(value[c]), metric=name)
        numbers = build_study("study_protocols", study(records)).numbers
        averaged = numbers[(numbers["part"] == "averaging") & (numbers["metric"] == "dsc")].iloc[0]
        moved = numbers[(numbers["part"] == "protocol") & (numbers["metric"] == "dsc")].iloc[0]
        assert averaged["per_case"] == pytest.approx(moved["sound"])
        assert averaged["pooled"] == pytest.approx(100 * 2 * sum(tp) / (2 * sum(tp) + 240))

    @pytest.mark.parametrize(
        ("metric", "second", "tau", "other"),
        [
            ("dsc", [30, 20, 10], 1, False),
            ("dsc", [10, 20, 30], -1, True),
            ("dsc", [20, 20, 10], 2 / math.sqrt(6), False),  # a tie for the best is not another best
            ("hd95", [20, 30, 10], 1 / 3, False),  # the smallest is best
            ("hd95", [10, 20, 30], -1, True),
        ],
    )
    def test_rankings(self, metric, second, tau, other):
        assert compare_rankings([3, 2, 1], second, metric) == (pytest.approx(tau), other)
