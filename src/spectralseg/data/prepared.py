"""The prepared dataset: a folder with a few large files, the input of all later steps.

======================  ================================================================================
``dataset.json``        specification, sizes, counts per part, intensity statistics, exclusions, remarks, checksums
``cases.csv``           one row per case: id, group, part, rows in the arrays, native shape, spacing, affine ...
``images.npy``          unsigned integers (N, S, S, channels); their range is that of the type
``masks.npy``           uint8 (N, S, S); 0 is background, 1..K the classes
``native_labels.bin``   labels of the test cases in native geometry, deflated one by one
======================  ================================================================================

A volume occupies consecutive rows of the arrays, one per axial slice.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectralseg.data.specification import Fit
from spectralseg.errors import InputError
from spectralseg.files import regular_file, sha256_of
from spectralseg.parsing import read_json

if TYPE_CHECKING:  # imported on use, as the workflow needs the file names only
    import pandas as pd

    from spectralseg.data.geometry import Geometry

FORMAT = 3
FILES = ("dataset.json", "cases.csv", "images.npy", "masks.npy", "native_labels.bin")
COLUMNS = {
    "case": str,
    "group": str,
    "part": str,
    "first": int,
    "slices": int,
    "native_shape": str,
    "spacing": str,
    "native_offset": int,
    "native_bytes": int,
    "sha256": str,
    "image_sha256": str,
    "attributes": str,
    "affine": str,
    "axes": str,
}
MAX_VOXELS = 2**28  # of a volume; the largest of the eight datasets has 2**25.7
_MAX_CARD, _MAX_TABLE = 2**26, 2**27  # bytes of dataset.json and cases.csv; less than 2**22 for the eight datasets
DEFLATE = 1032  # maximum compression ratio of deflate
_PARTS = {"train", "validation", "test"}


class _Lesions(BaseModel):
    """The key ``lesions`` of dataset.json; see :class:`spectralseg.data.specification.Lesions`."""

    model_config = ConfigDict(strict=True)

    connectivity: Literal[4, 8, 6, 18, 26] | None
    agatston: bool
    size_limits: Annotated[list[float], Field(min_length=2, max_length=2)]
    size_unit: Literal["mm", "pixels"]


class _Card(BaseModel):
    """Keys of dataset.json that later steps use; further ones are allowed."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
    title: str
    source: str
    classes: list[str]
    dimensions: Literal[2, 3]
    channels: Literal[1, 3]
    image_size: Annotated[int, Field(ge=1, le=4096)]
    id_namespace: str
    ood: list[str]
    mean: list[Any]
    std: list[Any]
    files: dict[str, str]
    modality: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    expected_cases: int | None = None
    intensity: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    fit: Fit = "resize"
    lesions: _Lesions | None = None
    split: dict[str, Any] = {}
    excluded: dict[str, str] = {}
    remarks: dict[str, list[str]] = {}
    sources: list[dict[str, Any]] = []
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class PreparedDataset:
    """A lazily opened prepared dataset: arrays are memory-mapped, native labels inflated on request.

    Examples:
        >>> from spectralseg.data import open_prepared
        >>> data = open_prepared("data/kvasir_seg")  # of 'spectralseg prepare'
        >>> data.classes, data.outputs, data.volumes
        (['polyp'], 1, False)
        >>> rows = data.rows("train")
        >>> data.images[rows[:4]].shape, data.masks[rows[:4]].shape
        ((4, 32, 32, 3), (4, 32, 32))
        >>> case = data.cases.loc[data.cases["part"] == "test", "case"].iloc[0]
        >>> data.native_labels(case).shape == data.native_shape(case)
        True
        >>> print(data.spacing(case))  # unknown: distances are in pixels
        None
    """

    path: Path
    info: dict[str, Any]
    cases: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return str(self.info["name"])

    @property
    def classes(self) -> list[str]:
        """Foreground classes in the order of their labels, 1..K."""
        return list(self.info["classes"])

    @property
    def modality(self) -> str:
        """Imaging modality as stated in the dataset file; empty if unknown."""
        return str(self.info.get("modality", ""))

    @property
    def identity(self) -> dict[str, Any]:
        """The metadata that the weights of a run depend on."""
        return identity_of(self.info)

    @property
    def id_namespace(self) -> str:
        """Datasets that share it use the same ids for the same images or patients."""
        return str(self.info["id_namespace"])

    @property
    def outputs(self) -> int:
        """Channels of a model's logits: 1 for a binary task, K + 1 otherwise."""
        return 1 if len(self.classes) == 1 else len(self.classes) + 1

    @property
    def volumes(self) -> bool:
        """Whether cases are volumes, segmented slice by slice, instead of images."""
        return bool(self.info["dimensions"] == 3)

    @property
    def fit(self) -> Fit:
        """How slices were brought to the network size, see :mod:`spectralseg.data.fit`."""
        fit: Fit = self.info.get("fit", "resize")
        return fit

    @cached_property
    def images(self) -> NDArray[Any]:
        """Memory-mapped images, unsigned integers (N, S, S, channels)."""
        return _memory_map(self.path / "images.npy")

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """Memory-mapped masks, uint8 (N, S, S)."""
        return _memory_map(self.path / "masks.npy")

    def rows(self, part: str) -> NDArray[np.int64]:
        """Array rows of all cases of a part."""
        cases = self.cases[self.cases["part"] == part]
        spans = [np.arange(first, first + n) for first, n in zip(cases["first"], cases["slices"], strict=True)]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)

    def spacing(self, case: str) -> tuple[float, ...] | None:
        """Millimetres per native axis; None if distances are in pixels."""
        value = self._row(case)["spacing"]
        with _reading(self.path / "cases.csv", f"spacing of case '{case}'"):
            steps = tuple(float(step) for step in json.loads(value)) if value else None
            if steps is not None and not all(0 < step < math.inf for step in steps):
                raise ValueError(f"{list(steps)} are not finite positive numbers")
            return steps

    def native_shape(self, case: str) -> tuple[int, ...]:
        """Pixels per native axis, (H, W) or (D, H, W)."""
        value = self._row(case)["native_shape"]
        with _reading(self.path / "cases.csv", f"native shape of case '{case}'"):
            return _native_shape(value)

    def geometry(self, case: str) -> Geometry | None:
        """Voxel grid of the label file of a volume, and the axes of the native labels on it; None for images."""
        from spectralseg.data.geometry import Geometry

        row = self._row(case)
        with _reading(self.path / "cases.csv", f"geometry of case '{case}'"):
            return Geometry(np.array(json.loads(row["affine"]), np.float64), row["axes"]) if row["affine"] else None

    def native_labels(self, case: str) -> NDArray[np.uint8]:
        """Labels of a test case in native geometry, uint8 (H, W) or (D, H, W).

        Raises:
            InputError: the case is unknown or not a test case, or its labels are damaged.
        """
        row = self._row(case)
        if not row["native_bytes"]:
            raise InputError(f"{self.path}: case '{case}' is not a test case, so its native labels are not stored")
        file, shape = self.path / "native_labels.bin", self.native_shape(case)
        with _reading(file, f"labels of case '{case}'"), file.open("rb") as stream:
            stream.seek(int(row["native_offset"]))
            # One more byte than expected is enough to detect further ones.
            content = zlib.decompressobj().decompress(stream.read(int(row["native_bytes"])), math.prod(shape) + 1)
            return np.frombuffer(content, np.uint8).reshape(shape)

    def describe_row(self, row: int) -> str:
        """The case of an array row, with the index of the slice if the case has several."""
        index = int(np.searchsorted(self.cases["first"], row, side="right")) - 1
        case = self.cases.iloc[index]
        return f"{case['case']} (slice {row - case['first']})" if case["slices"] > 1 else str(case["case"])

    def _row(self, case: str) -> pd.Series:
        rows = self.cases[self.cases["case"] == case]
        if len(rows) != 1:
            raise InputError(f"{self.path}: there is no case '{case}'")
        return rows.iloc[0]


