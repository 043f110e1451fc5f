import importlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import SMALL_ENCODER
from torch import nn

from spectralseg.errors import InputError
from spectralseg.models import available, build_model
from spectralseg.models.transunet import CascadedUpsampler, transformer
from spectralseg.registry import LIBRARY_MODELS

# Import after spectralseg.models, which prepares torchvision.
smp, timm = (importlib.import_module(name) for name in ("segmentation_models_pytorch", "timm"))


def test_the_models_of_the_paper_are_available():
    assert {"unet", "transunet"} <= set(available())


def test_an_unknown_model_is_an_error_that_names_the_nearest_one():
    with pytest.raises(InputError, match="model 'transunit' is unknown; did you mean 'transunet'"):
        build_model("transunit", 3, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_chanels": [8, 8, 8, 8, 8]}, "did you mean 'decoder_channels'?"),
        ({"activation": "sigmoid"}, "models return raw logits"),
        ({"aux_params": {"classes": 2}}, "models return logits only"),
    ],
)
@pytest.mark.parametrize("encoder", ["resnet18", SMALL_ENCODER])
def test_options_that_are_ignored_or_break_the_contract_are_an_error(encoder, options, message):
    with pytest.raises(InputError, match=message):
        build_model("unet", 3, 1, encoder=encoder, **options)


@pytest.mark.parametrize("model", ["unet", "transunet"])
@pytest.mark.parametrize(
    ("encoder", "nearest"), [("resnt18", "resnet18"), ("tu-test_resnt", "tu-test_resnet"), ("tu-resnt18.a1", "tu-re")]
)
def test_an_unknown_encoder_is_an_error_that_names_the_nearest_one(model, encoder, nearest):
    with pytest.raises(InputError, match=f"^encoder '{encoder}' is unknown; did you mean '{nearest}"):
        build_model(model, 3, 1, encoder=encoder)


def test_an_option_that_the_encoder_does_not_have_is_an_error():
    with pytest.raises(InputError, match="unexpected keyword argument 'colour'"):
        build_model("unet", 3, 1, encoder=SMALL_ENCODER, colour=1)


