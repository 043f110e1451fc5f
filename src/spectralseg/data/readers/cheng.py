"""Brain tumour slices of Cheng et al. (figshare 1512427): ``1.mat`` ... ``3064.mat``, MATLAB v7.3, and ``cvind.mat``.

MATLAB stores arrays column-major, so that HDF5 returns them transposed. ``cvind.mat`` gives the published fold (1-5) of
every slice. Patient numbers that differ by a trailing letter only, such as MR049453 and MR049453B, form one group:
there are near-duplicate slices among them, and the published folds separate some.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from isal import isal_zlib
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, require_files
from spectralseg.data.readers._formats import decoding, refuse_other_shape, whole_labels
from spectralseg.data.readers._limits import MAX_PIXELS, MAX_TEXT_BYTES, refuse_hollow, refuse_larger, regular_file
from spectralseg.errors import InputError

TUMOURS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
FOLDS = "cvind.mat"
_MOST_CHARACTERS = 64  # of a patient number
_MOST_SLICES = 2**20
_LARGE_CHUNK = 2**20  # numbers; chunks of resizable datasets may be larger than the data
_KIND = "a MATLAB v7.3 slice with a group 'cjdata'"


def read(root: Path) -> list[Case]:
    """List the slices, one case each. Opens every file to read patient number and tumour type.

    Raises:
        InputError: ``cvind.mat`` is missing or inconsistent, or a slice cannot be read.
    """
    folds = _read_folds(root)
    slices = [path for path in require_files(root, "*.mat") if path.name != FOLDS]
    return [_case(path, folds) for path in slices]


def family(pid: str) -> str:
    """The patient number without the trailing letter, common to a family of numbers."""
    return re.sub(r"^(MR\d+)[A-Za-z]$", r"\1", pid)


def _case(path: Path, folds: NDArray[np.int64]) -> Case:
    if not re.fullmatch("[0-9]{1,9}", path.stem):
        raise InputError(
            f"{path}: is neither {FOLDS} nor a slice such as 1.mat; keep the official names, and no others"
        )
    number = int(path.stem)
    if not 1 <= number <= len(folds):
        raise InputError(f"{path}: {FOLDS} has no fold for slice {number}; take both from one release")
    with _opened(path, _KIND) as file:
        pid = "".join(map(chr, _numbers(path, file, "cjdata/PID", _MOST_CHARACTERS))).strip()
        tumour = int(_numbers(path, file, "cjdata/label", 1)[0])
    if not pid or tumour not in TUMOURS:
        raise InputError(f"{path}: has no patient number or an unknown tumour type {tumour}; use the published file")
    attributes = {"fold": str(folds[number - 1]), "tumour": TUMOURS[tumour], "pid": pid}
    return Case(f"{number:04d}", family(pid), partial(_load, path), attributes, path)


def _load(path: Path) -> Sample:
    with _opened(path, _KIND) as file:
        image = _numbers(path, file, "cjdata/image", MAX_PIXELS, axes=2)
        mask = _numbers(path, file, "cjdata/tumorMask", MAX_PIXELS, axes=2)
    refuse_other_shape(path, mask, image)
    return Sample(np.ascontiguousarray(image.T), np.ascontiguousarray(whole_labels(path, mask, 1).T))


def _read_folds(root: Path) -> NDArray[np.int64]:
    """The fold of every slice, in the order of slice numbers."""
    path, *others = require_files(root, FOLDS)
    if others:
        raise InputError(f"{others[0]}: {FOLDS} appears twice; remove one copy")
    kind = "a MATLAB file with a variable 'cvind'"
    regular_file(path, MAX_TEXT_BYTES)
    with decoding(path, kind):
        if h5py.is_hdf5(path):
            with _opened(path, kind) as file:
                values = _numbers(path, file, "cvind", _MOST_SLICES)
        else:  # small variables are often saved in an older format
            shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
            refuse_larger(path, "'cvind'", shapes["cvind"], _MOST_SLICES)
            values = np.ravel(scipy.io.loadmat(path, variable_names=["cvind"])["cvind"])
    if values.dtype.kind not in "iuf" or not np.isin(values, (1, 2, 3, 4, 5)).all():
        raise InputError(f"{path}: fold numbers other than 1..5; use the published file")
    return values.astype(np.int64)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[h5py.File]:
    regular_file(path)
    with decoding(path, kind), h5py.File(path, "r") as file:
        yield file


def _numbers(path: Path, file: h5py.File, name: str, most: int, axes: int | None = None) -> NDArray[Any]:
    """Numbers of an HDF5 dataset with ``axes`` axes, or flattened if None, after checking its size and storage.

    HDF5 files can refer to other files, and declare datasets of any size without storing them.
    """
    group = file
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise InputError(f"{path}: '{name}' is missing or a link; use the published file")
        group = group[part]
    dataset = group
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iufb" or dataset.shape is None:
        raise InputError(f"{path}: '{name}' holds no numbers; use the published file")
    if axes is not None and dataset.ndim != axes:
        raise InputError(f"{path}: '{name}' has {dataset.ndim} axes instead of {axes}; use the published file")
    refuse_larger(path, f"'{name}'", dataset.shape, most)
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: '{name}' lies in another file; use the published file")
    _refuse_packed(path, name, dataset)
    refuse_hollow(path, f"'{name}'", dataset.nbytes, dataset.id.get_storage_size())
    array: NDArray[Any] = dataset[()]
    return array if axes is not None else np.ravel(array)


def _refuse_packed(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Refuse chunks that are larger than the data or inflate beyond their size, which HDF5 would not notice."""
    if dataset.chunks is None:
        return
    elements = math.prod(dataset.chunks)
    if elements > max(dataset.size, _LARGE_CHUNK):
        raise InputError(f"{path}: '{name}' lies in chunks of {elements} numbers; use the published file")
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if not filters <= {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        raise InputError(f"{path}: '{name}' is compressed by other filters than MATLAB's; use the published file")
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return
    size = elements * dataset.dtype.itemsize
    for number in range(dataset.id.get_num_chunks()):
        skipped, packed = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
        # Chunks with skipped filters are not compressed.
        if not skipped and len(isal_zlib.decompressobj().decompress(packed, size + 1)) > size:
            raise InputError(f"{path}: '{name}' inflates to more than its {size} bytes; use the published file")
