import pytest
import torch
from torch.nn import functional

from spectralseg.errors import InputError
from spectralseg.models import _masked_autoencoder as mae
from spectralseg.patches import Sizes

SMALL = {"patch": 4, "width": 16, "layers": 1, "heads": 2, "decoder_width": 8, "decoder_layers": 1, "decoder_heads": 2}


def sizes(ratio=0.5, **changes):
    return Sizes(ratio, **{**SMALL, **changes})


def images(count=3, channels=1, side=16):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1))


def residual_map(ratio=0.5, channels=1):
    torch.manual_seed(0)
    return mae.ResidualMap(mae.MaskedAutoencoder(channels, sizes(ratio))).eval()


def test_patches_hold_rows_columns_channels():
    picture = torch.arange(2 * 8 * 8).float().reshape(1, 2, 8, 8)
    patches = mae.patchify(picture, 4)
    assert patches.shape == (1, 4, 32)
    expected = functional.unfold(picture, 4, stride=4)  # channel, row, column
    expected = expected.reshape(1, 2, 16, 4).permute(0, 3, 2, 1).reshape(1, 4, 32)
    assert torch.equal(patches, expected)
    assert torch.equal(mae.unpatchify(patches, 4, 8), picture)


@pytest.mark.parametrize(("ratio", "groups"), [(0.5, 2), (0.75, 4), (0.9, 10)])
def test_every_patch_is_visible_in_one_group(ratio, groups):
    assert Sizes(ratio).groups == groups
    parts = mae.partition(400, groups)
    assert parts.shape == (groups, 400 // groups)
    assert sorted(parts.flatten().tolist()) == list(range(400))
    hidden = torch.stack([mae.hidden_patches(part[None], 400)[0] for part in parts])
    assert (hidden.sum(0) == groups - 1).all()


def test_patches_of_training_are_drawn_without_replacement_and_for_each_image():
    torch.manual_seed(0)
    visible = mae.random_visible(50, 64, 4, torch.device("cpu"))
    assert visible.shape == (50, 16)
    assert all(len(set(row)) == 16 for row in visible.tolist())
    assert len({tuple(row) for row in visible.tolist()}) == 50


def test_hidden_pixels_do_not_reach_the_reconstruction():
    network, pictures = mae.MaskedAutoencoder(1, sizes()).eval(), images(1)
    visible = torch.arange(8)[None]
    changed = pictures.clone()
    changed[:, :, 8:] = 9.0  # the last two rows of patches, which are hidden
    assert torch.equal(network(pictures, visible), network(changed, visible))


def test_the_loss_is_the_mean_squared_error_of_hidden_pixels():
    network, pictures, visible = mae.MaskedAutoencoder(2, sizes()).eval(), images(2, 2), torch.tensor([[0, 1], [5, 2]])
    error = (network(pictures, visible) - mae.patchify(pictures, 4)).square()
    hidden = [[patch for patch in range(16) if patch not in row] for row in visible.tolist()]
    expected = torch.stack([error[row, patches] for row, patches in enumerate(hidden)]).mean()
    torch.testing.assert_close(network.loss(pictures, visible), expected)


@pytest.mark.parametrize("ratio", [0.5, 0.75])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_residual_map_is_the_mean_difference_on_hidden_patches(ratio, channels):
    residuals, pictures = residual_map(ratio, channels), images(2, channels)
    groups = mae.partition(16, residuals.autoencoder.sizes.groups)
    with torch.no_grad():
        maps = residuals.raw(pictures)
        expected = torch.zeros(2, 16, 16)
        for row, picture in enumerate(pictures):
            for group in groups:
                restored = mae.unpatchify(residuals.autoencoder(picture[None], group[None]), 4, 16)[0]
                for patch in set(range(16)) - set(group.tolist()):
                    area = slice(4 * (patch // 4), 4 * (patch // 4) + 4), slice(4 * (patch % 4), 4 * (patch % 4) + 4)
                    difference = (picture - restored).abs().mean(0)[area]
                    expected[(row, *area)] += difference / (len(groups) - 1)
    assert maps.shape == (2, 1, 16, 16)
    torch.testing.assert_close(maps[:, 0], expected)


def test_a_residual_map_depends_on_its_image_only():
    residuals, pictures = residual_map(0.75), images(5)
    together = residuals.raw(pictures)
    assert torch.equal(together, residuals.raw(pictures))
    assert torch.equal(together[3:], residuals.raw(pictures[3:]))
    assert torch.equal(together.flip(0), residuals.raw(pictures.flip(0)))


def test_maps_are_scaled_and_clipped():
    residuals, pictures = residual_map(), images()
    raw = residuals.raw(pictures)
    residuals.scale.fill_(float(raw.median()))
    assert torch.equal(residuals(pictures), (raw / raw.median()).clamp(0, 1))


def test_maps_of_other_cases_depend_on_the_image_only():
    residuals, pictures = mae.ResidualMap(residual_map().autoencoder, side=16), images()
    residuals.bank.copy_(torch.randint(0, 256, residuals.bank.shape, generator=torch.Generator().manual_seed(0)))
    others = residuals.of_other_cases(pictures)
    assert others.shape == (3, 1, 16, 16)
    assert torch.equal(others[2:], residuals.of_other_cases(pictures[2:]))
    stored = (others[0, 0] * 255).round().to(torch.uint8)
    assert (residuals.bank == stored).all((1, 2)).any()


def test_frozen_modules_have_no_parameters_and_save_nothing():
    residuals = residual_map()
    before = residuals.raw(images())
    frozen = mae.as_buffers(residuals)
    assert list(frozen.parameters()) == []
    assert frozen.state_dict() == {}
    assert torch.equal(frozen.raw(images()), before)
    assert frozen.double().autoencoder.embed.weight.dtype == torch.float64


def test_untrained_maps_are_reproducible_and_leave_random_numbers_alone():
    state = torch.get_rng_state()
    first, second = mae.untrained_map(1, sizes()), mae.untrained_map(1, sizes())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.raw(images()), second.raw(images()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 0.6}, "mask ratio 0.6: 1 / \\(1 - ratio\\) must be a whole number"),
        ({"ratio": 0.0}, "mask ratio 0.0"),
        ({"ratio": 1.0}, "mask ratio 1.0"),
        ({"width": 18}, "'width' is 18; give a multiple of 4 and of its 2 heads"),
        ({"decoder_width": 12, "decoder_heads": 5}, "'decoder_width' is 12"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_an_error(changes, message):
    with pytest.raises(InputError, match=message):
        mae.MaskedAutoencoder(1, sizes(**changes))


def test_images_that_patches_do_not_tile_are_an_error():
    with pytest.raises(InputError, match="patches of 4 pixels do not tile images of 18 x 18"):
        residual_map().raw(images(side=18))
    with pytest.raises(InputError, match="9 patches of 4 pixels cannot be partitioned into 2 equal groups"):
        residual_map().raw(images(side=12))


def test_images_of_another_size_than_in_the_training_are_an_error():
    residuals = mae.ResidualMap(residual_map().autoencoder, side=16)
    with pytest.raises(InputError, match="was trained on images of 16 x 16 pixels, but these have 32 x 32"):
        residuals.raw(images(side=32))


def test_a_missing_or_damaged_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="the pretrained masked autoencoder is missing; run 'spectralseg pretrain'"):
        mae.load_residual_map(tmp_path / "model.pt", 1)
    (tmp_path / "model.pt").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="run 'spectralseg pretrain' again"):
        mae.load_residual_map(tmp_path / "model.pt", 1)


def saved(tmp_path, channels=1):
    residuals = mae.ResidualMap(residual_map(channels=channels).autoencoder, side=16)
    content = {"best": residuals.state_dict(), "sizes": sizes().as_dict(), "channels": channels, "side": 16}
    torch.save(content, tmp_path / "model.pt")
    return residuals, tmp_path / "model.pt"


def test_a_loaded_map_equals_the_saved_one(tmp_path):
    residuals, file = saved(tmp_path)
    assert torch.equal(mae.load_residual_map(file, 1).raw(images()), residuals.raw(images()))


def test_images_with_other_channels_than_in_the_training_are_an_error(tmp_path):
    _, file = saved(tmp_path)
    with pytest.raises(InputError, match="was pretrained on images of 1 channels, but these have 3"):
        mae.load_residual_map(file, 3)
