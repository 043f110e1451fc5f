"""A folder of reference segmentations: its cases, their classes, grids and groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.readers._formats import is_whole
from spectralseg.errors import InputError
from spectralseg.exchange.case_groups import groups_of
from spectralseg.exchange.class_labels import BINARY, ClassLabels, read_nnunet_labels
from spectralseg.exchange.label_files import (
    IMAGE_ENDINGS,
    VOLUME_ENDINGS,
    Grid,
    Stored,
    read_on_grid,
    read_stored,
    remedy_for_shape,
)
from spectralseg.files import sha256_of, visible
from spectralseg.metrics.lesions import lesion_sizes, pixel_size
from spectralseg.metrics.records import POOLED
from spectralseg.progress import progress_bar

# Words that reference files have in addition to the case id, if all of them have the same one.
ADDITIONS = (
    *("gt", "groundtruth", "ground_truth", "mask", "label", "labels", "seg", "segmentation"),
    *("reference", "manual"),
)
_SEPARATORS = "_-."
_NNUNET_FOLDERS = ("labelsTr", "labelsTs")
_NNUNET_FILE = "dataset.json"


class ReferenceCase(NamedTuple):
    """A reference segmentation.

    Attributes:
        path: its file.
        grid: of the file.
        group: patient or other group.
        sha256: of the bytes of the file.
        empty: whether there is no foreground.
    """

    path: Path
    grid: Grid
    group: str
    sha256: str
    empty: bool


@dataclass(frozen=True)
class References:
    """The references of a folder.

    Attributes:
        folder: the folder.
        name: of the dataset.
        classes: values and names of the classes.
        cases: by id, sorted.
        ignored: entries of the folder with other suffixes.
        flat: whether every case is a plane, so that volumes of one slice are scored as images.
    """

    folder: Path
    name: str
    classes: ClassLabels
    cases: dict[str, ReferenceCase]
    ignored: tuple[Path, ...]
    flat: bool

    @property
    def endings(self) -> tuple[str, ...]:
        """Accepted suffixes of predictions."""
        return _endings(next(iter(self.cases.values())).path)

    @property
    def in_mm(self) -> bool:
        """Whether all cases have a spacing."""
        return all(case.grid.spacing is not None for case in self.cases.values())

    def labels(self, case: str) -> NDArray[np.uint8]:
        """Labels 0..K of a reference, uint8 (H, W) or (D, H, W).

        Raises:
            InputError: the file is damaged, or holds a value that is no label.
        """
        path = self.cases[case].path
        return self._planar(case, read_stored(path, "reference").labels(path, self.classes.values, _NAME_IT))

    def prediction(self, case: str, path: Path) -> NDArray[np.uint8]:
        """Labels 0..K of a prediction, of the shape of :meth:`labels`.

        Raises:
            InputError: the file is damaged, lies on another grid, or holds a value that is no label.
        """
        grid = self.cases[case].grid
        stored = read_on_grid(path, grid, lambda actual: remedy_for_shape(actual, _in_file_order(grid)))
        return self._planar(case, stored.labels(path, self.classes.values))

    def spacing(self, case: str) -> tuple[float, ...] | None:
        """Millimetres per axis of :meth:`labels`; None if unknown."""
        spacing = self.cases[case].grid.spacing
        axis = self._flat_axis(case)
        return spacing if spacing is None or axis is None else (*spacing[:axis], *spacing[axis + 1 :])

    def lesion_sizes(self) -> NDArray[np.float64]:
        """Sizes of the lesions of all classes and cases, (n,), in mm² or mm³, or in pixels unless :attr:`in_mm`."""
        sizes: list[NDArray[np.float64]] = [np.empty(0)]
        classes = range(1, len(self.classes.values) + 1)
        for name in progress_bar(self.cases, desc="lesions", unit="case"):
            labels, spacing = self.labels(name), self.spacing(name)
            pixel = pixel_size(spacing) if self.in_mm and spacing else 1.0
            sizes += [np.float64(pixel) * lesion_sizes(labels == label) for label in classes]
        return np.concatenate(sizes)

    def _flat_axis(self, case: str) -> int | None:
        """The axis of a volume of one slice that is removed."""
        shape = self.cases[case].grid.shape
        return shape.index(1) if self.flat and len(shape) == 3 else None

    def _planar(self, case: str, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        axis = self._flat_axis(case)
        return labels if axis is None else labels.squeeze(axis)


_NAME_IT = ", or name it with --labels"


def _endings(path: Path) -> tuple[str, ...]:
    return VOLUME_ENDINGS if path.name.lower().endswith(VOLUME_ENDINGS) else IMAGE_ENDINGS


def _in_file_order(grid: Grid) -> tuple[int, ...]:
    return grid.shape if grid.geometry is None else grid.geometry.in_file_order(grid.shape)


def open_references(
    folder: Path,
    *,
    labels: ClassLabels | None = None,
    name: str | None = None,
    groups: str | None = None,
    spacing: Sequence[float] = (),
) -> References:
    """Read all references of a folder once, and check them.

    Ids are names of files without their suffix, and without a word of :data:`ADDITIONS`, such as ``_gt``, that all of
    them have in addition.

    Args:
        folder: folder of NIfTI files, or of PNG, TIFF or BMP files.
        labels: the classes; by default those of nnU-Net's ``dataset.json`` in the folder or in the one above, else the
            only value besides 0 of all files is the class :data:`~spectralseg.exchange.class_labels.BINARY`.
        name: of the dataset; by default that of the folder, and of the one above for ``labelsTr`` and ``labelsTs``.
        groups: see :func:`~spectralseg.exchange.case_groups.groups_of`.
        spacing: millimetres per axis of images, one number or two (rows, columns); empty if unknown.

    Raises:
        InputError: the folder, a file in it or an argument is not valid.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: the folder does not exist; give the folder of the references")
    entries = visible(folder.iterdir())
    files = _files(folder, entries)
    if POOLED in files:
        raise InputError(f"{files[POOLED]}: the case id '{POOLED}' is reserved; rename the file")
    in_groups = groups_of(list(files), groups)
    labels = labels or _nnunet_labels(folder)
    steps = _image_spacing(spacing, volumes=_endings(next(iter(files.values()))) == VOLUME_ENDINGS)
    cases: dict[str, ReferenceCase] = {}
    values: dict[int, Path] = {}  # the first file with each
    for case, path in progress_bar(files.items(), desc="read references", unit="case", total=len(files)):
        stored = read_stored(path, "reference")
        present = _present(path, stored, labels)
        values = {**dict.fromkeys(present, path), **values}
        grid = stored.grid if stored.grid.geometry else stored.grid._replace(spacing=steps)
        cases[case] = ReferenceCase(path, grid, in_groups[case], sha256_of(path), not present)
    ignored = tuple(entry for entry in entries if entry not in files.values() and entry.name != _NNUNET_FILE)
    read = References(folder, name or _name(folder), labels or _only_class(folder, values), cases, ignored, flat=False)
    return replace(read, flat=all(1 in case.grid.shape for case in cases.values()))


