"""Brain tumour slices of Cheng et al. (figshare 1512427): ``1.mat`` ... ``3064.mat``, MATLAB v7.3, and ``cvind.mat``.

MATLAB stores columns first, so arrays come out of HDF5 transposed. ``cvind.mat`` gives the published fold (1-5) of
every slice. Patient numbers such as MR049453 and MR049453B differ by a trailing letter only; near-duplicate slices
are known among them and the published folds part some, so they form one group here.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, require_files
from spectralseg.data.readers._formats import decoding, refuse_other_shape, whole_labels
from spectralseg.errors import InputError

TUMOURS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
FOLDS = "cvind.mat"
_KIND = "a MATLAB v7.3 slice with a group 'cjdata'"


def read(root: Path) -> list[Case]:
    """List the slices, one case each; opens every file, but only for its patient number and tumour type.

    Raises:
        InputError: ``cvind.mat`` is missing or does not fit, or a slice cannot be opened.
    """
    folds = _read_folds(root)
    slices = [path for path in require_files(root, "*.mat") if path.stem.isdigit()]
    return [_case(path, folds) for path in slices]


def family(pid: str) -> str:
    """The patient number without the trailing letter that tells members of one family of numbers apart."""
    return re.sub(r"^(MR\d+)[A-Za-z]$", r"\1", pid)


def _case(path: Path, folds: NDArray[np.int64]) -> Case:
    number = int(path.stem)
    if not 1 <= number <= len(folds):
        raise InputError(f"{path}: {FOLDS} has no fold for slice {number}; take both from one release")
    with decoding(path, _KIND), h5py.File(path, "r") as file:
        pid = "".join(map(chr, np.ravel(file["cjdata/PID"][()]))).strip()
        tumour = int(np.ravel(file["cjdata/label"][()])[0])
    if not pid or tumour not in TUMOURS:
        raise InputError(
            f"{path}: has no patient number or an unknown tumour type {tumour}; take the file as published"
        )
    attributes = {"fold": str(folds[number - 1]), "tumour": TUMOURS[tumour], "pid": pid}
    return Case(f"{number:04d}", family(pid), partial(_load, path), attributes, path)


def _load(path: Path) -> Sample:
    with decoding(path, _KIND), h5py.File(path, "r") as file:
        image: NDArray[Any] = file["cjdata/image"][()]
        mask: NDArray[Any] = file["cjdata/tumorMask"][()]
    if image.ndim != 2 or {image.dtype.kind, mask.dtype.kind} - set("iufb"):
        raise InputError(
            f"{path}: image and mask are {image.dtype} and {mask.dtype} with {image.ndim} and {mask.ndim} axes instead "
            "of numbers with 2 axes; take the file as published"
        )
    refuse_other_shape(path, mask, image)
    return Sample(np.ascontiguousarray(image.T), np.ascontiguousarray(whole_labels(path, mask, 1).T))


def _read_folds(root: Path) -> NDArray[np.int64]:
    """The fold of every slice, in the order of slice numbers."""
    path, *others = require_files(root, FOLDS)
    if others:
        raise InputError(f"{others[0]}: {FOLDS} is there twice; remove one copy")
    with decoding(path, "a MATLAB file with a variable 'cvind'"):
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                values = np.ravel(file["cvind"][()])
        else:  # small variables are often saved in the older format
            values = np.ravel(scipy.io.loadmat(path)["cvind"])
    if values.dtype.kind not in "iuf" or not np.isin(values, (1, 2, 3, 4, 5)).all():
        raise InputError(f"{path}: fold numbers other than 1..5; take the file as published")
    return values.astype(np.int64)
