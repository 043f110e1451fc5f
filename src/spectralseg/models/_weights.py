"""Pretrained weights of encoders, by name or from a file."""

from __future__ import annotations

import difflib
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from segmentation_models_pytorch.encoders import encoders, is_equivalent_to_timm_universal
from timm.models import adapt_input_conv, is_model, list_models, load_state_dict
from torch import Tensor, nn

from spectralseg.errors import InputError
from spectralseg.registry import weights_file

JAX = ".npz"  # suffix of vision transformers published by Google
_PREFIX = "model."  # of all arrays of a timm encoder in segmentation-models-pytorch
_LOADING_ERRORS = (
    *(AssertionError, AttributeError, EOFError, IndexError, KeyError, RuntimeError, TypeError, ValueError),
    *(SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile),
)


def file_of(weights: str | None) -> Path | None:
    """The file that ``weights`` names; None for names of published weights.

    Raises:
        InputError: there is no such file.
    """
    file = weights_file(weights)
    if file is not None and not file.is_file():
        raise InputError(f"{file}: there are no such encoder weights; check 'encoder_weights'")
    return file


def with_weights(
    build: Callable[..., Any],
    encoder: str,
    weights: str | None,
    in_channels: int,
    *,
    part: Callable[[Any], Any] = lambda module: module,
) -> Any:
    """Build a module with an encoder of segmentation-models-pytorch and load its pretrained weights.

    Weights for three channels are adapted to one channel as timm does: the first convolution is summed over the
    colours, so that a grey image gives the same features as a colour image with three equal channels.

    Args:
        build: function that builds the module, of ``weights`` and ``in_channels`` as in ``get_encoder``, and of further
            options of a timm encoder.
        encoder: name of the encoder.
        weights: name of published weights, a file, or None for random weights.
        in_channels: channels of the images.
        part: function that returns the encoder of the module.

    Raises:
        InputError: the file is missing or damaged, or lacks an array of the encoder.
    """
    _refuse_unknown(encoder)
    file = file_of(weights)
    if file is None:
        return build(weights, in_channels)
    if encoder.startswith("tu-") or is_equivalent_to_timm_universal(encoder):
        return _with_timm_weights(build, file, in_channels, part)
    module = build(None, 3)
    load(part(module), file)
    if in_channels != 3:
        part(module).set_in_channels(in_channels, pretrained=True)
    return module


def _refuse_unknown(encoder: str) -> None:
    """Raise an :class:`InputError` that suggests the nearest name if neither the library nor timm has the encoder."""
    universal = encoder.startswith("tu-")
    name = encoder.removeprefix("tu-")
    if (
        is_equivalent_to_timm_universal(encoder) or ":" in name
    ):  # with a prefix such as 'hf-hub:', timm does not check names
        return
    if not (is_model(name) if universal else encoder in encoders):
        valid_names = [f"tu-{model}" for model in list_models()] if universal else list(encoders)
        matches = difflib.get_close_matches(encoder, valid_names, n=1, cutoff=0.5)
        hint = f"did you mean '{matches[0]}'? " if matches else ""
        raise InputError(
            f"encoder '{encoder}' is unknown; {hint}valid: names of segmentation-models-pytorch, and 'tu-' "
            "before a name of timm"
        )


def _with_timm_weights(build: Callable[..., Any], file: Path, in_channels: int, part: Callable[[Any], Any]) -> Any:
    """Load weights of a timm encoder, with the array names of timm or of segmentation-models-pytorch."""
    if file.suffix != JAX:
        state = read(file)
        if state and all(name.startswith(_PREFIX) for name in state):
            module = build(None, in_channels)
            own = part(module).state_dict()
            load(
                part(module), file, {name: adapted(array, own.get(name), in_channels) for name, array in state.items()}
            )
            return module
        # timm converts names but does not report missing arrays: load NaN instead and see which arrays it reaches.
        blank = {name: torch.full_like(a, torch.nan) if a.is_floating_point() else a for name, a in state.items()}
        with _loading(file), torch.random.fork_rng(devices=[]):
            filled = part(build(True, in_channels, pretrained_cfg_overlay={"state_dict": blank})).state_dict()
        _refuse_missing(file, [name for name, a in filled.items() if a.is_floating_point() and not a.isnan().any()])
    with _loading(file):
        module = build(True, in_channels, pretrained_cfg_overlay={"file": str(file), "custom_load": file.suffix == JAX})
    _refuse_not_finite(file, dict(part(module).named_parameters()))
    return module


def adapted(array: Tensor, own: Tensor | None, in_channels: int) -> Tensor:
    """Adapt the weights of a first convolution for three channels to ``in_channels``; keep all other arrays."""
    first = own is not None and own.ndim == array.ndim == 4 and array.shape[1] * in_channels == own.shape[1] * 3
    return adapt_input_conv(in_channels, array) if first else array


def load(module: nn.Module, file: Path, state: dict[str, Tensor] | None = None) -> None:
    """Load a ``state_dict`` into a module. It may hold further arrays, such as a head or an unused stage.

    Args:
        module: gets the weights.
        file: file of the weights.
        state: content of the file, if already read.

    Raises:
        InputError: the file is damaged, lacks an array, or holds NaN or infinity.
    """
    arrays = read(file) if state is None else state
    with _loading(file):
        module.load_state_dict(arrays, strict=False)
    _refuse_missing(file, [name for name in module.state_dict() if name not in arrays])


def load_jax(vit: Any, file: Path) -> None:
    """Load a vision transformer or hybrid published by Google into a model of timm, adapted to its channels.

    Raises:
        InputError: the file is damaged, lacks an array, or holds NaN or infinity.
    """
    with _loading(file):
        vit.load_pretrained(str(file))
    _refuse_not_finite(file, dict(vit.named_parameters()))


def read(file: Path) -> dict[str, Tensor]:
    """Read the arrays of a ``state_dict``, or of a checkpoint that holds one, without unpickling code.

    Raises:
        InputError: the file is damaged, holds other objects than arrays, or holds NaN or infinity.
    """
    with _loading(file):
        if file.suffix == JAX:
            raise ValueError(f"{JAX} files are for 'transunet_original' and for vision transformers of timm")
        state = load_state_dict(str(file))
        if not all(isinstance(array, Tensor) for array in state.values()):
            raise TypeError("not all of its values are arrays")
    _refuse_not_finite(file, state)
    return dict(state)


@contextmanager
def _loading(file: Path) -> Iterator[None]:
    """Turn errors of libraries that load weights into one sentence that names the file."""
    try:
        yield
    except _LOADING_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: cannot be loaded as encoder weights ({reason}); give a state_dict") from None


def _refuse_not_finite(file: Path, arrays: Mapping[str, Tensor]) -> None:
    bad = [name for name, array in arrays.items() if array.is_floating_point() and not array.isfinite().all()]
    if bad:
        raise InputError(
            f"{file}: {len(bad)} of {len(arrays)} arrays, {bad[0]} first, hold NaN or infinity; give weights of a "
            "training that did not diverge"
        )


def _refuse_missing(file: Path, names: list[str]) -> None:
    if missing := [name for name in names if not name.endswith("num_batches_tracked")]:
        raise InputError(
            f"{file}: lacks {len(missing)} of the encoder's arrays, {missing[0]} first; give weights of this encoder"
        )