@pytest.mark.parametrize("name", ["unet", "transunet"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
def test_invalid_numbers_of_channels_are_an_error(name, value):
    with pytest.raises(InputError, match=f"^classes cannot be {value!r}; give 1"):
        build_model(name, 3, value, encoder="resnet18")
    with pytest.raises(InputError, match=f"^in_channels cannot be {value!r}; give 1"):
        build_model(name, value, 1, encoder="resnet18")


@pytest.mark.parametrize("value", [2, 4])
def test_images_have_one_or_three_channels(value):
    with pytest.raises(InputError, match=f"^in_channels cannot be {value}; give 1 for grey or 3 for colour images"):
        build_model("unet", value, 1, encoder="resnet18")
    assert build_model("unet", np.int64(1), np.int64(value), encoder="resnet18")


@pytest.mark.parametrize("name", ["transunet", "transunet_original"])
@pytest.mark.parametrize(("option", "value"), [("layers", -1), ("layers", True), ("heads", 0), ("width", 0.5)])
def test_invalid_sizes_of_a_transformer_are_an_error(small_model, name, option, value):
    with pytest.raises(InputError, match=f"option '{option}' cannot be {value}; give a whole number of . or more"):
        small_model(name, **{option: value})


def test_options_reach_the_model(small_model):
    narrow, wide = small_model("transunet", width=32), small_model("transunet", width=64)
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())
    assert narrow.bottleneck.position.shape == (1, 32, 14, 14)


def test_transunet_has_no_unused_encoder_stage():
    model = build_model(
        "transunet", 3, 1, encoder="resnet18", width=32, layers=1, heads=4, decoder_channels=[16, 16, 8, 8]
    )
    model(torch.zeros(1, 3, 32, 32)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_transformer_mixes_all_positions_and_knows_their_order():
    torch.manual_seed(0)
    block = transformer(8, 16, 1, 4, 0.0, 4).eval()
    features = torch.randn(1, 8, 4, 4).requires_grad_()
    corner = block(features)[0, 0, 0, 0]  # the sum over channels is zero after the final norm
    assert (torch.autograd.grad(corner, features)[0].abs().sum(1) > 0).all()
    shifted = block(features.roll(1, -1))
    assert not torch.allclose(shifted, block(features).roll(1, -1), atol=1e-4), "without positions they would be equal"


def test_the_transformer_keeps_rows_and_columns_apart():
    torch.manual_seed(0)
    block = transformer(8, 16, 1, 4, 0.0, 4).eval()
    block.blocks = nn.Identity()
    features = torch.randn(1, 8, 4, 6)
    position = nn.functional.interpolate(block.position, (4, 6), mode="bicubic", align_corners=False)
    expected = block.norm((block.embed(features) + position).movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(block(features), expected, atol=1e-6)


def test_positions_on_the_grid_they_were_learned_on_are_not_interpolated():
    block = transformer(8, 16, 1, 4, 0.0, 4)
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


def test_all_models_of_the_library_are_listed():
    assert sorted(smp.MODEL_ARCHITECTURES_MAPPING) == sorted(LIBRARY_MODELS)


@pytest.mark.slow
class TestWeightsFromAFile:
    @pytest.fixture
    def file(self, tmp_path):
        """Weights of a classifier: an encoder and a head."""
        torch.manual_seed(1)
        state = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
        state |= {"fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}
        torch.save(state, tmp_path / "resnet18.pth")
        save_file(state, tmp_path / "resnet18.safetensors")
        return tmp_path / "resnet18.pth"

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize("name", ["unet", "fpn", "transunet"])
    def test_weights_from_a_file_fill_the_encoder(self, file, name, suffix):
        options = {"width": 32, "layers": 1, "heads": 4} if name == "transunet" else {}
        model = build_model(name, 3, 1, encoder="resnet18", encoder_weights=str(file.with_suffix(suffix)), **options)
        expected = torch.load(file, weights_only=True)
        assert torch.equal(model.encoder.conv1.weight, expected["conv1.weight"])
        assert torch.equal(model.encoder.layer3[1].conv2.weight, expected["layer3.1.conv2.weight"])

    def test_grey_images_give_the_features_of_equal_colour_images(self, file):
        grey, colour = (build_model("unet", n, 1, encoder="resnet18", encoder_weights=str(file)) for n in (1, 3))
        images = torch.randn(1, 1, 32, 32)
        features, expected = grey.encoder.conv1(images), colour.encoder.conv1(images.expand(-1, 3, -1, -1))
        assert torch.allclose(features, expected, atol=1e-5)

    @pytest.mark.parametrize("names", ["timm", "library"])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("name", ["unet", "fpn", "deeplabv3", "transunet"])
    def test_an_encoder_of_timm_takes_a_file_of_timm_or_of_the_library(
        self, small_model, tmp_path, name, channels, names
    ):
        """With the array names of timm and a classifier, or with the prefix of the library."""
        torch.manual_seed(1)
        whole = timm.create_model("test_resnet").state_dict()
        for array in whole.values():
            array.copy_(torch.rand_like(array.float()))  # change all arrays
        used = {f"model.{key}": array for key, array in whole.items() if not key.startswith("fc.")}
        torch.save(whole if names == "timm" else used, tmp_path / "timm.pth")
        model = small_model(name, channels, encoder_weights=str(tmp_path / "timm.pth"))
        loaded = model.encoder.state_dict()
        assert loaded.keys() <= used.keys()
        assert len(loaded) > 30
        for key, array in loaded.items():
            expected = used[key].sum(1, keepdim=True) if key == "model.conv1.0.weight" and channels == 1 else used[key]
            assert torch.allclose(array.float(), expected.float()), key
        assert model.eval()(torch.rand(1, channels, 64, 64)).shape == (1, 1, 64, 64)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("encoder", ["timm-tf_efficientnet_lite0", "tu-tf_efficientnet_lite0"])
    def test_a_file_of_timm_fits_both_encoders_that_are_made_of_its_model(self, tmp_path, encoder, channels):
        torch.manual_seed(1)
        state = timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict()
        torch.save({"state_dict": state}, tmp_path / "lite0.pth")
        model = build_model("unet", channels, 1, encoder=encoder, encoder_weights=str(tmp_path / "lite0.pth"))
        encoder = getattr(model.encoder, "model", model.encoder)
        stem = state["conv_stem.weight"]
        assert torch.allclose(encoder.conv_stem.weight, stem if channels == 3 else stem.sum(1, keepdim=True), atol=1e-6)
        assert torch.equal(encoder.blocks[5][2].conv_pw.weight, state["blocks.5.2.conv_pw.weight"])

    @pytest.mark.parametrize("name", [name for name in LIBRARY_MODELS if name != "dpt"])
    def test_every_model_of_the_library_takes_a_file_of_timm(self, tmp_path, name):
        state = timm.create_model("test_resnet").state_dict()
        torch.save(state, tmp_path / "timm.pth")
        model = build_model(name, 1, 1, encoder=SMALL_ENCODER, encoder_weights=str(tmp_path / "timm.pth"))
        assert torch.equal(model.encoder.model.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])

    @pytest.mark.parametrize("prefix", ["", "model."])
    def test_a_file_that_lacks_an_array_of_a_timm_encoder_is_an_error(self, tmp_path, prefix):
        state = timm.create_model("test_resnet").state_dict()
        del state["layer3.0.bn1.weight"]
        torch.save({prefix + key: array for key, array in state.items()}, tmp_path / "timm.pth")
        complaint = r"timm\.pth: lacks 1 of the encoder's arrays, model\.layer3\.0\.bn1\.weight first"
        with pytest.raises(InputError, match=complaint):
            build_model("unet", 3, 1, encoder=SMALL_ENCODER, encoder_weights=str(tmp_path / "timm.pth"))

    @pytest.mark.parametrize("prefix", ["", "model."])
    def test_a_file_of_another_timm_encoder_is_an_error(self, tmp_path, prefix):
        state = timm.create_model("test_resnet", channels=(16, 16, 16, 16)).state_dict()
        torch.save({prefix + key: array for key, array in state.items()}, tmp_path / "timm.pth")
        with pytest.raises(InputError, match=r"timm\.pth: cannot be loaded as encoder weights .*size mismatch"):
            build_model("unet", 3, 1, encoder=SMALL_ENCODER, encoder_weights=str(tmp_path / "timm.pth"))

    def test_the_original_transunet_takes_weights_of_the_whole_hybrid(self, tmp_path):
        hybrid = narrow_hybrid()
        torch.save(hybrid.state_dict(), tmp_path / "vit.pth")
        for channels in (1, 3):
            model = hybrid_model(channels, encoder_weights=str(tmp_path / "vit.pth"))
            assert torch.equal(model.bottleneck.blocks[0].attn.qkv.weight, hybrid.blocks[0].attn.qkv.weight)
            assert torch.equal(model.bottleneck.position.flatten(2).transpose(1, 2), hybrid.pos_embed[:, 1:])
        assert torch.equal(model.encoder.stem.conv.weight, hybrid.patch_embed.backbone.stem.conv.weight)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_original_transunet_takes_the_published_file(self, tmp_path, channels):
        torch.manual_seed(1)
        hybrid = narrow_hybrid(num_classes=5)
        with torch.no_grad():
            for parameter in hybrid.parameters():
                parameter.uniform_()
        torch.save(hybrid.state_dict(), tmp_path / "vit.pth")
        np.savez(tmp_path / "R50+ViT-B_16.npz", **as_published(hybrid))
        loaded, expected = (
            hybrid_model(channels, encoder_weights=str(tmp_path / file)).state_dict()
            for file in ("R50+ViT-B_16.npz", "vit.pth")
        )
        taken = [key for key in loaded if key.startswith(("encoder", "bottleneck"))]
        assert len(taken) > 150
        assert all(torch.allclose(loaded[key], expected[key], rtol=1e-5) for key in taken)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda arrays: arrays.pop("block2/unit3/gn2/scale"), r"block2/unit3/gn2/scale is not a file"),
            (lambda arrays: arrays.pop("embedding/kernel"), "did not find a supported JAX/Flax parameter layout"),
            (lambda arrays: arrays.update({"embedding/bias": np.zeros(7)}), "must match"),
        ],
    )
    def test_a_published_file_that_does_not_fit_is_an_error(self, tmp_path, change, complaint):
        arrays = as_published(narrow_hybrid())
        change(arrays)
        np.savez(tmp_path / "R50+ViT-B_16.npz", **arrays)
        with pytest.raises(InputError, match=rf"R50\+ViT-B_16\.npz: cannot be loaded as encoder weights .*{complaint}"):
            hybrid_model(encoder_weights=str(tmp_path / "R50+ViT-B_16.npz"))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_published_file_that_is_not_finite_is_an_error(self, tmp_path, bad):
        arrays = as_published(narrow_hybrid())
        arrays["embedding/bias"] = np.full_like(arrays["embedding/bias"], bad)
        np.savez(tmp_path / "R50+ViT-B_16.npz", **arrays)
        complaint = r"R50\+ViT-B_16\.npz: 1 of \d+ arrays, patch_embed\.proj\.bias first, hold NaN or infinity"
        with pytest.raises(InputError, match=complaint):
            hybrid_model(encoder_weights=str(tmp_path / "R50+ViT-B_16.npz"))

    @pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
    @pytest.mark.parametrize("encoder", ["resnet18", SMALL_ENCODER])
    def test_weights_that_are_not_finite_are_an_error(self, tmp_path, encoder, bad):
        state = build_model("unet", 3, 1, encoder=encoder).encoder.state_dict()
        last = [name for name, array in state.items() if array.is_floating_point()][-1]
        state[last].view(-1)[0] = bad
        torch.save(state, tmp_path / "diverged.pth")
        complaint = rf"diverged\.pth: 1 of {len(state)} arrays, {last} first, hold NaN or infinity; give weights"
        with pytest.raises(InputError, match=complaint):
            build_model("unet", 3, 1, encoder=encoder, encoder_weights=str(tmp_path / "diverged.pth"))

    def test_a_published_file_is_for_transformers_only(self, tmp_path):
        np.savez(tmp_path / "vit.npz", cls=np.zeros(3))
        with pytest.raises(InputError, match=r"vit\.npz: cannot be loaded .*files are for 'transunet_original'"):
            build_model("unet", 3, 1, encoder="resnet18", encoder_weights=str(tmp_path / "vit.npz"))

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (None, "there are no such encoder weights"),
            (b"no weights", "cannot be loaded as encoder weights"),
            ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"lacks \d+ of the encoder's arrays, bn1.weight first"),
            ({"conv1.weight": torch.zeros(64, 3, 5, 5)}, "cannot be loaded as encoder weights .*size mismatch"),
        ],
    )
    def test_files_that_do_not_fit_are_an_error(self, tmp_path, content, complaint):
        file = tmp_path / "weights.pth"
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif content:
            torch.save(content, file)
        with pytest.raises(InputError, match=f"weights.pth: {complaint}"):
            build_model("unet", 3, 1, encoder="resnet18", encoder_weights=str(file))


