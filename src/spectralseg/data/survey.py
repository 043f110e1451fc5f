"""Look at the content of image and mask files: sizes, spacings, channels, mask values, intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import nibabel
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.geometry import coincide
from spectralseg.data.readers import paired_images
from spectralseg.data.readers._formats import Volume, read_nifti
from spectralseg.data.readers._limits import regular_file
from spectralseg.data.readers._masks import read_mask
from spectralseg.errors import InputError
from spectralseg.progress import progress_bar

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses
MOST_READ = 30  # files that are read completely; headers are read of all volumes
_MOST_LABELS = 32  # more values in a mask are grey values
_AIR = -500  # Hounsfield units; other modalities have no such values
_ZERO = 0.25  # share of zeros of images whose background was set to zero
_Content = TypeVar("_Content")


@dataclass(frozen=True)
class Survey:
    """Content of the files of a dataset.

    Attributes:
        dimensions: 2 or 3.
        channels: 1 or 3.
        values: values of the masks that were read, ascending.
        classes: number of foreground classes.
        reader_options: options of the reader that follow from the content.
        intensity: proposed intensity rule; None for 8-bit images.
        intensity_note: why.
        facts: label -> what was read, for people.
        problems: one sentence on each property that needs a decision.
    """

    dimensions: int
    channels: int
    values: tuple[int, ...]
    classes: int
    reader_options: dict[str, Any] = field(default_factory=dict)
    intensity: dict[str, Any] | None = None
    intensity_note: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class _Image(NamedTuple):
    """An image: its shape without channels, whether it is grey, its type, its range, and its share of zeros."""

    shape: tuple[int, ...]
    grey: bool
    dtype: str
    lowest: float
    highest: float
    zeros: float
    has_axes: bool = True


class _Mask(NamedTuple):
    """A mask: its shape, its first values in ascending order, and whether its compression is lossy."""

    shape: tuple[int, ...]
    values: tuple[float, ...]
    lossy: bool = False
    has_axes: bool = True


def survey_pictures(pairs: Sequence[tuple[Path, Path]]) -> Survey:
    """Survey pairs of two-dimensional images and masks.

    Raises:
        InputError: no image or no mask can be read.
    """
    chosen = _spread(pairs)
    images, image_errors = _read([image for image, _ in chosen], _picture)
    masks, mask_errors = _read([mask for _, mask in chosen], _picture_mask)
    problems = [*_unreadable(image_errors, "images"), *_unreadable(mask_errors, "masks")]
    greys = sum(image.grey for image in images)
    if 0 < greys < len(images):
        problems.append(f"{greys} of {len(images)} images are grey, the others have colours; all are read as colours")
    options: dict[str, Any] = {"grey": True} if greys == len(images) else {}
    values = _values_of(masks)
    classes = 1
    if any(mask.lossy for mask in masks) or len(values) > _MOST_LABELS:
        problems.append("masks have grey values or lossy compression: those above 127 are taken as foreground")
    elif not set(values) <= {0, 255}:
        options["values"] = _labels_of(values)
        classes = len(options["values"]) - 1
    if not image_errors and not mask_errors:
        problems += _other_shapes([(image.shape, mask.shape) for image, mask in zip(images, masks, strict=True)])
    deep = any(image.dtype != "uint8" for image in images)
    facts = {
        "image sizes": _most_common(f"{image.shape[1]} x {image.shape[0]} pixels" for image in images),
        "image channels": _most_common(f"{1 if image.grey else 3} of {image.dtype}" for image in images),
        "mask values": f"{_few(values)} in {_part(masks, pairs)} masks",
    }
    rule, note = (
        ({"percentiles": [0, 100]}, "images are not 8-bit: each is scaled by its range") if deep else (None, "")
    )
    channels = 1 if options.get("grey") else 3
    return Survey(2, channels, tuple(map(int, values)), classes, options, rule, note, facts, tuple(problems))


def survey_volumes(pairs: Sequence[tuple[Path, Path]]) -> Survey:
    """Survey pairs of NIfTI volumes and masks; headers of all files, voxels of some.

    Raises:
        InputError: no image or no mask can be read.
    """
    headers, header_errors = _read([image for image, _ in pairs], _header)
    mask_headers, mask_header_errors = _read([mask for _, mask in pairs], _header)
    chosen = _spread(pairs)
    images, image_errors = _read([image for image, _ in chosen], _volume)
    masks, mask_errors = _read([mask for _, mask in chosen], _volume_mask)
    problems = [
        *_unreadable(header_errors or image_errors, "images"),
        *_unreadable(mask_header_errors or mask_errors, "masks"),
    ]
    values = _values_of(masks)
    labels = _labels_of(values)
    if len(values) > _MOST_LABELS or any(value != round(value) for value in values):
        problems.append(f"masks hold values that are no labels, {_few(values)}; give the label files")
        labels = [0, 1]
    options: dict[str, Any] = {"values": labels}
    if not (all(image.has_axes for image in images) and all(mask.has_axes for mask in masks)):
        options["slices"] = "stored"
        problems.append("some headers do not give the patient's axes: slices are taken along the third axis as stored")
    if not header_errors and not mask_header_errors:
        different = sum(not _same_grid(*pair) for pair in zip(headers, mask_headers, strict=True))
        if different:
            problems.append(f"{different} of {len(pairs)} masks have another grid than their image, which is refused")
    rule, note = _intensity(images)
    lowest, highest = min(image.lowest for image in images), max(image.highest for image in images)
    facts = {
        "volume sizes": _ranges([header.get_data_shape()[:3] for header in headers], "voxels"),
        "voxel sizes": _ranges([header.get_zooms()[:3] for header in headers], "mm"),
        "intensities": f"{lowest:g} to {highest:g} in {_part(images, pairs)} volumes",
        "mask values": f"{_few(values)} in {_part(masks, pairs)} masks",
    }
    return Survey(3, 1, tuple(labels), len(labels) - 1, options, rule, note, facts, tuple(problems))


def _spread(pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """At most :data:`MOST_READ` pairs, evenly spread."""
    count = min(len(pairs), MOST_READ)
    return [pairs[index * (len(pairs) - 1) // max(count - 1, 1)] for index in range(count)]


def _read(paths: Sequence[Path], read: Callable[[Path], _Content]) -> tuple[list[_Content], list[str]]:
    """Contents of files, and error messages of those that cannot be read.

    Raises:
        InputError: no file can be read; the error of the first one.
    """
    contents, errors = [], []
    for path in progress_bar(paths, desc="read files", unit="file"):
        try:
            contents.append(read(path))
        except InputError as error:
            errors.append(error)
    if not contents:
        raise errors[0]
    return contents, [str(error) for error in errors]


def _picture(path: Path) -> _Image:
    pixels, picture = paired_images.read_image(path)
    return _Image(pixels.shape[:2], picture.grey, str(pixels.dtype), float(pixels.min()), float(pixels.max()), 0.0)


def _picture_mask(path: Path) -> _Mask:
    mask, picture = read_mask(path)
    return _Mask(mask.shape, _first_values(mask), picture.lossy)


def _volume(path: Path) -> _Image:
    volume = read_nifti(path)
    array = volume.array
    zeros = float(np.mean(array == 0))
    shape = array.shape
    return _Image(shape, True, str(array.dtype), float(array.min()), float(array.max()), zeros, _has_axes(volume))


def _volume_mask(path: Path) -> _Mask:
    volume = read_nifti(path)
    return _Mask(volume.array.shape, _first_values(volume.array), has_axes=_has_axes(volume))


def _has_axes(volume: Volume) -> bool:
    return volume.placed and not (volume.unit_affine and volume.zooms != (1, 1, 1))


def _first_values(mask: NDArray[Any]) -> tuple[float, ...]:
    return tuple(np.unique(mask)[: 2 * _MOST_LABELS].astype(float).tolist())


def _values_of(masks: Iterable[_Mask]) -> list[float]:
    return sorted({value for mask in masks for value in mask.values})


def _labels_of(values: Iterable[float]) -> list[int]:
    """Whole values, background first; background and one class without any other."""
    labels = sorted({0, *(int(value) for value in values if abs(value) < 2**31)})
    return labels if len(labels) > 1 else [0, 1]


def _other_shapes(shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[str]:
    different = sum(image != mask for image, mask in shapes)
    state = f"{different} of {len(shapes)} masks have another size than their image, which is refused"
    return [state] if different else []


def _header(path: Path) -> Any:
    regular_file(path)
    try:
        return nib.load(path).header
    except Exception as error:  # of any kind, by a damaged header
        raise InputError(f"{path}: is not a NIfTI file ({' '.join(str(error).split())[:100]})") from None


def _same_grid(image: Any, mask: Any) -> bool:
    shape = image.get_data_shape()[:3]
    if shape != mask.get_data_shape()[:3]:
        return False
    first, second = (np.asarray(header.get_best_affine(), np.float64) for header in (mask, image))
    try:
        return coincide(first, second, shape)
    except np.linalg.LinAlgError:
        return False


def _intensity(images: Sequence[_Image]) -> tuple[dict[str, Any], str]:
    """Proposed intensity rule and the reason for it."""
    if min(image.lowest for image in images) <= _AIR:
        return {"window": [-160, 240]}, "values down to air, as of CT: a window of soft tissue in Hounsfield units"
    if np.mean([image.zeros for image in images]) > _ZERO:
        return {"nonzero_percentiles": [0.5, 99.5]}, "many voxels are zero, as of MR whose background was removed"
    return {"percentiles": [0.5, 99.5]}, "each volume is scaled by its own percentiles, as usual for MR"


def _part(read: Sequence[Any], pairs: Sequence[Any]) -> str:
    return f"all {len(pairs)}" if len(read) == len(pairs) else f"{len(read)} of {len(pairs)}"


def _unreadable(errors: Sequence[str], kind: str) -> list[str]:
    return [f"{len(errors)} {kind} cannot be read: {errors[0]}"] if errors else []


def _most_common(texts: Iterable[str], most: int = 3) -> str:
    counts = Counter(texts)
    listed = ", ".join(f"{text} ({count})" for text, count in counts.most_common(most))
    return next(iter(counts)) if len(counts) == 1 else listed + (" ..." if len(counts) > most else "")


def _ranges(triples: Sequence[Sequence[float]], unit: str) -> str:
    low, high = np.min(triples, axis=0), np.max(triples, axis=0)
    sides = (f"{a:.4g}" if a == b else f"{a:.4g}-{b:.4g}" for a, b in zip(low, high, strict=True))
    return " x ".join(sides) + f" {unit}"


def _few(values: Sequence[float], most: int = 8) -> str:
    return ", ".join(f"{value:g}" for value in values[:most]) + (" ..." if len(values) > most else "")
