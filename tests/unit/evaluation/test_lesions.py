"""Lesion metrics from the specification of a dataset to its records."""

import json
import logging
import math

import numpy as np
import pytest

from spectralseg.data import prepare as preparation
from spectralseg.data.cases import Case, Sample
from spectralseg.data.geometry import Geometry
from spectralseg.data.prepared import checksum, open_prepared
from spectralseg.errors import InputError
from spectralseg.evaluation.lesions import LesionRule, native_hounsfield
from spectralseg.evaluation.score import score_labels
from spectralseg.exchange.scoring import score
from spectralseg.grid import Run
from spectralseg.metrics import agatston_score, match_lesions, risk_category
from spectralseg.metrics.policy import LESIONS
from spectralseg.metrics.records import read_records

SIDE, SPACING = 24, (1.5, 0.8, 0.8)
WINDOW = {"intensity": {"window": [-200, 1000]}}
CALCIUM = {"lesions": {"connectivity": 6, "agatston": True}}
COUNTS = {"lesion_tp", "lesion_fp", "lesion_fn", "volume", "volume_reference"}
SCORES = {"agatston", "agatston_reference", "agatston_difference", "risk_agreement"}


def heart(number, shape=(4, SIDE, SIDE)):
    """Soft tissue, bone, and lesions whose number and sizes grow with the number of the case; none in case 0."""
    rng = np.random.default_rng(number)
    image = rng.integers(-300, 120, shape).astype(np.int16)
    image[:, 1:4, 1:4] = 1400
    labels = np.zeros(shape, np.uint8)
    for lesion in range(number % 4):
        row, column = 6 + 4 * lesion, 6 + 3 * lesion
        labels[lesion : lesion + 2, row : row + 2, column : column + 1 + lesion] = 1
    image[labels > 0] = rng.integers(130, 1300, int(labels.sum()))
    geometry = Geometry.of_file_order(np.diag([*SPACING[::-1], 1.0]))
    return Sample(image, labels, SPACING, geometry=geometry)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, prepare_cases, toy_specification):
    """``prepared(**keys)``: eight hearts, prepared with further keys of the specification."""

    def run(image_size=SIDE, shape=(4, SIDE, SIDE), **keys):
        specification = toy_specification(dimensions=3, channels=1, **{**WINDOW, "split": {"random": 0.5}, **keys})
        cases = [Case(f"p{n}", f"p{n}", lambda n=n: heart(n, shape)) for n in range(8)]
        return prepare_cases(tmp_path_factory.mktemp("hearts") / "data", cases, specification, image_size=image_size)

    return run


@pytest.fixture(scope="module")
def calcium(prepared):
    return prepared(**CALCIUM)


def held_out(data):
    return data.cases.loc[data.cases["part"] == "test", "case"].tolist()


def noisy(labels, seed=0):
    """A prediction that misses lesions, adds some, and changes the size of others."""
    rng = np.random.default_rng(seed)
    prediction = np.roll(labels, rng.integers(0, 3), axis=2)
    prediction[:, 18:20, 2:4] = rng.random() < 0.5
    return prediction


def scores_of(data, case, prediction, **changes):
    native, rule = data.native_labels(case), LesionRule.of(data)
    row = data.cases[data.cases["case"] == case].iloc[0]
    masks = np.asarray(data.masks[row["first"] : row["first"] + row["slices"]])
    rule = rule and rule.of_case(data, case)
    options = {"spacing": data.spacing(case), "classes": len(data.classes), "lesions": rule, **changes}
    return list(score_labels(prediction, prediction, masks, native, **options))


class TestPreparation:
    def test_terciles_are_those_of_the_lesions_of_the_test_set(self, calcium):
        sizes = [
            size * math.prod(SPACING)
            for case in held_out(calcium)
            for size in match_lesions(*[calcium.native_labels(case) > 0] * 2, 6).sizes
        ]
        low, high = calcium.info["lesions"]["size_limits"]
        assert calcium.info["lesions"]["size_unit"] == "mm"
        assert len(sizes) >= 3
        assert {low, high} <= set(sizes)
        ordered = sorted(sizes)
        assert low == ordered[math.ceil(len(sizes) / 3) - 1]
        assert high == ordered[math.ceil(2 * len(sizes) / 3) - 1]

    def test_without_a_spacing_sizes_are_in_pixels(self, tmp_path, prepare_cases, toy_cases, toy_specification):
        data = prepare_cases(tmp_path / "discs", toy_cases(), toy_specification(lesions={"connectivity": 4}))
        areas = [int(data.native_labels(case).sum()) for case in held_out(data)]
        assert data.info["lesions"]["size_unit"] == "pixels"
        assert set(data.info["lesions"]["size_limits"]) <= set(map(float, areas))

    def test_a_dataset_without_lesions_is_prepared_as_before(self, prepared, calcium):
        plain = prepared()
        assert "lesions" not in plain.info
        assert {**calcium.info, "lesions": None} == {**plain.info, "lesions": None}

    def test_lesions_decide_whether_runs_are_evaluated_again(self, prepared, calcium):
        plain = prepared()
        assert checksum(plain.path) == checksum(calcium.path) == checksum(plain.path, "lesions")
        assert checksum(calcium.path, "lesions") != checksum(calcium.path)

    def test_a_damaged_description_is_refused(self, prepared):
        folder = prepared(**CALCIUM).path
        info = json.loads((folder / "dataset.json").read_text())
        info["lesions"]["size_limits"] = [1]
        (folder / "dataset.json").write_text(json.dumps(info))
        with pytest.raises(InputError, match="'lesions' is missing or of the wrong type; prepare the dataset again"):
            open_prepared(folder)


