"""Datasets that are cropped instead of resized, from preparation to native geometry."""

import json

import numpy as np
import pytest

from spectralseg.data import verify_prepared
from spectralseg.data.cases import Case, Sample
from spectralseg.data.fit import FITTINGS, crop_or_pad, uncropped_side
from spectralseg.data.geometry import Geometry
from spectralseg.data.prepare import intensity_limits
from spectralseg.data.specification import Intensity
from spectralseg.errors import InputError
from spectralseg.evaluation.label_maps import native_labels
from spectralseg.evaluation.score import predictions, score_segmentation

SIDES = [1, 2, 15, 16, 17, 18, 29, 30]
CROPPED = {"dimensions": 3, "channels": 1, "intensity": {"nonzero_percentiles": [0, 100]}, "fit": "crop"}
PLACE = Geometry(np.diag([-1.5, -1.5, 5, 1]), "SPL")


def plane(*shape):
    """Distinct positive values, so that every wrong pixel is noticed."""
    return np.arange(1, 1 + np.prod(shape)).reshape(shape)


def volume(shape, *labelled):
    """A sample with a noisy image, zero in the first column, and labels at the given (z, y, x)."""
    image = np.random.default_rng(sum(shape)).integers(50, 900, shape).astype(np.int16)
    image[:, :, 0] = 0
    labels = np.zeros(shape, np.uint8)
    for voxel in labelled:
        labels[voxel] = 1
    return Sample(image, labels, (5.0, 1.5, 1.5), geometry=PLACE)


def cases(*samples):
    return [Case(f"v{n}", f"p{n}", lambda sample=sample: sample) for n, sample in enumerate(samples)]


@pytest.fixture
def cropped(tmp_path, prepare_cases, toy_specification):
    """Six volumes of 21 × 27 to 26 × 32 pixels, cropped or padded to 24."""
    samples = [volume((2 + n, 21 + n, 27 + n), (1, 10, 12), (1, 10, 13), (0, 3, 14)) for n in range(6)]
    return samples, prepare_cases(tmp_path / "data", cases(*samples), toy_specification(**CROPPED), image_size=24)


class TestCropOrPad:
    @pytest.mark.parametrize("width", SIDES)
    @pytest.mark.parametrize("height", SIDES)
    @pytest.mark.parametrize("size", [16, 17])
    def test_there_and_back_is_the_identity_within_the_crop(self, height, width, size):
        native = plane(height, width)
        there = crop_or_pad(native, (size, size))
        back = crop_or_pad(there, (height, width))
        kept = back != 0
        assert there.shape == (size, size)
        assert kept.sum() == min(height, size) * min(width, size)
        assert np.array_equal(back[kept], native[kept])
        again = crop_or_pad(back, (size, size))
        assert np.array_equal(again, there), "network to native and back, with zeros where there was padding"

    def test_the_crop_is_central(self):
        assert crop_or_pad(plane(1, 7), (1, 3)).tolist() == [[3, 4, 5]]
        assert crop_or_pad(plane(1, 6), (1, 3)).tolist() == [[2, 3, 4]]
        assert crop_or_pad(plane(1, 2), (1, 5)).tolist() == [[0, 1, 2, 0, 0]]

    def test_colours_stay_together(self):
        image = plane(5, 7, 3)
        assert np.array_equal(crop_or_pad(image, (3, 9))[:, 1:8], image[1:4])
        assert np.array_equal(FITTINGS["crop"].image(image, 4, (5, 7)), crop_or_pad(image, (4, 4)))

    @pytest.mark.parametrize("length", [9, 10])
    def test_the_uncropped_side_is_the_smallest_that_loses_no_label(self, length):
        for pixel in range(length):
            labels = np.zeros((2, length, 5), np.uint8)
            labels[1, pixel, 2] = 1
            kept = [side for side in range(1, length + 2) if crop_or_pad(labels[1], (side, side)).any()]
            assert uncropped_side(labels, 1) == kept[0]
            assert uncropped_side(labels, 30) == 30

    def test_without_labels_any_side_will_do(self):
        assert uncropped_side(np.zeros((2, 40, 40), np.uint8), 8) == 8


