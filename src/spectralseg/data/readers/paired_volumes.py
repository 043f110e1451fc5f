"""NIfTI volumes with one mask file each.

Images and masks have one pattern each, as for :mod:`~spectralseg.data.readers.paired_images`, and are joined by the
groups that both patterns capture::

    {"images": "images/{group}_{visit}.nii.gz", "masks": "masks/{group}_{visit}.nii.gz"}
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample
from spectralseg.data.geometry import Geometry
from spectralseg.data.readers._formats import (
    DISPLAY,
    Volume,
    read_nifti,
    refuse_other_grid,
    refuse_other_place,
    refuse_without_axes,
    reorient,
    to_slices,
    whole_labels,
    whole_numbers,
)
from spectralseg.data.readers._pairs import find_pairs
from spectralseg.errors import InputError

Slices = Literal["axial", "stored"]
_MOST_LABELS = 256  # of one byte


def read(
    root: Path, *, images: str, masks: str, values: Sequence[int] | None = None, slices: Slices = "axial"
) -> list[Case]:
    """List the pairs of image and mask below ``root``.

    Masks without an image are listed as cases with a defect.

    Args:
        root: folder of the dataset.
        images: case-insensitive pattern of the image files. Without ``{id}``, all captured groups, joined by ``_``,
            become the id.
        masks: pattern of the mask files. It shares at least one group with ``images``; shared groups must agree.
        values: mask value of every label, background first, e.g. ``[0, 1, 2, 4]``; by default, values are labels.
        slices: ``axial`` slices, for which headers must give the patient's axes, or those along the third axis as
            ``stored``.

    Raises:
        InputError: an option is invalid, no file matches, or an image has no mask or several.
    """
    check_values(values)
    pairs, withdrawn = find_pairs(root, images, masks)
    cases = [
        Case(
            pair.id,
            pair.group,
            partial(load_channels, (pair.image,), pair.mask, values, slices),
            pair.attributes,
            pair.image,
        )
        for pair in pairs
    ]
    return [*cases, *withdrawn]


def check_values(values: Sequence[int] | None) -> None:
    """Raise an :class:`InputError` unless mask values are None or 2 to 256 different ones."""
    if values is not None and (len(set(values)) != len(values) or not 2 <= len(values) <= _MOST_LABELS):
        raise InputError(
            f"reader option 'values': {list(values)} is not a list of different mask values, background first; "
            "give one value per label, e.g. [0, 1, 2]"
        )


def load_channels(image_paths: Sequence[Path], mask_path: Path, values: Sequence[int] | None, slices: Slices) -> Sample:
    """Volume and labels (D, H, W) of NIfTI files; several images of one grid become channels (D, H, W, C).

    Raises:
        InputError: a file is damaged, grids differ, a header does not give the axes that ``slices`` needs, or a mask
            value is not in ``values``.
    """
    mask = read_nifti(mask_path)
    channels: list[NDArray[Any]] = []
    for path in image_paths:
        image = read_nifti(path)
        if slices == "axial":
            for file, volume in ((path, image), (mask_path, mask)):
                refuse_without_axes(file, volume, "correct it, or set the reader option 'slices' to 'stored'")
        refuse_other_grid(mask_path, mask, image)
        if image.placed == mask.placed and image.unit_affine == mask.unit_affine:
            refuse_other_place(mask_path, mask, image)
        channels.append(to_slices((reorient(image, DISPLAY) if slices == "axial" else image).array))
    geometry = Geometry(mask.affine, DISPLAY[::-1]) if slices == "axial" else Geometry.of_file_order(mask.affine)
    ordered = reorient(mask, DISPLAY) if slices == "axial" else mask
    remarks = (f"labels scaled by the header ({mask.scaling})",) if mask.scaling else ()
    array = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    labels = to_slices(_labels(mask_path, ordered, values))
    return Sample(array, labels, ordered.zooms[::-1], remarks, geometry=geometry)


def _labels(path: Path, mask: Volume, values: Sequence[int] | None) -> NDArray[np.uint8]:
    if values is None:
        return whole_labels(path, mask.array, _MOST_LABELS - 1, mask.scaling, mask.tolerance)
    native = whole_numbers(path, mask.array, mask.scaling, mask.tolerance)
    labels = np.zeros(native.shape, np.uint8)
    known = np.zeros(native.shape, np.bool_)
    for label, value in enumerate(values):
        same = native == value
        labels[same] = label
        known |= same
    if not known.all():
        unknown = np.unique(native[~known])
        few = ", ".join(f"{value:g}" for value in unknown[:8]) + (" ..." if unknown.size > 8 else "")
        raise InputError(
            f"{path}: the mask holds the values {few}, which are not in {list(values)}; "
            "fix the mask or the reader option 'values'"
        )
    return labels
