import math

import pytest
import torch

from spectralseg.errors import InputError
from spectralseg.objectives import Combined, Objective, available, build_objective, spectral_similarity
from spectralseg.objectives._similarity import radii
from spectralseg.objectives._spatial import probabilities_and_targets


def blobs(shape=(2, 1, 32, 32), seed=0, share=0.3):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(*shape, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    return (smooth > smooth.flatten().quantile(1 - share)).double()


def probabilities(shape=(2, 1, 32, 32), seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestSpectralSimilarity:
    def test_is_one_for_equal_masks_and_minus_one_for_opposite_signs(self):
        y = blobs()
        assert spectral_similarity(y, y).item() == pytest.approx(1)
        assert spectral_similarity(-y, y).item() == pytest.approx(-1)

    def test_is_symmetric_and_bounded(self):
        y, p = blobs(), probabilities()
        for options in ({}, {"band": (2, 8)}, {"weighting": 1.0}, {"band": (4, 99), "weighting": 2.0}):
            value = spectral_similarity(p, y, **options)
            assert value.item() == pytest.approx(spectral_similarity(y, p, **options).item())
            assert -1 <= value.item() <= 1

    def test_band_limits_are_half_open(self):
        columns = torch.arange(32, dtype=torch.float64) * 2 * math.pi / 32
        wave = {k: torch.cos(k * columns).expand(1, 1, 32, 32).double() for k in (3, 5)}
        y, p = wave[3] + wave[5], wave[3] - wave[5]
        assert spectral_similarity(p, y, band=(3, 5)).item() == pytest.approx(1)
        assert spectral_similarity(p, y, band=(5, 6)).item() == pytest.approx(-1)
        assert spectral_similarity(p, y, band=(3, 6)).item() == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("shape", [(32, 32), (32, 64), (64, 32), (33, 48)])
    def test_frequencies_are_cycles_per_longer_side(self, shape):
        """A wave of k periods along the longer side has frequency k."""
        axis = int(shape[1] >= shape[0])
        phase = torch.arange(shape[axis], dtype=torch.float64) * 2 * math.pi * 6 / shape[axis]
        wave = torch.cos(phase).reshape(-1, 1) if axis == 0 else torch.cos(phase)
        y = wave.expand(shape).double()[None, None]
        assert spectral_similarity(0.5 * y, y, band=(5.9, 6.1), epsilon=1e-9).item() == pytest.approx(0.8)
        assert spectral_similarity(0.5 * y, -y, band=(6.1, 99), epsilon=1e-3).item() == pytest.approx(1, abs=1e-6)

    def test_weights_are_powers_of_the_frequency(self):
        columns = torch.arange(32, dtype=torch.float64) * 2 * math.pi / 32
        y = (torch.cos(2 * columns) + torch.cos(6 * columns)).expand(1, 1, 32, 32).double()
        p = (torch.cos(2 * columns) - torch.cos(6 * columns)).expand(1, 1, 32, 32).double()
        for exponent in (0.5, 1.0, 2.0):
            expected = (2**exponent - 6**exponent) / (2**exponent + 6**exponent)
            assert spectral_similarity(p, y, weighting=exponent).item() == pytest.approx(expected)

    def test_all_zero_targets_give_zero_with_zero_gradient(self):
        p = probabilities().requires_grad_()
        for method in ("auto", "fft"):
            value = spectral_similarity(p, torch.zeros_like(p), method=method)
            assert value.item() == 0
            assert torch.autograd.grad(value, p)[0].abs().max().item() == 0

    def test_with_epsilon_false_positives_on_empty_targets_have_a_cost(self):
        p = probabilities().requires_grad_()
        value = spectral_similarity(p, torch.zeros_like(p), epsilon=1.0)
        assert 0 < value.item() < 1
        assert torch.autograd.grad(value, p)[0].max().item() < 0

    def test_similarity_of_two_empty_masks(self):
        zero = torch.zeros(1, 1, 8, 8)
        assert spectral_similarity(zero, zero).isnan()
        assert spectral_similarity(zero, zero, epsilon=1e-3).item() == 1
        assert spectral_similarity(zero, zero, epsilon=1e-3, method="fft").item() == 1

    @pytest.mark.parametrize("epsilon", [0.0, 0.5, 30.0])
    def test_epsilon_is_the_same_in_both_methods(self, epsilon):
        y, p = blobs(), probabilities()
        literal = spectral_similarity(p, y, method="fft", epsilon=epsilon)
        assert literal.item() == pytest.approx(spectral_similarity(p, y, epsilon=epsilon).item(), abs=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("options", [{}, {"method": "fft"}, {"band": (1, 9)}])
    def test_half_precision_is_computed_in_single_also_under_autocast(self, dtype, options):
        y, p = blobs((2, 1, 48, 40)).to(dtype), probabilities((2, 1, 48, 40)).to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            value = spectral_similarity(p, y, **options)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(spectral_similarity(p.double(), y.double(), **options).item(), abs=1e-5)

    def test_shapes_and_methods_are_checked(self):
        with pytest.raises(ValueError, match="shapes differ"):
            spectral_similarity(torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8))
        with pytest.raises(ValueError, match=r"pass \(B, C, H, W\)"):
            spectral_similarity(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8))
        with pytest.raises(ValueError, match="method 'dct' is unknown; valid: auto, fft"):
            spectral_similarity(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), method="dct")

    def test_inputs_must_be_real_tensors(self):
        p, y = probabilities(), blobs()
        for pair, name in (((p.numpy(), y), "probabilities"), ((p, y.tolist()), "targets"), ((p + 0j, y), "prob")):
            with pytest.raises(ValueError, match=rf"{name}.* are of type .*; pass a torch.Tensor of real numbers"):
                spectral_similarity(*pair)

    @pytest.mark.parametrize("epsilon", [-1.0, math.nan, math.inf, "1"])
    def test_an_invalid_epsilon_is_refused(self, epsilon):
        with pytest.raises(ValueError, match=r"epsilon .* is not a finite number of 0 or more"):
            spectral_similarity(probabilities(), blobs(), epsilon=epsilon)

    @pytest.mark.parametrize("weighting", [-1.0, math.nan, math.inf])
    def test_a_negative_weighting_is_refused(self, weighting):
        with pytest.raises(ValueError, match="weighting"):
            spectral_similarity(probabilities(), blobs(), weighting=weighting)

    @pytest.mark.parametrize(
        ("band", "weighting"), [((8, 2), 0), ((4, 4), 0), ((100, 200), 0), ((0.2, 0.8), 0), ((0, 1), 1), ((3,), 0)]
    )
    def test_a_band_without_frequencies_is_refused(self, band, weighting):
        with pytest.raises(ValueError, match="band"):
            spectral_similarity(probabilities(), blobs(), band=band, weighting=weighting, epsilon=1e-3)

    @pytest.mark.parametrize("options", [{"band": [8, 2]}, {"band": [8]}, {"weighting": -1.0}, {"method": "dct"}])
    def test_invalid_options_are_refused_by_the_constructor(self, options):
        with pytest.raises(InputError, match=next(iter(options))):
            build_objective("spectral", **options)

    def test_integer_frequencies_at_band_limits(self):
        y = blobs((1, 1, 224, 224))
        columns = torch.arange(224, dtype=torch.float64) * 2 * math.pi / 224
        for k in (5, 10, 13, 100):
            wave = torch.cos(k * columns).expand(y.shape)
            assert spectral_similarity(wave, wave, band=(k, k + 1), epsilon=1.0).item() > 0.99
            assert spectral_similarity(wave, -wave, band=(k - 1, k), epsilon=1.0).item() > 0.99

    @pytest.mark.parametrize(("height", "width"), [(160, 224), (224, 160), (96, 128), (224, 224)])
    def test_integer_frequencies_of_oblong_images_are_exact(self, height, width):
        """Squared frequencies are fractions, which are compared exactly."""
        longer = max(height, width)
        rows, columns = (torch.fft.fftfreq(size, 1 / size).round().long().numpy() for size in (height, width))
        squares = (rows[:, None] * longer * width) ** 2 + (columns[None] * longer * height) ** 2
        unit = (height * width) ** 2
        expected = [[math.isqrt(int(square) // unit) for square in line] for line in squares]
        assert (radii(height, width).astype(int) == expected).all()

    def test_cached_tables_of_inference_mode_allow_gradients(self):
        p, y = probabilities((1, 1, 20, 28)), blobs((1, 1, 20, 28))
        with torch.inference_mode():
            spectral_similarity(p, y, band=(1, 7))
        p.requires_grad_()
        spectral_similarity(p, y, band=(1, 7)).backward()
        assert p.grad.abs().sum() > 0


class TestProbabilitiesAndTargets:
    def test_one_channel_is_a_sigmoid(self):
        logits = torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2)
        p, y = probabilities_and_targets(logits, torch.tensor([[[0, 1]]]))
        assert p.flatten().tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2))])
        assert y.flatten().tolist() == [0, 1]

    def test_more_channels_are_a_softmax_without_background(self):
        logits = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
        masks = torch.randint(0, 4, (2, 5, 6), generator=torch.Generator().manual_seed(1))
        p, y = probabilities_and_targets(logits, masks)
        assert torch.allclose(p, logits.softmax(1)[:, 1:])
        assert y.shape == (2, 3, 5, 6)
        for k in (1, 2, 3):
            assert torch.equal(y[:, k - 1], (masks == k).float())


