import inspect
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from spectralseg.corruptions import CORRUPTIONS, conditions_of, mri, noise, photographs
from spectralseg.corruptions.apply import SWEPT, corrupt
from spectralseg.corruptions.severities import KINDS, SEVERITIES, kind_of, parameters_of
from spectralseg.data.phantoms._drawing import blob, clouds
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError

MODALITIES = {"dermoscopy": 3, "colonoscopy": 3, "histology": 3, "abdominal CT": 1, "cardiac MR": 1}
SWEPT_CONDITIONS = [(modality, *pair) for modality in MODALITIES for pair in conditions_of(modality)]
EXPLICIT_CONDITIONS = [("", name, level) for name in CORRUPTIONS for level in ("0", "0.01", "0.3", "1")]
SWEEPS = [(modality, name) for modality in MODALITIES for name in KINDS[kind_of(modality)].sweeps]


def generator(seed=0):
    return np.random.default_rng(seed)


def phantom(channels, slices=3, side=112):
    """Textured structures with sharp outlines and a dark margin."""
    rng = generator(7)
    images = []
    for number in range(slices):
        body = blob(rng, (side, side), (side / 2, side / 2), (0.45 * side, 0.4 * side), wobble=0.1)
        organ = blob(rng, (side, side), (0.45 * side, 0.5 * side), (0.2 * side, 0.12 * side), angle=number)
        texture = np.stack([clouds(rng, (side, side), 3) for _ in range(channels)], -1)
        images.append(body[..., None] * (0.4 + 0.25 * organ[..., None] + 0.06 * texture))
    return np.clip(images, 0, 1).astype(np.float32)


def flat(value, slices=4, side=150, channels=3):
    return np.full((slices, side, side, channels), value, np.float32)


class TestEveryCorruption:
    @settings(max_examples=250)
    @given(
        condition=st.sampled_from(SWEPT_CONDITIONS + EXPLICIT_CONDITIONS),
        slices=st.integers(1, 3),
        side=st.integers(8, 40),
        channels=st.sampled_from([1, 3]),
        content=st.sampled_from(["noise", "zero", "one", "grey"]),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_shape_dtype_range_and_determinism(self, condition, slices, side, channels, content, seed):
        modality, name, severity = condition
        shape = (slices, side, side, channels)
        values = {"noise": generator(1).random(shape), "zero": 0, "one": 1, "grey": 0.4}[content]
        images = np.broadcast_to(values, shape).astype(np.float32)
        original = images.copy()
        result = corrupt(images, name, severity, modality, generator(seed))
        assert result.shape == shape
        assert result.dtype == np.float32
        assert 0 <= result.min() <= result.max() <= 1  # False for NaN, too
        assert np.array_equal(images, original)
        assert np.array_equal(corrupt(images, name, severity, modality, generator(seed)), result)

    @pytest.mark.parametrize(("modality", "name"), SWEEPS)
    def test_deviation_increases_with_severity(self, modality, name):
        images = phantom(MODALITIES[modality])
        damage = [
            np.mean([np.abs(corrupt(images, name, severity, modality, generator(n)) - images).mean() for n in range(4)])
            for severity in SEVERITIES
        ]
        if name in ("ghosting", "motion_blur"):  # their middle published severities are nearly equal
            assert damage[-1] > 1.3 * damage[0] > 0
        else:
            assert all(np.diff([0, *damage]) > 0)

    @pytest.mark.parametrize("name", CORRUPTIONS)
    def test_a_level_of_zero_changes_nothing(self, name):
        images = phantom(3)
        assert np.array_equal(corrupt(images, name, "0", "", generator()), images)

    @pytest.mark.parametrize(("modality", "name"), SWEEPS)
    def test_structures_keep_their_position(self, modality, name):
        y, x = np.mgrid[:112, :112]
        bump = 0.8 * np.exp(-((y - 50) ** 2 + (x - 60) ** 2) / (2 * 8**2))
        images = np.repeat(bump[None, ..., None], MODALITIES[modality], -1).astype(np.float32)
        result = np.mean([corrupt(images, name, "3", modality, generator(seed)).mean((0, 3)) for seed in range(20)], 0)
        peak = np.unravel_index(gaussian_filter(result, 4).argmax(), result.shape)
        assert np.abs(np.subtract(peak, (50, 60))).max() <= 1


class TestNoise:
    def test_gaussian_noise_has_mean_zero_and_the_given_variance_or_deviation(self):
        for name, level in (("gaussian", 0.01), ("gaussian_sd", 0.1)):
            added = CORRUPTIONS[name](flat(0.5), level, generator()) - 0.5
            assert added.mean() == pytest.approx(0, abs=1e-3)
            assert added.var() == pytest.approx(0.01, rel=0.02)
            assert abs(np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]) < 0.02

    def test_variance_and_standard_deviation_of_gaussian_noise_agree(self):
        first, second = (noise.gaussian(flat(0.5), 0.01, generator()), noise.gaussian_sd(flat(0.5), 0.1, generator()))
        assert np.array_equal(first, second)

    @pytest.mark.parametrize(
        ("name", "black", "white"),
        [("bernoulli", 0.025, 0.025), ("bernoulli_dropout", 0.05, 0), ("bernoulli_additive", 0, 0.05)],
    )
    def test_share_of_pixels_with_bernoulli_noise(self, name, black, white):
        result = CORRUPTIONS[name](flat(0.5), 0.05, generator())
        assert (result == 0).all(-1).mean() == pytest.approx(black, rel=0.05)
        assert (result == 1).all(-1).mean() == pytest.approx(white, rel=0.05)
        assert ((result == 0.5).all(-1) | (result == 0).all(-1) | (result == 1).all(-1)).all()

    def test_additive_bernoulli_noise_is_the_clipped_sum(self):
        images, draw = phantom(3), generator().random((3, 112, 112), np.float32)[..., None] < 0.05
        assert np.array_equal(noise.bernoulli_additive(images, 0.05, generator()), np.clip(images + draw, 0, 1))
        assert np.array_equal(noise.bernoulli_dropout(images, 0.05, generator()), images * ~draw)

    def test_impulse_noise_is_independent_per_channel(self):
        result = noise.impulse(flat(0.5), 0.1, generator())
        assert (result == 0).mean() == pytest.approx(0.05, rel=0.05)
        assert (result == 1).mean() == pytest.approx(0.05, rel=0.05)
        assert (result != 0.5).all(-1).mean() == pytest.approx(0.001, rel=0.3)

    def test_shot_noise_is_poisson(self):
        result = noise.shot(flat(0.3), 200, generator())
        assert result.mean() == pytest.approx(0.3, rel=0.01)
        assert result.var() == pytest.approx(0.3 / 200, rel=0.02)

    def test_speckle_grows_with_the_value(self):
        for value in (0.1, 0.4):
            assert noise.speckle(flat(value), 0.2, generator()).std() == pytest.approx(0.2 * value, rel=0.02)

    def test_rician_noise_is_the_magnitude_of_complex_noise(self):
        images = np.concatenate([flat(0.2), flat(0.4)])  # standard deviation 0.1
        result = noise.rician(images, 0.5, generator())
        assert (result[:4].astype(float) ** 2).mean() == pytest.approx(0.2**2 + 2 * 0.05**2, rel=0.01)


