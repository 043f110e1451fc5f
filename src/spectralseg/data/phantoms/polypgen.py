"""PolypGen: single frames of six centres with different appearances, and video sequences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.phantoms._drawing import generator, jpeg, zip_members
from spectralseg.data.phantoms._polyps import Look, Mask, draw

_TOP = "PolypGen2021_MultiCenterData_v3"
_ORPHAN = "957OLCV1_100H0002_mask_bbox.jpg"


@dataclass(frozen=True)
class _Centre:
    """Names, shapes and encodings of the frames of a centre.

    Attributes:
        frames: number of single frames in the original.
        stem: format of frame names, from their number.
        aspect: width over height.
        look: appearance, different from that of Kvasir-SEG.
        box_suffix: suffix of the stem in names of bounding boxes.
        colour_masks: share of RGB masks; others are grey.
    """

    frames: int
    stem: str
    aspect: float
    look: Look
    box_suffix: str
    colour_masks: float = 0.0


_CENTRES = {
    "C1": _Centre(
        256, "100H{:04d}", 1.25, Look((0.96, 1.07, 0.96), 0.8, 0.58, (0.1, 0.28), 0.012, 0.025), "_mask", 0.9
    ),
    "C2": _Centre(
        301, "EndoCV2021_{:06d}", 1.35, Look((0.94, 1.0, 1.16), 0.95, 0.61, (0.12, 0.32), 0.008, 0.02, "full"), "", 0.7
    ),
    "C3": _Centre(
        457, "C3_EndoCV2021_{:05d}", 1.33, Look((0.88, 1.1, 1.06), 0.92, 0.64, (0.12, 0.36), 0.006, 0.02), ""
    ),
    "C4": _Centre(
        227,
        "EndoCV2021_C4_{:06d}",
        1.78,
        Look((1.05, 0.95, 0.78), 0.72, 0.61, (0.1, 0.26), 0.01, 0.01, "corner"),
        "_mask",
    ),
    "C5": _Centre(
        208, "EndoCV2021_C5_{:07d}", 1.78, Look((1.04, 1.13, 1.16), 1.0, 0.58, (0.1, 0.3), 0.011, 0.03, "full"), "_mask"
    ),
    "C6": _Centre(
        88,
        "EndoCV2021_C6_{:07d}",
        1.78,
        Look((0.88, 0.98, 1.12), 0.75, 0.64, (0.1, 0.28), 0.013, 0.02, "round"),
        "_mask",
    ),
}


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``PolypGen2021_MultiCenterData_v3.zip``; see :mod:`spectralseg.data.phantoms`.

    Every centre has at least two frames, so that all irregularities occur.
    """
    # As in the original, the top folder contains a folder of the same name.
    top = f"{_TOP}/{_TOP}"
    members = {f"{_TOP}/": b"", f"{top}/": b"", f"{top}/license.txt": b"Synthetic stand-in for PolypGen: no terms.\n"}
    total = sum(centre.frames for centre in _CENTRES.values())
    for name, centre in _CENTRES.items():
        count = max(2, round(cases / 2 * centre.frames / total))
        members.update(_single_frames(top, name, centre, count, side, seed))
    members.update(_sequences(top, side, seed))
    # Archive clutter of macOS, with the name of a frame.
    first = next(name for name in members if "/images_C2/" in name)
    members[f"__MACOSX/{first.replace('images_C2/', 'images_C2/._')}"] = b"\x00\x05\x16\x07clutter"
    return [zip_members(folder / f"{_TOP}.zip", members)]


