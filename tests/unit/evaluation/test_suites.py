import json

import numpy as np
import pandas as pd
import pytest
import torch
from tests.standins.run import DESCRIPTION
from torch import nn

from spectralseg import metrics
from spectralseg.config import Evaluation, validate_config
from spectralseg.errors import InputError
from spectralseg.evaluation import suites
from spectralseg.evaluation.examples import example_rows
from spectralseg.evaluation.predict import Predictor
from spectralseg.evaluation.recheck import recheck
from spectralseg.evaluation.score import reliabilities, score_reliabilities, score_segmentation
from spectralseg.grid import Run
from spectralseg.metrics.policy import LESIONS
from spectralseg.metrics.records import COLUMNS, divergence, read_records
from spectralseg.run_folder import read_settings, write_run
from spectralseg.training import loop

NOISE = {"datasets": ["toy"], "corruptions": {"gaussian": ["0.01", "0.1"], "bernoulli": ["0.05"]}}


def evaluation(**changes):
    """Without interpretation and the independent check, which are slow and have their own tests."""
    suites = ["iid", "ood", "noise", "calibration"]
    return Evaluation.model_validate({"batch_size": 4, "noise": NOISE, "suites": suites, "recheck": 0, **changes})


class Colour(nn.Module):
    """A model with a decoder whose logits are fixed combinations of the channels, with some errors."""

    def __init__(self, channels, outputs):
        super().__init__()
        weights = torch.randn(outputs, channels, generator=torch.Generator().manual_seed(3))
        self.decoder = Mix(weights if outputs > 1 else torch.ones(1, channels))
        self.batches = []

    def forward(self, images):
        self.batches.append(images.detach().clone())
        return self.decoder([images * 1.0])


class Mix(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, features):
        return torch.einsum("kc,bchw->bkhw", self.weights, features[-1])


@pytest.fixture
def fixed_model(monkeypatch):
    """Make every run folder load the fixed model."""
    made = []

    def load(run, settings, checkpoint, batch_size, device):
        data = settings["data"]
        classes = len(data["classes"])
        model = Colour(data["channels"], 1 if classes == 1 else classes + 1).eval()
        made.append(model)
        mean, std = torch.tensor(data["mean"]).float(), torch.tensor(data["std"]).float()
        return Predictor(model, mean, std, batch_size)

    monkeypatch.setattr(suites, "load_predictor", load)
    return made


def run_folder(folder, data):
    """A run folder with the files that the evaluation reads."""
    folder.mkdir(exist_ok=True)
    keys = {"dataset": data.name, "architecture": "unet", "objective": "mixed", "lambda": "0.2", "seed": 0}
    description = {**DESCRIPTION, "run": keys, "data": data.info}
    (folder / "run.json").write_text(json.dumps(description))
    return folder


