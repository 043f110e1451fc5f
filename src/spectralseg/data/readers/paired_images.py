"""Images with one mask file each: photographs, slides or frames as PNG, JPEG, TIFF, BMP or WebP.

Images and masks have one pattern each, and are joined by the groups that both patterns capture::

    {"images": "images/{id}.png", "masks": "masks/{id}.png"}

A pattern is a regular expression for file paths relative to the folder of the dataset; see
:class:`~spectralseg.data.patterns.PathPattern`. ``{name}`` is short for ``(?P<name>[^/]+?)``, a part of a file or
folder name. ``id`` becomes the case id, ``group`` the group (such as the patient), all others attributes, which can
define splits or groups of results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample
from spectralseg.data.readers._limits import Picture, decoding_picture, inspect_picture
from spectralseg.data.readers._masks import ARTEFACT, decode, read_bytes, read_mask
from spectralseg.data.readers._opencv import decode_image
from spectralseg.data.readers._pairs import Pair, find_pairs
from spectralseg.data.readers._tiff import is_tiff, read_tiff
from spectralseg.errors import InputError

# Reductions by the discrete cosine transform of JPEG, and their flags.
_REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}
_REDUCIBLE = ("JPEG", "MPO")
_EMPTY = 32  # largest compression artefact of empty JPEG masks
_GREY = (63, 192)  # grey values far from background and object of a lossy mask
_MOST_LABELS = 8  # masks with more values hold grey values instead of labels
_WIDEST_EDGE = 4  # pixels of a soft edge
_NEAR = 4  # grey levels of 255 by which high-quality compression changes background and object
_BLOCK = 8  # pixels of a JPEG block, the range of artefacts of an edge
_FLAT = 4  # grey levels by which compression changes constant regions
_RINGING = 80  # grey levels by which compression overshoots at edges

# (path, mask (H, W), whether its compression is lossy) -> labels (H, W) and remarks
_Labelling = Callable[[Path, NDArray[Any], bool], tuple[NDArray[np.uint8], list[str]]]


def read(
    root: Path,
    *,
    images: str,
    masks: str,
    threshold: int = 127,
    values: Sequence[int] | None = None,
    grey: bool = False,
) -> list[Case]:
    """List the pairs of image and mask below ``root``.

    Masks without an image, as of withdrawn frames, are listed as cases with a defect.

    Args:
        root: folder of the dataset.
        images: case-insensitive pattern of the image files; see the module's docstring. Without ``{id}``, all captured
            groups, joined by ``_``, become the id: ``{part}/images/{name}.png`` gives ``train_001``.
        masks: pattern of the mask files. It shares at least one group with ``images``; shared groups must agree.
        threshold: mask values above it are the foreground class. Masks without lossy compression have one value on each
            side of it. Further values are accepted at soft edges only, and recorded as a remark.
        values: for label masks, the mask value of every label, background first; replaces ``threshold``.
        grey: read images as one channel instead of RGB.

    Raises:
        InputError: an option is invalid, no file matches, or an image has no mask or several.
    """
    if threshold < 0:
        raise InputError(f"reader option 'threshold': {threshold} lies below all mask values; give 0 or more")
    labelling = partial(_threshold, threshold) if values is None else _by_values(values)
    pairs, withdrawn = find_pairs(root, images, masks)
    return [*(_case(pair, labelling, grey) for pair in pairs), *withdrawn]


def _case(pair: Pair, labelling: _Labelling, grey: bool) -> Case:
    load = partial(_load, pair.image, pair.mask, labelling, grey)
    return Case(pair.id, pair.group, load, pair.attributes, pair.image, load_reduced=load)


def _load(
    image_path: Path, mask_path: Path, labelling: _Labelling, grey: bool, smallest_side: float = math.inf
) -> Sample:
    image, picture, reduction = _decode_image(image_path, read_bytes(image_path), grey, smallest_side)
    mask, mask_picture = read_mask(mask_path)
    if mask.shape != picture.shape:
        rotated = mask.shape == picture.shape[::-1] and picture.quarter_turn
        raise InputError(
            f"{mask_path}: the mask has {_size(mask.shape)} pixels but its image {image_path.name} has "
            f"{_size(picture.shape)}; "
            + (
                "rotate the image according to its orientation tag, and remove the tag"
                if rotated
                else "give both in the same size"
            )
        )
    pictures = {"image": picture, "mask": mask_picture}
    remarks = [f"orientation tag of the {kind} ignored" for kind, header in pictures.items() if header.turned]
    remarks += [f"{kind} stored with white as 0, inverted" for kind, header in pictures.items() if header.inverted]
    if picture.grey and not grey:
        remarks.append("image stored in grey values")
    labels, remark = labelling(mask_path, mask, mask_picture.lossy)
    return Sample(image, labels, remarks=(*remarks, *remark), reduction=reduction)


def _decode_image(path: Path, content: bytes, grey: bool, smallest_side: float) -> tuple[NDArray[Any], Picture, int]:
    """Pixels (H, W) or RGB (H, W, 3), the header, and the factor by which the decoder reduced the sides."""
    if is_tiff(content):
        with decoding_picture(path):
            image, picture = read_tiff(path, content)
        return _to_grey(image) if grey else _to_rgb(image), picture, 1
    picture = inspect_picture(path, content)
    small_enough = [r for r in _REDUCTIONS if min(picture.shape) >= r * smallest_side]
    reduction = small_enough[0] if small_enough and picture.format in _REDUCIBLE else 1
    colour = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    image = decode(path, content, partial(decode_image, flags=_REDUCTIONS[reduction] | colour))
    return image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), picture, reduction


def read_image(path: Path) -> tuple[NDArray[Any], Picture]:
    """RGB values (H, W, 3) of an image file, and its header.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    image, picture, _ = _decode_image(path, read_bytes(path), False, math.inf)
    return image, picture


