"""Voxel grids of volumes, and the mapping between prepared arrays and the grid of the original file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import nibabel
import numpy as np
from numpy.typing import NDArray

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Geometry:
    """The voxel grid of a label file, and the axes of a case's array (z, y, x) on it.

    Attributes:
        affine: float64 (4, 4), voxel indices (i, j, k) of the file to millimetres (right, anterior, superior).
        axes: directions in which the indices of the array grow, e.g. ``SPL`` for superior, posterior, left.

    Raises:
        ValueError: the affine is not invertible, or the axes are not three directions.
    """

    affine: NDArray[np.float64]
    axes: str

    def __post_init__(self) -> None:
        affine = self.affine
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise ValueError("the affine is not a finite 4 x 4 matrix with the last row 0, 0, 0, 1")
        if np.linalg.matrix_rank(affine[:3, :3]) < 3:
            raise ValueError("the affine maps the volume to a plane")
        if len(self.axes) != 3 or any(len(set(pair) & set(self.axes)) != 1 for pair in ("LR", "AP", "IS")):
            raise ValueError(f"the axes '{self.axes}' are not three directions such as SPL")

    @classmethod
    def of_file_order(cls, affine: NDArray[np.float64]) -> Geometry:
        """Geometry of an array with the axes of the file in reverse order, (z, y, x), without flips."""
        return cls(affine, "".join(nib.aff2axcodes(affine))[::-1])

    def to_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array (z, y, x) of a case in the axis order and directions of the file, (i, j, k)."""
        return nib.orientations.apply_orientation(array, self._to_file)  # type: ignore[no-any-return]

    def from_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`to_file`, contiguous."""
        transform = nib.orientations.ornt_transform(*self._orientations[::-1])
        return np.ascontiguousarray(nib.orientations.apply_orientation(array, transform))

    def in_file_order(self, values: Sequence[_Value]) -> tuple[_Value, ...]:
        """Values per axis of the array, such as sides or spacings, in the axis order of the file."""
        return tuple(values[axis] for axis in np.argsort(self._to_file[:, 0]))

    def scaled(self, spacing: Sequence[float]) -> NDArray[np.float64]:
        """The affine for another ``spacing``, in millimetres per axis of the array."""
        affine = self.affine.copy()
        affine[:3, :3] *= np.array(self.in_file_order(spacing)) / np.linalg.norm(affine[:3, :3], axis=0)
        return affine

    @property
    def _orientations(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return nib.orientations.axcodes2ornt(self.axes), nib.orientations.io_orientation(self.affine)

    @property
    def _to_file(self) -> NDArray[Any]:
        return nib.orientations.ornt_transform(*self._orientations)  # type: ignore[no-any-return]


def coincide(first: NDArray[np.float64], second: NDArray[np.float64], shape: Sequence[int]) -> bool:
    """Whether two grids of one shape (i, j, k) coincide in space.

    Their corners must be less than half a voxel apart, as headers are rounded.
    """
    corners = np.stack([*np.indices((2, 2, 2)).reshape(3, -1) * (np.array(shape)[:, None] - 1), np.ones(8)])
    return bool(np.abs(np.linalg.inv(second) @ first @ corners - corners).max() < 0.5)
