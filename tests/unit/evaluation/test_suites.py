import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from spectralseg.config import Evaluation, validate_config
from spectralseg.errors import InputError
from spectralseg.evaluation import suites
from spectralseg.evaluation.examples import example_rows
from spectralseg.evaluation.predict import Predictor
from spectralseg.evaluation.score import score_calibration, score_segmentation
from spectralseg.grid import Run
from spectralseg.metrics.records import COLUMNS
from spectralseg.training import loop
from spectralseg.training.batches import to_float

NOISE = {"datasets": ["toy"], "corruptions": {"gaussian": ["0.01", "0.1"], "bernoulli": ["0.05"]}}


def evaluation(**changes):
    return Evaluation.model_validate({"batch_size": 4, "noise": NOISE, **changes})


@pytest.fixture(scope="module")
def partner(tmp_path_factory, prepare_cases, toy_cases, toy_specification):
    specification = toy_specification(name="other", split={"everything": "test"})
    return prepare_cases(tmp_path_factory.mktemp("other") / "other", toy_cases(4, 50, "x"), specification)


class TestConditions:
    def found(self, chosen, toy, partner):
        return [
            (c.suite, c.data.name, c.corruption, c.severity, c.calibration)
            for c in suites.conditions(chosen, toy, [partner])
        ]

    def test_all_suites_together(self, toy, partner):
        assert self.found(evaluation(), toy, partner) == [
            ("iid", "toy", "none", "0", True),
            ("ood", "other", "none", "0", True),
            ("noise", "toy", "gaussian", "0.01", False),
            ("noise", "toy", "gaussian", "0.1", False),
            ("noise", "toy", "bernoulli", "0.05", False),
        ]

    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            (["iid"], [("iid", False)]),
            (["ood"], [("ood", False)]),
            (["iid", "ood"], [("iid", False), ("ood", False)]),
            (["calibration"], [("iid", True), ("ood", True)]),
            (["noise"], [("noise", False)] * 3),
            ([], []),
        ],
    )
    def test_each_suite_alone(self, toy, partner, chosen, expected):
        assert [(c[0], c[4]) for c in self.found(evaluation(suites=chosen), toy, partner)] == expected

    def test_noise_is_for_the_named_datasets_only(self, toy, partner):
        elsewhere = evaluation(noise={**NOISE, "datasets": ["other"]})
        assert {c[0] for c in self.found(elsewhere, toy, partner)} == {"iid", "ood"}

    def test_without_partners_there_is_no_ood(self, toy):
        assert {c.suite for c in suites.conditions(evaluation(), toy, [])} == {"iid", "noise"}


class TestCorruptions:
    def test_the_draw_depends_on_case_and_corruption_only(self, toy):
        images = to_float(toy.images[:2])
        condition = suites.Condition("noise", toy, "gaussian", "0.01")
        first = suites.corrupt(images, condition, "case00")
        np.random.default_rng().random()
        torch.manual_seed(5)
        assert np.array_equal(suites.corrupt(images, condition, "case00"), first)
        assert not np.array_equal(suites.corrupt(images, condition, "case01"), first)
        other = suites.Condition("noise", toy, "gaussian", "0.1")
        assert not np.allclose(suites.corrupt(images, other, "case00") - images, first - images)

    def test_a_clean_condition_leaves_the_images_alone(self, toy):
        images = to_float(toy.images[:2])
        assert suites.corrupt(images, suites.Condition("iid", toy), "case00") is images


class Colour(nn.Module):
    """A model with a decoder whose logits are fixed combinations of the channels, good enough to make mistakes."""

    def __init__(self, channels, outputs):
        super().__init__()
        weights = torch.randn(outputs, channels, generator=torch.Generator().manual_seed(3))
        self.decoder = Mix(weights if outputs > 1 else torch.ones(1, channels))
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.decoder([images * 1.0])


class Mix(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, features):
        return torch.einsum("kc,bchw->bkhw", self.weights, features[-1])


