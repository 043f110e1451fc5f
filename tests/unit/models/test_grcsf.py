from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL_ENCODER
from torch.nn import functional

from spectralseg.errors import InputError
from spectralseg.models import build_model
from spectralseg.models._compensation import GlobalUnit, RegionUnit

SMALL_MAE = {"mae_patch": 8, "mae_width": 16, "mae_layers": 1, "mae_heads": 2}
SMALL_MAE |= {"mae_decoder_width": 16, "mae_decoder_layers": 1, "mae_decoder_heads": 2}
SMALL = {"rcu_strides": [8, 4], "rcu_window": 4, **SMALL_MAE}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(**options):
    torch.manual_seed(0)
    return build_model("grcsf", 1, 1, encoder=SMALL_ENCODER, **{**SMALL, **options})


def pictures(side=64, count=2):
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(1))


def test_parameters_of_the_units_with_resnet50():
    """Counted from the formulas in docs/grcsf.md."""
    full = build_model("grcsf", 1, 1, encoder="resnet50", **SMALL_MAE)
    channels, decoder = {1: 64, 2: 256, 3: 512, 4: 1024, 5: 2048}, {16: 256, 8: 128, 4: 64}
    global_units = 0
    for level in range(1, 5):
        own, hidden = channels[level], channels[level] // 16
        projection = own * channels[level + 1] + own
        global_units += projection + 2 * (2 * own * hidden + own + hidden)
    region_units, d = {}, 64
    for stride, own in decoder.items():
        per_map = (stride**2 * d + d) + 2 * d * d + d * own
        region_units[stride] = own * d + 2 * per_map + (own + 2048) * 64 + 64 + 64 + 1
    assert count(full.decoder.global_units) == global_units == 3_119_784
    assert [count(full.decoder.region_units[str(k)]) for k in range(3)] == list(region_units.values())
    assert count(full) == count(build_model("unet", 1, 1, encoder="resnet50")) + global_units + sum(
        region_units.values()
    )
    assert round(count(full) / 1e6, 1) == 36.2


def test_shapes_of_the_maps_with_resnet50():
    model = build_model("grcsf", 1, 1, encoder="resnet50", **SMALL_MAE).eval()
    shapes = {}
    for name, unit in model.decoder.region_units.items():
        unit.register_forward_hook(lambda unit, inputs, output, name=name: shapes.update({name: tuple(output.shape)}))
        unit.importance.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.update({f"importance {name}": tuple(output.shape)})
        )
    with torch.inference_mode():
        assert model(pictures(224, 1)).shape == (1, 1, 224, 224)
    assert shapes == {
        **{"0": (1, 256, 14, 14), "1": (1, 128, 28, 28), "2": (1, 64, 56, 56)},
        **{"importance 0": (1, 4, 1), "importance 1": (1, 16, 1), "importance 2": (1, 64, 1)},
    }


@pytest.mark.parametrize("further", [{"rcu_importance": False}, {}])
def test_region_units_start_as_the_identity(further):
    model, plain = small(gcu=False, **further).eval(), small(gcu=False, rcu=False).eval()
    assert plain.load_state_dict(model.state_dict(), strict=False).missing_keys == []
    with torch.inference_mode():
        assert torch.equal(model(pictures()), plain(pictures()))


def test_without_units_the_model_is_a_u_net():
    model = small(gcu=False, rcu=False).eval()
    torch.manual_seed(0)
    unet = build_model("unet", 1, 1, encoder=SMALL_ENCODER).eval()
    unet.load_state_dict(model.state_dict())
    with torch.inference_mode():
        assert torch.equal(model(pictures()), unet(pictures()))


def test_maps_as_input_channels_start_without_effect():
    model = small(gcu=False, rcu=False, map_role="channels").eval()
    plain = small(gcu=False, rcu=False).eval()
    own, other = model.state_dict(), plain.state_dict()
    assert own.keys() == other.keys()
    widened = [name for name in own if own[name].shape != other[name].shape]
    assert len(widened) == 1
    assert own[widened[0]].shape[1] == other[widened[0]].shape[1] + 2
    other |= {name: array for name, array in own.items() if name not in widened}
    other[widened[0]] = own[widened[0]][:, :1]
    plain.load_state_dict(other)
    with torch.inference_mode():
        torch.testing.assert_close(model(pictures()), plain(pictures()))


def test_a_global_unit_amplifies_what_the_deeper_map_lacks():
    torch.manual_seed(0)
    unit = GlobalUnit(4, 8, "one_minus_cos", reduction=None).eval()
    features, deeper = torch.randn(2, 4, 8, 8), torch.randn(2, 8, 4, 4)
    restored = functional.interpolate(unit.project(deeper), (8, 8), mode="bilinear", align_corners=False)
    cosine = (features * restored).sum(1) / (features.norm(dim=1) * restored.norm(dim=1))
    torch.testing.assert_close(unit.loss_map(features, deeper)[:, 0], 1 - cosine)
    torch.testing.assert_close(unit(features, deeper), features * (2 - cosine[:, None]))
    same = unit(restored, deeper)
    torch.testing.assert_close(same, restored, atol=1e-5, rtol=1e-5)  # nothing is lost
    unit.map_of_loss = "cos"
    torch.testing.assert_close(unit(features, deeper), features * (1 + cosine[:, None]))
    unit.map_of_loss = "off"
    assert unit(features, deeper) is features