class TestPreparation:
    def test_slices_keep_their_values_and_their_pixels(self, cropped):
        samples, data = cropped
        assert verify_prepared(data.path)
        assert (data.info["fit"], data.fit) == ("crop", "crop")
        for sample, (_, row) in zip(samples, data.cases.iterrows(), strict=True):
            low, high = sample.image[sample.image != 0].min(), sample.image.max()
            mapped = np.clip((sample.image - float(low)) / (high - low), 0, 1) * 65535
            for z in range(row["slices"]):
                assert np.array_equal(data.masks[row["first"] + z], crop_or_pad(sample.labels[z], (24, 24)))
                difference = data.images[row["first"] + z][..., 0] - crop_or_pad(mapped[z], (24, 24))
                assert np.abs(difference).max() <= 0.51

    def test_padding_has_the_lowest_intensity(self, cropped):
        _, data = cropped
        assert not data.images[0][0].any(), "21 rows, of 24"
        assert not data.images[0][-2:].any()

    def test_resized_datasets_do_not_record_the_fit(self, toy):
        assert "fit" not in toy.info
        assert toy.fit == "resize"

    @pytest.mark.parametrize(("voxel", "side"), [((0, 1, 5), 25), ((1, 14, 29), 30), ((1, 14, 0), 29)])
    def test_a_label_outside_of_the_crop_is_refused(self, tmp_path, prepare_cases, toy_specification, voxel, side):
        samples = [volume((2, 28, 30), (1, 14, 14)) for _ in range(5)]
        odd = Case("odd", "odd", lambda: volume((2, 28, 30), voxel))
        problem = rf"toy: case 'odd' has labelled pixels outside .* 24 x 24 .*'image_size' .* at least {side},"
        specification = toy_specification(**CROPPED)
        with pytest.raises(InputError, match=problem):
            prepare_cases(tmp_path / "small", [*cases(*samples), odd], specification, image_size=24)
        assert not (tmp_path / "small").exists()
        prepare_cases(tmp_path / "large", [*cases(*samples), odd], specification, image_size=side)

    def test_images_are_decoded_at_full_size(self, tmp_path, prepare_cases, toy_cases, toy_specification):
        whole = toy_cases(6, side=30)
        reducible = [Case(c.id, c.group, c.load, load_reduced=lambda side: pytest.fail("reduced")) for c in whole]
        data = prepare_cases(tmp_path / "toy", reducible, toy_specification(fit="crop"))
        assert np.array_equal(data.images[0], crop_or_pad(whole[0].load().image, (32, 32)))

    def test_an_unknown_fit_in_the_card_is_refused(self, cropped):
        _, data = cropped
        card = json.loads((data.path / "dataset.json").read_text())
        (data.path / "dataset.json").write_text(json.dumps({**card, "fit": "stretch"}))
        with pytest.raises(InputError, match="'fit' is missing or of the wrong type"):
            verify_prepared(data.path)


class TestEvaluation:
    def test_the_masks_as_prediction_are_the_native_labels(self, cropped):
        _, data = cropped
        tested = data.cases[data.cases["part"] == "test"]
        assert len(tested) == 2
        for _, row in tested.iterrows():
            masks = np.asarray(data.masks[row["first"] : row["first"] + row["slices"]])
            native, probabilities = data.native_labels(row["case"]), masks[:, None].astype(np.float32)
            exported = native_labels(probabilities, native.shape, "crop")
            for labels in (exported, *predictions(probabilities, native.shape, "crop")):
                assert np.array_equal(labels, native)
            scores = score_segmentation(probabilities, masks, native, data.spacing(row["case"]), 1, data.fit)
            perfect = {(s.protocol, s.metric): s.value for s in scores if s.metric in ("dsc", "hd95")}
            assert perfect == {(p, m): float(m == "dsc") for p in ("published", "sound") for m in ("dsc", "hd95")}

    def test_images_are_scored_at_network_resolution_and_in_native_geometry(self):
        probabilities = np.ones((1, 1, 8, 8), np.float32)
        published, sound = predictions(probabilities, (12, 6), "crop")
        assert published.shape == (8, 8)
        assert (sound.shape, int(sound.sum())) == ((12, 6), 48), "background outside of the crop"
        assert not sound[:2].any()


class TestNonzeroPercentiles:
    @pytest.mark.parametrize("background", [0, 10, 1000])
    def test_the_background_does_not_count(self, background):
        image = np.concatenate([np.zeros(background), np.arange(1, 202)])
        assert intensity_limits(image, Intensity(nonzero_percentiles=(0.5, 99.5))) == (2, 200)

    def test_an_image_of_zeros_has_no_range(self):
        assert intensity_limits(np.zeros((3, 3)), Intensity(nonzero_percentiles=(0.5, 99.5))) == (0, 0)

    @pytest.mark.parametrize("rules", [{"percentiles": (0, 100)}, {"window": (0, 1)}])
    def test_it_excludes_the_other_rules(self, rules):
        with pytest.raises(ValueError, match="exactly one of 'window', 'percentiles' and 'nonzero_percentiles'"):
            Intensity(nonzero_percentiles=(0, 100), **rules)

    def test_percentiles_are_checked(self):
        with pytest.raises(ValueError, match="are not percentiles"):
            Intensity(nonzero_percentiles=(50, 20))
