"""BTCV / Synapse multi-organ abdomen: ``RawData/Training/{img/imgNNNN,label/labelNNNN}.nii.gz``.

The folder ``Testing`` of the archive has no labels and is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, find_files, layout_remedy
from spectralseg.data.readers._formats import load_pair
from spectralseg.errors import InputError

IMAGE_FILES = "Training/img/*.nii.gz"
LABEL_FILES = "Training/label/*.nii.gz"
NATIVE_LABELS = 13


def read(root: Path, *, organs: Sequence[int]) -> list[Case]:
    """List the labelled cases, one per volume.

    Args:
        root: folder with the unpacked archive.
        organs: native label values in the order of the classes 1..K; all others become background.

    Raises:
        InputError: an option is invalid, or an image has no label file or vice versa.
    """
    if not organs or len(set(organs)) != len(organs) or not set(organs) <= set(range(1, NATIVE_LABELS + 1)):
        raise InputError(f"reader option 'organs' is {list(organs)}; give distinct native labels 1..{NATIVE_LABELS}")
    labels, images = (_by_number(find_files(root, pattern)) for pattern in (LABEL_FILES, IMAGE_FILES))
    if not labels:
        remedy = layout_remedy(root, LABEL_FILES, IMAGE_FILES)
        raise InputError(f"{root}: no file matches '{LABEL_FILES}'; {remedy}")
    for number in sorted(labels.keys() ^ images.keys()):
        path, missing = (labels[number], "image") if number in labels else (images[number], "label file")
        raise InputError(f"{path}: the {missing} of case {number} is missing; restore it from RawData.zip")
    return [Case(n, n, partial(_load, images[n], labels[n], tuple(organs)), image=images[n]) for n in sorted(labels)]


def _by_number(paths: Sequence[Path]) -> dict[str, Path]:
    by_number: dict[str, Path] = {}
    for path in paths:
        other = by_number.setdefault(_number(path), path)
        if other != path:
            raise InputError(f"{path}: case {_number(path)} appears twice, also as {other}; remove one copy")
    return by_number


def _number(path: Path) -> str:
    match = re.fullmatch(r"(?:img|label)(\d{4})\.nii\.gz", path.name)
    if match is None:
        raise InputError(f"{path}: is not named imgNNNN.nii.gz or labelNNNN.nii.gz; keep the official file names")
    return match.group(1)


def _load(image_path: Path, label_path: Path, organs: tuple[int, ...]) -> Sample:
    sample = load_pair(image_path, label_path, NATIVE_LABELS)
    return replace(sample, labels=_organs_only(sample.labels, organs))


def _organs_only(native: NDArray[np.uint8], organs: tuple[int, ...]) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    table[list(organs)] = np.arange(1, len(organs) + 1)
    labels: Any = cv2.LUT(native.reshape(-1, 1), table).reshape(native.shape)  # several times faster than table[native]
    return labels  # type: ignore[no-any-return]
