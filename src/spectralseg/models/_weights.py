"""Pretrained weights: by the name that a library knows, or in a file."""

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

JAX = ".npz"  # suffix of the vision transformers that Google published
_PREFIX = "model."  # of all arrays in the state of an encoder of timm in segmentation-models-pytorch
_UNFIT = (
    *(AssertionError, AttributeError, EOFError, IndexError, KeyError, RuntimeError, TypeError, ValueError),
    *(SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile),
)


def file_of(weights: str | None) -> Path | None:
    """The file that ``weights`` names, or None where it is the name of published weights.

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
    """A module whose encoder is one of segmentation-models-pytorch, with pretrained weights.

    Weights for three channels are adapted to others as timm does: for one channel those of the first convolution are
    summed, so that a grey image gives what an equally grey colour image would.

    Args:
        build: makes the module from what ``get_encoder`` takes as ``weights`` and ``in_channels``, and further options
            of an encoder of timm.
        encoder: name of the encoder.
        weights: their name, a file, or None for random ones.
        in_channels: channels of the images.
        part: the encoder in the module.

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
    """Raise an :class:`InputError` with the nearest name unless the library or timm has such an encoder."""
    universal = encoder.startswith("tu-")
    name = encoder.removeprefix("tu-")
    if is_equivalent_to_timm_universal(encoder) or ":" in name:  # names that timm looks up elsewhere, as 'hf-hub:...'
        return
    if not (is_model(name) if universal else encoder in encoders):
        known = [f"tu-{one}" for one in list_models()] if universal else list(encoders)
        near = [f"did you mean '{one}'? " for one in difflib.get_close_matches(encoder, known, n=1, cutoff=0.5)]
        raise InputError(
            f"encoder '{encoder}' is unknown; {''.join(near)}valid: names of segmentation-models-pytorch, and 'tu-' "
            "before a name of timm"
        )


def _with_timm_weights(build: Callable[..., Any], file: Path, in_channels: int, part: Callable[[Any], Any]) -> Any:
    """Weights of an encoder of timm: as timm publishes them, or as segmentation-models-pytorch names them."""
    if file.suffix != JAX:
        state = read(file)
        if state and all(name.startswith(_PREFIX) for name in state):
            module = build(None, in_channels)
            own = part(module).state_dict()
            load(
                part(module), file, {name: _adapted(array, own.get(name), in_channels) for name, array in state.items()}
            )
            return module
        # timm converts names, and does not say what it could not find. What a file of NaN fills, it holds.
        blank = {name: torch.full_like(a, torch.nan) if a.is_floating_point() else a for name, a in state.items()}
        with _blaming(file), torch.random.fork_rng(devices=[]):
            filled = part(build(True, in_channels, pretrained_cfg_overlay={"state_dict": blank})).state_dict()
        _refuse_missing(file, [name for name, a in filled.items() if a.is_floating_point() and not a.isnan().any()])
    with _blaming(file):
        module = build(True, in_channels, pretrained_cfg_overlay={"file": str(file), "custom_load": file.suffix == JAX})
    _refuse_not_finite(file, dict(part(module).named_parameters()))
    return module


def _adapted(array: Tensor, own: Tensor | None, in_channels: int) -> Tensor:
    """Weights of a first convolution for three channels, adapted to others; all other arrays as they are."""
    first = own is not None and own.ndim == array.ndim == 4 and array.shape[1] * in_channels == own.shape[1] * 3
    return adapt_input_conv(in_channels, array) if first else array


def load(module: nn.Module, file: Path, state: dict[str, Tensor] | None = None) -> None:
    """Load a ``state_dict`` that holds at least all that ``module`` has, e.g. also a head or an unused stage.

    Args:
        module: gets the weights.
        file: where they are from.
        state: the content of the file, where it is known.

    Raises:
        InputError: the file is damaged, lacks something, or holds NaN or infinity.
    """
    found = read(file) if state is None else state
    with _blaming(file):
        module.load_state_dict(found, strict=False)
    _refuse_missing(file, [name for name in module.state_dict() if name not in found])


def load_jax(vit: Any, file: Path) -> None:
    """Load a vision transformer or hybrid as Google published it into one of timm, adapted to its channels.

    Raises:
        InputError: the file is damaged, lacks something, or holds NaN or infinity.
    """
    with _blaming(file):
        vit.load_pretrained(str(file))
    _refuse_not_finite(file, dict(vit.named_parameters()))


def read(file: Path) -> dict[str, Tensor]:
    """The arrays of a file, without unpickling code: a ``state_dict``, or a checkpoint that holds one.

    Raises:
        InputError: the file is damaged, or holds something else, NaN or infinity.
    """
    with _blaming(file):
        if file.suffix == JAX:
            raise ValueError(f"{JAX} files are for 'transunet_original' and for vision transformers of timm")
        state = load_state_dict(str(file))
        if not all(isinstance(array, Tensor) for array in state.values()):
            raise TypeError("not all of its values are arrays")
    _refuse_not_finite(file, state)
    return dict(state)


@contextmanager
def _blaming(file: Path) -> Iterator[None]:
    """Errors while weights are loaded, in a sentence that names the file."""
    try:
        yield
    except _UNFIT as error:
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
