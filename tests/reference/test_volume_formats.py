"""MetaImage and DICOM against SimpleITK, and filled polygons against scikit-image."""

import zipfile

import numpy as np
import pytest
import SimpleITK
from skimage.measure import points_in_poly

from spectralseg.data import phantoms
from spectralseg.data.readers._dicom import read_hounsfield, read_series
from spectralseg.data.readers._metaimage import read_metaimage
from spectralseg.data.readers._polygons import fill_polygon

TO_RIGHT_ANTERIOR = np.diag([-1.0, -1, 1, 1])


def affine_of(image):
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return TO_RIGHT_ANTERIOR @ affine


@pytest.mark.parametrize("suffix", ["mhd", "mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_metaimage_agrees(tmp_path, suffix, compressed):
    rng = np.random.default_rng(3)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64):
        image = SimpleITK.GetImageFromArray(rng.integers(0, 100, (4, 5, 6)).astype(dtype))
        image.SetSpacing((0.4, 0.6, 2.5))
        image.SetOrigin((-11.5, 7, 300))
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        image.SetDirection(axes.ravel())
        path = tmp_path / f"{np.dtype(dtype).name}.{suffix}"
        SimpleITK.WriteImage(image, path, useCompression=compressed)
        volume = read_metaimage(path)
        np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
        assert volume.array.dtype == dtype
        np.testing.assert_allclose(volume.affine, affine_of(image), atol=1e-5)


def test_dicom_agrees(tmp_path):
    (archive,) = phantoms.generate("coca", tmp_path, cases=4, side=32, seed=1)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    folders = sorted({path.parent for path in tmp_path.rglob("patient/*/*/*.dcm")})
    assert len(folders) >= 6
    for folder in folders:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        volume = read_hounsfield(read_series(sorted(folder.iterdir())))
        np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
        np.testing.assert_allclose(volume.affine, affine_of(image), atol=1e-4)


def test_polygons_agree():
    rng = np.random.default_rng(7)
    rows, columns = np.indices((30, 40))
    for vertices in (3, 4, 7, 15):
        for _ in range(25):
            polygon = rng.uniform(-3, 42, (vertices, 2))
            mask = np.zeros(rows.shape, np.uint8)
            fill_polygon(mask, polygon, outline=False)
            inside = points_in_poly(np.column_stack([columns.ravel(), rows.ravel()]), polygon)
            np.testing.assert_array_equal(mask.ravel().astype(bool), inside)