def _files(folder: Path, entries: Sequence[Path]) -> dict[str, Path]:
    """The file of each case, by its id."""
    by_kind = {
        kind: [path for path in entries if path.name.lower().endswith(kind) and not path.is_dir()]
        for kind in (VOLUME_ENDINGS, IMAGE_ENDINGS)
    }
    volumes, images = by_kind.values()
    if volumes and images:
        raise InputError(
            f"{folder}: holds {len(volumes)} NIfTI files, such as {volumes[0].name}, and {len(images)} images, such as "
            f"{images[0].name}; give a folder with references of one kind"
        )
    files = volumes or images
    if not files:
        inner = [entry.name for entry in entries if entry.is_dir()]
        held = f"it holds {inner[-1]}; give the folder with the files" if inner else "give the folder of the references"
        if any(entry.suffix.lower() in (".jpg", ".jpeg") for entry in entries):
            held = "JPEG compression changes labels; save them as PNG, or give a prepared dataset with --data"
        if not entries:
            held = "it is empty; give the folder of the references"
        raise InputError(f"{folder}: has no reference files ({', '.join((*VOLUME_ENDINGS, *IMAGE_ENDINGS))}); {held}")
    stems = [_stem(path) for path in files]
    before, after = _addition(stems)
    by_id: dict[str, Path] = {}
    for path, stem in zip(files, stems, strict=True):
        case = stem[len(before) : len(stem) - len(after)]
        if by_id.setdefault(case, path) != path:
            raise InputError(f"{path}: has the case id '{case}', as {by_id[case].name} has; keep one of the two files")
    return dict(sorted(by_id.items()))


