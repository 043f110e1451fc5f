"""Export of trained models to files that run without this package, with a parity check."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.evaluation.examples import example_rows
from spectralseg.evaluation.label_maps import to_labels
from spectralseg.evaluation.predict import Predictor, check_trained_on, load_predictor
from spectralseg.exchange.model_card import INPUT, OUTPUT, Export, Parity, model_card
from spectralseg.files import creating_folder
from spectralseg.loading import reading
from spectralseg.metrics.records import read_records
from spectralseg.preprocessing import to_float
from spectralseg.run_folder import DESCRIPTION, read_settings

TOLERANCE = 1e-4  # of a probability
_EXAMPLES = 3
_Images = NDArray[np.float32]


class Standalone(nn.Module):
    """A model that includes the standardisation of its training data and the final sigmoid or softmax.

    Takes float32 images (B, channels, S, S) in [0, 1]; returns probabilities (B, C, S, S) as :class:`Predictor` does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.model = predictor.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.register_buffer("mean", predictor.mean.reshape(-1, 1, 1))
        self.register_buffer("std", predictor.std.reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of images."""
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def export_model(run: Path, data: PreparedDataset, out: Path, *, kind: str, checkpoint: str = "best") -> Parity:
    """Write a trained model and a model card, ``README.md``, into the new folder ``out``.

    The exported model includes standardisation and the final sigmoid or softmax, and takes batches of any size. It is
    compared with the original on test images and noise, one by one and as a batch.

    Args:
        run: folder of a finished run; the card has its results if it is evaluated.
        data: the dataset that the run was trained on.
        out: folder that does not exist yet.
        kind: a key of :data:`FORMATS`.
        checkpoint: ``best`` on validation, or ``last``.

    Raises:
        Diverged: the run diverged.
        InputError: there is no such run, it was trained on other data, packages are missing, ``out`` is not empty, or
            the exported model differs from the original by more than :data:`TOLERANCE`.
    """
    settings, export = read_settings(run), FORMATS[kind]
    check_trained_on(run, settings["data"], data)
    predictor = load_predictor(run, settings, checkpoint, 1, "cpu")
    images = _images(data)
    expected = predictor(images)
    records = read_records(run / "records.parquet") if (run / "records.parquet").exists() else None
    with creating_folder(out) as folder:
        with _quiet():
            export.write(Standalone(predictor).eval(), torch.from_numpy(_channels_first(images)), folder / export.file)
            parity = _compare(export.read(folder / export.file), images, expected)
        if not parity.error <= TOLERANCE:  # also if the exported model returns NaN
            raise InputError(
                f"{run}: a probability of the exported model differs from the original by {parity.error:.1e}, more "
                f"than {TOLERANCE:g}; choose another format"
            )
        with reading(run / DESCRIPTION, "the description of a finished run", "train the run again"):
            card = model_card(settings, data, records, Export(checkpoint, export.file, export.usage, parity))
        (folder / "README.md").write_text(card, encoding="utf-8")
    return parity


def _images(data: PreparedDataset) -> _Images:
    """Test images and as many images of noise, (N, S, S, channels) in [0, 1]."""
    examples = to_float(np.stack([data.images[row] for _, row in example_rows(data, _EXAMPLES)]))
    noise = np.random.default_rng(0).random(examples.shape, np.float32)
    return np.concatenate([examples, noise])


def _channels_first(images: _Images) -> _Images:
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


def _compare(model: Callable[[_Images], _Images], images: _Images, expected: _Images) -> Parity:
    inputs = _channels_first(images)
    batched, single = model(inputs), np.concatenate([model(inputs[n : n + 1]) for n in range(len(inputs))])
    error = float(np.abs([batched - expected, single - expected]).max())  # NaN if any difference is NaN
    return Parity(len(images), error, TOLERANCE, float((to_labels(batched) != to_labels(expected)).mean()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence verbose exporter warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class _Format:
    """An export format: name of the file, functions that write and read it, and Python code that shows its use."""

    file: str
    write: Callable[[nn.Module, Tensor, Path], None]
    read: Callable[[Path], Callable[[_Images], _Images]]
    usage: str


def _write_torchscript(model: nn.Module, images: Tensor, file: Path) -> None:
    with torch.no_grad():
        traced: Any = torch.jit.trace(model, images, check_trace=False)
    content = io.BytesIO()  # torch aborts the process if it writes to a full disk itself
    torch.jit.save(traced, content)
    file.write_bytes(content.getvalue())


def _read_torchscript(file: Path) -> Callable[[_Images], _Images]:
    model: Any = torch.jit.load(str(file))

    @torch.inference_mode()
    def run(images: _Images) -> _Images:
        return model(torch.from_numpy(images)).numpy()  # type: ignore[no-any-return]

    return run


def _write_onnx(model: nn.Module, images: Tensor, file: Path) -> None:
    try:
        import onnxruntime  # noqa: F401  # fail before the export, not after it
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; install the extra 'export' or choose torchscript") from None
    for name in ("onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.WARNING)
    torch.onnx.export(
        model,
        (images,),
        file,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def _read_onnx(file: Path) -> Callable[[_Images], _Images]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


FORMATS = {
    "onnx": _Format(
        "model.onnx",
        _write_onnx,
        _read_onnx,
        f'''import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
({OUTPUT},) = session.run(None, {{"{INPUT}": {INPUT}}})''',
    ),
    "torchscript": _Format(
        "model.torchscript",
        _write_torchscript,
        _read_torchscript,
        f"""import torch

model = torch.jit.load("model.torchscript")
{OUTPUT} = model(torch.from_numpy({INPUT})).numpy()""",
    ),
}