def narrow_hybrid(**options):
    """The hybrid of timm with all ResNet blocks and one narrow transformer block."""
    return timm.create_model("vit_base_r50_s16_224", embed_dim=48, depth=1, num_heads=4, **options)


def hybrid_model(channels=3, **options):
    """The original TransUNet with the same sizes."""
    return build_model("transunet_original", channels, 1, encoder="resnet50", width=48, layers=1, heads=4, **options)


def as_published(hybrid):
    """A hybrid of timm with the names and the layout of Google's checkpoints, such as ``R50+ViT-B_16.npz``."""
    state = {name: array.detach().numpy() for name, array in hybrid.state_dict().items()}
    arrays = {"cls": state["cls_token"], "Transformer/posembed_input/pos_embedding": state["pos_embed"]}

    def convolution(name, source):
        arrays[f"{name}/kernel"] = state[f"{source}.weight"].transpose(2, 3, 1, 0)

    def norm(name, source, shape=(-1,)):
        arrays[f"{name}/scale"] = state[f"{source}.weight"].reshape(shape)
        arrays[f"{name}/bias"] = state[f"{source}.bias"].reshape(shape)

    backbone = "patch_embed.backbone"
    convolution("conv_root", f"{backbone}.stem.conv")
    norm("gn_root", f"{backbone}.stem.norm", (1, 1, 1, -1))
    for stage, units in enumerate((3, 4, 9)):
        for unit in range(units):
            target, source = f"block{stage + 1}/unit{unit + 1}", f"{backbone}.stages.{stage}.blocks.{unit}"
            for number in (1, 2, 3):
                convolution(f"{target}/conv{number}", f"{source}.conv{number}")
                norm(f"{target}/gn{number}", f"{source}.norm{number}", (1, 1, 1, -1))
            if unit == 0:
                convolution(f"{target}/conv_proj", f"{source}.downsample.conv")
                norm(f"{target}/gn_proj", f"{source}.downsample.norm", (1, 1, 1, -1))
    convolution("embedding", "patch_embed.proj")
    arrays["embedding/bias"] = state["patch_embed.proj.bias"]
    norm("Transformer/encoder_norm", "norm")
    for number, block in enumerate(hybrid.blocks):
        target, source = f"Transformer/encoderblock_{number}", f"blocks.{number}"
        heads, width = block.attn.num_heads, block.attn.qkv.in_features
        attention = f"{target}/MultiHeadDotProductAttention_1"
        kernels, biases = (np.split(state[f"{source}.attn.qkv.{part}"], 3) for part in ("weight", "bias"))
        for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            arrays[f"{attention}/{part}/kernel"] = kernel.T.reshape(width, heads, -1)
            arrays[f"{attention}/{part}/bias"] = bias.reshape(heads, -1)
        arrays[f"{attention}/out/kernel"] = state[f"{source}.attn.proj.weight"].T.reshape(heads, -1, width)
        arrays[f"{attention}/out/bias"] = state[f"{source}.attn.proj.bias"]
        norm(f"{target}/LayerNorm_0", f"{source}.norm1")
        norm(f"{target}/LayerNorm_2", f"{source}.norm2")
        for layer in (0, 1):
            arrays[f"{target}/MlpBlock_3/Dense_{layer}/kernel"] = state[f"{source}.mlp.fc{layer + 1}.weight"].T
            arrays[f"{target}/MlpBlock_3/Dense_{layer}/bias"] = state[f"{source}.mlp.fc{layer + 1}.bias"]
    return arrays


