"""Folders of images with one mask file each: photographs, slides, frames; PNG, JPEG, TIFF or BMP.

An image and its mask are found by one pattern each and joined on what the patterns capture in common::

    {"images": "images/{id}.png", "masks": "masks/{id}.png"}

A pattern is a regular expression for the path of a file relative to the dataset's folder, without look-around and
references to groups; it may start at any folder, so that an archive which nests its top folder twice reads like one
that does not. ``{name}`` is short for
``(?P<name>[^/]+?)``: it captures a part of a folder's or file's name. ``id`` becomes the case id, ``group`` the group
(the patient, say), everything else an attribute by which a dataset can be split or its results be told apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, layout_remedy, match_files
from spectralseg.data.patterns import PathPattern
from spectralseg.data.readers._limits import (
    MAX_IMAGE_BYTES,
    Picture,
    decoding_picture,
    inspect_picture,
    regular_file,
)
from spectralseg.data.readers._tiff import is_tiff, read_tiff
from spectralseg.errors import InputError, explained

# What OpenCV would print on its own is said in the sentence of an error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# An orientation tag would turn the image but not its mask.
_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
# Reductions that the discrete cosine transform of JPEG gives for free, and what asks for them.
_REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}
_REDUCIBLE = ("JPEG", "MPO")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
# Compression artefacts of empty JPEG masks stay below; so do channel differences of grey JPEG masks.
_ARTEFACT = 8
_EMPTY = 32
_GREY = (63, 192)  # far from background and object of a lossy mask
_MOST_LABELS = 8  # so few different values may be labels, more of them are grey values
_WIDEST_EDGE = 4  # pixels of a soft edge
_NEAR = 4  # grey levels out of 255 that lossy compression at its best adds to background and object
_BLOCK = 8  # pixels of a block of JPEG, within which an edge leaves artefacts
_FLAT = 4  # grey levels by which compression changes regions of one value
_RINGING = 80  # grey levels by which it overshoots at edges

# Path, mask (H, W) and whether its compression is lossy to labels (H, W) and remarks.
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
    """List the pairs of an image and a mask below ``root``.

    A mask without an image is listed as a case with a defect: archives hold annotations of frames that were withdrawn.

    Args:
        root: folder that holds the dataset.
        images: pattern of the image files, of which upper and lower case are the same; see the module's docstring.
            Without ``{id}``, what it captures becomes the id, joined by ``_``: ``{part}/images/{name}.png`` makes
            ``train_001``.
        masks: pattern of the mask files. It shares at least one name with ``images``, and what both capture must agree.
        threshold: mask values above it are the one foreground class. Unless compression is lossy, there is one value on
            each side of it; further grey values are accepted at soft edges only, and recorded as a remark.
        values: for masks that hold labels, the mask value of every label, background first; replaces ``threshold``.
        grey: read images as one channel. Otherwise they have three, RGB.

    Raises:
        InputError: an option is malformed, nothing matches, or an image has no mask or more than one.
    """
    if threshold < 0:
        raise InputError(f"reader option 'threshold': {threshold} lies below all mask values; give 0 or more")
    labelling = partial(_threshold, threshold) if values is None else _by_values(values)
    image_pattern, mask_pattern = _compile("images", images), _compile("masks", masks)
    common = sorted(set(image_pattern.names) & set(mask_pattern.names))
    if not common:
        raise InputError(
            f"reader options: 'images' ({images}) and 'masks' ({masks}) capture nothing in common; "
            "name the shared part in both, e.g. images/{id}.png and masks/{id}.png"
        )
    mask_files = match_files(root, mask_pattern)
    # Where both lie in one folder, {id}.png matches the masks {id}_mask.png too.
    found = [(path, names) for path, names in match_files(root, image_pattern) if path not in dict(mask_files)]
    if not found:
        remedy = layout_remedy(root, image_pattern, mask_pattern)
        raise InputError(f"{root}: no file matches images '{images}'; {remedy}")
    if not mask_files:
        remedy = layout_remedy(root, mask_pattern, image_pattern)
        raise InputError(f"{root}: no file matches masks '{masks}'; {remedy}")
    mask_of = _index(mask_files, common)
    without = [path for path, names in found if _key(names, common) not in mask_of]
    if without:
        raise InputError(
            f"{without[0]}: {len(without)} of {len(found)} images, this one first, have no mask that matches "
            f"'{masks}'; complete the masks or mend the pattern"
        )
    pictured = {_key(names, common) for _, names in found}
    withdrawn = [(mask, names) for mask, names in mask_files if _key(names, common) not in pictured]
    return [
        *(_case(path, mask_of[_key(names, common)], names, labelling, grey) for path, names in found),
        *(_withdrawn(mask, names) for mask, names in withdrawn),
    ]


def _compile(option: str, pattern: str) -> PathPattern:
    try:
        return PathPattern(_PLACEHOLDER.sub(r"(?P<\1>[^/]+?)", pattern))
    except ValueError as error:
        raise InputError(
            f"reader option '{option}': '{pattern[:200]}' is no valid pattern ({error}); see docs/add-a-dataset.md"
        ) from None


def _key(names: dict[str, str], common: Sequence[str]) -> tuple[str, ...]:
    return tuple(names.get(name, "") for name in common)


def _index(found: Sequence[tuple[Path, dict[str, str]]], common: Sequence[str]) -> dict[tuple[str, ...], Path]:
    index: dict[tuple[str, ...], Path] = {}
    for path, names in found:
        other = index.setdefault(_key(names, common), path)
        if other != path:
            raise InputError(f"{path}: a mask of the same image as {other}; remove one or make 'masks' tell them apart")
    return index


def _case(image: Path, mask: Path, names: dict[str, str], labelling: _Labelling, grey: bool) -> Case:
    attributes = {name: value for name, value in names.items() if name not in ("id", "group")}
    load = partial(_load, image, mask, labelling, grey)
    return Case(_id(names), names.get("group", _id(names)), load, attributes, image, load_reduced=load)


def _withdrawn(mask: Path, names: dict[str, str]) -> Case:
    return Case(
        _id(names),
        names.get("group", _id(names)),
        partial(_refuse, mask),
        defect=f"mask {mask.name} alone, without an image",
    )


def _refuse(mask: Path) -> Sample:
    raise InputError(f"{mask}: a mask without an image; leave the case out")


def _id(names: dict[str, str]) -> str:
    return names.get("id") or "_".join(names.values())


def _load(
    image_path: Path, mask_path: Path, labelling: _Labelling, grey: bool, smallest_side: float = math.inf
) -> Sample:
    image, picture, reduction = _decode_image(image_path, _read(image_path), grey, smallest_side)
    mask, mask_picture = read_mask(mask_path)
    if mask.shape != picture.shape:
        turned = mask.shape == picture.shape[::-1] and picture.quarter_turn
        raise InputError(
            f"{mask_path}: the mask has {_size(mask.shape)} pixels but its image {image_path.name} has "
            f"{_size(picture.shape)}; "
            + (
                "turn the image as its orientation tag asks, and remove the tag"
                if turned
                else "give both in the same size"
            )
        )
    of = {"image": picture, "mask": mask_picture}
    remarks = [f"orientation tag of the {kind} not obeyed" for kind in of if of[kind].turned]
    remarks += [f"{kind} stored with white as 0, inverted" for kind in of if of[kind].inverted]
    if picture.grey and not grey:
        remarks.append("image stored in grey values")
    labels, remark = labelling(mask_path, mask, mask_picture.lossy)
    return Sample(image, labels, remarks=(*remarks, *remark), reduction=reduction)


def _decode_image(path: Path, content: bytes, grey: bool, smallest_side: float) -> tuple[NDArray[Any], Picture, int]:
    """Pixels (H, W) or RGB (H, W, 3), what the header says, and by how much the decoder reduced the sides."""
    if is_tiff(content):
        with decoding_picture(path):
            image, picture = read_tiff(path, content)
        return _to_grey(image) if grey else _to_rgb(image), picture, 1
    picture = inspect_picture(path, content)
    small_enough = [r for r in _REDUCTIONS if min(picture.shape) >= r * smallest_side]
    reduction = small_enough[0] if small_enough and picture.format in _REDUCIBLE else 1
    colour = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    image = _decode(path, content, picture, _FLAGS | _REDUCTIONS[reduction] | colour)
    return image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), picture, reduction


def _to_grey(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _to_rgb(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)


def read_mask(path: Path) -> tuple[NDArray[Any], Picture]:
    """Grey values (H, W) of an image file as they are stored, and what its head says.

    Raises:
        InputError: the file is missing, damaged, in colours or transparent.
    """
    content = _read(path)
    if is_tiff(content):
        with decoding_picture(path):
            mask, picture = read_tiff(path, content)
    else:
        picture = inspect_picture(path, content)
        mask = _decode(path, content, picture, _FLAGS | cv2.IMREAD_ANYCOLOR)
    return _one_channel(path, mask, picture.lossy), picture


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _read(path: Path) -> bytes:
    regular_file(path, MAX_IMAGE_BYTES)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {explained(error)}") from None


def _decode(path: Path, content: bytes, picture: Picture, flags: int) -> NDArray[Any]:
    decoded = _decoded(content, picture, flags) if _is_complete(content) else None
    if decoded is None:
        raise InputError(f"{path}: damaged or truncated image file; download or copy it again")
    return decoded


def _decoded(content: bytes, picture: Picture, flags: int) -> NDArray[Any] | None:
    decoded: NDArray[Any] | None
    try:
        if (picture.format, picture.mode) == ("PNG", "L") and flags & cv2.IMREAD_ANYCOLOR:
            decoded = imagecodecs.png_decode(content)  # most masks, in two thirds of the time
        else:
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except (cv2.error, imagecodecs.PngError):
        return None
    return decoded


def _is_complete(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end: some decoders fill what is missing with grey and say nothing."""
    if content.startswith(b"\xff\xd8"):
        # Neither marker can occur inside compressed data, so the last scan must be followed by an end.
        end = content.rfind(b"\xff\xd9")
        return end >= 0 and content.find(b"\xff\xda", end) < 0
    if content.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in content
    return bool(content)