@pytest.fixture
def fixed_model(monkeypatch):
    """Let every run folder hold the fixed model."""
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
    """A run folder as far as the evaluation reads it."""
    folder.mkdir(exist_ok=True)
    keys = {"dataset": data.name, "architecture": "unet", "objective": "mixed", "lambda": "0.2", "seed": 0}
    settings = {key: data.info[key] for key in ("files", "classes", "channels", "mean", "std")}
    (folder / "run.json").write_text(json.dumps({"run": keys, "data": settings}))
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
                    *score_calibration(probabilities, masks, 1),
                ]
                found = records[(records["suite"] == suite) & (records["case"] == case["case"])]
                found = found.set_index(["protocol", "metric"])["value"]
                assert len(found) == len(expected)
                for score in expected:
                    value = found[score.protocol, score.metric]
                    assert value == pytest.approx(score.value, rel=1e-4, nan_ok=True), score

    def test_the_model_makes_mistakes_but_not_only(self, records):
        dice = records[(records["metric"] == "dsc") & (records["suite"] == "iid")]["value"]
        assert 0.05 < dice.min() <= dice.max() < 1

    def test_all_models_see_the_same_corrupted_images(self, toy, partner, tmp_path, fixed_model):
        for name in ("a", "b"):
            run = run_folder(tmp_path / name, toy)
            torch.manual_seed(len(name))
            suites.evaluate(run, toy, [], evaluation(suites=["noise"]), run, device_name="cpu")
        first, second = (model.seen for model in fixed_model)
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
            assert examples["dataset"].tolist() == ["toy"] * 3 + ["other"] * len(example_rows(partner, 3))
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

    def test_other_data_than_trained_on_is_refused(self, toy, partner, tmp_path, fixed_model):
        run = run_folder(tmp_path / "run", toy)
        with pytest.raises(InputError, match=r"is not the data that .* was trained on"):
            suites.evaluate(run, partner, [], evaluation(), run)

    def test_a_partner_with_other_classes_size_or_channels_is_refused(
        self, toy, hearts, tmp_path, fixed_model, prepare_cases, toy_cases, toy_specification, prepared_phantom
    ):
        run = run_folder(tmp_path / "run", toy)
        larger = prepare_cases(tmp_path / "larger", toy_cases(), image_size=64)
        for other in (hearts, larger, prepared_phantom("btseg")):
            with pytest.raises(InputError, match="prepare it alike"):
                suites.evaluate(run, toy, [other], evaluation(), run, device_name="cpu")
        assert not (run / "records.parquet").exists()


class TestExampleRows:
    def test_they_are_the_quartiles_of_foreground_area_of_test_cases(
        self, tmp_path, prepare_cases, toy_cases, toy_specification
    ):
        data = prepare_cases(tmp_path / "nine", toy_cases(9), toy_specification(split={"everything": "test"}))
        areas = sorted((int((data.masks[row] > 0).sum()), row) for row in range(9))
        assert [row for _, row in example_rows(data, 3)] == [areas[place][1] for place in (2, 4, 6)]
        assert [row for _, row in example_rows(data, 1)] == [areas[4][1]]

    def test_a_volume_is_shown_at_its_largest_slice(self, hearts):
        for name, row in example_rows(hearts, 3):
            case = hearts.cases[hearts.cases["case"] == name].iloc[0]
            areas = (hearts.masks[case["first"] : case["first"] + case["slices"]] > 0).sum((1, 2))
            assert areas[row - case["first"]] == areas.max() > 0

    def test_empty_cases_are_shown_only_if_there_are_no_others(self, prepared_phantom):
        data = prepared_phantom("polypgen")
        areas = {row["case"]: int((data.masks[row["first"]] > 0).sum()) for _, row in data.cases.iterrows()}
        assert 0 in areas.values()
        assert all(areas[name] > 0 for name, _ in example_rows(data, 3))

    @pytest.mark.parametrize(("dataset", "count"), [("toy", 1), ("toy", 2), ("toy", 3), ("partner", 3), ("partner", 4)])
    def test_there_are_as_many_examples_as_asked_for(self, request, dataset, count):
        assert len(example_rows(request.getfixturevalue(dataset), count)) == count

    def test_few_cases_are_each_shown_once(self, toy):
        names = [name for name, _ in example_rows(toy, 50)]
        assert len(names) == len(set(names)) == 3


class TestTrainedRun:
    def test_a_trained_run_is_loaded_with_its_own_weights(self, toy, tmp_path, study):
        config = validate_config(study, "toy.yaml")
        loop.train(config, Run("toy", "unet", "mixed", "0.2", 0), toy, tmp_path / "run", device_name="cpu")
        suites.evaluate(tmp_path / "run", toy, [], config.evaluation, tmp_path / "out", device_name="cpu")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["examples.npz", "records.parquet"]
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
        with pytest.raises(InputError, match=r"model\.pt: does not fit its run\.json"):
            suites.load_predictor(tmp_path / "run", settings, "best", 4, "cpu")
