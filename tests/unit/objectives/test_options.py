"""Options of objectives, and the guide with the table of options."""

import contextlib
import inspect
import re

import numpy as np
import pytest
import torch
import yaml
from tests.conftest import REPOSITORY

import spectralseg.objectives
from spectralseg import registry
from spectralseg.building import objective_of
from spectralseg.config import Objective
from spectralseg.errors import InputError
from spectralseg.objectives import available, build_objective, probabilities_and_targets, spectral_similarity

PAGE = (REPOSITORY / "docs" / "add-an-objective.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block)["objectives"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def parameters(name):
    return inspect.signature(registry.load("spectralseg.objectives", name, "objective").build).parameters


@pytest.fixture
def jaccard(tmp_path, monkeypatch):
    """The objective of the guide, added to the registry."""
    ((file, code),) = re.findall(r"`src/spectralseg/objectives/(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / file).write_text(code)
    spectralseg.objectives.__path__.append(str(tmp_path))
    yield
    spectralseg.objectives.__path__.remove(str(tmp_path))


class TestGuide:
    def test_objective_of_the_guide_works(self, jaccard):
        assert "jaccard" in available()
        masks = torch.zeros(1, 4, 4, dtype=torch.long)
        masks[0, 0] = 1
        objective, logits = build_objective("jaccard", smooth=2), torch.zeros(1, 1, 4, 4)
        assert objective(logits, masks).item() == pytest.approx(1 - (2 + 2) / (4 + 8 - 2 + 2))
        assert objective.components(logits, masks) == {"jaccard": objective(logits, masks)}
        assert repr(objective) == "Jaccard(smooth=2.0)"
        with pytest.raises(InputError, match="objective 'jaccard': option 'smooth' cannot be -1"):
            build_objective("jaccard", smooth=-1)

    def test_configurations_of_the_guide_can_be_built(self, jaccard):
        for choice in (Objective.model_validate(block) for blocks in BLOCKS for block in blocks.values()):
            objective_of(choice, "0.2" if choice.auxiliary else "0")

    def test_table_lists_all_objectives_and_options(self):
        table = PAGE.partition("| --- |")[2].partition("\n\n")[0]
        rows = {row[0]: row[-1] for row in (re.split(r" (?<!\\)\| ?", line[2:-2]) for line in table.split("\n")[1:])}
        assert sorted(name.strip("`") for name in rows) == available()
        for name, options in rows.items():
            assert set(re.findall(r"`(\w+)`", options)) == set(parameters(name.strip("`")))


@pytest.mark.parametrize("name", available())
def test_an_unknown_option_is_refused_with_the_valid_ones(name):
    with pytest.raises(InputError, match=f"objective '{name}': option 'smoth' is unknown; .*valid: ") as refused:
        build_objective(name, smoth=1.0)
    assert all(option in str(refused.value) for option in parameters(name))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": -0.1}),
        ("dice", {"smooth": -1.0}),
        ("dice", {"smooth": float("nan")}),
        ("dice", {"denominator": "cubic"}),
        ("dice", {"per_image": 1}),
        ("bce_dice", {"dice_weight": "1.2"}),
        ("bce_dice", {"entropy_weight": -1}),
        ("focal_frequency", {"alpha": -1.0}),
        ("hausdorff", {"alpha": 0.0}),
        ("tversky", {"gamma": 0.0}),
        ("tversky", {"alpha": True}),
        ("focal", {"gamma": float("inf")}),
        ("unified_focal", {"delta": 1.5}),
        ("unified_focal", {"gamma": 1.0}),
        ("margin", {"margin": None}),
        ("frc", {"normalisation": "cosine"}),
    ],
)
def test_invalid_option_values_are_refused(name, options):
    ((option, value),) = options.items()
    with pytest.raises(InputError, match=re.escape(f"objective '{name}': option '{option}' cannot be {value!r}: ")):
        build_objective(name, **options)


@pytest.mark.parametrize("band", [(1, None), (None, 4), (4, 1), (1,), 4, "14", (1, float("nan"))])
def test_invalid_bands_are_refused(band):
    maps = torch.rand(1, 1, 16, 16)
    with pytest.raises(ValueError, match=re.escape(f"band {band} is not (low, high) with numbers low < high")):
        spectral_similarity(maps, maps, band=band)


@pytest.mark.parametrize("band", [[1, 4], (np.int64(1), np.float32(4)), np.array([1, 4])])
def test_a_band_is_two_numbers(band):
    p, y = torch.rand(2, 1, 1, 16, 16)
    assert torch.equal(spectral_similarity(p, y, band=band), spectral_similarity(p, y, band=(1.0, 4.0)))


