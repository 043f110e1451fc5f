"""Prepare raw datasets: official files, phantoms and files of the user alike."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import pandas as pd
from isal import isal_zlib
from numpy.typing import NDArray

from spectralseg.data import splits
from spectralseg.data.archives import unpacked
from spectralseg.data.cases import Case, Sample
from spectralseg.data.fetch import receipts_of_given
from spectralseg.data.fit import FITTINGS, uncropped_side
from spectralseg.data.parallel import map_in_order
from spectralseg.data.patterns import composed
from spectralseg.data.prepared import COLUMNS, FILES, FORMAT, case_checksum
from spectralseg.data.readers import options_of, read_cases
from spectralseg.data.receipts import read_receipts
from spectralseg.data.specification import DatasetSpecification, Intensity, Lesions, Split
from spectralseg.errors import InputError
from spectralseg.files import replacing_folder, sha256_of
from spectralseg.metrics.lesions import lesion_sizes, pixel_size, tercile_limits
from spectralseg.progress import progress_bar

_LARGEST_SIDE = 4096  # pixels
_CONSTANT = "constant image"
_log = logging.getLogger(__name__)
# Images decoded at reduced size keep at least this many times the required pixels per side. With 1, preparation would
# take a seventh less time, but edges would differ two to three times as much; see benchmarks/README.md.
_SPARE = 2


def prepare(
    specification: DatasetSpecification,
    raw: Path,
    out: Path,
    *,
    image_size: int,
    source: str,
    split: str | None = None,
    validation: float = 0.1,
    allow_partial: bool = False,
    reduced_decoding: bool = True,
    threads: int = 1,
) -> None:
    """Read, split, resize or crop, and write a dataset into the folder ``out``, complete or not at all.

    Args:
        specification: of the dataset.
        raw: archive, folder of archives, or folder in the official layout.
        out: folder of the prepared dataset.
        image_size: side S of the square images in pixels.
        source: ``official``, ``phantom`` or ``path``; recorded, and used to label results.
        split: an alternative split of the specification, or a ``.csv`` file; None for the default split.
        validation: share of training groups, above 0 and below 1, held out (at least one) if the published split has no
            validation part.
        allow_partial: accept a subset of the official cases; the subset is recorded.
        reduced_decoding: decode large JPEG images, never labels, at 1/2, 1/4 or 1/8 of their size.
        threads: number of cases that are read and resized in parallel; does not change the result.

    Raises:
        InputError: names the file or case, what is wrong, and what to do.
    """
    if not 1 <= image_size <= _LARGEST_SIDE:
        raise InputError(f"image size {image_size}: must be from 1 to {_LARGEST_SIDE} pixels; choose another")
    if not 0 < validation < 1:
        raise InputError(
            f"validation share {validation}: must be above 0 and below 1, as training needs validation cases; "
            "choose another"
        )
    rule = splits.choose(specification, split)
    if source == "official":
        _require_files(specification, raw)
    with unpacked(raw, out.parent) as root:
        with options_of(specification.name):
            all_cases = read_cases(specification.reader, root, specification.reader_options)
        reasons = {composed(identity): reason for identity, reason in specification.exclude.items()}
        excluded = {case.id: reasons.get(case.id, case.defect) for case in all_cases}
        excluded = {identity: reason for identity, reason in excluded.items() if reason}
        cases = [case for case in all_cases if case.id not in excluded]
        _warn("are excluded", excluded)
        parts = splits.assign(
            cases,
            rule,
            dataset=specification.name,
            validation=validation,
            allow_partial=allow_partial,
        )
        if specification.expected_cases not in (None, len(cases)) and not allow_partial:
            raise InputError(
                f"{raw}: {len(cases)} of {specification.expected_cases} cases of '{specification.name}' are available; "
                f"complete the data or {splits.ACCEPT_PARTIAL}"
            )
        _refuse_untested(raw, parts)
        with replacing_folder(out) as folder:
            prepare_one = partial(_prepare_case, specification, parts, image_size, reduced_decoding)
            prepared_cases = progress_bar(
                map_in_order(prepare_one, cases, threads),
                desc=f"prepare {specification.name}",
                unit="case",
                total=len(cases),
            )
            rows = _write_arrays(specification, prepared_cases, folder, image_size)
            _refuse_constant(raw, specification.intensity, rows)
            _refuse_without_foreground(raw, _training(rows))
            _warn("have remarks", {row["case"]: ", ".join(row["remarks"]) for row in rows if row["remarks"]})
            choices = {
                "image_size": image_size,
                "source": source,
                "allow_partial": allow_partial,
                "reduced_decoding": reduced_decoding,
            }
            info = _describe(specification, rule, rows, parts, excluded, folder, choices)
            info["sources"] = receipts_of_given(specification, raw) if source == "path" else read_receipts(raw)
            (folder / "dataset.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _refuse_untested(raw: Path, parts: dict[str, str]) -> None:
    if "test" not in parts.values():
        raise InputError(
            f"{raw}: the split makes none of the {len(parts)} cases a test case; add test cases or choose another split"
        )


def _require_files(specification: DatasetSpecification, raw: Path) -> None:
    """Check that all official files are present; they may be deleted after preparation."""
    for file in specification.sources:
        if not (raw / file.file).is_file():
            raise InputError(
                f"{raw / file.file}: the official file is missing; put it there, or where there is a network run "
                f"'spectralseg fetch workflow/rules/datasets/{specification.name}.smk --out {raw}'"
            )


def intensity_limits(image: NDArray[Any], intensity: Intensity | None) -> tuple[float, float]:
    """Native intensities that are mapped to 0 and 1.

    Raises:
        InputError: values are NaN, infinite or extremely large, or the image is not 8-bit without an intensity rule.
    """
    # Larger differences could overflow in single precision. NaN fails the comparison, too.
    if image.dtype.kind == "f" and not (np.abs(image) < 1e30).all():
        raise InputError("has values that are not finite or extremely large; replace the file")
    if intensity is None:
        if image.dtype != np.uint8:
            raise InputError(f"is of type {image.dtype}, not 8-bit; give 'intensity' in the specification")
        return 0.0, 255.0
    if intensity.percentiles is not None:
        low, high = (float(value) for value in np.percentile(image, intensity.percentiles))
    elif intensity.nonzero_percentiles is not None:
        nonzero = image[image != 0] if image.any() else image
        low, high = (float(value) for value in np.percentile(nonzero, intensity.nonzero_percentiles))
    elif intensity.window is not None:
        low, high = intensity.window
    return low, high


def normalise(image: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Map native intensities to [0, 1], clipped; to 0 if ``low`` equals ``high``."""
    if image.dtype == np.uint8:  # once per value instead of once per pixel
        normalised: Any = cv2.LUT(image, normalise(np.arange(256, dtype=np.float32), low, high))
        return normalised.reshape(image.shape)  # type: ignore[no-any-return]
    scaled = image.astype(np.float32)
    np.clip(scaled, low, high, out=scaled)
    scaled -= low
    scaled /= high - low or 1
    return scaled