def _single_frames(top: str, name: str, centre: _Centre, count: int, side: int, seed: int) -> dict[str, bytes]:
    base = f"{top}/data_{name}"
    overlays = "bbox_images_C6" if name == "C6" else f"bbox_image_{name}"
    members: dict[str, bytes] = {}
    details = ["image,annotations"]
    for index in range(count):
        # Frames without a polyp are part of the test set.
        empty = name in ("C2", "C4") and index == 1
        number = 1 + index * centre.frames // count
        mask_stem = stem = centre.stem.format(number)
        if name == "C3" and index == count - 1:
            stem, mask_stem = "C3_EndoCV2021_00489_", "C3_EndoCV2021_00489"
        rng = generator(seed, "polypgen", stem)
        picture, mask = draw(rng, _shape(rng, side, centre.aspect), centre.look, empty=empty)
        colour = rng.uniform() < centre.colour_masks
        members[f"{base}/images_{name}/{stem}.jpg"] = jpeg(picture)
        members[f"{base}/masks_{name}/{mask_stem}_mask.jpg"] = _mask_file(mask, colour)
        if stem == mask_stem:  # frames from 489 on were added without boxes
            members[f"{base}/bbox_{name}/{stem}{centre.box_suffix}.txt"] = _box(mask)
            members[f"{base}/{overlays}/{stem}{centre.box_suffix}_bbox.jpg"] = _with_box(picture, mask)
        members[f"{top}/imagesAll_positive/{stem}.jpg"] = members[f"{base}/images_{name}/{stem}.jpg"]
        details.append(f"{stem}.jpg,{int(not empty)}")
    if name == "C1":
        members[f"{base}/{overlays}/{_ORPHAN}"] = next(v for k, v in members.items() if overlays in k)
    if name != "C6":
        members[f"{top}/dataDetails_PolypGen_SingleFrames/dataDetails_{name}.csv"] = "\n".join(details).encode()
    return members


def _sequences(top: str, side: int, seed: int) -> dict[str, bytes]:
    """Video frames, which are not among the 1537 single frames: with masks, and without polyps."""
    members: dict[str, bytes] = {}
    for sequence, centre in (("seq1", _CENTRES["C2"]), ("seq2", _CENTRES["C5"])):
        base = f"{top}/sequenceData/positive/{sequence}"
        for index in range(2):
            stem = f"{sequence[3:]}_endocv2021_positive_{100 + index}"
            rng = generator(seed, "polypgen", stem)
            picture, mask = draw(rng, _shape(rng, side, centre.aspect), centre.look, empty=sequence == "seq1")
            members[f"{base}/images_{sequence}/{stem}.jpg"] = jpeg(picture)
            members[f"{base}/masks_{sequence}/{stem}_mask.jpg"] = _mask_file(mask, colour=True)
            members[f"{base}/bbox_{sequence}/{stem}.txt"] = _box(mask)
            members[f"{base}/bbox_image_{sequence}/{stem}_bbox.jpg"] = _with_box(picture, mask)
            members[f"{top}/imagesAll_positive/{stem}.jpg"] = members[f"{base}/images_{sequence}/{stem}.jpg"]
            if sequence == "seq2":  # stray in the original
                members[f"{base}/masks_{sequence}/{stem}.txt"] = _box(mask)
    for index in range(2):
        rng = generator(seed, "polypgen", "negative", index)
        picture, _ = draw(rng, _shape(rng, side, 1.78), _CENTRES["C4"].look, empty=True)
        members[f"{top}/sequenceData/negativeOnly/seq1_neg/1_endocv2021_negative_{index}.jpg"] = jpeg(picture)
    return members


def _shape(rng: np.random.Generator, side: int, aspect: float) -> tuple[int, int]:
    rows = side * rng.choice([0.75, 0.95, 1.0])
    return round(rows), round(rows * aspect)


def _mask_file(mask: Mask, colour: bool) -> bytes:
    white = mask.astype(np.uint8) * 255
    return jpeg(np.dstack([white] * 3) if colour else white, quality=95)


def _corners(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _box(mask: Mask) -> bytes:
    return ("polyp {} {} {} {}\n".format(*_corners(mask)) if mask.any() else "\n").encode()


def _with_box(picture: NDArray[np.uint8], mask: Mask) -> bytes:
    canvas = picture.copy()
    if mask.any():
        left, top, right, bottom = _corners(mask)
        cv2.rectangle(canvas, (left, top), (right, bottom), (0, 255, 0), 2)
    return jpeg(canvas)
