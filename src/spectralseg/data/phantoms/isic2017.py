"""ISIC-2017 Part 1, official test images: images, superpixels and metadata in one archive, masks in another."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from spectralseg.data.phantoms._drawing import zip_members
from spectralseg.data.phantoms._lesions import isic2017_ids, pair

_IMAGES = "ISIC-2017_Test_v2_Data"
_MASKS = "ISIC-2017_Test_v2_Part1_GroundTruth"


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write the two official archives; see :mod:`spectralseg.data.phantoms`."""
    images, masks = _texts(_IMAGES), _texts(_MASKS)
    rows = ["image_id,age_approximate,sex"]
    for case in isic2017_ids(cases):
        picture, mask = pair(seed, case, side)
        images[f"{_IMAGES}/{case}.jpg"] = picture
        images[f"{_IMAGES}/{case}_superpixels.png"] = _superpixels(mask)
        masks[f"{_MASKS}/{case}_segmentation.png"] = mask
        rows.append(f"{case},unknown,unknown")
    images[f"{_IMAGES}/{_IMAGES}_metadata.csv"] = "\n".join([*rows, ""]).encode()
    return [zip_members(folder / f"{name}.zip", content) for name, content in ((_IMAGES, images), (_MASKS, masks))]


def _superpixels(mask: bytes) -> bytes:
    """Indices of squares, encoded as colours, in the size of the image."""
    rows, columns = np.asarray(cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE)).shape
    y, x = np.mgrid[:rows, :columns] // 8
    index = y * (columns // 8 + 1) + x
    blue_green_red = np.dstack([np.zeros_like(index), index // 256, index % 256]).astype(np.uint8)
    return bytes(cv2.imencode(".png", blue_green_red)[1])


def _texts(top: str) -> dict[str, bytes]:
    return {
        f"{top}/": b"",
        f"{top}/ATTRIBUTION.txt": b"Synthetic stand-in: nobody to attribute it to.\n",
        f"{top}/LICENSE.txt": b"Synthetic stand-in for ISIC-2017: no terms.\n",
    }