class _ArrayFile:
    """A .npy file to which rows are appended; the padded header is rewritten with the final length."""

    def __init__(self, path: Path, row: tuple[int, ...], dtype: type[np.generic]) -> None:
        self.row, self.dtype, self.length = row, np.dtype(dtype), 0
        self.stream = path.open("w+b")

    def __enter__(self) -> Self:
        self._write_header()
        return self

    def append(self, rows: NDArray[Any]) -> None:
        self.stream.write(np.ascontiguousarray(rows, self.dtype).data)
        self.length += len(rows)

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length, *self.row)}
        np.lib.format.write_array_header_1_0(self.stream, header)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.seek(0)
        self._write_header()
        self.stream.close()


@dataclass(frozen=True)
class _PreparedCase:
    """Output of one case: rows of the arrays, deflated native labels, columns of the table."""

    images: NDArray[Any]
    masks: NDArray[np.uint8]
    native: bytes
    columns: dict[str, Any]


def _write_arrays(
    specification: DatasetSpecification, cases: Iterable[_PreparedCase], folder: Path, size: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with (
        _ArrayFile(folder / "images.npy", (size, size, specification.channels), _dtype(specification)) as image_file,
        _ArrayFile(folder / "masks.npy", (size, size), np.uint8) as mask_file,
        (folder / "native_labels.bin").open("wb") as native_file,
    ):
        for case in cases:
            rows.append({**case.columns, "first": image_file.length, "native_offset": native_file.tell()})
            image_file.append(case.images)
            mask_file.append(case.masks)
            native_file.write(case.native)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "cases.csv", index=False)
    return rows


def _dtype(specification: DatasetSpecification) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if specification.intensity is None else np.uint16


