"""Cases that two datasets share: exact matches of the case tables, and near-duplicate images.

Two slices are near-duplicates if their perceptual hashes (256 bits, from the lowest frequencies of 64 x 64 grey pixels)
differ in at most 32 bits and their grey thumbnails (32 x 32) correlate with at least 0.95. A case is a near-duplicate
of another if that one matches at least half of its slices; nearly constant slices do not count. An image is one slice.

``docs/leakage.md`` has the measurements behind these limits. Mirrored, rotated and cropped copies are not detected.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from spectralseg.data.prepared import PreparedDataset
from spectralseg.data.splits import read_list
from spectralseg.progress import progress_bar

EXACT = {"id": "case", "bytes": "image_sha256", "group": "group"}  # kind of match: column that agrees
HASH_SIDE, HASH_BITS, CORRELATION, SLICES = 16, 32, 0.95, 0.5
_THUMBNAIL = 32
_FLAT = 2.0  # standard deviation in grey levels of 255, below which a slice is not hashed
_BLOCK = 1 << 20  # pairs of slices that are compared at a time


def split_list_cases(name: str) -> pd.DataFrame:
    """Cases of a published split list as :func:`exact_matches` takes them: columns ``case`` and ``part``."""
    parts = read_list(name).parts
    return pd.DataFrame({"case": parts.keys(), "part": parts.values()}, dtype="str")


def exact_matches(
    kind: str, training: pd.DataFrame, test: pd.DataFrame, parts: Collection[str] = ("test",)
) -> pd.DataFrame:
    """Pairs of a test case and a case of another table with equal values. Empty values match nothing.

    Args:
        kind: a key of :data:`EXACT`, which names the compared column.
        training: cases of any part, with columns ``case``, ``part`` and the compared one.
        test: the same; only its test cases are compared, or those of ``parts``.
        parts: parts of ``test``.

    Returns:
        Columns ``test_case``, ``kind``, ``train_case``, ``train_part`` and ``distance``.
    """
    left, right = (frame.assign(key=frame[EXACT[kind]])[["key", "case", "part"]] for frame in (test, training))
    both = left[left["part"].isin(parts) & (left["key"] != "")].merge(right, on="key", suffixes=("_test", "_train"))
    return _matches(kind, both["case_test"], both["case_train"], both["part_train"], np.nan)


@dataclass(frozen=True)
class ImageHashes:
    """Perceptual hashes and thumbnails of the n slices of a dataset that are not nearly constant.

    Attributes:
        cases: the case table.
        case: row of each slice's case in that table, int64 (n,).
        bits: perceptual hashes, uint64 (n, 4).
        thumbnail: grey thumbnails without their mean and of unit length, float32 (n, 1024).
    """

    cases: pd.DataFrame
    case: NDArray[np.int64]
    bits: NDArray[np.uint64]
    thumbnail: NDArray[np.float32]

    def of(self, *parts: str) -> ImageHashes:
        """Those of the slices of some parts; the case table stays whole."""
        selected = self.cases["part"].isin(parts).to_numpy()[self.case]
        return ImageHashes(self.cases, self.case[selected], self.bits[selected], self.thumbnail[selected])


def hash_images(data: PreparedDataset) -> ImageHashes:
    """Hash every slice of a prepared dataset that is not nearly constant."""
    case, bits, thumbnail = [], [], []
    spans = list(zip(data.cases["first"], data.cases["slices"], strict=True))
    for index, (first, slices) in enumerate(progress_bar(spans, desc=f"hash {data.name}", unit="case")):
        for image in data.images[first : first + slices]:
            grey = _grey(image)
            if grey.std() < _FLAT:
                continue
            small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
            small -= small.mean()
            case.append(index)
            bits.append(np.packbits(imagehash.phash(Image.fromarray(grey), HASH_SIDE).hash))
            thumbnail.append(small.ravel() / max(float(np.linalg.norm(small)), 1e-6))
    return ImageHashes(
        data.cases,
        np.array(case, np.int64),
        np.array(bits, np.uint8).reshape(len(case), HASH_SIDE**2 // 8).view(np.uint64),
        np.array(thumbnail, np.float32).reshape(len(case), _THUMBNAIL**2),
    )


def near_duplicates(training: ImageHashes, test: ImageHashes, parts: Collection[str] = ("test",)) -> pd.DataFrame:
    """Pairs of a test case, or a case of ``parts``, and a case of another dataset that are near-duplicates.

    Columns are those of :func:`exact_matches`; ``distance`` is the median over the matching slices.
    """
    test = test.of(*parts)
    blocks = [np.empty((0, 3), np.int64)]
    rows = max(1, _BLOCK // max(1, len(training.bits)))
    for start in range(0, len(test.bits), rows):
        block = slice(start, start + rows)
        distance = np.zeros((len(test.bits[block]), len(training.bits)), np.uint16)
        for left, right in zip(test.bits[block].T, training.bits.T, strict=True):
            distance += np.bitwise_count(left[:, None] ^ right[None, :])
        i, j = np.nonzero(distance <= HASH_BITS)
        (close_rows, row), (close_columns, column) = (np.unique(indices, return_inverse=True) for indices in (i, j))
        correlation = test.thumbnail[block][close_rows] @ training.thumbnail[close_columns].T
        duplicate = correlation[row, column] >= CORRELATION
        i, j = i[duplicate], j[duplicate]
        blocks.append(np.column_stack([start + i, training.case[j], distance[i, j]]))
    slices = pd.DataFrame(np.concatenate(blocks), columns=["slice", "train", "distance"])
    nearest = slices.groupby(["slice", "train"], as_index=False)["distance"].min()
    pairs = (
        nearest.assign(test=test.case[nearest["slice"]])
        .groupby(["test", "train"], as_index=False)
        .agg(distance=("distance", "median"), slices=("slice", "size"))
    )
    hashed_slices = np.bincount(test.case, minlength=1)
    pairs = pairs[pairs["slices"] >= SLICES * hashed_slices[pairs["test"]]]
    cases, twins = test.cases["case"].iloc[pairs["test"]], training.cases.iloc[pairs["train"]]
    return _matches("near_duplicate", cases, twins["case"], twins["part"], pairs["distance"])


def _matches(
    kind: str, test: pd.Series[str], train: pd.Series[str], part: pd.Series[str], distance: pd.Series[float] | float
) -> pd.DataFrame:
    cases = {"test_case": test.to_numpy(), "train_case": train.to_numpy(), "train_part": part.to_numpy()}
    matches = pd.DataFrame(cases, dtype="str").assign(kind=kind, distance=np.asarray(distance))
    return matches.astype({"kind": "str", "distance": "float64"})


def _grey(image: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """A slice (S, S, 1 or 3) of any unsigned type as 8-bit grey (S, S)."""
    eight = image if image.dtype == np.uint8 else (image >> 8 * (image.itemsize - 1)).astype(np.uint8)
    return eight[..., 0] if eight.shape[-1] == 1 else np.asarray(Image.fromarray(eight).convert("L"))