class TestHounsfieldUnits:
    def test_whole_units_are_recovered_from_the_prepared_images(self, calcium):
        for case in held_out(calcium):
            expected = np.clip(heart(int(case[1:])).image, -200, 1000)
            assert np.array_equal(native_hounsfield(calcium, case), expected)

    @pytest.mark.parametrize("side", [(24, 24), (31, 18), (20, 29), (17, 30)])
    def test_cropped_and_padded_slices_are_put_back(self, side, prepared, monkeypatch):
        def crop(sample, specification, size):
            """Slices of a volume padded on all sides, as an independent way to crop around the centre."""
            low, high = specification.intensity.window
            arrays = (np.clip((sample.image - low) / (high - low), 0, 1) * 65535 + 0.5, sample.labels)
            result = []
            for array in arrays:
                rows, columns = ((length - size) // 2 if length > size else -((size - length) // 2) for length in side)
                padded = np.pad(array, ((0, 0), (size, size), (size, size)))
                result.append(padded[:, size + rows : 2 * size + rows, size + columns : 2 * size + columns])
            return result[0].astype(np.uint16)[..., None], result[1].astype(np.uint8)

        monkeypatch.setattr(preparation, "_fit", crop)
        data = prepared(shape=(4, *side), **CALCIUM)
        data.info["fit"] = "crop"
        case = held_out(data)[0]
        if not (heart(int(case[1:]), (4, *side)).labels.any()):
            case = held_out(data)[1]
        hu, expected = native_hounsfield(data, case), np.clip(heart(int(case[1:]), (4, *side)).image, -200, 1000)
        inside = [slice(max(0, (length - SIDE) // 2), max(0, (length - SIDE) // 2) + SIDE) for length in side]
        assert np.array_equal(hu[:, inside[0], inside[1]], expected[:, inside[0], inside[1]])
        outside = np.ones(side, bool)
        outside[inside[0], inside[1]] = False
        assert (hu[:, outside] == -200).all()

    def test_resampled_slices_are_refused(self, prepared):
        data = prepared(image_size=16, **CALCIUM)
        data.info["fit"] = "crop"
        case = next(case for case in held_out(data) if data.native_labels(case).any())
        with pytest.raises(InputError, match=f"case '{case}' has other masks than native labels"):
            native_hounsfield(data, case)


class TestScores:
    def test_lesion_metrics_are_those_of_the_masks(self, calcium):
        low, high = calcium.info["lesions"]["size_limits"]
        for case in held_out(calcium):
            native = calcium.native_labels(case)
            prediction = noisy(native, int(case[1:]))
            scores = {(s.label, s.metric): s for s in scores_of(calcium, case, prediction) if s.protocol == "sound"}
            match = match_lesions(prediction > 0, native > 0, 6)
            assert [scores[1, f"lesion_{name}"].value for name in ("tp", "fp", "fn")] == [match.tp, match.fp, match.fn]
            assert scores[1, "lesion_count_difference"].value == match.count_difference
            volumes = prediction.sum() * math.prod(SPACING) / 1000, native.sum() * math.prod(SPACING) / 1000
            assert [scores[1, name].value for name in ("volume", "volume_reference")] == pytest.approx(volumes)
            assert scores[1, "volume_difference"].value == pytest.approx(abs(volumes[0] - volumes[1]))
            sizes = match.sizes * math.prod(SPACING)
            for name, members in (("small", sizes <= low), ("large", sizes > high)):
                result, hits = scores[1, f"lesion_sensitivity_{name}"], match.detected[members]
                assert result.value == pytest.approx(hits.mean() if hits.size else math.nan, nan_ok=True)
                assert result.flag == ("" if hits.size else "no lesion of this size" if native.any() else result.flag)
            hu = np.clip(heart(int(case[1:])).image, -200, 1000)
            agatston = [agatston_score(mask > 0, hu, SPACING) for mask in (prediction, native)]
            assert [scores[0, name].value for name in ("agatston", "agatston_reference")] == pytest.approx(agatston)
            assert scores[0, "agatston_difference"].value == pytest.approx(abs(agatston[0] - agatston[1]))
            assert scores[0, "risk_agreement"].value == (risk_category(agatston[0]) == risk_category(agatston[1]))

    def test_every_metric_is_recorded_once_per_class_or_case(self, calcium):
        plain = {"lesions": None}
        for case in held_out(calcium):
            native = calcium.native_labels(case)
            more = scores_of(calcium, case, native)[len(scores_of(calcium, case, native, **plain)) :]
            assert {(s.label, s.metric) for s in more} == {
                *((1, name) for name in COUNTS | LESIONS.keys() - SCORES),
                *((0, name) for name in SCORES),
            }
            assert len(more) == len(COUNTS) + len(LESIONS) + 2
            assert {s.protocol for s in more} == {"sound"}

    def test_other_records_do_not_change(self, prepared, calcium):
        plain = prepared()
        assert LesionRule.of(plain) is None
        for case in held_out(calcium):
            prediction = noisy(calcium.native_labels(case))
            before, after = (list(map(repr, scores_of(data, case, prediction))) for data in (plain, calcium))
            assert after[: len(before)] == before
            names = {s.metric for s in scores_of(plain, case, prediction)}
            assert not names & (LESIONS.keys() | COUNTS | SCORES)

    def test_situations_have_the_values_of_the_policy(self, calcium):
        case = next(case for case in held_out(calcium) if calcium.native_labels(case).any())
        empty = np.zeros_like(calcium.native_labels(case))
        missed = {s.metric: s for s in scores_of(calcium, case, empty) if s.protocol == "sound"}
        assert missed["lesion_f1"][3:] == (0, "missed")
        assert missed["lesion_sensitivity"][3:] == (0, "")
        assert missed["lesion_precision"].flag == missed["precision"].flag == "missed"
        assert math.isnan(missed["lesion_precision"].value)
        assert missed["agatston"].value == 0
        assert missed["agatston_difference"].value == missed["agatston_reference"].value > 0

    def test_an_empty_case_without_prediction_is_correct(self, prepared):
        data = prepared(**CALCIUM, split={"everything": "test"})
        absent = {s.metric: s for s in scores_of(data, "p0", data.native_labels("p0")) if s.protocol == "sound"}
        assert absent["lesion_f1"][3:] == (1, "absent")
        assert absent["lesion_count_difference"].value == absent["volume_difference"].value == 0
        assert absent["agatston_difference"].value == 0
        assert absent["risk_agreement"].value == 1
        spurious = {s.metric: s for s in scores_of(data, "p0", np.ones_like(data.native_labels("p0")))}
        assert spurious["lesion_f1"][3:] == (0, "spurious")
        assert spurious["lesion_precision"][3:] == (0, "")
        assert spurious["lesion_sensitivity"].flag == "spurious"

    def test_without_a_spacing_volumes_and_agatston_scores_are_undefined(self, calcium):
        case = held_out(calcium)[0]
        scores = {s.metric: s for s in scores_of(calcium, case, calcium.native_labels(case), spacing=None)}
        for name in ("volume", "volume_reference", "volume_difference"):
            assert math.isnan(scores[name].value)
            assert scores[name].flag == "no volume"
        for name in SCORES:
            assert math.isnan(scores[name].value)
            assert scores[name].flag == "no spacing"

    def test_resampled_volumes_have_no_agatston_records_and_a_warning(self, prepared, caplog):
        data = prepared(image_size=16, **CALCIUM)
        case = held_out(data)[0]
        with caplog.at_level(logging.WARNING):
            names = {s.metric for s in scores_of(data, case, data.native_labels(case))}
        assert not names & SCORES
        assert "lesion_f1" in names
        assert "slices were resampled, so there are no Agatston scores" in caplog.text


def test_external_predictions_have_the_same_metrics(calcium, tmp_path):
    import nibabel

    for case in held_out(calcium):
        geometry = calcium.geometry(case)
        stored = geometry.to_file(calcium.native_labels(case))
        nibabel.Nifti1Image(stored, geometry.affine).to_filename(tmp_path / f"{case}.nii.gz")
    out = tmp_path / "records.parquet"
    summary = score(tmp_path, calcium, Run("toy", "theirs", "external", "0", 0), out).summary
    records = read_records(out)
    classes = records.groupby("metric")["class"].agg(set)
    assert all(classes[name] == {"all"} for name in SCORES)
    assert classes["lesion_f1"] == {"disc"}
    assert set(records.loc[records["metric"] == "lesion_f1", "value"]) == {1.0}
    means = summary[summary["protocol"] == "sound"].set_index("metric")["mean"]
    assert means["risk_agreement"] == 1
    assert means["agatston_difference"] == 0
