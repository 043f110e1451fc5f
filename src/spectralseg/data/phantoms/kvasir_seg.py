"""Kvasir-SEG: JPEG frames and JPEG masks, and a file of bounding boxes, which is not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.phantoms._drawing import generator, jpeg, spread, zip_members
from spectralseg.data.phantoms._polyps import Look, Mask, draw
from spectralseg.data.splits import read_list

_LOOK = Look()


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``kvasir-seg.zip``; see :mod:`spectralseg.data.phantoms`."""
    parts = read_list("kvasir_seg_official").parts
    counts = {"train": cases, "test": max(1, cases // 2)}
    ids = [i for part, count in counts.items() for i in spread([k for k, v in parts.items() if v == part], count)]
    members = {"Kvasir-SEG/": b"", "Kvasir-SEG/images/": b"", "Kvasir-SEG/masks/": b""}
    boxes: dict[str, Any] = {}
    for case in ids:
        rng = generator(seed, "kvasir_seg", case)
        rows = side * rng.uniform(0.8, 1.1)
        picture, mask = draw(rng, (round(rows), round(rows * rng.uniform(1.05, 1.35))), _LOOK)
        members[f"Kvasir-SEG/images/{case}.jpg"] = jpeg(picture)
        members[f"Kvasir-SEG/masks/{case}.jpg"] = jpeg(np.dstack([_white(mask)] * 3), quality=98)
        boxes[case] = _box(mask)
    # The original name is misspelt, too.
    members["Kvasir-SEG/kavsir_bboxes.json"] = json.dumps(boxes).encode()
    return [zip_members(folder / "kvasir-seg.zip", members)]


def _white(mask: Mask) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * 255


def _box(mask: Mask) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = {"xmin": int(columns[0]), "ymin": int(rows[0]), "xmax": int(columns[-1]), "ymax": int(rows[-1])}
    return {"height": mask.shape[0], "width": mask.shape[1], "bbox": [{"label": "polyp", **box}]}
