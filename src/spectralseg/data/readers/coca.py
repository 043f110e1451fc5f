"""Stanford COCA, gated coronary CT: DICOM slices, and regions of calcification as property lists of OsiriX.

Slices are in ``Gated_release_final/patient/<id>/<series>/*.dcm``, regions of patients with calcification in
``Gated_release_final/calcium_xml/<id>.xml``. The scans in ``deidentified_nongated`` have scores, but no regions, and
are ignored.

The order of ``ImageIndex`` is not documented, and public readers disagree. Regions are therefore placed by
``Point_mm``, which are the patient's coordinates, and the annotation is verified three times:

- Each region must lie within half a slice gap of a slice, and ``Point_px`` within a pixel of its place by ``Point_mm``.
- ``ImageIndex`` must follow one of the orders of :func:`_orders` in the whole file.
- ``Max`` and ``Mean``, which OsiriX stored for each region, must be those of its pixels, see :func:`agrees`.

A file that fails is refused, as its mask would be wrong, and a mask of zeros would be, too: exclude the case by the key
``exclude`` of the dataset file, which records the reason. Of several series of a patient, the one that fits is used.

A pixel belongs to a region if its centre lies inside the polygon. Filling functions that add the outline enlarge
lesions of a few pixels by up to 2.6 times. Of these pixels, those of at least 130 HU are calcified, as by Agatston et
al., J Am Coll Cardiol 15(4):827-832, 1990, doi:10.1016/0735-1097(90)90282-T.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, layout_remedy, match_files
from spectralseg.data.geometry import Geometry
from spectralseg.data.patterns import PathPattern
from spectralseg.data.readers._dicom import Series, read_hounsfield, read_series
from spectralseg.data.readers._formats import DISPLAY, Volume, reorient, to_slices
from spectralseg.data.readers._osirix import Region, read_annotation, vertices
from spectralseg.data.readers._polygons import fill_polygon
from spectralseg.errors import InputError

FILES = PathPattern(
    r"patient/(?P<patient>[^/]+)/(?P<slice>.+)\.dcm"
    r"|calcium_xml/(?P<annotation>[^/]+)\.xml"
    r"|deidentified_nongated/(?P<nongated>[^/]+)/.+\.dcm"
)
ARTERIES = (
    "Left Anterior Descending Artery",
    "Left Circumflex Artery",
    "Left Coronary Artery",
    "Right Coronary Artery",
)
AGATSTON = 130.0  # Hounsfield units
_HOUNSFIELD = 1.0  # tolerance of stored values
_PIXELS = 1.0  # tolerance of Point_px, as the origin of OsiriX, centre or corner of a pixel, is not documented
_log = logging.getLogger(__name__)


def read(
    root: Path,
    *,
    missing_xml: Literal["exclude", "negative"] = "exclude",
    threshold: float | None = AGATSTON,
) -> list[Case]:
    """List the gated scans, one case per patient. An annotation without slices is recorded as an excluded case.

    Args:
        root: folder with the dataset.
        missing_xml: what a patient without annotation file is: ``exclude`` records the case as excluded, as it is not
            documented whether such patients were annotated; ``negative`` assumes that there is no calcification.
        threshold: smallest intensity of a calcified pixel in Hounsfield units; None for whole polygons.

    Raises:
        InputError: there is no scan, or a patient or annotation appears twice.
    """
    patients: dict[str, dict[Path, list[Path]]] = {}
    folders: dict[str, Path] = {}
    annotations: dict[str, Path] = {}
    nongated: set[str] = set()
    for path, parts in match_files(root, FILES):
        if "patient" in parts:
            depth = parts["slice"].count("/") + 1
            _refuse_repeated(parts["patient"], path.parents[depth - 1], folders)
            patients.setdefault(parts["patient"], {}).setdefault(path.parent, []).append(path)
        elif "annotation" in parts:
            _refuse_repeated(parts["annotation"], path, annotations)
        else:
            nongated.add(parts["nongated"])
    if not patients:
        raise InputError(f"{root}: no file matches 'patient/<id>/<series>/*.dcm'; {layout_remedy(root, FILES)}")
    if nongated:
        _log.info("%d scans in deidentified_nongated have no masks and are ignored", len(nongated))
    cases = []
    for patient, series in patients.items():
        annotation = annotations.get(patient)
        defect = "no annotation file in calcium_xml" if annotation is None and missing_xml == "exclude" else ""
        load = partial(_load, folders[patient], list(series.values()), annotation, threshold)
        cases.append(Case(patient, patient, load, image=next(iter(series.values()))[0], defect=defect))
    for patient in sorted(annotations.keys() - patients.keys()):
        load = partial(_load, root, [], annotations[patient], threshold)
        cases.append(Case(patient, patient, load, defect=f"no file *.dcm in patient/{patient}"))
    return cases


def _refuse_repeated(identity: str, path: Path, paths: dict[str, Path]) -> None:
    if paths.setdefault(identity, path) != path:
        raise InputError(f"{path}: patient {identity} appears twice, also as {paths[identity]}; remove one copy")


def _load(
    patient: Path, all_series: Sequence[Sequence[Path]], annotation: Path | None, threshold: float | None
) -> Sample:
    """The series of a patient that fits the annotation; all do if there is none."""
    samples, problems = [], []
    for files in all_series:
        try:
            samples.append(_sample(files, annotation, threshold))
        except InputError as error:
            problems.append(error)
    if len(problems) == 1 and not samples:
        raise problems[0]
    if not samples:
        named = (f"{files[0].parent.name}: {problem}" for files, problem in zip(all_series, problems, strict=True))
        raise InputError(f"{patient}: none of its {len(problems)} series can be used; {'; '.join(named)}")
    if len(samples) > 1:
        raise InputError(
            f"{patient}: {len(samples)} series fit the annotation; remove all but one, or exclude the case"
        )
    (sample,) = samples
    if not problems:
        return sample
    remark = f"{len(problems)} of {len(all_series)} series do not fit the annotation or are damaged"
    return Sample(sample.image, sample.labels, sample.spacing, (*sample.remarks, remark), geometry=sample.geometry)


def _sample(files: Sequence[Path], annotation: Path | None, threshold: float | None) -> Sample:
    series = read_series(files)
    volume = read_hounsfield(series)
    mask = np.zeros(volume.array.shape, np.uint8)
    remarks = ["no annotation file, taken for a patient without calcification"]
    if annotation is not None:
        remarks = draw(mask, place(annotation, series), volume, annotation, threshold)
    image, labels = (reorient(Volume(array, series.zooms, series.affine), DISPLAY) for array in (volume.array, mask))
    geometry = Geometry(series.affine, DISPLAY[::-1])
    slices = to_slices(image.array), to_slices(labels.array)
    return Sample(*slices, image.zooms[::-1], tuple(remarks), geometry=geometry)


@dataclass(frozen=True)
class PlacedRegion:
    """A region of interest on a slice of a series.

    Attributes:
        region: as stored.
        title: number of the region and of its image, for messages.
        slice: index of the slice in the series.
        polygon: (N, 2) column and row of each vertex in pixels; integers are centres of pixels.
    """

    region: Region
    title: str
    slice: int
    polygon: NDArray[np.float64]


def place(path: Path, series: Series) -> list[PlacedRegion]:
    """Place the regions of an annotation file on the slices of a series, by their coordinates in millimetres.

    Regions without interior have slice -1 and an empty polygon.

    Raises:
        InputError: the file is malformed, a region lies between slices or outside of them, or ``Point_px`` or
            ``ImageIndex`` contradict ``Point_mm``.
    """
    placed: list[PlacedRegion] = []
    slices: set[tuple[int, int]] = set()
    for image in read_annotation(path).images:
        for number, region in enumerate(image.regions):
            title = f"region {number} of image {image.index}"
            if region.defect:
                placed.append(PlacedRegion(region, title, -1, np.empty((0, 2))))
                continue
            plane, polygon = _locate(path, region, title, series)
            slices.add((image.index, plane))
            placed.append(PlacedRegion(region, title, plane, polygon))
    if not any(all(order[plane] == index for index, plane in slices) for order in _orders(series)):
        raise InputError(
            f"{path}: ImageIndex and Point_mm place regions on different slices of {series.files[0].parent.name}; "
            "correct the file or exclude the case"
        )
    return placed


def _locate(path: Path, region: Region, title: str, series: Series) -> tuple[int, NDArray[np.float64]]:
    """Slice and polygon of a region."""
    millimetres, pixels = vertices(path, region.points_mm, 3), vertices(path, region.points_px, 2)
    if len(millimetres) != len(pixels):
        raise InputError(f"{path}: {title} has {len(pixels)} Point_px and {len(millimetres)} Point_mm; fix the file")
    right_anterior = np.column_stack([millimetres * (-1, -1, 1), np.ones(len(millimetres))])
    voxels: NDArray[np.float64] = (right_anterior @ np.linalg.inv(series.affine).T)[:, :3]
    plane = round(float(voxels[:, 2].mean()))
    folder = series.files[0].parent.name
    if np.abs(voxels[:, 2] - plane).max() >= 0.5 or not 0 <= plane < series.shape[2]:
        raise InputError(f"{path}: {title} does not lie on a slice of {folder}; correct the file or exclude the case")
    if np.abs(voxels[:, :2] - pixels).max() > _PIXELS:
        raise InputError(
            f"{path}: Point_px and Point_mm of {title} are different places in {folder}; correct the file or exclude "
            "the case"
        )
    return plane, voxels[:, :2]


def _orders(series: Series) -> Iterator[Sequence[int]]:
    """Possible ``ImageIndex`` of each slice: ascending or descending by position or by file name, or InstanceNumber."""
    last = series.shape[2] - 1
    for order in (range(last + 1), series.names):
        yield order
        yield [last - index for index in order]
    if series.numbers:
        yield series.numbers


def draw(
    mask: NDArray[np.uint8],
    placed: Sequence[PlacedRegion],
    volume: Volume,
    path: Path,
    threshold: float | None,
) -> list[str]:
    """Set the calcified pixels of regions, whose stored values are verified first.

    Args:
        mask: uint8 (columns, rows, slices), changed in place.
        placed: the regions.
        volume: Hounsfield units.
        path: annotation file, for error messages.
        threshold: smallest intensity of a calcified pixel in Hounsfield units; None for whole polygons.

    Returns:
        Remarks: how many regions are left out, empty, or not named as an artery.

    Raises:
        InputError: ``Max`` or ``Mean`` of a region are missing, or not those of its pixels.
    """
    counts: Counter[str] = Counter()
    for region in placed:
        if region.region.defect:
            counts[f"{region.region.defect} left out"] += 1
            continue
        values = volume.array[:, :, region.slice].T
        _verify(region, values, path)
        inside = np.zeros(values.shape, np.uint8)
        outside = fill_polygon(inside, region.polygon, outline=False)
        if threshold is not None:
            inside &= values >= threshold
        mask[:, :, region.slice] |= inside.T
        if outside or not inside.any():
            counts[outside or "without a calcified pixel"] += 1
        elif region.region.name not in ARTERIES:
            counts["without the name of an artery"] += 1
    return [f"{count} regions {reason}" for reason, count in sorted(counts.items())]


def _verify(placed: PlacedRegion, values: NDArray[Any], path: Path) -> None:
    region = placed.region
    if not np.isfinite([region.maximum, region.mean]).all():
        raise InputError(f"{path}: {placed.title} has no Max and Mean to verify its place; exclude the case")
    if not agrees(values, placed.polygon, region.maximum, region.mean):
        raise InputError(
            f"{path}: Max {region.maximum:g} and Mean {region.mean:g} of {placed.title} do not match its pixels: it "
            "belongs to another slice or series; correct the file or exclude the case"
        )


def agrees(values: NDArray[Any], polygon: NDArray[np.float64], maximum: float, mean: float) -> bool:
    """Whether some set of pixels has the stored maximum and mean of a polygon.

    It is not documented which pixels on the outline OsiriX counts. Therefore, any set is accepted that has all pixels
    inside the polygon, except those beside its outline, and none that is more than a pixel away from the polygon. A
    polygon that reaches beyond the image is compared within it.

    Args:
        values: (H, W) in Hounsfield units.
        polygon: (N, 2) column and row of each vertex.
        maximum: stored value in Hounsfield units; may differ by 1.
        mean: stored value in Hounsfield units; may differ by 1.
    """
    inside, touched = np.zeros(values.shape, np.uint8), np.zeros(values.shape, np.uint8)
    fill_polygon(inside, polygon, outline=False)
    cv2.fillPoly(touched, [np.rint(polygon).astype(np.int32)], 1)
    square = np.ones((3, 3), np.uint8)
    certain = cv2.erode(inside, square, borderType=cv2.BORDER_REPLICATE).astype(bool)
    possible = cv2.dilate(touched, square).astype(bool) & ~certain
    if not possible.any():  # outside the image
        return True
    core, rim = (values[pixels].astype(np.float64) for pixels in (certain, possible))
    rim = rim[rim <= maximum + _HOUNSFIELD]
    largest = max([*core, *rim], default=-np.inf)
    if abs(largest - maximum) > _HOUNSFIELD:
        return False
    return _smallest_mean(core, rim) - _HOUNSFIELD <= mean <= _HOUNSFIELD - _smallest_mean(-core, -rim)


def _smallest_mean(certain: NDArray[np.float64], possible: NDArray[np.float64]) -> float:
    """Smallest mean of all certain values and any of the possible ones, of at least one value in total."""
    sums = certain.sum() + np.concatenate([[0.0], np.cumsum(np.sort(possible))])
    counts = len(certain) + np.arange(len(sums))
    return float((sums[counts > 0] / counts[counts > 0]).min())