def _prepare_case(
    specification: DatasetSpecification, parts: dict[str, str], size: int, reduced_decoding: bool, case: Case
) -> _PreparedCase:
    reduced = case.load_reduced if reduced_decoding and specification.fit == "resize" else None
    sample = reduced(_SPARE * size) if reduced else case.load()
    _check_sample(specification, case, sample)
    try:
        images, masks = _fit(sample, specification, size)
    except InputError as error:
        raise InputError(f"{specification.name}: case '{case.id}' {error}") from None
    except MemoryError:
        raise InputError(
            f"{specification.name}: case '{case.id}' of shape {sample.image.shape} does not fit in memory; "
            "exclude it or use a machine with more"
        ) from None
    part = parts[case.id]
    # ISA-L is more than ten times as fast as zlib on label maps, at about the same size.
    native = isal_zlib.compress(np.ascontiguousarray(sample.labels)) if part == "test" else b""
    remarks = _remarks(images, sample.labels)
    mean, deviation = (moment.ravel() for moment in cv2.meanStdDev(images.reshape(-1, 1, images.shape[-1])))
    columns = {
        "case": case.id,
        "group": case.group,
        "part": part,
        "slices": len(images),
        "native_shape": json.dumps(sample.labels.shape),
        "spacing": json.dumps(sample.spacing) if sample.spacing else "",
        "native_bytes": len(native),
        "sha256": case_checksum(images, masks),
        "image_sha256": sha256_of(case.image) if case.image else "",
        "attributes": json.dumps(dict(case.attributes), ensure_ascii=False),
        "affine": json.dumps(sample.geometry.affine.tolist()) if sample.geometry else "",
        "axes": sample.geometry.axes if sample.geometry else "",
        "foreground": "no foreground" not in remarks,
        "remarks": [*sample.remarks, *remarks],
        "lesions": _lesion_sizes(specification.lesions, sample) if part == "test" else None,
        "mean": mean,
        "mean_square": deviation**2 + mean**2,
    }
    return _PreparedCase(images, masks, native, columns)


def _lesion_sizes(rule: Lesions | None, sample: Sample) -> NDArray[np.int64] | None:
    """Pixels of each lesion of a case, (n,); None without lesion metrics."""
    if rule is None:
        return None
    masks = (sample.labels == label for label in range(1, int(sample.labels.max()) + 1))
    return np.concatenate([np.empty(0, np.int64), *(lesion_sizes(mask, rule.connectivity) for mask in masks)])