@pytest.mark.parametrize(("weighting", "dtype"), [(500.0, torch.float32), (35.0, torch.float32), (500, torch.float64)])
@pytest.mark.parametrize("band", [None, (8, 9)])
def test_weights_that_overflow_are_refused(weighting, dtype, band):
    maps = torch.ones(2, 1, 64, 64, dtype=dtype)
    maps[:, :, ::2] = 0
    with pytest.raises(ValueError, match=rf"weighting {weighting:g} gives frequencies of up to .* overflow float\d\d"):
        spectral_similarity(maps, maps, band=band, weighting=weighting)


def test_weights_that_overflow_outside_the_band_do_not_matter():
    maps = torch.rand(2, 1, 64, 64)
    assert spectral_similarity(maps, maps, band=(1, 1.2), weighting=500).item() == pytest.approx(1)


def test_weights_whose_squares_overflow_cannot_be_matched():
    """The factor of a gradient of infinite norm would be 0."""
    logits, masks = torch.randn(1, 1, 64, 64), torch.ones(1, 64, 64, dtype=torch.long)
    masks[:, ::2] = 0
    assert build_objective("spectral", weighting=12.0)(logits, masks) > 0
    with pytest.raises(ValueError, match="weighting 12 gives frequencies"):
        build_objective("spectral", weighting=12.0, matched=True)(logits, masks)


@pytest.mark.parametrize(
    ("masks", "complaint"),
    [
        (
            torch.zeros(2, 1, 8, 8, dtype=torch.long),
            r"pass masks \(B, H, W\), here \(2, 8, 8\), without a channel axis",
        ),
        (torch.full((2, 8, 8), 7), r"masks hold labels 7\.\.7"),
        (torch.full((2, 8, 8), -1), r"masks hold labels -1\.\.-1"),
        (torch.zeros(2, 8, 8), "pass integer labels"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_targets_of_invalid_masks_are_refused(channels, masks, complaint):
    with pytest.raises(ValueError, match=complaint):
        probabilities_and_targets(torch.zeros(2, channels, 8, 8), masks)


def test_options_are_checked_in_the_constructor():
    build = type(build_objective("dice"))
    assert build(smooth=2).smooth == 2.0
    with pytest.raises(ValueError, match="smooth"):
        build(smooth=-1.0)


@pytest.mark.parametrize(("channels", "label"), [(1, 255), (4, 7)])
def test_objectives_compile_to_one_graph(channels, label):
    logits, masks = torch.randn(2, channels, 16, 16), torch.ones(2, 16, 16, dtype=torch.uint8)
    objective = build_objective("bce_dice")
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    assert torch.equal(compiled(logits, masks), objective(logits, masks))
    assert compiled(logits, label * masks).isnan()


@pytest.mark.parametrize("name", available())
def test_integers_are_accepted_as_floats(name):
    """YAML reads 1 as an integer."""
    for option, parameter in parameters(name).items():
        if isinstance(parameter.default, float) and parameter.default.is_integer():
            logits, masks = torch.linspace(-3, 3, 1024).reshape(1, 1, 32, 32), torch.ones(1, 32, 32, dtype=torch.long)
            values = [
                build_objective(name, **selected)(logits, masks) for selected in ({}, {option: int(parameter.default)})
            ]
            assert torch.equal(*values)


NEED_THE_HOST = {"boundary", "hausdorff"}  # distance transforms
ON_THE_DEVICE = [(name, {}) for name in available() if name not in NEED_THE_HOST]
ON_THE_DEVICE += [("spectral", {"band": [8, 32], "matched": True}), ("spectral", {"part": "phase"})]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("name", "options"), ON_THE_DEVICE)
def test_objectives_do_not_synchronise_with_the_device(name, options, channels, monkeypatch):
    """Tensors of the device ``meta`` raise an error if values are read."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it does not support the device
    logits = torch.zeros(2, channels, 96, 96, device="meta", requires_grad=True)
    loss = build_objective(name, **options)(logits, torch.zeros(2, 96, 96, dtype=torch.uint8, device="meta"))
    loss.backward()
    assert logits.grad.shape == logits.shape


@pytest.mark.parametrize("outputs", [1, 3])
def test_dice_focal_is_the_sum_of_dice_and_focal(outputs):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, outputs, 8, 8, generator=generator)
    masks = torch.randint(0, max(2, outputs), (2, 8, 8), generator=generator)
    both = build_objective("dice_focal", dice_weight=0.5, focal_weight=2.0, gamma=1.5, smooth=3.0)(logits, masks)
    dice = build_objective("dice", smooth=3.0)(logits, masks)
    focal = build_objective("focal", gamma=1.5)(logits, masks)
    torch.testing.assert_close(both, 0.5 * dice + 2 * focal)