def identity_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the content of ``dataset.json`` that the weights of a run depend on."""
    keys = ("name", "source", "classes", "channels", "image_size", "mean", "std", "files")
    return {key: info.get(key) for key in keys}


def checksum(path: Path, *further: str) -> str | None:
    """Checksum of :func:`identity_of` and of ``further`` keys of ``dataset.json``; None without a prepared dataset.

    Keys that the file lacks are left out. Only ``dataset.json`` is read, which contains the checksums of the other
    files.
    """
    try:
        info = read_json(path / "dataset.json", _MAX_CARD)
        content = identity_of(info) | {key: info[key] for key in further if key in info}
    except (InputError, AttributeError):
        return None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def open_prepared(path: Path | str) -> PreparedDataset:
    """Open a prepared dataset without reading its arrays.

    Everything is checked except for the content of the large files.

    Raises:
        InputError: a file is missing, damaged or of another format version, or files are inconsistent.

    Examples:
        >>> from spectralseg.data import open_prepared
        >>> data = open_prepared("data/kvasir_seg")  # of 'spectralseg prepare'
        >>> data.name, data.images.shape[1:], str(data.images.dtype)
        ('kvasir_seg', (32, 32, 3), 'uint8')
        >>> open_prepared("data/absent")
        Traceback (most recent call last):
            ...
        spectralseg.errors.InputError: data/absent: is not a prepared dataset, ... missing; run 'spectralseg prepare'
    """
    import pandas as pd

    path = Path(path)
    info = _read_card(path)
    table = path / "cases.csv"
    regular_file(table, _MAX_TABLE)
    with _reading(table):
        cases = pd.read_csv(table, dtype=COLUMNS, keep_default_na=False)
    _check(list(cases.columns) == list(COLUMNS), table, "has other columns than this version writes")
    _check(len(cases) > 0, table, "there are no cases")
    data = PreparedDataset(path, info, cases)
    _check_arrays(data)
    _check_cases(data)
    return data


def _check_arrays(data: PreparedDataset) -> None:
    """Check shapes and types of the arrays against the card and the case table."""
    size, channels, n = data.info["image_size"], data.info["channels"], int(data.cases["slices"].sum())
    _check(data.images.shape == (n, size, size, channels), data.path / "images.npy", f"shape is {data.images.shape}")
    _check(data.masks.shape == (n, size, size), data.path / "masks.npy", f"shape is {data.masks.shape}")
    _check(data.images.dtype.kind == "u", data.path / "images.npy", f"type {data.images.dtype} is not unsigned")
    _check(data.masks.dtype == np.uint8, data.path / "masks.npy", f"type {data.masks.dtype} is not uint8")


def _check_cases(data: PreparedDataset) -> None:
    """Check the case table for consistency, with itself, with the card and with file sizes."""
    cases, table = data.cases, data.path / "cases.csv"
    _check(cases["case"].is_unique, table, "a case id appears twice")
    _check(set(cases["part"]) <= _PARTS, table, "a part is unknown")
    straddling = cases.groupby("group")["part"].nunique()
    _check(bool((straddling == 1).all()), table, f"group '{straddling.idxmax()}' straddles parts")
    expected = cases["slices"].cumsum().shift(fill_value=0)
    consecutive = (cases["first"] == expected) & (cases["slices"] > 0)
    _check(bool(consecutive.all()), table, "rows of cases are not consecutive")
    counts = {str(part): int(count) for part, count in cases["part"].value_counts().items()}
    planes = {part: int(count) for part, count in cases.groupby("part")["slices"].sum().items()}
    for key, actual in (("cases", counts), ("slices", planes)):
        stated = data.info.get(key)
        stated = {part: count for part, count in stated.items() if count} if isinstance(stated, dict) else stated
        _check(
            stated in (None, actual), data.path / "dataset.json", f"'{key}' is {stated}, the case table has {actual}"
        )
    stored = regular_file(data.path / "native_labels.bin")
    columns = ("case", "native_shape", "native_offset", "native_bytes")
    for case, text, offset, length in zip(*(cases[column] for column in columns), strict=True):
        with _reading(table, f"native shape of case '{case}'"):
            shape = _native_shape(text)
        _check(math.prod(shape) <= MAX_VOXELS, table, f"case '{case}' has more than {MAX_VOXELS} native pixels")
        inside = min(offset, length) >= 0 and offset + length <= stored
        inside = inside and (not length or math.prod(shape) <= DEFLATE * length)
        _check(inside, table, f"native labels of case '{case}' do not lie in native_labels.bin")


def _native_shape(text: str) -> tuple[int, ...]:
    sides = json.loads(text)
    if not isinstance(sides, list) or len(sides) not in (2, 3) or not all(type(side) is int for side in sides):
        raise ValueError("not two or three whole numbers")
    if min(sides) < 1:
        raise ValueError("a side has no pixels")
    return tuple(sides)


def verify_prepared(path: Path | str) -> dict[str, int]:
    """Check the complete content of a prepared dataset and return the number of cases per part.

    Raises:
        InputError: names the first inconsistency.

    Examples:
        >>> from spectralseg.data import verify_prepared
        >>> parts = verify_prepared("data/kvasir_seg")  # of 'spectralseg prepare'
        >>> sorted(parts)
        ['test', 'train', 'validation']
    """
    path = Path(path)
    checksums = _read_card(path)["files"]
    for name in FILES[1:]:
        _check(sha256_of(path / name) == checksums.get(name), path / name, "its checksum differs from dataset.json")
    data = open_prepared(path)
    for key in ("cases", "slices"):
        _check(data.info.get(key) is not None, path / "dataset.json", f"'{key}' is missing")
    cases = data.path / "cases.csv"
    for _, row in data.cases.iterrows():
        rows = slice(row["first"], row["first"] + row["slices"])
        digest = case_checksum(data.images[rows], data.masks[rows])
        _check(digest == row["sha256"], cases, f"arrays of case '{row['case']}' do not match their checksum")
        _check(int(data.masks[rows].max()) <= len(data.classes), cases, f"case '{row['case']}' has an unknown label")
        volume = len(data.native_shape(row["case"])) == 3
        _check(volume == data.volumes, cases, f"case '{row['case']}' has another number of axes than the dataset")
        has_geometry = data.geometry(row["case"]) is not None
        _check(has_geometry == volume, cases, f"geometry of case '{row['case']}' does not fit its number of axes")
        if row["part"] == "test":
            native = data.native_labels(row["case"])
            _check(
                int(native.max(initial=0)) <= len(data.classes),
                cases,
                f"case '{row['case']}' has an unknown native label",
            )
    _check_intensities(data)
    return {str(part): int(count) for part, count in data.cases["part"].value_counts().items()}


def _check_intensities(data: PreparedDataset) -> None:
    """Check mean and standard deviation against the images of the training part, or all of a test-only dataset."""
    rows = data.rows("train") if "train" in set(data.cases["part"]) else np.arange(len(data.images))
    full = float(np.iinfo(data.images.dtype).max)
    sums = np.zeros((2, data.info["channels"]))
    for row in rows:
        image = data.images[row].reshape(-1, data.info["channels"]) / full
        sums += image.mean(axis=0), np.square(image).mean(axis=0)
    mean, mean_square = sums / len(rows)
    moments = {"mean": mean, "std": np.sqrt(np.maximum(mean_square - mean**2, 1e-12))}
    for key, value in moments.items():
        # The tolerance allows for rounding errors of small deviations.
        same = np.allclose(data.info[key], value, rtol=1e-4, atol=1e-5)
        _check(same, data.path / "dataset.json", f"'{key}' is {data.info[key]}, of the images {value.tolist()}")


def case_checksum(images: NDArray[Any], masks: NDArray[np.uint8]) -> str:
    """SHA-256 of the images and masks of one case."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(masks).data)
    return digest.hexdigest()


