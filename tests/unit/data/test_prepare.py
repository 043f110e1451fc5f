import dataclasses
import functools
import hashlib
import json
import math
import tracemalloc
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from spectralseg.data import open_prepared, phantoms, verify_prepared
from spectralseg.data.archives import unpack
from spectralseg.data.cases import Case, Sample
from spectralseg.data.fit import FITTINGS, Fitting
from spectralseg.data.geometry import Geometry
from spectralseg.data.prepare import intensity_limits, normalise, prepare
from spectralseg.data.prepared import FILES, FORMAT
from spectralseg.data.readers import read_cases
from spectralseg.data.resize import resize_image, resize_labels
from spectralseg.data.specification import Intensity, read_specification
from spectralseg.errors import InputError
from spectralseg.files import sha256_of

DATASET_FILES = Path(__file__).parents[3] / "workflow" / "rules" / "datasets"
CT = {"dimensions": 3, "channels": 1, "classes": ["a", "b"], "intensity": {"window": [-100, 300]}}

PLACE = Geometry(np.diag([-1.5, -1.5, 5, 1]), "SPL")


def volumes(count=6, spacing=(5.0, 1.5, 1.5)):
    def load(number):
        rng = np.random.default_rng(number)
        labels = np.zeros((3 + number, 30, 40), np.uint8)
        labels[1, 5:20, 5:20] = 1
        labels[2, 10:25, 15:35] = 2
        image = rng.integers(-1000, 1000, labels.shape).astype(np.int16)
        return Sample(image, labels, spacing, geometry=PLACE)

    return [Case(f"v{n}", f"p{n}", lambda n=n: load(n), {"centre": "x"}) for n in range(count)]


def one(sample):
    """A case, with enough valid other ones."""
    return Case("odd", "odd", lambda: sample)


def normalised(image, intensity):
    return normalise(image, *intensity_limits(image, intensity))


@pytest.fixture
def copy_of_toy(tmp_path, prepare_cases, toy_cases):
    """A prepared dataset that a test may damage."""
    return prepare_cases(tmp_path / "toy", toy_cases()).path