def test_a_region_unit_follows_its_formula():
    """One window, pixel by pixel, in pure loops."""
    torch.manual_seed(0)
    unit = RegionUnit(6, 5, 2, 2, window=2, width=4, heads=2, importance=True, mix=False).double()
    for layer in unit.out:
        torch.nn.init.normal_(layer.weight)
    features, maps, deepest = torch.randn(1, 6, 4, 4), torch.rand(1, 2, 8, 8), torch.randn(1, 5, 1, 1)
    features, maps, deepest = features.double(), maps.double(), deepest.double()
    with torch.no_grad():
        compensated = unit(features, maps, deepest)
        rows, columns = (2, 3), (0, 1)  # the window at the lower left
        pixels = [(row, column) for row in rows for column in columns]
        x = torch.stack([features[0, :, row, column] for row, column in pixels])
        score = unit.importance(torch.cat([x.mean(0), deepest[0, :, 0, 0]]))
        expected = x.clone()
        for k in range(2):
            block = [maps[0, k, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten() for row, column in pixels]
            kernel, bias = unit.embed[k].weight[:, :, 0, 0], unit.embed[k].bias
            tokens = torch.stack([kernel @ values + bias for values in block])
            q, key, value = x @ unit.query.weight.T, tokens @ unit.key[k].weight.T, tokens @ unit.value[k].weight.T
            heads = [slice(0, 2), slice(2, 4)]
            attended = [torch.softmax(q[:, h] @ key[:, h].T / 2**0.5, 1) @ value[:, h] for h in heads]
            expected += score * (torch.cat(attended, 1) @ unit.out[k].weight.T)
    returned = torch.stack([compensated[0, :, row, column] for row, column in pixels])
    torch.testing.assert_close(returned, expected)


def test_gradients_and_optimizers_never_reach_the_masked_autoencoder():
    model = small().train()
    assert not any(name.startswith("maps") for name, _ in model.named_parameters())
    assert not any(name.startswith("maps") for name in model.state_dict())
    assert not any(part.training for part in model.maps.modules())
    model(pictures().requires_grad_()).sum().backward()
    assert model.maps[0].autoencoder.embed.weight.grad is None


def test_predictions_do_not_depend_on_the_other_images():
    model, images = small().eval(), pictures(count=4)
    with torch.inference_mode():
        maps = model.residual_maps(images)
        assert torch.equal(model.residual_maps(images[1:2]), maps[1:2])
        torch.testing.assert_close(model(images)[1:2], model(images[1:2]))


def test_inner_maps_are_what_the_prediction_used():
    model = small().eval()
    images = pictures()
    with torch.inference_mode():
        inner, logits = model.inner_maps(images), model(images)
        assert torch.equal(model(images), logits), "no hook is left"
        residuals = model.residual_maps(images)
    ratios = ("50 %", "75 %")
    names = [*(f"reconstruction, {ratio}" for ratio in ratios), *(f"residual, {ratio}" for ratio in ratios)]
    assert list(inner) == [*names, "importance, stride 8", "importance, stride 4"]
    for k, ratio in enumerate(ratios):
        assert inner[f"reconstruction, {ratio}"].shape == images.shape
        assert torch.equal(inner[f"residual, {ratio}"], residuals[:, k])
    for stride, windows in ((8, 2), (4, 4)):
        scores = inner[f"importance, stride {stride}"]
        assert scores.shape == (2, 64, 64)
        tiles = scores.unfold(1, 64 // windows, 64 // windows).unfold(2, 64 // windows, 64 // windows).flatten(3)
        assert (tiles == tiles[..., :1]).all(), "one score per window"
        assert len(scores[0].unique()) == windows**2


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"rcu": False}, []),
        ({"rcu_importance": False, "mae_ratios": [0.5]}, ["reconstruction, 50 %", "residual, 50 %"]),
        ({"rcu": False, "map_role": "channels", "mae_ratios": [0.75]}, ["reconstruction, 75 %", "residual, 75 %"]),
        (
            {"rcu_importance": False, "mae_ratios": [0.5, 0.5]},
            ["reconstruction, 50 %", "reconstruction, 50 %, map 2", "residual, 50 %", "residual, 50 %, map 2"],
        ),
    ],
)
def test_a_network_has_the_inner_maps_of_its_parts(options, names):
    assert list(small(**options).eval().inner_maps(pictures())) == names


@pytest.mark.parametrize(
    "options",
    [
        *({"gcu_map": kind} for kind in ("cos", "off")),
        *({"gcu_source": "decoder"}, {"gcu_se": False}, {"rcu_mix": True}, {"rcu": False}, {"mae_ratios": [0.5]}),
    ],
)
def test_every_part_can_be_changed(options):
    model = small(**options).train()
    logits = model(pictures())
    assert logits.shape == (2, 1, 64, 64)
    logits.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gcu_map": "sin"}, "option 'gcu_map' cannot be 'sin'; give one of one_minus_cos, cos, off"),
        ({"map_role": "channels"}, "set 'rcu' to false"),
        ({"rcu_strides": [32]}, "option 'rcu_strides': 32 is not a stride of the decoder, \\[16, 8, 4, 2, 1\\]"),
        ({"rcu_heads": 7}, "'rcu_width' is 64; it must be a multiple of 'rcu_heads', 7"),
        ({"map_source": "other"}, "pretraining stores the maps of other cases; name it under 'pretrained'"),
        ({"mae": []}, "give names under 'pretraining' as the key 'pretrained'"),
        ({"pretrained": [Path("missing.pt")]}, "missing.pt: the pretrained masked autoencoder is missing"),
    ],
)
def test_options_that_are_not_valid_are_an_error(options, message):
    with pytest.raises(InputError, match=message):
        small(**options)


def test_windows_that_do_not_tile_a_map_are_an_error():
    with pytest.raises(
        InputError, match="windows of 7 pixels do not tile the 8 x 8 map at stride 8 of images of 64 x 64 pixels; use"
    ):
        small(rcu_strides=[8], rcu_window=7)(pictures())
