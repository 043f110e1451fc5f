import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spectralseg.data.geometry import Geometry, coincide

DIRECTIONS = [
    "".join(axes) for pairs in itertools.permutations(["LR", "AP", "IS"]) for axes in itertools.product(*pairs)
]
SHAPE, SPACING = (3, 4, 5), (5.0, 2.0, 3.0)  # of the array


def image_with_axes(axes):
    """An image with the array of the case."""
    orientation = nib.orientations.axcodes2ornt(axes)
    affine = np.diag([0.0, 0, 0, 1])
    for axis, (target, sign) in enumerate(orientation):
        affine[int(target), axis] = sign * SPACING[axis]
    affine[:3, 3] = 7, -8, 9
    return nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(SHAPE), affine), orientation


@pytest.mark.parametrize("stored", DIRECTIONS)
@pytest.mark.parametrize("axes", ["SPL", "SAR", "RAS"])
def test_arrays_are_mapped_back_to_the_axes_of_the_file(stored, axes):
    image, orientation = image_with_axes(axes)
    array = np.asarray(image.dataobj)
    file = image.as_reoriented(nib.orientations.ornt_transform(orientation, nib.orientations.axcodes2ornt(stored)))
    geometry = Geometry(file.affine, axes)
    assert np.array_equal(geometry.to_file(array), file.dataobj)
    assert np.array_equal(geometry.from_file(np.asarray(file.dataobj)), array)
    assert geometry.in_file_order(SHAPE) == file.shape
    assert geometry.in_file_order(SPACING) == tuple(map(float, file.header.get_zooms()))


@given(st.lists(st.floats(-180, 180), min_size=3, max_size=3))
def test_file_order_means_reversed_axes_and_no_flip_however_oblique_the_volume(angles):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([1.5, 1.5, 8.0])
    array = np.arange(60).reshape(SHAPE)
    assert np.array_equal(Geometry.of_file_order(affine).to_file(array), array.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (np.eye(4), True),
        (np.diag([1 + 1e-4, 1, 1, 1]), True),
        (np.diag([-1, 1, 1, 1]), False),
        (np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), True),
        (np.array([[1, 0, 0, 0.6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), False),
        (np.diag([1, 1, 1.2, 1]), False),
    ],
)
def test_grids_coincide_within_half_a_voxel(move, expected):
    affine = np.diag([-2.0, -2, 5, 1])
    affine[:3, 3] = 90, -30, 12
    assert coincide(affine @ move, affine, (64, 64, 12)) is expected