class TestOutput:
    def test_a_prepared_dataset_passes_its_own_verification(self, toy):
        assert verify_prepared(toy.path) == {"train": 6, "validation": 1, "test": 3}
        assert sorted(path.name for path in toy.path.iterdir()) == [
            "cases.csv",
            "dataset.json",
            "images.npy",
            "masks.npy",
            "native_labels.bin",
        ]

    def test_arrays_are_the_resized_cases_in_order(self, toy, toy_cases):
        for case, (_, row) in zip(toy_cases(), toy.cases.iterrows(), strict=True):
            sample = case.load()
            assert (row["case"], row["group"], row["slices"]) == (case.id, case.group, 1)
            expected = np.round(resize_image(sample.image.astype(np.float32), 32))
            assert np.abs(toy.images[row["first"]] - expected).max() <= 1
            assert np.array_equal(toy.masks[row["first"]], resize_labels(sample.labels, (32, 32)))
            assert json.loads(row["attributes"]) == dict(case.attributes)

    def test_native_labels_are_stored_unchanged_for_test_cases_and_only_for_them(self, toy, toy_cases):
        samples = {case.id: case for case in toy_cases()}
        for _, row in toy.cases.iterrows():
            if row["part"] == "test":
                assert np.array_equal(toy.native_labels(row["case"]), samples[row["case"]].load().labels)
            else:
                with pytest.raises(InputError, match=f"case '{row['case']}' is not a test case"):
                    toy.native_labels(row["case"])

    def test_statistics_are_those_of_the_training_rows(self, toy):
        values = toy.images[toy.rows("train")].reshape(-1, 3) / 255
        assert toy.info["mean"] == pytest.approx(values.mean(0).tolist())
        assert toy.info["std"] == pytest.approx(values.std(0).tolist())

    def test_card(self, toy):
        assert toy.info["cases"] == {"train": 6, "validation": 1, "test": 3}
        assert toy.info["slices"] == {"train": 6, "validation": 1, "test": 3}
        assert toy.info["split"] == {"random": 0.3}
        assert toy.info["source"] == "path"
        assert (toy.id_namespace, toy.info["ood"]) == ("toy", [])
        assert toy.outputs == 1
        assert toy.info["files"] == {
            name: sha256_of(toy.path / name) for name in ("cases.csv", "images.npy", "masks.npy", "native_labels.bin")
        }

    def test_a_volume_occupies_consecutive_rows_with_its_spacing(self, tmp_path, prepare_cases, toy_specification):
        data = prepare_cases(tmp_path / "ct", volumes(), toy_specification(**CT))
        assert verify_prepared(data.path)
        assert data.images.dtype == np.uint16
        assert data.images.shape == (3 + 4 + 5 + 6 + 7 + 8, 32, 32, 1)
        assert data.cases["slices"].tolist() == [3, 4, 5, 6, 7, 8]
        assert data.cases["first"].tolist() == [0, 3, 7, 12, 18, 25]
        assert data.spacing("v0") == (5.0, 1.5, 1.5)
        assert data.geometry("v0").axes == "SPL"
        assert np.array_equal(data.geometry("v0").affine, PLACE.affine)
        assert data.outputs == 3
        test = data.cases[data.cases["part"] == "test"].iloc[0]
        assert data.native_labels(test["case"]).shape == (test["slices"], 30, 40)
        expected = [
            r
            for _, c in data.cases.iterrows()
            if c["part"] == "test"
            for r in range(c["first"], c["first"] + c["slices"])
        ]
        assert data.rows("test").tolist() == expected

    def test_a_case_without_spacing_is_measured_in_pixels(self, toy):
        assert toy.spacing("case00") is None

    def test_preparing_again_gives_the_same_bytes(self, toy, tmp_path, prepare_cases, toy_cases):
        again = prepare_cases(tmp_path / "again", toy_cases())
        assert again.info == toy.info

    def test_ids_that_look_like_numbers_or_missing_values_stay_text(self, tmp_path, prepare_cases, toy_cases):
        names = ["001", "1e5", "NA", "nan", "null", 'a "b", c', "ä", "True", "", "-"]
        cases = [Case(n, n, c.load, {}) for n, c in zip(names, toy_cases(), strict=True)]
        data = prepare_cases(tmp_path / "odd", cases)
        assert data.cases["case"].tolist() == names
        assert verify_prepared(data.path)

    def test_excluded_cases_are_recorded_with_their_reason(self, tmp_path, prepare_cases, toy_cases, toy_specification):
        specification = toy_specification(exclude={"case03": "blurred", "case99": "not there"})
        data = prepare_cases(tmp_path / "fewer", toy_cases(), specification)
        assert "case03" not in set(data.cases["case"])
        assert data.info["excluded"] == {"case03": "blurred"}

    def test_cases_with_a_defect_are_excluded_recorded_and_logged(self, tmp_path, prepare_cases, toy_cases, caplog):
        cases = [*toy_cases(), Case("gone", "gone", lambda: pytest.fail("was loaded"), defect="its image is missing")]
        data = prepare_cases(tmp_path / "fewer", cases)
        assert len(data.cases) == 10
        assert data.info["excluded"] == {"gone": "its image is missing"}
        assert "1 cases are excluded, listed in dataset.json, the first: case 'gone' (its image" in caplog.text

    def test_unusual_cases_have_remarks_and_are_logged(self, tmp_path, prepare_cases, toy_cases, caplog):
        image, labels = toy_cases(1)[0].load().image, np.zeros((40, 40), np.uint8)
        inverted = np.ones_like(labels)
        inverted[9:20, 9:20] = 0
        odd = {
            "a": Sample(image, labels, remarks=("seen by the reader",)),
            "b": Sample(image, labels + np.uint8(1)),
            "c": Sample(image, inverted),
            "d": Sample(np.full_like(image, 7), inverted),
        }
        cases = [*toy_cases(), *(Case(name, name, lambda sample=sample: sample) for name, sample in odd.items())]
        data = prepare_cases(tmp_path / "odd", cases)
        assert data.info["remarks"] == {
            "a": ["seen by the reader", "no foreground"],
            "b": ["foreground everywhere"],
            "c": ["foreground in all corners, as if the mask were inverted"],
            "d": ["constant image", "foreground in all corners, as if the mask were inverted"],
        }
        assert (
            "4 cases have remarks, listed in dataset.json, the first: case 'a' (seen by the reader, no" in caplog.text
        )

    def test_usual_cases_have_no_remarks(self, toy, caplog):
        assert toy.info["remarks"] == toy.info["excluded"] == {}

    def test_a_dataset_for_testing_only_has_statistics_and_native_labels_of_all(
        self, tmp_path, prepare_cases, toy_cases, toy_specification
    ):
        data = prepare_cases(tmp_path / "ood", toy_cases(), toy_specification(split={"everything": "test"}))
        assert verify_prepared(data.path) == {"test": 10}
        assert data.info["mean"] == pytest.approx((data.images[:] / 255).mean((0, 1, 2)).tolist())


