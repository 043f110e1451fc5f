"""Objectives in the frequency domain that do not reduce to Dice."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from spectralseg.errors import InputError
from spectralseg.objectives import build_objective, spectral_similarity
from spectralseg.objectives._similarity import radii, random_annuli

BANDS = {"low": [0, 8], "middle": [8, 32], "high": [32, None]}
VARIANTS = [
    *(("spectral", {"band": band}) for band in BANDS.values()),
    ("spectral", {"band": [8, 32], "matched": True}),
    ("spectral", {"band": [8, 32], "annuli_seed": 0}),
    ("spectral", {"band": [8, 32], "annuli_seed": 0, "matched": True}),
    ("spectral", {"weighting": 1.0, "matched": True}),
    ("spectral", {"part": "amplitude"}),
    ("spectral", {"part": "phase"}),
    ("spectral", {"part": "phase", "band": [8, 32]}),
    ("frc", {"band": [8, 32]}),
    ("frc", {"normalisation": "sorensen"}),
]


def masks_of(channels, size=96, batch=2, seed=0):
    """Random labels (B, H, W) with smooth boundaries."""
    noise = np.random.default_rng(seed).standard_normal((batch, max(2, channels), size, size))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, 4, 4)).argmax(1))


def logits_of(channels, size=96, batch=2, seed=1):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(seed))


def certain(masks, certainty=40.0):
    """Binary logits of the masks."""
    return certainty * (2.0 * masks[:, None] - 1)


def value(name, options, logits, masks):
    return build_objective(name, **options)(logits, masks).item()


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
class TestEveryVariant:
    @pytest.mark.parametrize("case", ["random", "empty", "full", "absent class", "perfectly empty", "flat"])
    def test_value_and_gradient_are_finite(self, name, options, channels, case):
        masks, logits = masks_of(channels), logits_of(channels)
        if case in ("empty", "perfectly empty"):
            masks = torch.zeros_like(masks)
        elif case == "full":
            masks = torch.ones_like(masks)
        elif case == "absent class":
            masks[masks == 1] = 0
        if case == "perfectly empty":
            logits = torch.full_like(logits, -200.0)
            logits[:, 1:] = -400.0
        elif case == "flat":
            logits = torch.zeros_like(logits)
        logits.requires_grad_()
        objective = build_objective(name, **options)
        loss = objective(logits, masks)
        assert loss.shape == ()
        assert loss.isfinite()
        components = objective.components(logits, masks)
        assert all(part.isfinite() and not part.requires_grad for part in components.values())
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()

    @pytest.mark.slow
    def test_training_with_it_raises_the_similarity(self, name, options, channels):
        """With matching, the value may increase together with the similarity."""
        masks = masks_of(channels)
        logits = (0.1 * logits_of(channels)).requires_grad_()
        objective = build_objective(name, **options)
        optimizer = torch.optim.Adam([logits], 0.2)
        seen = []
        for _ in range(30):
            seen.append(objective.components(logits, masks)[name].item())
            optimizer.zero_grad()
            objective(logits, masks).backward()
            optimizer.step()
        assert seen[-1] < 0.7 * seen[0]

    def test_images_may_be_oblong_and_odd(self, name, options, channels):
        masks, logits = masks_of(channels)[:, :77], logits_of(channels)[:, :, :77]
        assert math.isfinite(value(name, options, logits, masks))


class TestBands:
    def test_a_band_is_sensitive_to_its_own_scale_only(self):
        """A shift of two pixels hardly changes low frequencies, and inverts high ones."""
        masks = masks_of(1, 224)
        logits = certain(masks.roll(2, -1))
        low, middle, high = (value("spectral", {"band": band}, logits, masks) for band in BANDS.values())
        assert low < 0.05 < middle < high

    def test_null_is_no_upper_limit(self):
        masks, logits = masks_of(1), logits_of(1)
        open_ended, wide = (value("spectral", {"band": band}, logits, masks) for band in ([32, None], [32, 1e6]))
        assert open_ended == wide
        assert value("frc", {"band": [8, None]}, logits, masks) == value("frc", {"band": [8, 48]}, logits, masks)

    def test_gradients_of_the_middle_band_are_several_times_larger_unless_matched(self):
        masks, logits = masks_of(1, 224), logits_of(1, 224).requires_grad_()
        norms = [
            torch.autograd.grad(build_objective("spectral", **options)(logits, masks), logits)[0].norm().item()
            for options in ({}, {"band": [8, 32]}, {"band": [8, 32], "matched": True})
        ]
        assert norms[1] > 3 * norms[0]
        assert norms[2] == pytest.approx(norms[0], rel=0.5)  # equal in probabilities, not in logits

    def test_matching_keeps_no_state(self):
        masks, logits = masks_of(1), logits_of(1)
        objective = build_objective("spectral", band=[8, 32], matched=True)
        first = objective(logits, masks).item()
        objective(5 * logits, masks.roll(9, -1))
        assert objective(logits, masks).item() == first


class TestAnnuli:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("size", [(224, 224), (161, 224)])
    def test_annuli_match_the_band_and_do_not_overlap_it(self, seed, size):
        radius = radii(*size)
        selected = np.isin(np.floor(radius), random_annuli(*size, (8, 32), seed))
        band = (radius >= 8) & (radius < 32)
        assert not (selected & band).any()
        assert not selected[0, 0]
        assert selected.sum() == pytest.approx(band.sum(), rel=0.05)
        energy = np.maximum(radius, 1) ** -3.0
        assert energy[selected].sum() == pytest.approx(energy[band].sum(), rel=0.05)

    def test_annuli_depend_on_the_seed(self):
        draws = [random_annuli(224, 224, (8, 32), seed) for seed in (0, 0, 1)]
        assert draws[0] == draws[1] != draws[2]

    def test_the_objective_sums_over_the_annuli(self):
        masks, logits = masks_of(1, 224), logits_of(1, 224)
        inside = np.isin(np.floor(radii(224, 224)), random_annuli(224, 224, (8, 32), 3))
        p, y = (torch.fft.fft2(x.double(), norm="ortho")[:, 0, inside] for x in (logits.sigmoid(), masks[:, None]))
        epsilon = 1e-6 * 224 * 224
        cross, energy = (p * y.conj()).real.sum(), (p.abs() ** 2 + y.abs() ** 2).sum()
        result = value("spectral", {"band": [8, 32], "annuli_seed": 3}, logits, masks)
        assert result == pytest.approx(1 - ((2 * cross + epsilon) / (energy + epsilon)).item(), abs=1e-5)

    def test_a_band_that_holds_nearly_all_energy_has_no_control(self):
        with pytest.raises(ValueError, match=r"no annuli outside band \(0, 8\)"):
            build_objective("spectral", band=[0, 8], annuli_seed=0)(logits_of(1), masks_of(1))


class TestPhaseAndAmplitude:
    def test_amplitudes_are_translation_invariant(self):
        masks = masks_of(1)
        for shift in (1, 30):
            assert value("spectral", {"part": "amplitude"}, certain(masks.roll(shift, -1)), masks) < 1e-5
        assert value("spectral", {"part": "phase"}, certain(masks.roll(1, -1)), masks) > 0.5

    def test_phases_are_contrast_invariant(self):
        masks = masks_of(1)
        strong, weak = certain(masks), (0.4 + 0.2 * masks[:, None]).logit()
        phases = [value("spectral", {"part": "phase", "band": [1, 16]}, logits, masks) for logits in (strong, weak)]
        amplitudes = [value("spectral", {"part": "amplitude", "band": [1, 16]}, x, masks) for x in (strong, weak)]
        assert max(phases) < 0.01
        assert amplitudes[1] > 0.5

    def test_the_phase_similarity_is_about_the_mean_cosine(self):
        """Approximately, as frequencies below the amplitude of a pixel have less weight."""
        masks, logits = masks_of(1), 3 * logits_of(1)
        inside = radii(96, 96) < 8
        p, y = (torch.fft.fft2(x.double())[:, 0, inside] for x in (logits.sigmoid(), masks[:, None]))
        cosine = torch.cos(p.angle() - y.angle()).mean().item()
        result = value("spectral", {"part": "phase", "band": [0, 8]}, logits, masks)
        assert 1 - result == pytest.approx(cosine, abs=0.05)

    def test_amplitude_and_phase_of_one_frequency(self):
        columns = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
        p, y = (0.5 + a * torch.cos(5 * columns + b).expand(1, 1, 64, 64) for a, b in ((0.3, 0.4), (0.5, 0.0)))
        expected = 2 * 0.3 * 0.5 / (0.3**2 + 0.5**2) * math.cos(0.4)
        assert spectral_similarity(p, y, band=(5, 6)).item() == pytest.approx(expected)


class TestRings:
    def test_rings_have_equal_weight(self):
        """Waves of two frequencies, one equal and one different, with any amplitudes."""
        columns = torch.arange(64) * 2 * math.pi / 64
        masks = (torch.cos(3 * columns) > 0).long().expand(1, 64, 64)  # of odd multiples of 3
        p = 0.5 + 0.4 * torch.cos(3 * columns) + 0.05 * torch.cos(9 * columns)
        logits = p.logit().expand(1, 1, 64, 64)
        signs = {r: 1 - value("frc", {"band": [r, r + 1]}, logits, masks) for r in (3, 9)}
        assert signs[3] > 0.99
        assert signs[9] < -0.9
        rings = [value("frc", {"band": [r, r + 1]}, logits, masks) for r in range(3, 10)]
        assert value("frc", {"band": [3, 10]}, logits, masks) == pytest.approx(sum(rings) / 7)

    @pytest.mark.parametrize("band", [[0.5, 8], [8, 8.5], [-1, 8], [8, 2]])
    def test_bands_without_rings_are_refused(self, band):
        with pytest.raises(InputError, match="band"):
            build_objective("frc", band=band)

    @pytest.mark.parametrize("band", [[8, 49], [48, None]])
    def test_bands_beyond_the_nyquist_frequency_are_refused(self, band):
        with pytest.raises(ValueError, match="Nyquist frequency of 48"):
            build_objective("frc", band=band)(logits_of(1), masks_of(1))


@pytest.mark.parametrize(
    "options",
    [
        {"annuli_seed": 1},
        {"annuli_seed": -1, "band": [8, 32]},
        {"matched": True, "part": "phase"},
        {"matched": "yes"},
        {"part": "modulus"},
        {"band": "mid"},
        {"band": [8, math.inf]},
        {"band": [None, 8]},
        {"weighting": math.nan},
        {"weighting": "1"},
    ],
)
def test_invalid_options_raise_with_their_name(options):
    with pytest.raises(InputError, match=f"objective 'spectral'.*{next(iter(options))}"):
        build_objective("spectral", **options)