def _describe_lesions(rule: Lesions, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule, with the terciles of the sizes of the test set's lesions, all classes together.

    Sizes are in mm² or mm³, or in pixels unless every test case has a spacing. Without any lesion, the terciles are 0.
    """
    tested = [row for row in rows if row["part"] == "test"]
    pixels = [pixel_size(json.loads(row["spacing"])) if row["spacing"] else None for row in tested]
    known = None not in pixels
    sizes = [row["lesions"] * (pixel if known else 1) for row, pixel in zip(tested, pixels, strict=True)]
    limits = tercile_limits(np.concatenate(sizes))
    return {**rule.model_dump(), "size_limits": list(limits), "size_unit": "mm" if known else "pixels"}


def _remarks(images: NDArray[Any], labels: NDArray[np.uint8]) -> list[str]:
    """Short phrases on valid but unusual properties."""
    corners = labels[np.ix_(*[[0, -1]] * labels.ndim)]
    everywhere = bool(corners.all() and labels.min())
    unusual = {
        _CONSTANT: images.min() == images.max(),
        "no foreground": not labels.max(),
        "foreground everywhere": everywhere,
        "foreground in all corners, as if the mask were inverted": corners.all() and not everywhere,
    }
    return [phrase for phrase, holds in unusual.items() if holds]


def _warn(state: str, cases: dict[str, str]) -> None:
    for identity, reason in list(cases.items())[:1]:
        _log.warning(
            "%d cases %s, listed in dataset.json, the first: case '%s' (%s)", len(cases), state, identity, reason
        )


def _training(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the training part; all rows of a test-only dataset."""
    return [row for row in rows if row["part"] == "train"] or rows


def _refuse_constant(raw: Path, intensity: Intensity | None, rows: list[dict[str, Any]]) -> None:
    if all(_CONSTANT in row["remarks"] for row in rows):
        rule = "" if intensity is None else f" and 'intensity' ({intensity.model_dump_json(exclude_none=True)})"
        raise InputError(f"{raw}: each of the {len(rows)} images has a single value; check the files{rule}")


def _refuse_without_foreground(raw: Path, rows: list[dict[str, Any]]) -> None:
    if not any(row["foreground"] for row in rows):
        raise InputError(
            f"{raw}: none of the {len(rows)} cases for training has foreground; check masks and reader options"
        )


def _check_sample(specification: DatasetSpecification, case: Case, sample: Sample) -> None:
    spatial = specification.dimensions
    shape = sample.image.shape[:spatial]
    expected = tuple(math.ceil(side / sample.reduction) for side in sample.labels.shape)
    colour = sample.image.ndim == spatial + 1
    if sample.labels.ndim != spatial or sample.image.ndim not in (spatial, spatial + 1):
        problem = f"has an image of shape {sample.image.shape} and labels of shape {sample.labels.shape}"
    elif shape != expected:
        problem = f"has an image of {shape} and labels of {sample.labels.shape} pixels"
    elif (sample.image.shape[-1] if colour else 1) != specification.channels:
        problem = f"has an image of shape {sample.image.shape} instead of {specification.channels} channels"
    elif min(sample.labels.shape) == 0:
        problem = "is empty"
    elif (largest := int(sample.labels.max())) > len(specification.classes):
        problem = f"has label {largest}, but there are {len(specification.classes)} classes"
    elif sample.spacing is not None and not _valid_spacing(sample.spacing, spatial):
        problem = f"has spacing {sample.spacing} instead of {spatial} finite positive numbers"
    elif (sample.geometry is None) != (spatial == 2):
        problem = "is a volume without geometry, or an image with geometry"
    else:
        return
    raise InputError(f"{specification.name}: case '{case.id}' {problem}; fix or exclude it")


def _valid_spacing(spacing: Sequence[float], axes: int) -> bool:
    return len(spacing) == axes and all(0 < step < math.inf for step in spacing)


def _fit(sample: Sample, specification: DatasetSpecification, size: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Resize or crop slice by slice, to limit memory for floating-point numbers; 8-bit colours keep their values."""
    fit_image, fit_labels = FITTINGS[specification.fit]
    limits = _limits(sample.image, specification)
    planes = sample.image if specification.dimensions == 3 else sample.image[None]
    labels = sample.labels if specification.dimensions == 3 else sample.labels[None]
    if specification.fit == "crop":
        _refuse_to_crop(labels, size)
    height, width = (side / sample.reduction for side in labels.shape[1:])
    images = np.empty((len(planes), size, size, specification.channels), _dtype(specification))
    masks = np.empty((len(planes), size, size), np.uint8)
    for z, plane in enumerate(planes):
        if specification.intensity is None:
            images[z] = fit_image(plane, size, (height, width)).reshape(images.shape[1:])
        else:
            fitted = fit_image(_normalise_channels(plane, limits), size, (height, width)).reshape(images.shape[1:])
            images[z] = np.clip(fitted, 0, 1) * np.iinfo(images.dtype).max + 0.5
        masks[z] = fit_labels(labels[z], (size, size))
    return images, masks


def _limits(image: NDArray[Any], specification: DatasetSpecification) -> list[tuple[float, float]]:
    """Intensity limits of all channels together, or of each channel of a volume, which may be of another sequence."""
    if specification.dimensions == 3 and image.ndim == 4:
        return [intensity_limits(image[..., channel], specification.intensity) for channel in range(image.shape[-1])]
    return [intensity_limits(image, specification.intensity)]


def _normalise_channels(plane: NDArray[Any], limits: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    if len(limits) == 1:
        return normalise(plane, *limits[0])
    return np.stack([normalise(plane[..., channel], *limit) for channel, limit in enumerate(limits)], axis=-1)


def _refuse_to_crop(labels: NDArray[np.uint8], size: int) -> None:
    """Raise an :class:`InputError` without case id if the crop would lose labelled pixels."""
    if (side := uncropped_side(labels, size)) > size:
        raise InputError(
            f"has labelled pixels outside of its central {size} x {size} pixels; set 'image_size' of the dataset to at "
            f"least {side}, or exclude the case"
        )


def _describe(
    specification: DatasetSpecification,
    rule: Split,
    rows: list[dict[str, Any]],
    parts: dict[str, str],
    excluded: dict[str, str],
    folder: Path,
    choices: dict[str, Any],
) -> dict[str, Any]:
    # A test-only dataset is standardised by the statistics of the training dataset, not by its own.
    training, full = _training(rows), np.iinfo(_dtype(specification)).max
    mean, mean_square = (
        np.average([row[moment] for row in training], axis=0, weights=[row["slices"] for row in training])
        for moment in ("mean", "mean_square")
    )
    return {
        "format": FORMAT,
        "name": specification.name,
        "title": specification.title,
        "modality": specification.modality,
        "classes": list(specification.classes),
        "dimensions": specification.dimensions,
        "expected_cases": specification.expected_cases,
        "intensity": specification.intensity.model_dump(exclude_none=True) if specification.intensity else None,
        **specification.model_dump(include={"fit"}),
        "channels": specification.channels,
        **({"lesions": _describe_lesions(specification.lesions, rows)} if specification.lesions else {}),
        **choices,
        "id_namespace": specification.id_namespace or specification.name,
        "ood": list(specification.ood),
        "licence": specification.licence,
        "citation": specification.citation,
        "homepage": specification.homepage,
        "split": splits.describe(rule),
        "cases": dict(sorted(Counter(parts.values()).items())),
        "slices": {part: sum(r["slices"] for r in rows if r["part"] == part) for part in splits.PARTS},
        "excluded": excluded,
        "remarks": {row["case"]: row["remarks"] for row in rows if row["remarks"]},
        "mean": (mean / full).tolist(),
        "std": np.sqrt(np.maximum((mean_square - mean**2) / full**2, 1e-12)).tolist(),
        "files": {name: sha256_of(folder / name) for name in FILES if name != "dataset.json"},
    }