def straightforward(sample, specification, size):
    """Reference implementation of the arrays of a case: normalise, resize slice by slice, stack."""
    intensity = specification.intensity
    if intensity is None:
        image, levels = sample.image.astype(np.float32) / np.float32(255), 255
    else:
        low, high = intensity.window or np.percentile(sample.image, intensity.percentiles).tolist()
        image = (np.clip(sample.image.astype(np.float32), low, high) - low) / (high - low or 1)
        levels = 65535
    volume = specification.dimensions == 3
    images, masks = [], []
    for plane, labels in zip(
        image if volume else image[None], sample.labels if volume else sample.labels[None], strict=True
    ):
        method = cv2.INTER_AREA if min(plane.shape[:2]) >= size else cv2.INTER_CUBIC
        images.append(cv2.resize(plane, (size, size), interpolation=method).reshape(size, size, -1))
        masks.append(cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT))
    images = (np.clip(np.stack(images), 0, 1) * levels + 0.5).astype(np.uint8 if levels == 255 else np.uint16)
    return images, np.stack(masks)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Specification and raw folder of a phantom, each drawn once; photographs are large enough to be reduced."""

    @functools.cache
    def draw(name):
        folder = tmp_path_factory.mktemp(name)
        side = 260 if name == "isic2018" else 72
        for archive in phantoms.generate(name, folder / "archives", cases=5, side=side, seed=2):
            unpack(archive, folder / "raw")
        return read_specification(DATASET_FILES / f"{name}.smk"), folder / "raw"

    return draw


def prepare_phantom(specification, raw, out, **options):
    settings = {"image_size": 32, "source": "phantom", "validation": 0.3, "allow_partial": True, **options}
    prepare(specification, raw, out, **settings)
    return open_prepared(out)


@pytest.mark.parametrize("name", ["isic2018", "synapse", "acdc"])
def test_arrays_equal_a_reference_implementation(tmp_path, phantom, name):
    """Colour photographs, a window, and percentiles; decoded at full size."""
    specification, raw = phantom(name)
    data = prepare_phantom(specification, raw, tmp_path / "prepared", reduced_decoding=False, threads=2)
    cases = {case.id: case for case in read_cases(specification.reader, raw, specification.reader_options)}
    assert list(cases) == data.cases["case"].tolist()
    for _, row in data.cases.iterrows():
        sample = cases[row["case"]].load()
        rows = slice(row["first"], row["first"] + row["slices"])
        images, masks = straightforward(sample, specification, 32)
        difference = np.abs(data.images[rows].astype(int) - images)
        assert difference.max() <= (1 if specification.intensity is None else 0)
        assert difference.mean() < 0.01
        assert np.array_equal(data.masks[rows], masks)
        assert row["sha256"] == hashlib.sha256(data.images[rows].tobytes() + masks.tobytes()).hexdigest()
        if row["part"] == "test":
            assert np.array_equal(data.native_labels(row["case"]), sample.labels)


@pytest.mark.parametrize("name", ["isic2018", "synapse"])
def test_the_number_of_threads_changes_no_byte(tmp_path, phantom, name):
    specification, raw = phantom(name)
    one, three = (prepare_phantom(specification, raw, tmp_path / str(n), threads=n).path for n in (1, 3))
    for file in FILES:
        assert (one / file).read_bytes() == (three / file).read_bytes()


@pytest.fixture(scope="module")
def both(tmp_path_factory, phantom):
    """Photographs prepared with reduced decoding and without."""
    folder = tmp_path_factory.mktemp("both")
    return [prepare_phantom(*phantom("isic2018"), folder / str(on), reduced_decoding=on) for on in (True, False)]


class TestReducedDecoding:
    def test_masks_do_not_change(self, both):
        reduced, full = both
        for file in ("masks.npy", "native_labels.bin"):
            assert (reduced.path / file).read_bytes() == (full.path / file).read_bytes()

    def test_images_change_little(self, both):
        reduced, full = both
        difference = reduced.images[:].astype(int) - full.images
        assert 0 < np.abs(difference).mean() < 1
        assert abs(difference.mean()) < 0.1
        assert np.percentile(np.abs(difference), 99) <= 12

    def test_the_option_is_recorded(self, both):
        reduced, full = both
        assert (reduced.info["reduced_decoding"], full.info["reduced_decoding"]) == (True, False)

    def test_small_images_do_not_change(self, tmp_path, phantom):
        specification, raw = phantom("isic2018")
        reduced, full = (
            prepare_phantom(specification, raw, tmp_path / str(on), image_size=128, reduced_decoding=on)
            for on in (True, False)
        )
        assert np.array_equal(reduced.images, full.images)

    def test_at_least_twice_the_required_pixels_are_decoded(self, tmp_path, prepare_cases):
        requests = []

        def load_reduced(smallest_side):
            requests.append(smallest_side)
            return load()

        def load():
            return Sample(np.indices((40, 40, 3))[0].astype(np.uint8), np.eye(40, dtype=np.uint8))

        cases = [Case(f"c{n}", f"c{n}", load, load_reduced=load_reduced) for n in range(6)]
        prepare_cases(tmp_path / "reduced", cases)
        assert requests == [64] * 6
        prepare_cases(tmp_path / "full", cases, reduced_decoding=False)
        assert requests == [64] * 6

    @pytest.mark.parametrize("shape", [(4, 5, 3), (6, 5, 3), (5, 4, 3)])
    def test_a_reduced_image_of_another_size_is_refused(self, tmp_path, prepare_cases, toy_cases, shape):
        sample = Sample(np.zeros(shape, np.uint8), np.zeros((33, 40), np.uint8), reduction=8)
        with pytest.raises(InputError, match=r"case 'odd' has an image of .* and labels of \(33, 40\) pixels"):
            prepare_cases(tmp_path / "toy", [*toy_cases(5), one(sample)])


def test_memory_is_bounded_by_the_number_of_threads(tmp_path, prepare_cases, toy_specification):
    """Two threads need less memory than four cases, and less than all results."""
    shape, size, count = (40, 160, 160), 64, 40

    def load():
        labels = np.eye(*shape[1:], dtype=np.uint8) + np.zeros(shape, np.uint8)
        image = np.zeros(shape, np.int16)
        image[0] = 100
        return Sample(image, labels, geometry=PLACE)

    one_case = 3 * math.prod(shape)
    assert 3 * count * shape[0] * size**2 > 6 * one_case
    cases = [Case(f"c{n}", f"c{n}", load) for n in range(count)]
    tracemalloc.start()
    prepare_cases(tmp_path / "many", cases, toy_specification(**CT), image_size=size, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * one_case


class TestCompleteness:
    def test_a_subset_is_refused_with_counts_unless_allowed(
        self, tmp_path, prepare_cases, toy_cases, toy_specification
    ):
        specification = toy_specification(expected_cases=12)
        with pytest.raises(InputError, match=r"10 of 12 cases of 'toy' are available; .*allow_partial: true"):
            prepare_cases(tmp_path / "toy", toy_cases(), specification)
        assert not (tmp_path / "toy").exists()
        assert prepare_cases(tmp_path / "toy", toy_cases(), specification, allow_partial=True).info["allow_partial"]

    @pytest.mark.parametrize("allow_partial", [False, True])
    def test_a_dataset_without_test_cases_is_refused(
        self, tmp_path, prepare_cases, toy_cases, toy_specification, allow_partial
    ):
        specification = toy_specification(split={"attribute": "n", "test": ["99"]})
        with pytest.raises(InputError, match=r"none of the 10 cases (for 'test'|a test case); .*choose another split"):
            prepare_cases(tmp_path / "toy", toy_cases(), specification, allow_partial=allow_partial)
        assert not (tmp_path / "toy").exists()

    @pytest.mark.parametrize("intensity", [None, {"window": [300, 400]}])
    def test_images_that_are_all_constant_are_refused(self, tmp_path, prepare_cases, toy_specification, intensity):
        def load(number):
            image = np.full((20, 20), number) if intensity is None else np.arange(400).reshape(20, 20) / 2 + number
            return Sample(image.astype(np.uint8), np.eye(20, dtype=np.uint8))

        specification = toy_specification(channels=1, intensity=intensity)
        cases = [Case(f"c{n}", f"c{n}", partial(load, n)) for n in range(5)]
        rule = r" and 'intensity' \(\{\"window\":\[300\.0,400\.0\]\}\)" if intensity else ""
        with pytest.raises(InputError, match=rf"each of the 5 images has a single value; check the files{rule}$"):
            prepare_cases(tmp_path / "toy", cases, specification)
        assert not (tmp_path / "toy").exists()

    def test_excluded_cases_do_not_count_as_expected(self, tmp_path, prepare_cases, toy_cases, toy_specification):
        specification = toy_specification(expected_cases=9, exclude={"case00": "blurred"})
        assert len(prepare_cases(tmp_path / "toy", toy_cases(), specification).cases) == 9

    def test_too_many_cases_are_refused(self, tmp_path, prepare_cases, toy_cases, toy_specification):
        with pytest.raises(InputError, match="10 of 8 cases"):
            prepare_cases(tmp_path / "toy", toy_cases(), toy_specification(expected_cases=8))

    def test_an_error_keeps_the_existing_dataset(self, copy_of_toy, prepare_cases, toy_cases):
        def fail():
            raise InputError("case is damaged")

        before = {path.name: path.read_bytes() for path in copy_of_toy.iterdir()}
        with pytest.raises(InputError, match="damaged"):
            prepare_cases(copy_of_toy, [*toy_cases(5), Case("z", "z", fail)])
        assert {path.name: path.read_bytes() for path in copy_of_toy.iterdir()} == before
        assert {path.name for path in copy_of_toy.parent.iterdir()} == {"toy", "toy_raw"}


class TestBadCases:
    @pytest.mark.parametrize(
        ("image", "labels", "problem"),
        [
            (
                np.zeros((40, 40, 3), np.uint8),
                np.zeros((40, 41), np.uint8),
                r"image of \(40, 40\) and labels of \(40, 41\)",
            ),
            (np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8), "instead of 3 channels"),
            (np.zeros((40, 40, 4), np.uint8), np.zeros((40, 40), np.uint8), "instead of 3 channels"),
            (np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8), "labels of shape"),
            (np.zeros((40, 40, 3), np.uint8), np.full((40, 40), 2, np.uint8), "has label 2, but there are 1 classes"),
            (np.zeros((0, 40, 3), np.uint8), np.zeros((0, 40), np.uint8), "is empty"),
            (np.zeros((40, 40, 3), np.uint16), np.zeros((40, 40), np.uint8), "not 8-bit"),
            (np.full((40, 40, 3), np.nan, np.float32), np.zeros((40, 40), np.uint8), "not finite"),
        ],
    )
    def test_a_bad_case_is_named_with_its_problem(self, tmp_path, prepare_cases, toy_cases, image, labels, problem):
        with pytest.raises(InputError, match=rf"toy: case 'odd' .*{problem}"):
            prepare_cases(tmp_path / "toy", [*toy_cases(5), one(Sample(image, labels))])
        assert not (tmp_path / "toy").exists()

    @pytest.mark.parametrize(
        "spacing", [(), (1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, np.nan, 1.0), (1.0, np.inf, 1.0)]
    )
    def test_invalid_spacings_are_refused(self, tmp_path, prepare_cases, toy_specification, spacing):
        with pytest.raises(InputError, match=r"case 'v0' .*spacing"):
            prepare_cases(tmp_path / "ct", volumes(spacing=spacing), toy_specification(**CT))


class TestInvalidDatasets:
    @pytest.mark.parametrize("split", [{"random": 0.3}, {"everything": "test"}])
    def test_a_dataset_without_foreground(self, tmp_path, prepare_cases, toy_cases, toy_specification, split):
        image = toy_cases(1)[0].load().image
        empty = Sample(image, np.zeros(image.shape[:2], np.uint8))
        cases = [Case(f"case{n:02}", f"case{n:02}", lambda: empty) for n in range(10)]
        with pytest.raises(InputError, match=r"none of the (6|10) cases for training has foreground"):
            prepare_cases(tmp_path / "toy", cases, toy_specification(split=split))
        assert not (tmp_path / "toy").exists()

    @pytest.mark.parametrize(
        "options", [{"image_size": 0}, {"image_size": 5000}, {"validation": 1.0}, {"validation": 0}]
    )
    def test_invalid_sizes_and_shares(self, tmp_path, prepare_cases, toy_cases, options):
        with pytest.raises(InputError, match=r"image size|validation share"):
            prepare_cases(tmp_path / "toy", toy_cases(), **options)

    def test_a_volume_without_geometry(self, tmp_path, prepare_cases, toy_specification):
        nowhere = dataclasses.replace(volumes(1)[0].load(), geometry=None)
        with pytest.raises(InputError, match="case 'odd' is a volume without geometry"):
            prepare_cases(tmp_path / "ct", [*volumes(), one(nowhere)], toy_specification(**CT))

    def test_a_case_that_does_not_fit_in_memory(self, tmp_path, prepare_cases, toy_cases, monkeypatch):
        def exhausted(*_):
            raise MemoryError

        monkeypatch.setitem(FITTINGS, "resize", Fitting(resize_image, exhausted))
        with pytest.raises(InputError, match=r"case 'case00' of shape \(40, 40, 3\) does not fit in memory"):
            prepare_cases(tmp_path / "toy", toy_cases())


class TestNormalise:
    def test_bytes_are_divided_by_255(self):
        result = normalised(np.array([0, 51, 255], np.uint8), None)
        assert result.tolist() == pytest.approx([0, 0.2, 1])
        assert result.dtype == np.float32

    def test_a_window_clips_and_scales(self):
        result = normalised(np.array([-2000, -125, 75, 275, 3000], np.int16), Intensity(window=(-125, 275)))
        assert result.tolist() == pytest.approx([0, 0, 0.5, 1, 1])

    def test_percentiles_are_those_of_the_case(self):
        image = np.arange(101, dtype=np.float64) * 7 - 50
        result = normalised(image, Intensity(percentiles=(10, 90)))
        assert result[[0, 10, 50, 90, 100]].tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)

    def test_a_constant_image_becomes_zero(self):
        assert not normalised(np.full((4, 4), 7.0), Intensity(percentiles=(0, 100))).any()

    def test_a_faint_image_is_scaled_like_any_other(self):
        image = np.linspace(0, 1e-7, 5)
        assert normalised(image, Intensity(percentiles=(0, 100))).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -1e38, np.finfo(np.float64).max])
    @pytest.mark.parametrize("intensity", [None, Intensity(window=(0, 1)), Intensity(percentiles=(0, 100))])
    def test_values_that_are_not_finite_are_refused(self, value, intensity):
        with pytest.raises(InputError, match="not finite"):
            normalised(np.array([0.0, value]), intensity)


class TestResize:
    @pytest.mark.parametrize(("side", "size"), [(200, 64), (50, 128), (97, 96), (64, 64)])
    def test_image_and_labels_stay_aligned(self, side, size):
        rows, columns = np.mgrid[:side, :side]
        disc = (np.hypot(rows - 0.45 * side, columns - 0.55 * side) < 0.31 * side).astype(np.uint8)
        labels, image = resize_labels(disc, (size, size)), resize_image(disc.astype(np.float32), size)
        centres = [[np.average(grid, weights=w) for grid in np.indices((size, size))] for w in (labels, image)]
        assert centres[0] == pytest.approx(centres[1], abs=0.2)
        assert set(np.unique(labels)) == {0, 1}

    @pytest.mark.parametrize("reduction", [2, 4, 8])
    @pytest.mark.parametrize("side", [509, 512, 515])
    def test_the_extent_keeps_a_reduced_image_in_place(self, side, reduction):
        """The last block of an odd image lies partly outside; without the extent, the image would be shifted."""
        ramp = np.broadcast_to(np.arange(side, dtype=np.float32), (side, side))
        padded = np.pad(ramp, (0, -side % reduction), mode="edge")
        blocks = padded.reshape(len(padded) // reduction, reduction, -1, reduction).mean(axis=(1, 3))
        result = resize_image(blocks, 31, (side / reduction, side / reduction))
        assert result.shape == (31, 31)
        inner = slice(0, 30)  # the last pixel includes values beyond the edge
        assert result[:, inner] == pytest.approx(resize_image(ramp, 31)[:, inner], abs=1.0)
        assert abs(float((result - resize_image(ramp, 31))[:, inner].mean())) < 0.1

    def test_the_same_size_changes_nothing(self):
        image = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
        assert np.allclose(resize_image(image, 32), image)

    def test_shapes_are_rows_by_columns(self):
        assert resize_labels(np.zeros((10, 20), np.uint8), (30, 50)).shape == (30, 50)


class TestVerification:
    def rewrite(self, folder, name, change):
        """Change a file and update the checksum of the card, so that only deeper checks detect it."""
        change(folder / name)
        card = json.loads((folder / "dataset.json").read_text())
        card["files"][name] = sha256_of(folder / name)
        (folder / "dataset.json").write_text(json.dumps(card))

    def refuse(self, folder, pattern):
        with pytest.raises(InputError, match=pattern) as caught:
            verify_prepared(folder)
        assert str(folder) in str(caught.value)

    @pytest.mark.parametrize("name", ["cases.csv", "images.npy", "masks.npy", "native_labels.bin"])
    def test_a_changed_byte_is_detected(self, copy_of_toy, name):
        content = bytearray((copy_of_toy / name).read_bytes())
        content[-2] ^= 1
        (copy_of_toy / name).write_bytes(bytes(content))
        self.refuse(copy_of_toy, f"{name}: its checksum differs")

    @pytest.mark.parametrize("name", ["cases.csv", "dataset.json", "images.npy", "masks.npy", "native_labels.bin"])
    def test_a_missing_file_is_named(self, copy_of_toy, name):
        (copy_of_toy / name).unlink()
        self.refuse(copy_of_toy, f"{name} missing")

    def test_another_format_is_refused(self, copy_of_toy):
        card = json.loads((copy_of_toy / "dataset.json").read_text())
        (copy_of_toy / "dataset.json").write_text(json.dumps({**card, "format": 0}))
        self.refuse(copy_of_toy, "prepared in format 0")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": %d}' % FORMAT, b"\xff", b'{"std": [NaN]}'])
    def test_a_damaged_card_is_an_input_error(self, copy_of_toy, content):
        (copy_of_toy / "dataset.json").write_bytes(content)
        self.refuse(copy_of_toy, r"dataset\.json: .*prepare the dataset again")
        with pytest.raises(InputError, match=r"dataset\.json: "):
            open_prepared(copy_of_toy)

    @pytest.mark.parametrize("key", ["classes", "files", "mean", "id_namespace", "ood"])
    def test_a_card_without_required_keys_is_an_input_error(self, copy_of_toy, key):
        card = json.loads((copy_of_toy / "dataset.json").read_text())
        (copy_of_toy / "dataset.json").write_text(json.dumps({**card, key: None}))
        self.refuse(copy_of_toy, rf"dataset\.json: '{key}' is missing or of the wrong type")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("mean", [0.5, 0.5]),
            ("mean", [0.5, 0.5, 300]),
            ("mean", ["0.5", "0.5", "0.5"]),
            ("mean", [0.9, 0.01, 0.9]),
            ("std", [0, 0, 0]),
            ("std", []),
            ("std", [0.3, 0.01, 0.9]),
            ("classes", ["a", "A"]),
            ("classes", []),
            ("classes", [1]),
            ("cases", {"train": 7, "validation": 1, "test": 3}),
            ("cases", {"train": 6, "validation": 1}),
            ("cases", None),
            ("slices", {"train": 6, "validation": 2, "test": 3}),
        ],
    )
    def test_a_card_that_contradicts_the_files_is_refused(self, copy_of_toy, key, value):
        card = json.loads((copy_of_toy / "dataset.json").read_text())
        (copy_of_toy / "dataset.json").write_text(json.dumps({**card, key: value}))
        self.refuse(copy_of_toy, rf"dataset\.json: '{key}' .*prepare the dataset again")

    def test_a_missing_checksum_is_detected(self, copy_of_toy):
        card = json.loads((copy_of_toy / "dataset.json").read_text())
        (copy_of_toy / "dataset.json").write_text(json.dumps({**card, "files": {}}))
        self.refuse(copy_of_toy, "its checksum differs")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda table: table.drop(columns="sha256"), "has other columns"),
            (lambda table: table.assign(first="x"), "cannot be read"),
            (lambda table: table.iloc[:0], "there are no cases"),
            (lambda table: table.assign(slices=0), "shape is"),
        ],
    )
    def test_a_damaged_case_table_is_an_input_error(self, copy_of_toy, change, problem):
        def rewrite(file):
            change(pd.read_csv(file, dtype=str, keep_default_na=False)).to_csv(file, index=False)

        self.rewrite(copy_of_toy, "cases.csv", rewrite)
        self.refuse(copy_of_toy, problem)

    @pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
    @pytest.mark.parametrize("keep", [0, 20, 300])
    def test_a_damaged_array_is_an_input_error(self, copy_of_toy, name, keep):
        self.rewrite(copy_of_toy, name, lambda file: file.write_bytes(file.read_bytes()[:keep]))
        self.refuse(copy_of_toy, rf"{name}: content cannot be read .*prepare the dataset again")
        with pytest.raises(InputError, match=f"{name}: content cannot be read"):
            getattr(open_prepared(copy_of_toy), name.removesuffix(".npy"))

    def test_a_damaged_spacing_is_an_input_error(self, copy_of_toy):
        data = open_prepared(copy_of_toy)
        data.cases["spacing"] = "[1.0, "
        with pytest.raises(InputError, match=r"cases\.csv: spacing of case 'case00' cannot be read"):
            data.spacing("case00")

    @pytest.mark.parametrize(
        ("column", "value", "problem"),
        [
            ("case", "case00", "a case id appears twice"),
            ("part", "tset", "a part is unknown"),
            ("group", "case00", "group 'case00' straddles parts"),
            ("first", 7, "rows of cases are not consecutive"),
            ("sha256", "0", "do not match their checksum"),
            ("slices", 10**9, "shape is"),
            ("slices", "1e400", "cannot be read"),
            ("native_shape", "[200000, 80000]", "more than 268435456 native pixels"),
            ("native_shape", "[16000, 16000]", "do not lie in native_labels.bin"),
            ("native_shape", "[true, 4]", "native shape of case 'case04' cannot be read"),
            ("native_shape", "[" * 9999, "native shape of case 'case04' cannot be read"),
            ("native_shape", f"[{'9' * 5000}, 4]", "native shape of case 'case04' cannot be read"),
            ("native_offset", -1, "do not lie in native_labels.bin"),
            ("native_bytes", 10**12, "do not lie in native_labels.bin"),
            ("native_bytes", -5, "do not lie in native_labels.bin"),
        ],
    )
    def test_an_inconsistent_case_table_is_detected(self, copy_of_toy, column, value, problem):
        cases = open_prepared(copy_of_toy).cases
        first_test = cases.index[cases["part"] != cases["part"][0]][0]

        def change(file):
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
            table.loc[first_test, column] = str(value)
            table.to_csv(file, index=False)

        self.rewrite(copy_of_toy, "cases.csv", change)
        self.refuse(copy_of_toy, problem)
        if column != "sha256":  # only verification checks the content
            with pytest.raises(InputError, match=problem):
                open_prepared(copy_of_toy)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("image_size", 10**9),
            ("image_size", 64.5),
            ("channels", 2),
            ("dimensions", True),
            ("ood", [1]),
            ("files", {"images.npy": 1}),
            ("intensity", {"window": [1]}),
            ("remarks", {"case00": "text"}),
            ("licence", ["MIT"]),
            ("name", "../toy"),
        ],
    )
    def test_a_card_with_a_value_of_another_type_cannot_be_opened(self, copy_of_toy, key, value):
        card = json.loads((copy_of_toy / "dataset.json").read_text())
        (copy_of_toy / "dataset.json").write_text(json.dumps({**card, key: value}))
        with pytest.raises(InputError, match=rf"dataset\.json: '{key}' is missing or of the wrong type"):
            open_prepared(copy_of_toy)

    @pytest.mark.parametrize(
        ("name", "change", "problem"),
        [
            ("images.npy", lambda a: a[:-1], "shape is"),
            ("masks.npy", lambda a: a[:, 1:], "shape is"),
            ("images.npy", lambda a: a.astype(np.float32), "is not unsigned"),
            ("masks.npy", lambda a: a.astype(np.int64), "is not uint8"),
            ("images.npy", lambda a: a[::-1], "do not match their checksum"),
            ("masks.npy", lambda a: a + 5, "do not match their checksum"),
        ],
    )
    def test_arrays_of_another_shape_type_or_content_are_detected(self, copy_of_toy, name, change, problem):
        self.rewrite(copy_of_toy, name, lambda file: np.save(file, np.ascontiguousarray(change(np.load(file)))))
        self.refuse(copy_of_toy, problem)

    def test_damaged_native_labels_are_detected(self, copy_of_toy):
        self.rewrite(copy_of_toy, "native_labels.bin", lambda file: file.write_bytes(bytes(file.stat().st_size)))
        self.refuse(copy_of_toy, r"native_labels\.bin: labels of case 'case\d\d' cannot be read")

    def test_native_labels_are_inflated_no_further_than_their_shape(self, copy_of_toy):
        data = open_prepared(copy_of_toy)
        (test, *_) = data.cases[data.cases["part"] == "test"].index
        content = zlib.compress(bytes(2**28))
        (copy_of_toy / "native_labels.bin").write_bytes(content)
        data.cases.loc[test, ["native_offset", "native_bytes"]] = 0, len(content)
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=r"native_labels\.bin: labels of case .* cannot be read"):
                data.native_labels(data.cases.loc[test, "case"])
            assert tracemalloc.get_traced_memory()[1] < 2**24
        finally:
            tracemalloc.stop()

    def test_native_labels_of_another_shape_are_detected(self, copy_of_toy):
        def change(file):
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
            table["native_shape"] = "[1, 2]"
            table.to_csv(file, index=False)

        self.rewrite(copy_of_toy, "cases.csv", change)
        self.refuse(copy_of_toy, r"native_labels\.bin: labels of case 'case\d\d' cannot be read")

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"affine": ""}, "geometry of case 'v0' does not fit"),
            ({"axes": "SPR L"}, "geometry of case 'v0' cannot be read .*not three directions"),
            ({"axes": "SPA"}, "not three directions"),
            ({"affine": "[[1, 0], [0, 1]]"}, "not a finite 4 x 4 matrix"),
            ({"affine": json.dumps(np.diag([1.0, 1, 0, 1]).tolist())}, "maps the volume to a plane"),
            ({"affine": "[[NaN"}, "geometry of case 'v0' cannot be read"),
            ({"native_shape": "[30, 40]"}, "case 'v0' has another number of axes than the dataset"),
        ],
    )
    def test_a_volume_without_geometry_is_detected(self, tmp_path, prepare_cases, toy_specification, changes, problem):
        folder = prepare_cases(tmp_path / "ct", volumes(), toy_specification(**CT)).path

        def change(file):
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
            for column, value in changes.items():
                table.loc[0, column] = value
            table.to_csv(file, index=False)

        self.rewrite(folder, "cases.csv", change)
        self.refuse(folder, problem)

    def test_an_unknown_case_is_an_input_error(self, toy):
        with pytest.raises(InputError, match="there is no case 'nobody'"):
            toy.native_labels("nobody")
        with pytest.raises(InputError, match="there is no case 'nobody'"):
            toy.spacing("nobody")
