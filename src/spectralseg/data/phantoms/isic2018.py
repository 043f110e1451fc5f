"""ISIC-2018 Task 1, training images: one archive of JPEG images, one of PNG masks."""

from __future__ import annotations

from pathlib import Path

from spectralseg.data.phantoms._drawing import zip_members
from spectralseg.data.phantoms._lesions import isic2018_ids, pair

_IMAGES = "ISIC2018_Task1-2_Training_Input"
_MASKS = "ISIC2018_Task1_Training_GroundTruth"


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write the two official archives; see :mod:`spectralseg.data.phantoms`."""
    images, masks = _texts(_IMAGES), _texts(_MASKS)
    for case in isic2018_ids(cases):
        picture, mask = pair(seed, case, side)
        images[f"{_IMAGES}/{case}.jpg"] = picture
        masks[f"{_MASKS}/{case}_segmentation.png"] = mask
    return [zip_members(folder / f"{name}.zip", content) for name, content in ((_IMAGES, images), (_MASKS, masks))]


def _texts(top: str) -> dict[str, bytes]:
    return {
        f"{top}/": b"",
        f"{top}/ATTRIBUTION.txt": b"Synthetic stand-in: nobody to attribute it to.\n",
        f"{top}/LICENSE.txt": b"Synthetic stand-in for ISIC-2018: no terms.\n",
    }