class TestPhotographs:
    @staticmethod
    def pillow(image):
        return Image.fromarray(np.rint(image * 255).astype(np.uint8))

    def test_brightness_and_contrast_equal_pillow(self):
        image = phantom(3)[0]
        for actual, reference, factor in (
            (photographs.brightness, ImageEnhance.Brightness, 1.4),
            (photographs.contrast, ImageEnhance.Contrast, 0.6),
        ):
            result = actual(image[None], factor, generator())[0]
            expected = np.asarray(reference(self.pillow(image)).enhance(factor)) / 255
            assert np.abs(result - expected).max() < 3 / 255

    @pytest.mark.parametrize("channels", [1, 3])
    def test_jpeg_equals_pillow(self, channels):
        image = phantom(channels)[0]
        with io.BytesIO() as stream:
            self.pillow(image.squeeze()).save(stream, "JPEG", quality=20)
            expected = np.asarray(Image.open(stream)).reshape(image.shape) / 255
        assert np.abs(photographs.jpeg(image[None], 20, generator())[0] - expected).mean() < 0.5 / 255

    @pytest.mark.parametrize("side", [112, 224])
    def test_lengths_scale_with_the_side(self, side):
        spot = np.zeros((1, side, side, 1), np.float32)
        spot[0, side // 2, side // 2] = 1
        places = np.arange(side) - side // 2
        spread = (photographs.gaussian_blur(spot, 6, generator())[0, ..., 0].sum(0) * places**2).sum()
        assert np.sqrt(spread) == pytest.approx(6 * side / 224, rel=0.02)
        disc = photographs.defocus_blur(spot, 20, generator())[0, ..., 0]
        assert (disc > disc.max() / 2).sum() == pytest.approx(np.pi * (20 * side / 224) ** 2, rel=0.05)

    def test_motion_blur_has_one_direction(self):
        spot = np.zeros((1, 224, 224, 1), np.float32)
        spot[0, 112, 112] = 1
        result = photographs.motion_blur(spot, 15, 8, generator(3))[0, ..., 0]
        y, x = np.nonzero(result > 1e-4)
        spread = np.linalg.eigvalsh(np.cov(y, x))
        assert spread[0] < 0.5
        assert spread[1] > 30

    def test_saturation_of_grey_images(self):
        result = photographs.saturate(flat(0.5), 0.2, generator())
        assert result[0, 0, 0] == pytest.approx([0.5, 0.4, 0.4], abs=1e-3)
        assert np.array_equal(photographs.saturate(phantom(1), 0.2, generator()), phantom(1))

    def test_pixels_of_a_picture_are_blocks(self):
        result = photographs.pixelate(generator().random((1, 64, 64, 3), np.float32), 0.25, generator())
        assert np.array_equal(result, result[:, ::4, ::4].repeat(4, 1).repeat(4, 2))

    @pytest.mark.parametrize("share", [0.01, 0.08])
    def test_highlights_cover_their_share_in_bright_regions(self, share):
        images = phantom(3, side=224)
        changed = np.abs(photographs.specular_highlights(images, share, generator()) - images).max(-1) > 0.01
        assert changed.mean() == pytest.approx(share, rel=0.1)
        assert images[changed].mean() > images.mean()


class TestMagneticResonance:
    def test_bias_field_of_a_volume_has_geometric_mean_1(self):
        field = mri.bias_field(flat(0.01, slices=9, side=40, channels=1), 0.6, generator()) / 0.01
        assert np.log(field).mean() == pytest.approx(0, abs=1e-4)
        assert np.abs(np.diff(np.log(field), n=4, axis=0)).max() < 1e-3  # cubic along the slices too
        assert np.log(field).std() > 0.1

    def test_the_bias_field_of_a_single_slice_has_no_third_dimension(self):
        assert np.isfinite(mri.bias_field(flat(0.3, slices=1), 1.5, generator())).all()

    def test_ghosts_are_copies_at_equal_distances(self):
        images = np.full((2, 60, 60, 1), 0.4, np.float32)
        images[:, 28:33, 28:33] = 0.8
        added = (mri.ghosting(images, 3, 0.5, generator()) - images)[0, ..., 0]
        along = added[30] if np.ptp(added[30]) > np.ptp(added[:, 30]) else added[:, 30]
        assert along[[10, 30, 50]].max() < along[[20, 40]].min() - 0.05  # ghosts at every third of the side
        assert np.ptp(along[np.r_[0:7, 14:27, 34:47, 54:60]]) < 0.01

    def test_movements_differ_between_slices(self):
        slices = np.repeat(phantom(1, slices=1), 2, 0)
        result = mri.patient_motion(slices, 3, 6, 6, generator())
        assert not np.allclose(result[0], result[1], atol=0.01)

    def test_zero_motion_is_the_identity(self):
        assert mri.patient_motion(phantom(1), 0, 0, 6, generator()) == pytest.approx(phantom(1), abs=1e-5)
        assert mri.ghosting(phantom(1), 3, 0, generator()) == pytest.approx(phantom(1), abs=1e-5)


class TestSeverities:
    def test_every_dataset_of_the_repository_has_a_sweep(self, repository):
        for specification in read_specifications(repository / "workflow" / "rules" / "datasets").values():
            result = conditions_of(specification.modality)
            assert len(result) == len(set(result)) >= 35
            assert {severity for _, severity in result} == set(SEVERITIES)

    @pytest.mark.parametrize(
        ("modality", "kind"),
        [
            ("abdominal CT", "CT"),
            ("contrast-enhanced T1 brain MR", "MR"),
            ("MRI", "MR"),
            ("colonoscopy", "endoscopy"),
            ("H&E histopathology", "histology"),
            ("dermoscopy", "dermoscopy"),
        ],
    )
    def test_modalities_are_identified_by_words(self, modality, kind):
        assert kind_of(modality) == kind

    @pytest.mark.parametrize("modality", ["ultrasound", "", "octet of tomograms", "CT and MR"])
    def test_unknown_and_ambiguous_modalities_are_refused(self, modality):
        with pytest.raises(InputError, match=r"has no severity sweep; it must name one of these: .*, ct, mr, mri"):
            conditions_of(modality)

    @pytest.mark.parametrize(("modality", "name", "severity"), SWEPT_CONDITIONS)
    def test_parameters_match_the_functions(self, modality, name, severity):
        inspect.signature(SWEPT[name]).bind(None, rng=None, **parameters_of(modality, name, severity))

    def test_every_function_is_used_and_names_are_unique(self):
        assert {name for kind in KINDS.values() for name in kind.sweeps} == set(SWEPT)
        assert not set(SWEPT) & set(CORRUPTIONS)

    def test_blur_of_ct_equals_the_published_kernel_sizes_in_torchvision(self):
        expected = [0.3 * ((kernel - 1) * 0.5 - 1) + 0.8 for kernel in (11, 13, 15, 17, 21)]
        assert KINDS["CT"].sweeps["gaussian_blur"].parameters["sigma"] == pytest.approx(expected)