def _one_channel(path: Path, mask: NDArray[Any], lossy: bool) -> NDArray[Any]:
    """The mask as (H, W): masks are often stored as RGB with equal channels."""
    if mask.ndim == 2:
        return mask
    # The colour transform of JPEG leaves differences of a few grey values even where the original had none.
    tolerance = _ARTEFACT if lossy else 0
    channels = np.ascontiguousarray(mask.transpose(2, 0, 1))
    if (channels.max(axis=0) - channels.min(axis=0)).max() > tolerance:
        raise InputError(f"{path}: a mask with colours or a palette; convert it to grey values, one per class")
    one: NDArray[Any] = channels[1]
    return one


def _threshold(threshold: int, path: Path, mask: NDArray[Any], lossy: bool) -> tuple[NDArray[np.uint8], list[str]]:
    present = _present(mask)
    low, high = present[0], present[-1]
    if not (low >= 0 and high < math.inf):  # NaN, which sorts last, fails the comparison, too
        raise InputError(f"{path}: the mask holds the value {low if low < 0 else high}; convert it to 8 bit, 0 and 255")
    # In a lossy mask, low values are what compression makes of an empty mask; elsewhere they are labels.
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
            f"{path}: a lossy mask with regions of the grey value {grey:g}, besides darker and brighter ones, which "
            f"the threshold {threshold} would merge; save it without loss as 0 and 255"
        )
    elif lossy and not _narrow((mask > _GREY[0]) & (mask < _GREY[1])):
        remarks.append(f"mask with regions of grey, divided at {threshold}")
    if mask.dtype != np.uint8:
        return (mask > threshold).astype(np.uint8), remarks
    # In place: to fill fresh memory of that size takes longer than to compare.
    labels: Any = cv2.threshold(mask, threshold, 1, cv2.THRESH_BINARY, dst=mask)[1]
    return labels, remarks


