"""Brain tumour slices in the layout of Cheng et al.: four archives of MATLAB v7.3 files and ``cvind.mat``.

Irregularities of the original: transposed arrays, slices of half the side, patient-dependent intensity ranges, slices
of a patient scattered over the numbering, and families of patient numbers (MR049453 and MR049453B) that are split
between published folds.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.phantoms._drawing import blob, generator, texture, zip_members
from spectralseg.files import replacing

SLICES = 3064
_PARTS = ((1, 766), (767, 1532), (1533, 2298), (2299, 3064))
# Families of patient numbers with their published folds; the second one is split between training and test fold.
_FAMILIES = (("MR049453", 3), ("MR049453B", 2), ("MR051651", 4), ("MR051651B", 5))
_MENINGIOMA, _GLIOMA, _PITUITARY = 1, 2, 3
_README = "Synthetic slices in the layout of the brain tumour dataset of Cheng et al. (figshare 1512427).\n"


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write the four archives, ``cvind.mat`` and the text; a slice is a case. See :mod:`spectralseg.data.phantoms`."""
    rng = generator(seed, "btseg")
    patients = _draw_patients(rng, cases)
    folds = rng.integers(1, 6, SLICES)
    numbers = iter(_scattered(rng, sum(count for _, _, count in patients)))
    slices: dict[int, bytes] = {}
    roots = dict.fromkeys(_root(pid) for pid, _, _ in patients)
    tumours = dict(zip(roots, itertools.cycle((_MENINGIOMA, _GLIOMA, _PITUITARY)), strict=False))
    for pid, fold, count in patients:
        for _ in range(count):
            number = next(numbers)
            folds[number - 1] = fold
            slices[number] = _slice_file(seed, number, pid, tumours[_root(pid)], side)
    archives = []
    for first, last in _PARTS:
        members = {f"{n}.mat": content for n, content in sorted(slices.items()) if first <= n <= last}
        archives.append(zip_members(folder / f"brainTumorDataPublic_{first}-{last}.zip", members))
    cvind, text = folder / "cvind.mat", folder / "README 2024.txt"
    for path, content in ((cvind, _matlab({"cvind": folds[None].astype(np.float64)})), (text, _README.encode())):
        with replacing(path) as partial:
            partial.write_bytes(content)
    return [*archives, cvind, text]