def _read_card(path: Path) -> dict[str, Any]:
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise InputError(f"{path}: is not a prepared dataset, {', '.join(missing)} missing; run 'spectralseg prepare'")
    card = path / "dataset.json"
    try:
        info = read_json(card, _MAX_CARD)
    except InputError as error:
        raise InputError(f"{error}; prepare the dataset again") from None
    _check(isinstance(info, dict), card, "is not a JSON object")
    if info.get("format") != FORMAT:
        raise InputError(f"{path}: prepared in format {info.get('format')}, this version reads {FORMAT}; prepare again")
    try:
        _Card.model_validate(info)
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        raise InputError(f"{card}: '{key}' is missing or of the wrong type; prepare the dataset again") from None
    names = info["classes"]
    _check(bool(names) and all(isinstance(name, str) and name for name in names), card, "'classes' are not all names")
    _check(len({name.casefold() for name in names}) == len(names), card, "'classes' has duplicate names")
    for key in ("mean", "std"):
        numbers = info[key]
        of_channels = len(numbers) == info["channels"] and all(type(number) in (int, float) for number in numbers)
        possible = of_channels and all(0 <= number <= 1 and (number > 0 or key == "mean") for number in numbers)
        _check(possible, card, f"'{key}' is {numbers}, not one share of the highest intensity for each channel")
    return info  # type: ignore[no-any-return]


def _memory_map(file: Path) -> NDArray[Any]:
    with _reading(file):
        return np.lib.format.open_memmap(file, mode="r")


@contextmanager
def _reading(file: Path, what: str = "content") -> Iterator[None]:
    """Convert errors of parsers inside the block to an :class:`InputError` about ``file``."""
    try:
        yield
    except InputError:
        raise
    # Parsers of damaged files raise nearly any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{file}: {what} cannot be read ({reason}); prepare the dataset again") from None


def _check(holds: bool, file: Path, problem: str) -> None:
    if not holds:
        raise InputError(f"{file}: {problem}; prepare the dataset again")