def _has_soft_edges(mask: NDArray[Any], present: NDArray[Any]) -> bool:
    """Whether what lies between the lowest and the highest value of a mask are soft edges and no labels.

    Soft edges have several values, in narrow bands; further values may differ from the lowest or the highest by what
    lossy compression adds, but nowhere fill a region. If they are as few as labels, they lie along the object's edge.
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
    """A value, far from lower and higher ones, that fills a region of a lossy mask; None where there is none.

    In a mask of two values, compression with a quality of 50 or more leaves no even window of other values.
    """
    unit = 1.0 if mask.dtype == np.uint8 else (float(high) - float(low)) / 255
    even = _even(mask, _FLAT * unit)
    if not even.size:
        return None
    lowest, highest = float(even.min()), float(even.max())
    # An object may be too small to hold a window, but is brighter than what compression makes of the brightest region.
    lowest = float(low) if lowest - low > _RINGING * unit else lowest
    highest = float(high) if high - highest > _RINGING * unit else highest
    grey = even[(even > lowest + _ARTEFACT * unit) & (even < highest - _ARTEFACT * unit)]
    return float(grey[0]) if grey.size else None


def _even(mask: NDArray[Any], most: float) -> NDArray[Any]:
    """Values (N,) in the middle of square windows, wider than a soft edge, whose values differ by ``most`` at most."""
    if mask.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):  # what OpenCV takes
        mask = mask.astype(np.float64)
    window, margin = np.ones((_WIDEST_EDGE + 1,) * 2, np.uint8), slice(_WIDEST_EDGE // 2, -(_WIDEST_EDGE // 2))
    differences: Any = cv2.subtract(cv2.dilate(mask, window), cv2.erode(mask, window))
    even: NDArray[Any] = mask[margin, margin][differences[margin, margin] <= most]
    return even


def _narrow(region: NDArray[np.bool_]) -> bool:
    """Whether a region (H, W) is nowhere wider than a soft edge."""
    window = np.ones((_WIDEST_EDGE + 1,) * 2, np.uint8)
    return not cv2.erode(region.astype(np.uint8), window, borderValue=0).any()


def _present(mask: NDArray[Any]) -> NDArray[Any]:
    """Different values of a mask in ascending order."""
    if mask.dtype != np.uint8:
        return np.unique(mask)
    counts: Any = cv2.calcHist([mask], [0], None, [256], [0, 256])  # far faster than to sort
    return np.flatnonzero(counts)


def _by_values(values: Sequence[int]) -> _Labelling:
    if len(set(values)) != len(values) or not 2 <= len(values) <= 256:
        raise InputError(
            f"reader option 'values': {list(values)} is no list of different mask values, background first; "
            "give one value per label, e.g. [0, 1, 2]"
        )
    return partial(_look_up, tuple(values))


def _look_up(
    values: tuple[int, ...], path: Path, mask: NDArray[Any], lossy: bool
) -> tuple[NDArray[np.uint8], list[str]]:
    unknown = np.setdiff1d(_present(mask), values)
    if unknown.size:
        raise InputError(
            f"{path}: the mask holds the values {_few(unknown)}, which are none of {list(values)}; "
            "mend the mask or the reader option 'values'"
        )
    order = np.argsort(values)
    labels = order[np.searchsorted(np.asarray(values)[order], mask)]
    return labels.astype(np.uint8), []


def _few(values: NDArray[Any], most: int = 8) -> str:
    return ", ".join(map(str, values[:most].tolist())) + (" ..." if values.size > most else "")
