import pytest
import torch
from torch import nn

from spectralseg.errors import InputError
from spectralseg.models import available, build_model
from spectralseg.models.transunet import CascadedUpsampler, Transformer


def test_the_models_of_the_paper_are_there():
    assert {"unet", "transunet"} <= set(available())


def test_an_unknown_model_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match="model 'transunit' is unknown; did you mean 'transunet'"):
        build_model("transunit", 3, 1)


def test_options_reach_the_model(small_model):
    narrow, wide = small_model("transunet", width=32), small_model("transunet", width=64)
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())
    assert narrow.bottleneck.position.shape == (1, 32, 14, 14)


def test_transunet_has_no_idle_encoder_stage():
    model = build_model(
        "transunet", 3, 1, encoder="resnet18", width=32, layers=1, heads=4, decoder_channels=[16, 16, 8, 8]
    )
    model(torch.zeros(1, 3, 32, 32)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_transformer_mixes_all_positions_and_knows_their_order():
    torch.manual_seed(0)
    block = Transformer(8, 16, 1, 4, 0.0, 4).eval()
    features = torch.randn(1, 8, 4, 4).requires_grad_()
    corner = block(features)[0, :, 0, 0].sum()
    assert (torch.autograd.grad(corner, features)[0].abs().sum(1) > 0).all()
    shifted = block(features.roll(1, -1))
    assert not torch.allclose(shifted, block(features).roll(1, -1), atol=1e-4), "without positions they would be equal"


def test_the_transformer_keeps_rows_and_columns_apart():
    torch.manual_seed(0)
    block = Transformer(8, 16, 1, 4, 0.0, 4).eval()
    block.blocks = nn.Identity()
    features = torch.randn(1, 8, 4, 6)
    position = nn.functional.interpolate(block.position, (4, 6), mode="bicubic", align_corners=False)
    expected = block.norm((block.embed(features) + position).movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(block(features), expected, atol=1e-6)


def test_positions_on_the_grid_they_were_learned_on_are_not_interpolated():
    block = Transformer(8, 16, 1, 4, 0.0, 4)
    nn.init.normal_(block.position)
    block.blocks, block.norm = nn.Identity(), nn.Identity()
    nn.init.zeros_(block.embed.weight)
    nn.init.zeros_(block.embed.bias)
    assert torch.equal(block(torch.zeros(1, 8, 4, 4)), block.position)


def test_every_skip_of_the_cascaded_upsampler_reaches_the_output():
    decoder = CascadedUpsampler(16, [12, 8, 4, 0], [8, 8, 8, 8]).eval()
    features = [torch.randn(1, c, s, s, requires_grad=True) for c, s in ((4, 16), (8, 8), (12, 4), (16, 2))]
    output = decoder(features)
    assert output.shape == (1, 8, 32, 32)
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(output.sum(), features))


def test_dropout_acts_in_training_only(small_model):
    model, images = small_model("transunet", dropout=0.5), torch.randn(2, 3, 32, 32)
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