class TestBceDice:
    def test_equals_a_hand_computed_value(self):
        logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])[None, None]
        masks = torch.tensor([[1, 0], [0, 0]])[None]
        dice = (2 * 0.5 + 1) / (2 + 1 + 1)
        assert build_objective("bce_dice")(logits, masks).item() == pytest.approx(math.log(2) + 1 - dice)

    def test_the_dice_weight_scales_only_dice(self):
        logits, masks = (
            torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
            blobs((2, 1, 8, 8))[:, 0].long(),
        )
        values = [build_objective("bce_dice", dice_weight=w)(logits, masks).item() for w in (0, 1, 2)]
        assert values[2] - values[1] == pytest.approx(values[1] - values[0], abs=1e-6)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0].double(), masks.double())
        assert values[0] == pytest.approx(entropy.item(), abs=1e-6)

    def test_smoothing_keeps_a_gradient_against_false_positives_on_empty_masks(self):
        logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
        masks = torch.zeros(1, 8, 8, dtype=torch.long)
        only_dice = build_objective("bce_dice")(logits, masks) - build_objective("bce_dice", dice_weight=0)(
            logits, masks
        )
        assert torch.autograd.grad(only_dice, logits)[0].min().item() > 0


class TestSpectralObjective:
    def test_is_the_mean_over_classes_of_one_minus_similarity(self):
        generator = torch.Generator().manual_seed(0)
        logits, masks = torch.randn(2, 4, 32, 32, generator=generator), torch.randint(0, 4, (2, 32, 32))
        p, y = probabilities_and_targets(logits, masks)
        expected = 1 - sum(spectral_similarity(p[:, [k]], y[:, [k]]).item() for k in range(3)) / 3
        assert build_objective("spectral")(logits, masks).item() == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("options", [{"band": [2, 9]}, {"weighting": 1.0}, {"method": "fft"}])
    def test_options_reach_the_similarity(self, options):
        logits = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        masks = blobs()[:, 0].long()
        band = tuple(options["band"]) if "band" in options else None
        expected = spectral_similarity(
            logits.sigmoid().double(), blobs(), band=band, weighting=options.get("weighting", 0.0)
        )
        assert build_objective("spectral", **options)(logits, masks).item() == pytest.approx(
            1 - expected.item(), abs=1e-4
        )

    def test_a_class_absent_from_the_batch_counts_one(self):
        logits = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        absent = build_objective("spectral")(logits, torch.zeros(1, 32, 32, dtype=torch.long))
        assert absent.item() == pytest.approx(1, abs=1e-3)