class TestEvaluate:
    @pytest.fixture
    def records(self, toy, partner, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [partner], evaluation(), run, device_name="cpu")
        return pd.read_parquet(run / "records.parquet")

    def test_records_have_the_columns_and_a_row_per_case_condition_and_metric(self, records, toy, partner):
        assert list(records.columns) == list(COLUMNS)
        keys = [name for name in COLUMNS if name not in ("value", "flag")]
        assert not records.duplicated(keys).any()
        assert set(records[records["case"] == "pooled"]["metric"]) == {
            f"pooled_{band}{metric}" for band in ("", "band_") for metric in ("ece", "mce", "ace", "brier", "nll")
        }
        records = records[records["case"] != "pooled"]
        counts = records.groupby(["suite", "corruption", "severity"])["case"].nunique().to_dict()
        assert counts == {
            ("iid", "none", "0"): 3,
            ("ood", "none", "0"): 4,
            ("noise", "gaussian", "0.01"): 3,
            ("noise", "gaussian", "0.1"): 3,
            ("noise", "bernoulli", "0.05"): 3,
        }
        assert set(records[records["suite"] == "iid"]["case"]) == set(toy.cases[toy.cases["part"] == "test"]["case"])
        per_case = records[(records["suite"] == "iid") & (records["case"] == records["case"][0])]
        assert len(per_case) == (4 + 6) + (4 + 9) + 2 * 5 + 2
        assert set(records[records["suite"] == "noise"]["metric"]).isdisjoint({"ece", "mce"})
        assert records[
            ["dataset", "architecture", "objective", "lambda", "seed"]
        ].drop_duplicates().values.tolist() == [["toy", "unet", "mixed", "0.2", 0]]

    def test_values_equal_a_recomputation_from_the_arrays(self, records, toy, partner):
        for data, suite in ((toy, "iid"), (partner, "ood")):
            for _, case in data.cases[data.cases["part"] == "test"].iterrows():
                stored = data.images[case["first"]].astype(np.float64) / 255
                logits = ((stored - toy.info["mean"]) / toy.info["std"]).sum(-1)
                probabilities = (1 / (1 + np.exp(-logits)))[None, None].astype(np.float32)
                masks, native = np.asarray(data.masks[case["first"]])[None], data.native_labels(case["case"])
                expected = [
                    *score_segmentation(probabilities, masks, native, None, 1),
                    *score_reliabilities(reliabilities(probabilities, masks, 1)),
                ]
                values = records[(records["suite"] == suite) & (records["case"] == case["case"])]
                values = values.set_index(["protocol", "metric"])["value"]
                assert len(values) == len(expected)
                for score in expected:
                    value = values[score.protocol, score.metric]
                    assert value == pytest.approx(score.value, rel=1e-4, nan_ok=True), score

    def test_lesions_add_records_and_change_none(
        self, records, toy, tmp_path, fixed_model, prepare_cases, toy_cases, toy_specification
    ):
        specification = toy_specification(lesions={"connectivity": 4})
        data = prepare_cases(tmp_path / "lesions", toy_cases(), specification)
        run = run_folder(tmp_path / "other", data)
        suites.evaluate(run, data, [], evaluation(), run, device_name="cpu")
        after = read_records(run / "records.parquet")
        added = after["metric"].isin([*LESIONS, *("lesion_tp", "lesion_fp", "lesion_fn", "volume", "volume_reference")])
        before = records[records["suite"] != "ood"].reset_index(drop=True)
        pd.testing.assert_frame_equal(after[~added].reset_index(drop=True), before)
        assert set(after[added]["protocol"]) == {"sound"}
        assert set(after[added]["suite"]) == {"iid", "noise"}
        f1 = after[after["metric"] == "lesion_f1"]
        assert f1.groupby(["suite", "corruption", "severity"]).size().tolist() == [3, 3, 3, 3]
        assert f1["value"].between(0, 1).all()
        assert f1["value"].max() > 0
        assert set(after[after["metric"] == "volume"]["flag"]) == {"no volume"}

    def test_the_model_is_neither_perfect_nor_useless(self, records):
        dice = records[(records["metric"] == "dsc") & (records["suite"] == "iid")]["value"]
        assert 0.05 < dice.min() <= dice.max() < 1

    def test_all_models_see_the_same_corrupted_images(self, toy, partner, tmp_path, fixed_model):
        for name in ("a", "b"):
            run = run_folder(tmp_path / name, toy)
            torch.manual_seed(len(name))
            suites.evaluate(run, toy, [], evaluation(suites=["noise"]), run, device_name="cpu")
        first, second = (model.batches for model in fixed_model)
        assert len(first) == len(second) > 0
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_a_multi_class_volume_is_scored_per_class_with_native_geometry(self, hearts, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", hearts)
        suites.evaluate(run, hearts, [], evaluation(suites=["iid"]), run, device_name="cpu")
        records = pd.read_parquet(run / "records.parquet")
        assert set(records["class"]) == set(hearts.classes)
        case = records["case"][0]
        pixels = records[(records["case"] == case) & records["metric"].isin(["tp", "fp", "fn", "tn"])]
        sums = pixels.groupby(["class", "protocol"])["value"].sum().unique()
        assert sums.tolist() == [hearts.native_labels(case).size]

    def test_examples_hold_what_the_figures_need(self, toy, partner, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [partner], evaluation(), run, device_name="cpu")
        with np.load(run / "examples.npz") as examples:
            partners = example_rows(partner, evaluation().examples)
            assert examples["dataset"].tolist() == ["toy"] * 3 + ["other"] * len(partners)
            count = len(examples["dataset"])
            assert examples["prediction"].shape == (count, 32, 32)
            assert examples["probability"].shape == (count, 1, 32, 32)
            assert examples["cam"].shape == (count, 32, 32)
            for number, (name, row) in enumerate(zip(examples["dataset"], examples["row"], strict=True)):
                data = {"toy": toy, "other": partner}[str(name)]
                case = data.cases[data.cases["case"] == str(examples["case"][number])].iloc[0]
                assert case["part"] == "test"
                assert case["first"] <= row < case["first"] + case["slices"]
                probability = examples["probability"][number, 0].astype(float)
                decided = np.abs(probability - 0.5) > 1e-3
                assert np.array_equal((probability > 0.5)[decided], examples["prediction"][number][decided] == 1)

    def test_data_of_another_training_are_an_error(self, toy, partner, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        with pytest.raises(InputError, match=r"run: was trained on different data than .*; train the run again"):
            suites.evaluate(run, partner, [], evaluation(), run)

    def test_a_partner_with_other_classes_size_or_channels_is_an_error(
        self, toy, hearts, tmp_path, fixed_model, prepare_cases, toy_cases, toy_specification, prepared_phantom
    ):
        run = run_folder(tmp_path / "run", toy)
        larger = prepare_cases(tmp_path / "larger", toy_cases(), image_size=64)
        for other in (hearts, larger, prepared_phantom("btseg")):
            with pytest.raises(InputError, match="prepare it with the same"):
                suites.evaluate(run, toy, [other], evaluation(), run, device_name="cpu")
        assert not (run / "records.parquet").exists()


class TestExampleRows:
    def test_examples_are_the_quartiles_of_foreground_area(self, tmp_path, prepare_cases, toy_cases, toy_specification):
        data = prepare_cases(tmp_path / "nine", toy_cases(9), toy_specification(split={"everything": "test"}))
        areas = sorted((int((data.masks[row] > 0).sum()), row) for row in range(9))
        assert [row for _, row in example_rows(data, 3)] == [areas[place][1] for place in (2, 4, 6)]
        assert [row for _, row in example_rows(data, 1)] == [areas[4][1]]

    def test_a_volume_is_represented_by_its_largest_slice(self, hearts):
        for name, row in example_rows(hearts, 3):
            case = hearts.cases[hearts.cases["case"] == name].iloc[0]
            areas = (hearts.masks[case["first"] : case["first"] + case["slices"]] > 0).sum((1, 2))
            assert areas[row - case["first"]] == areas.max() > 0

    def test_empty_cases_are_used_only_if_there_are_no_others(self, prepared_phantom):
        data = prepared_phantom("polypgen")
        areas = {row["case"]: int((data.masks[row["first"]] > 0).sum()) for _, row in data.cases.iterrows()}
        assert 0 in areas.values()
        assert all(areas[name] > 0 for name, _ in example_rows(data, 3))

    @pytest.mark.parametrize(("dataset", "count"), [("toy", 1), ("toy", 2), ("toy", 3), ("partner", 3), ("partner", 4)])
    def test_the_number_of_examples_is_the_requested_one(self, request, dataset, count):
        assert len(example_rows(request.getfixturevalue(dataset), count)) == count

    def test_few_cases_are_each_selected_once(self, toy):
        names = [name for name, _ in example_rows(toy, 50)]
        assert len(names) == len(set(names)) == 3


class TestTrainedRun:
    def test_a_trained_run_is_loaded_with_its_own_weights(self, toy, tmp_path, study):
        config = validate_config(study, "toy.yaml")
        loop.train(config, Run("toy", "unet", "mixed", "0.2", 0), toy, tmp_path / "run", device_name="cpu")
        suites.evaluate(tmp_path / "run", toy, [], config.evaluation, tmp_path / "out", device_name="cpu")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "examples.npz",
            "records.parquet",
            "reliability.parquet",
        ]
        settings = json.loads((tmp_path / "run" / "run.json").read_text())
        weights = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
        for kind in ("best", "last"):
            predictor = suites.load_predictor(tmp_path / "run", settings, kind, 4, "cpu")
            assert all(torch.equal(weights[kind][k], v) for k, v in predictor.model.state_dict().items())
            assert not predictor.model.training
        assert predictor.mean.tolist() == pytest.approx(toy.info["mean"])

    def test_weights_of_another_architecture_are_an_input_error(self, toy, tmp_path, study):
        config = validate_config(study, "toy.yaml")
        loop.train(config, Run("toy", "unet", "spatial", "0", 0), toy, tmp_path / "run", device_name="cpu")
        settings = json.loads((tmp_path / "run" / "run.json").read_text())
        settings["architecture"]["options"]["decoder_channels"] = [8, 8, 8, 8, 8]
        with pytest.raises(InputError, match=r"model\.pt: cannot be read as the weights that its run\.json describes"):
            suites.load_predictor(tmp_path / "run", settings, "best", 4, "cpu")


def calls(model):
    """All input images of a model, as bytes, in batches."""
    return [[image.numpy().tobytes() for image in batch] for batch in model.batches]


class TestOnePass:
    def test_each_image_is_predicted_once_in_batches_of_several_cases(
        self, toy, partner, tmp_path, fixed_model, monkeypatch
    ):
        monkeypatch.setattr(suites, "seg_grad_cam", lambda model, images: torch.zeros(len(images), 32, 32))
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [partner], evaluation(), run, device_name="cpu")
        batches = calls(fixed_model[0])
        images = [image for batch in batches for image in batch]
        assert len(images) == len(set(images)) == 3 + 4 + 3 * 3
        assert [len(batch) for batch in batches] == [3, 4, 3, 3, 3]

    def test_a_full_batch_may_end_within_a_volume(self, hearts, tmp_path, fixed_model, monkeypatch):
        monkeypatch.setattr(suites, "seg_grad_cam", lambda model, images: torch.zeros(len(images), 32, 32))
        run = run_folder(tmp_path / "run", hearts)
        suites.evaluate(run, hearts, [], evaluation(suites=["iid"]), run, device_name="cpu")
        sizes = [len(batch) for batch in calls(fixed_model[0])]
        assert sum(sizes) == len(hearts.rows("test"))
        assert max(sizes) == 4

    @pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
    def test_the_batch_size_changes_no_value(self, toy, partner, tmp_path, fixed_model, batch_size):
        for size in (4, batch_size):
            run = run_folder(tmp_path / str(size), toy)
            suites.evaluate(run, toy, [partner], evaluation(batch_size=size), run, device_name="cpu")
        first, second = (pd.read_parquet(tmp_path / str(size) / "records.parquet") for size in (4, batch_size))
        pd.testing.assert_frame_equal(first, second, rtol=1e-5)