def test_the_original_transunet_equals_timm_up_to_the_tokens():
    """Without the transformer, because the class token takes part in the attention of timm."""
    model = hybrid_model().eval()
    bottleneck, captured = model.bottleneck, []
    bottleneck.blocks, bottleneck.norm = nn.Identity(), nn.Identity()
    model.decoder.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    images = torch.randn(1, 3, 224, 224)
    model(images)
    stride2, stride4, stride8, deepest = captured[0]
    assert [tuple(f.shape[1:]) for f in (stride2, stride4, stride8)] == [(64, 112, 112), (256, 56, 56), (512, 28, 28)]
    backbone = narrow_hybrid().patch_embed.backbone.eval()
    backbone.load_state_dict(model.encoder.state_dict())
    expected = bottleneck.embed(backbone.forward_features(images)) + bottleneck.position
    assert torch.allclose(deepest, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["transunet", "transunet_original"])
def test_dropout_is_in_the_mlps_and_after_the_positions_only(small_model, name):
    bottleneck = small_model(name, dropout=0.3).bottleneck
    dropout = {key: part.p for key, part in bottleneck.named_modules() if isinstance(part, nn.Dropout)}
    assert {key for key, p in dropout.items() if p} == {
        "dropout",
        *(f"blocks.{n}.mlp.drop{i}" for n in range(len(bottleneck.blocks)) for i in (1, 2)),
    }
    assert all(block.attn.attn_drop.p == 0 for block in bottleneck.blocks)


def test_another_encoder_of_the_original_transunet_is_an_error():
    with pytest.raises(InputError, match="its only encoder is"):
        build_model("transunet_original", 3, 1, encoder="resnet18")