class TestCombined:
    LOGITS, MASKS = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 2, 2, dtype=torch.long)

    @staticmethod
    def constant(value, name="part"):
        class Constant(Objective):
            def _compute(self, logits, masks):
                loss = logits.sum() + value
                return loss, {name: loss}

        return Constant()

    @pytest.mark.parametrize(
        ("form", "expected"), [("add", 2 + 0.2 * 0.7), ("printed", 2 + 0.2 * 0.3), ("convex", 0.8 * 2 + 0.2 * 0.7)]
    )
    def test_the_forms_are_those_of_the_documentation(self, form, expected):
        combined = Combined(self.constant(2.0, "base"), self.constant(0.7, "auxiliary"), 0.2, form)
        assert combined(self.LOGITS, self.MASKS).item() == pytest.approx(expected)
        components = combined.components(self.LOGITS, self.MASKS)
        assert {name: part.item() for name, part in components.items()} == pytest.approx(
            {"base": 2.0, "auxiliary": 0.7}
        )
        assert not any(part.requires_grad for part in components.values())

    def test_components_of_equal_names_get_a_prefix(self):
        combined = Combined(self.constant(2.0, "dice"), self.constant(0.7, "dice"), 0.2)
        components = {name: part.item() for name, part in combined.components(self.LOGITS, self.MASKS).items()}
        assert components == pytest.approx({"dice": 2.0, "auxiliary_dice": 0.7})

    def test_without_auxiliary_it_is_the_base(self):
        combined = Combined(self.constant(2.0, "base"), None, 0.9)
        assert combined(self.LOGITS, self.MASKS).item() == 2
        assert list(combined.components(self.LOGITS, self.MASKS)) == ["base"]

    def test_the_printed_form_has_the_opposite_gradient_of_the_auxiliary(self):
        logits, masks = (
            torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)),
            blobs((2, 1, 16, 16))[:, 0].long(),
        )
        logits.requires_grad_()
        base, auxiliary = build_objective("bce_dice"), build_objective("spectral")
        gradients = {
            form: torch.autograd.grad(Combined(base, auxiliary, 1.0, form)(logits, masks), logits)[0]
            for form in ("add", "printed")
        }
        plain = torch.autograd.grad(base(logits, masks), logits)[0]
        assert torch.allclose(gradients["add"] - plain, plain - gradients["printed"], atol=1e-8)

    def test_lambda_zero_changes_nothing(self):
        logits, masks = torch.randn(2, 1, 16, 16), blobs((2, 1, 16, 16))[:, 0].long()
        base = build_objective("bce_dice")
        combined = Combined(base, build_objective("spectral"), 0.0)
        assert combined(logits, masks).item() == base(logits, masks).item()

    def test_an_unknown_form_is_refused(self):
        with pytest.raises(ValueError, match="valid: add, printed, convex"):
            Combined(self.constant(1.0), self.constant(1.0), 0.2, "minus")


def test_an_unknown_objective_is_refused_with_the_nearest_one():
    assert {"bce_dice", "spectral"} <= set(available())
    with pytest.raises(InputError, match="objective 'bce_dyce' is unknown; did you mean 'bce_dice'"):
        build_objective("bce_dyce")