class TestPooledCalibration:
    def test_pooled_calibration_is_that_of_all_pixels(self, toy, partner, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [partner], evaluation(), run, device_name="cpu")
        records = pd.read_parquet(run / "records.parquet").query("case == 'pooled' and suite == 'ood'")
        histogram = pd.read_parquet(run / "reliability.parquet").query("suite == 'ood' and region == 'image'")
        rows = partner.rows("test")
        logits = (partner.images[rows] / 255 - np.array(toy.info["mean"])) / np.array(toy.info["std"])
        probabilities, labels = 1 / (1 + np.exp(-logits.sum(-1))), partner.masks[rows] > 0
        value = records.set_index(["protocol", "metric"])["value"]
        expected = metrics.expected_calibration_error(probabilities, labels)
        assert value["sound", "pooled_ece"] == pytest.approx(expected, rel=1e-3)
        assert value["sound", "pooled_brier"] == pytest.approx(np.square(probabilities - labels).mean(), rel=1e-3)
        assert histogram["pixels"].sum() == labels.size
        assert histogram["foreground"].sum() == labels.sum()
        gaps = (histogram["probability"] - histogram["foreground"]).abs().sum() / labels.size
        assert gaps == pytest.approx(expected, rel=1e-3)
        assert histogram["bin"].tolist() == list(range(15))
        assert histogram[["dataset", "test_dataset", "class"]].drop_duplicates().values.tolist() == [
            ["toy", "other", "disc"]
        ]

    def test_without_the_suite_nothing_is_pooled(self, toy, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [], evaluation(suites=["iid"]), run, device_name="cpu")
        assert "pooled" not in set(pd.read_parquet(run / "records.parquet")["case"])
        empty = pd.read_parquet(run / "reliability.parquet")
        assert empty.empty
        assert {"dataset", "seed", "class", "bin", "pixels"} < set(empty.columns)