def _to_grey(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _to_rgb(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _threshold(threshold: int, path: Path, mask: NDArray[Any], lossy: bool) -> tuple[NDArray[np.uint8], list[str]]:
    present = _present(mask)
    low, high = present[0], present[-1]
    if not (low >= 0 and high < math.inf):  # NaN, which is sorted last, fails the comparison, too
        raise InputError(f"{path}: the mask holds the value {low if low < 0 else high}; convert it to 8 bit, 0 and 255")
    # Low values are compression artefacts in lossy masks, and labels in others.
    if (_EMPTY if lossy else 0) < high <= threshold:
        raise InputError(
            f"{path}: the mask holds the values {_few(present)}, none of them above the threshold {threshold}; "
            "list the value of every label in the reader option 'values' or lower 'threshold'"
        )
    remarks = []
    if not lossy and max(np.count_nonzero(present <= threshold), np.count_nonzero(present > threshold)) > 1:
        if not _has_soft_edges(mask, present):
            raise InputError(
                f"{path}: the mask holds {len(present)} values, {_few(present)}, which the threshold {threshold} would "
                "merge into two; list one per label in the reader option 'values', or save a mask of 0 and 255"
            )
        remarks.append(f"mask with soft edges: {len(present)} grey values, divided at {threshold}")
    elif lossy and (grey := _grey_plateau(mask, low, high)) is not None:
        raise InputError(
            f"{path}: the lossy mask has regions of the grey value {grey:g}, in addition to darker and brighter ones, "
            f"which the threshold {threshold} would merge; save it without loss as 0 and 255"
        )
    elif lossy and not _narrow((mask > _GREY[0]) & (mask < _GREY[1])):
        remarks.append(f"mask with regions of grey, divided at {threshold}")
    if mask.dtype != np.uint8:
        return (mask > threshold).astype(np.uint8), remarks
    # In place, as allocating memory takes longer than comparing.
    labels: Any = cv2.threshold(mask, threshold, 1, cv2.THRESH_BINARY, dst=mask)[1]
    return labels, remarks


def _has_soft_edges(mask: NDArray[Any], present: NDArray[Any]) -> bool:
    """Whether values between the lowest and the highest one of a mask are soft edges instead of labels.

    Soft edges have several values in narrow bands. Values close to the lowest or the highest, as of lossy compression,
    must not fill a region. If there are as few values as labels, they must lie along the edge of the object.
    """
    low, high = float(present[0]), float(present[-1])
    if len(present) < 4:
        return False
    near = (high - low) * _NEAR / 255
    background, object_ = mask <= low + near, mask >= high - near
    even = _even(mask, 0)
    if not _narrow(~(background | object_)) or ((even > low) & (even < high)).any():
        return False
    if len(present) > _MOST_LABELS:
        return True
    around = np.ones((2 * _BLOCK + 1,) * 2, np.uint8)
    sides = [cv2.dilate(side.astype(np.uint8), around).astype(bool) for side in (background, object_)]
    return bool((sides[0] & sides[1])[(mask > low) & (mask < high)].all())


def _grey_plateau(mask: NDArray[Any], low: float, high: float) -> float | None:
    """An intermediate value that fills a region of a lossy mask, or None.

    In masks of two values, compression with a quality of 50 or more leaves no even window of other values.
    """
    unit = 1.0 if mask.dtype == np.uint8 else (float(high) - float(low)) / 255
    even = _even(mask, _FLAT * unit)
    if not even.size:
        return None
    lowest, highest = float(even.min()), float(even.max())
    # An object that is too small for a window is brighter than ringing of the brightest region.
    lowest = float(low) if lowest - low > _RINGING * unit else lowest
    highest = float(high) if high - highest > _RINGING * unit else highest
    grey = even[(even > lowest + ARTEFACT * unit) & (even < highest - ARTEFACT * unit)]
    return float(grey[0]) if grey.size else None


def _even(mask: NDArray[Any], most: float) -> NDArray[Any]:
    """Values (N,) at the centres of even windows: wider than a soft edge, with differences of at most ``most``."""
    if mask.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):  # types that OpenCV supports
        mask = mask.astype(np.float64)
    window, margin = np.ones((_WIDEST_EDGE + 1,) * 2, np.uint8), slice(_WIDEST_EDGE // 2, -(_WIDEST_EDGE // 2))
    differences: Any = cv2.subtract(cv2.dilate(mask, window), cv2.erode(mask, window))
    even: NDArray[Any] = mask[margin, margin][differences[margin, margin] <= most]
    return even


def _narrow(region: NDArray[np.bool_]) -> bool:
    """Whether a region (H, W) is narrower than a soft edge everywhere."""
    window = np.ones((_WIDEST_EDGE + 1,) * 2, np.uint8)
    return not cv2.erode(region.astype(np.uint8), window, borderValue=0).any()


def _present(mask: NDArray[Any]) -> NDArray[Any]:
    """Unique values of a mask in ascending order."""
    if mask.dtype != np.uint8:
        return np.unique(mask)
    counts: Any = cv2.calcHist([mask], [0], None, [256], [0, 256])  # much faster than sorting
    return np.flatnonzero(counts)


def _by_values(values: Sequence[int]) -> _Labelling:
    if len(set(values)) != len(values) or not 2 <= len(values) <= 256:
        raise InputError(
            f"reader option 'values': {list(values)} is not a list of different mask values, background first; "
            "give one value per label, e.g. [0, 1, 2]"
        )
    return partial(_look_up, tuple(values))


def _look_up(
    values: tuple[int, ...], path: Path, mask: NDArray[Any], lossy: bool
) -> tuple[NDArray[np.uint8], list[str]]:
    unknown = np.setdiff1d(_present(mask), values)
    if unknown.size:
        raise InputError(
            f"{path}: the mask holds the values {_few(unknown)}, which are not in {list(values)}; "
            "fix the mask or the reader option 'values'"
        )
    order = np.argsort(values)
    labels = order[np.searchsorted(np.asarray(values)[order], mask)]
    return labels.astype(np.uint8), []


def _few(values: NDArray[Any], most: int = 8) -> str:
    return ", ".join(map(str, values[:most].tolist())) + (" ..." if values.size > most else "")