def _draw_patients(rng: np.random.Generator, cases: int) -> list[tuple[str, int, int]]:
    """Patient number, fold and number of slices: ``cases`` slices in folds 1-4 and half as many in fold 5."""
    patients = []
    left = {"train": max(cases, 6), "test": max(cases // 2, 2)}
    for pid, fold in _FAMILIES:
        count = 1 if fold == 5 else 2
        left["train"] -= count  # families are assigned to training, the part of most of their slices
        patients.append((pid, fold, count))
    for part, fold_choices in (("train", (1, 2, 3, 4)), ("test", (5,))):
        while left[part] > 0:
            count = min(int(rng.integers(2, 4)), left[part])
            left[part] -= count
            pid = (
                str(int(rng.integers(95000, 115000)))
                if rng.random() < 0.7
                else f"MR{int(rng.integers(10000, 40000)):06d}"
            )
            patients.append((pid, int(rng.choice(fold_choices)), count))
    return patients


def _root(pid: str) -> str:
    """The patient number without suffix; its family has one head and one tumour."""
    return pid.removesuffix("B")


def _scattered(rng: np.random.Generator, count: int) -> list[int]:
    """Distinct slice numbers over the whole range, in an order in which neighbours are far apart."""
    bounds = np.linspace(1, SLICES + 1, count + 1).astype(int)
    numbers = [int(rng.integers(low, max(low + 1, high))) for low, high in itertools.pairwise(bounds)]
    stride = next(s for s in range(max(2, count // 3), 2 * count + 3) if np.gcd(s, count) == 1)
    return [numbers[i * stride % count] for i in range(count)]


def _slice_file(seed: int, number: int, pid: str, tumour: int, side: int) -> bytes:
    small = generator(seed, "btseg", "size", number).random() < 0.2
    image, mask, border = _picture(seed, number, pid, tumour, side // 2 if small else side)
    return _matlab(
        {
            "cjdata/PID": np.array([[ord(letter)] for letter in pid], np.uint16),
            "cjdata/image": image.T,
            "cjdata/label": np.array([[float(tumour)]]),
            "cjdata/tumorBorder": border[None],
            "cjdata/tumorMask": mask.T,
        }
    )


def _matlab(variables: dict[str, NDArray[Any]]) -> bytes:
    """A MATLAB v7.3 file: HDF5 behind a text header of 512 bytes, each variable tagged with its class."""
    classes = {"f8": b"double", "i2": b"int16", "u1": b"uint8", "u2": b"char"}
    stream = io.BytesIO()
    with h5py.File(stream, "w", userblock_size=512) as file:
        for name, value in variables.items():
            dataset = file.create_dataset(name, data=np.ascontiguousarray(value), track_times=False)
            dataset.attrs["MATLAB_class"] = np.bytes_(classes[value.dtype.str[1:]])
            if value.dtype == np.uint16:
                dataset.attrs["MATLAB_int_decode"] = np.int32(2)
        if "cjdata" in file:
            file["cjdata"].attrs["MATLAB_class"] = np.bytes_(b"struct")
    header = b"MATLAB 7.3 MAT-file, Platform: synthetic, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
    content = stream.getvalue()
    return header.ljust(512, b"\0") + content[512:]


def _picture(
    seed: int, number: int, pid: str, tumour: int, side: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Image, mask and outline of the tumour (row, column, row, column ...)."""
    rng = generator(seed, "btseg", "picture", number)
    scan = generator(seed, "btseg", "scan", _root(pid))
    size = side * rng.uniform(0.93, 1.0)
    radii = (size * scan.uniform(0.37, 0.45), size * scan.uniform(0.31, 0.39))
    centre = (side * rng.uniform(0.48, 0.52), side * rng.uniform(0.48, 0.52))
    image, brain = _head(rng, side, centre, radii)
    mask, border = _draw_tumour(rng, scan, image, brain, tumour, centre, radii)
    bias = np.exp(0.12 * texture(rng, image.shape, side / 4))
    image = ndimage.gaussian_filter(image, 0.6 * side / 128 + 0.2) * bias
    noise = scan.uniform(0.012, 0.03)
    image = np.hypot(image + noise * rng.standard_normal(image.shape), noise * rng.standard_normal(image.shape))
    return np.rint(image * scan.uniform(300, 6000)).astype(np.int16), mask.astype(np.uint8), border


def _head(
    rng: np.random.Generator, side: int, centre: tuple[float, float], radii: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw scalp, skull, brain with folds and ventricles, and contrast-enhanced sinus and vessels."""
    shape = (side, side)

    def ellipse(
        size: float,
        v: float = 0.0,
        u: float = 0.0,
        rv: float = 1.0,
        ru: float = 1.0,
        angle: float = 0.0,
        wobble: float = 0.0,
    ) -> NDArray[np.bool_]:
        spot = centre[0] + v * radii[0], centre[1] + u * radii[1]
        return blob(rng, shape, spot, (size * rv * radii[0], size * ru * radii[1]), angle=angle, wobble=wobble)

    image = np.full(shape, 0.01, np.float32)
    image[ellipse(1.16)] = rng.uniform(0.55, 0.85)
    image[ellipse(1.10)] = 0.10
    brain = ellipse(1.0, wobble=0.015)
    image[ellipse(1.03)] = 0.30
    folds = texture(rng, shape, side / 40)
    depth = ndimage.distance_transform_edt(brain) / radii[1]
    cortex = np.clip(1 - depth / 0.28, 0, 1)
    white = 0.49 + 0.02 * texture(rng, shape, side / 30)
    image[brain] = (white - 0.10 * np.clip(1.6 * cortex - 0.3 + 0.35 * folds * cortex, 0, 1))[brain]
    image[brain & (cortex > 0.12) & (np.abs(folds) < 0.16)] = 0.26
    columns = np.arange(side)[None, :]
    fissure = brain & (np.abs(columns - centre[1] - 0.015 * side * texture(rng, (side, 1), side / 8)) < side / 110)
    image[fissure & ~ellipse(0.45)] = 0.27
    spread = rng.uniform(0.7, 1.3)
    for sign in (-1, 1):
        image[ellipse(0.22 * spread, -0.18, sign * 0.13, 1.25, 0.42, sign * 0.35, 0.06) & brain] = 0.2
        image[ellipse(0.2 * spread, 0.26, sign * 0.2, 1.2, 0.4, -sign * 0.45, 0.06) & brain] = 0.2
        image[ellipse(0.16, 0.04, sign * 0.24, 1.2, 0.8, 0, 0.05)] *= 0.93
    for v, u, size in (
        (0.97, 0.0, 0.07),
        (-0.98, 0.0, 0.045),
        *rng.uniform((-0.8, -0.8, 0.015), (0.8, 0.8, 0.03), (4, 3)),
    ):
        image[ellipse(size, v, u)] = rng.uniform(0.75, 0.95)
    return image, brain


def _draw_tumour(
    rng: np.random.Generator,
    scan: np.random.Generator,
    image: NDArray[np.float32],
    brain: NDArray[np.bool_],
    tumour: int,
    centre: tuple[float, float],
    radii: tuple[float, float],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Draw a tumour at a typical location of its type, and return its mask and outline."""
    shape, scale = brain.shape, (radii[0] * radii[1]) ** 0.5
    angle = scan.uniform(0, 2 * np.pi)
    if tumour == _MENINGIOMA:  # attached to the skull
        away, size = scan.uniform(0.72, 0.82), scan.uniform(0.18, 0.32)
    elif tumour == _GLIOMA:
        away, size = scan.uniform(0.25, 0.6), scan.uniform(0.24, 0.40)
    else:  # in the midline of the skull base
        angle, away, size = np.pi / 2 + 0.1 * scan.normal(), scan.uniform(0.12, 0.3), scan.uniform(0.15, 0.24)
    bright = scan.uniform(0.60, 0.92)
    size *= scale * rng.uniform(0.75, 1.05)
    spot = centre[0] + away * np.sin(angle) * radii[0], centre[1] + away * np.cos(angle) * radii[1]
    stretch, turn, key = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi), int(rng.integers(2**31))

    def part(factor: float, wobble: float) -> NDArray[np.bool_]:
        extent = (max(factor * size, 1.5), max(factor * size * stretch, 1.5))
        return brain & blob(generator(key), shape, spot, extent, angle=turn, wobble=wobble)

    ragged = 0.2 if tumour == _GLIOMA else 0.1
    mask = part(1.0, ragged)
    swelling = ndimage.gaussian_filter((part(1.55, 0.2) & brain).astype(np.float32), size / 6)
    image *= 1 - (0.28 if tumour == _GLIOMA else 0.1) * swelling
    grain = texture(rng, shape, max(1.0, size / 6))
    image[mask] = bright + (0.10 if tumour == _GLIOMA else 0.05) * grain[mask]
    if tumour == _GLIOMA:  # enhancing ring around a necrotic core
        core = part(rng.uniform(0.45, 0.75), 0.2) & mask
        image[core] = rng.uniform(0.22, 0.4) + 0.04 * grain[core]
    return mask, _border(mask)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Edge pixels, ordered by their direction from the centre: alternating row and column, counted from 1."""
    rows, columns = np.nonzero(mask & ~ndimage.binary_erosion(mask))
    order = np.argsort(np.arctan2(rows - rows.mean(), columns - columns.mean()), kind="stable")[::3]
    return np.stack([rows[order] + 1.0, columns[order] + 1.0], axis=1).ravel()