class TestInterpretation:
    def test_activation_maps_and_spectra_are_scored(self, toy, partner, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        choice = evaluation(
            suites=["interpretation"], interpretation={"cases": 2, "steps": 2, "layers": ["deepest", "decoder"]}
        )
        suites.evaluate(run, toy, [partner], choice, run, device_name="cpu")
        records = pd.read_parquet(run / "records.parquet")
        maps = records[records["metric"].str.startswith("cam")]
        assert set(maps["class"]) == {"all"}
        assert set(maps["protocol"]) == {"sound"}
        assert maps.groupby("suite")["case"].unique().map(set).to_dict() == {
            "iid": {case for case, _ in example_rows(toy, 2)},
            "ood": {case for case, _ in example_rows(partner, 2)},
        }
        assert {"cam_energy", "cam_random_iou", "cam_decoder_insertion"} < set(maps["metric"])
        spectral = records[records["metric"] == "spectral_similarity"]
        assert len(spectral) == 3 + 4
        dice = records[(records["metric"] == "dsc") & (records["protocol"] == "published")]
        assert spectral["value"].to_numpy() == pytest.approx(dice["value"].to_numpy()), "of hard masks they are equal"

    def test_random_maps_are_the_same_for_every_model(self, toy, tmp_path, fixed_model):
        choice, energies = evaluation(suites=["interpretation"], interpretation={"cases": 2, "steps": 0}), []
        for name in ("a", "b"):
            run = run_folder(tmp_path / name, toy)
            torch.manual_seed(len(energies))
            suites.evaluate(run, toy, [], choice, run, device_name="cpu")
            records = pd.read_parquet(run / "records.parquet")
            energies.append(records[records["metric"] == "cam_random_energy"]["value"].tolist())
        assert energies[0] == energies[1]


class TestRecheck:
    def test_medpy_and_monai_agree_with_the_records(self, hearts, tmp_path, fixed_model, monkeypatch):
        results = []
        monkeypatch.setattr(
            suites,
            "recheck",
            lambda cases, classes: results.append(recheck(kept := list(cases), classes)) or results.append(kept),
        )
        run = run_folder(tmp_path / "run", hearts)
        suites.evaluate(run, hearts, [], evaluation(suites=["iid"], recheck=2), run, device_name="cpu")
        largest, cases = results
        assert largest.size < 1e-4
        assert len(cases) == 2 * 2, "two cases under two protocols"
        assert len({case.case for case in cases}) == 2

    def test_a_disagreement_fails_the_job_and_leaves_no_output(self, toy, tmp_path, fixed_model, monkeypatch):
        wrong = metrics.surface.SurfaceDistances.hausdorff95
        monkeypatch.setattr(
            metrics.surface.SurfaceDistances, "hausdorff95", lambda self, definition: wrong(self, definition) + 0.01
        )
        run = run_folder(tmp_path / "run", toy)
        with pytest.raises(InputError, match=r"case '.*', class 1: hd95 .* is .* here and .* in "):
            suites.evaluate(run, toy, [], evaluation(suites=["iid"], recheck=3), run, device_name="cpu")
        assert [path.name for path in run.iterdir()] == ["run.json"]


class Diverging(Colour):
    """A model whose logits are not finite from a given batch on."""

    def __init__(self, healthy, value):
        super().__init__(3, 1)
        self.healthy, self.value = healthy, value

    def forward(self, images):
        logits = super().forward(images)
        return logits if len(self.batches) <= self.healthy else logits.index_fill(-1, torch.tensor([0]), self.value)


class TestDivergence:
    """Comparisons would treat non-finite logits as background and score them."""

    def check(self, folder, toy, reason):
        records = read_records(folder / "records.parquet")
        assert records[["dataset", "test_dataset", "metric", "flag"]].values.tolist() == [
            ["toy", "toy", "diverged", reason]
        ]
        assert records["value"].isna().all()
        assert divergence(folder / "records.parquet") == reason
        assert pd.read_parquet(folder / "reliability.parquet").empty
        with np.load(folder / "examples.npz", allow_pickle=False) as arrays:
            shapes = {name: arrays[name].shape for name in arrays}
        assert shapes == {
            "dataset": (0,), "case": (0,), "row": (0,), "prediction": (0, 32, 32), "probability": (0, 1, 32, 32),
            "cam": (0, 32, 32),
        }  # fmt: skip

    def test_a_run_that_diverged_in_training_has_one_record_and_no_values(self, toy, tmp_path, study, caplog):
        config = validate_config(study, "toy.yaml")
        config = config.model_copy(update={"training": config.training.model_copy(update={"learning_rate": 1e30})})
        loop.train(config, Run("toy", "unet", "mixed", "0.2", 0), toy, tmp_path / "run", device_name="cpu")
        suites.evaluate(tmp_path / "run", toy, [], config.evaluation, tmp_path / "run", device_name="cpu")
        reason = json.loads((tmp_path / "run" / "run.json").read_text())["diverged"]
        self.check(tmp_path / "run", toy, reason)
        assert f"{tmp_path / 'run'}: the run diverged: {reason}" in caplog.text

    def test_a_run_whose_weights_are_not_finite_has_one_record_too(self, toy, tmp_path, study):
        config = validate_config(study, "toy.yaml")
        run = tmp_path / "run"
        loop.train(config, Run("toy", "unet", "mixed", "0.2", 0), toy, run, device_name="cpu")
        weights = torch.load(run / "model.pt", weights_only=True)
        weights["best"] = {name: torch.full_like(value, torch.nan) if value.is_floating_point() else value
                           for name, value in weights["best"].items()}  # fmt: skip
        write_run(run, weights, read_settings(run))
        suites.evaluate(run, toy, [], config.evaluation, run, device_name="cpu")
        cases = ", ".join(toy.cases[toy.cases["part"] == "test"]["case"])
        self.check(run, toy, f"its logits are not finite on one of the test cases {cases}")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_run_that_diverges_under_a_corruption_has_one_record_too(self, toy, tmp_path, monkeypatch, value):
        def load(run, settings, checkpoint, batch_size, device):
            return Predictor(Diverging(1, value).eval(), torch.zeros(3), torch.ones(3), batch_size, str(run))

        monkeypatch.setattr(suites, "load_predictor", load)
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [], evaluation(), run, device_name="cpu")
        assert "its logits are not finite" in divergence(run / "records.parquet")
        self.check(run, toy, divergence(run / "records.parquet"))

    def test_records_of_other_runs_report_no_divergence(self, toy, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        suites.evaluate(run, toy, [], evaluation(suites=["iid"]), run, device_name="cpu")
        assert divergence(run / "records.parquet") == ""
        assert divergence(run / "missing.parquet") == ""
        assert divergence(run / "run.json") == ""