def _stem(path: Path) -> str:
    ending = max((ending for ending in _endings(path) if path.name.lower().endswith(ending)), key=len)
    return path.name[: -len(ending)]


def _addition(stems: Sequence[str]) -> tuple[str, str]:
    """Text before and after the ids, a word of :data:`ADDITIONS` with its separator that all names have."""
    names, first = [stem.lower() for stem in stems], stems[0]
    for word in sorted(ADDITIONS, key=len, reverse=True):
        for separator in _SEPARATORS:
            if all(name.endswith(separator + word) and len(name) > len(word) + 1 for name in names):
                return "", first[-len(word) - 1 :]
            if all(name.startswith(word + separator) and len(name) > len(word) + 1 for name in names):
                return first[: len(word) + 1], ""
    return "", ""


def _name(folder: Path) -> str:
    folder = folder.resolve()
    return folder.parent.name if folder.name in _NNUNET_FOLDERS and folder.parent.name else folder.name


def _nnunet_labels(folder: Path) -> ClassLabels | None:
    """Classes of nnU-Net's ``dataset.json`` in the folder or in the one above; None without such a file."""
    files = [place / _NNUNET_FILE for place in (folder, folder.resolve().parent)]
    return next((read_nnunet_labels(file) for file in files if file.is_file()), None)


def _image_spacing(spacing: Sequence[float], *, volumes: bool) -> tuple[float, ...] | None:
    if not spacing:
        return None
    if volumes:
        raise InputError("--spacing: applies to images only, as NIfTI files state their own; remove the option")
    if len(spacing) > 2:
        raise InputError(f"--spacing: {len(spacing)} numbers are too many; give one, or two for rows and columns")
    return (float(spacing[0]), float(spacing[-1]))


def _present(path: Path, stored: Stored, labels: ClassLabels | None) -> set[int]:
    """Values besides 0 in a reference.

    Raises:
        InputError: a value is no label.
    """
    if labels is not None:
        present = np.unique(stored.labels(path, labels.values, _NAME_IT))
        return {labels.values[label - 1] for label in present.tolist() if label}
    foreground = np.unique(stored.array[stored.array != 0])
    whole = is_whole(foreground, stored.tolerance) if foreground.dtype.kind == "f" else np.ones(len(foreground), bool)
    wrong = foreground[~whole | (foreground < 0)]
    if wrong.size:
        raise InputError(f"{path}: holds the label {wrong[0]:g}; give whole numbers, 0 for background")
    return {int(value) for value in np.rint(foreground) if value}


def _only_class(folder: Path, values: dict[int, Path]) -> ClassLabels:
    """The class of binary references.

    Raises:
        InputError: there are several values, or none.
    """
    if not values:
        raise InputError(f"{folder}: all references are empty; give the classes with --labels")
    if len(values) > 1:
        examples = list(_examples(values))
        raise InputError(
            f"{folder}: holds the labels {', '.join(examples)}; name the classes with --labels, such as "
            f"--labels {' '.join(f'{value}=NAME' for value in sorted(values)[:3])}"
        )
    return ClassLabels((next(iter(values)),), (BINARY,))


def _examples(values: dict[int, Path], most: int = 8) -> Iterator[str]:
    """Values in ascending order, the last of them with a file that holds it."""
    ordered = sorted(values)
    yield from (str(value) for value in ordered[: most - 1][: len(ordered) - 1])
    yield f"{ordered[-1]} ({values[ordered[-1]].name})"
