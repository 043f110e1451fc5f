"""MetaImage headers and voxels: what is read, and what is refused."""

import unicodedata
import zlib

import numpy as np
import pytest

from spectralseg.data.phantoms._volumes import metaimage
from spectralseg.data.readers._metaimage import read_metaimage
from spectralseg.errors import InputError

ARRAY = np.random.default_rng(0).integers(-900, 900, (5, 4, 3)).astype(np.int16)
SPACING = (0.5, 0.75, 3.0)


def write(folder, array=ARRAY, name="a.raw", **options):
    header, voxels = metaimage(array, SPACING, name, **options)
    path = folder / "a.mhd"
    path.write_bytes(header + (voxels if name == "LOCAL" else b""))
    if name != "LOCAL":
        (folder / name).write_bytes(voxels)
    return path


def change(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("name", ["a.raw", "a.zraw", "LOCAL"])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
def test_voxels_and_spacing_are_read(tmp_path, name, big_endian, dtype):
    array = np.abs(ARRAY).clip(0, 200).astype(dtype)
    volume = read_metaimage(write(tmp_path, array, name, big_endian=big_endian, compressed=name != "a.raw"))
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.dtype(dtype)
    assert volume.zooms == SPACING
    np.testing.assert_allclose(volume.affine, np.diag([-0.5, -0.75, 3, 1]))


def test_axes_and_offset_become_the_affine(tmp_path):
    axes = (0, 1, 0, 0, 0, -1, 1, 0, 0)  # to posterior, inferior and left
    volume = read_metaimage(write(tmp_path, axes=axes, offset=(10, 20, 30)))
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], [-10, -20, 30, 1])
    np.testing.assert_allclose(volume.affine @ [2, 0, 0, 1], [-10, -21, 30, 1])
    np.testing.assert_allclose(volume.affine @ [0, 2, 0, 1], [-10, -20, 28.5, 1])
    np.testing.assert_allclose(volume.affine @ [0, 0, 2, 1], [-16, -20, 30, 1])


def test_a_data_file_in_lower_case_is_read(tmp_path):
    path = write(tmp_path, name="A.RAW")
    (tmp_path / "A.RAW").rename(tmp_path / "a.raw")
    np.testing.assert_array_equal(read_metaimage(path).array, ARRAY)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_name_of_the_data_file_may_have_umlauts(tmp_path, encoding, form):
    path = write(tmp_path)
    change(path, b"a.raw", "Größe ä.raw".encode(encoding))
    (tmp_path / "a.raw").rename(tmp_path / unicodedata.normalize(form, "Größe ä.raw"))
    np.testing.assert_array_equal(read_metaimage(path).array, ARRAY)


def test_alternative_keys_are_read(tmp_path):
    path = write(tmp_path, offset=(1, 2, 3))
    change(path, b"ElementSpacing", b"ElementSize")
    change(path, b"Offset", b"Position")
    change(path, b"BinaryDataByteOrderMSB", b"ElementByteOrderMSB")
    volume = read_metaimage(path)
    assert volume.zooms == SPACING
    np.testing.assert_allclose(volume.affine[:3, 3], [-1, -2, 3])


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"DimSize = 5 4 3", b"DimSize = 5 4 4", "a.raw: holds more or less data"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4 2", "a.raw: holds more or less data"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4", "3 numbers as DimSize"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4 0", "the volume is empty"),
        (b"DimSize = 5 4 3", b"DimSize = 90000 90000 90000", "more than the limit"),
        (b"ElementSpacing = 0.5", b"ElementSpacing = nan", "3 numbers as ElementSpacing"),
        (b"ElementSpacing = 0.5", b"ElementSpacing = 0", "no usable voxel size"),
        (b"TransformMatrix = 1 0 0 0 1 0", b"TransformMatrix = 1 0 0 1 0 0", "not perpendicular"),
        (b"MET_SHORT", b"MET_SHORT_ARRAY", "'MET_SHORT_ARRAY' is not supported"),
        (b"NDims = 3", b"NDims = 4", "NDims is 4"),
        (b"BinaryData = True", b"BinaryData = False", "BinaryData is False"),
        (b"NDims = 3", b"NDims = 3\nHeaderSize = -1", "HeaderSize is -1"),
        (b"a.raw", b"b.raw", r"b\.raw: the voxels of a\.mhd are missing"),
        (b"a.raw", b"../a.raw", "expected LOCAL"),
        (b"a.raw", b"LIST", "expected LOCAL"),
        (b"a.raw", b"a%03d.raw 1 3 1", "expected LOCAL"),
        (b"ElementDataFile = a.raw", b"", "entry ElementDataFile"),
        (b"CompressedData = False", b"CompressedData = True", "cannot be read as deflated voxels"),
    ],
)
def test_malformed_headers_are_refused(tmp_path, old, new, problem):
    path = write(tmp_path)
    change(path, old, new)
    with pytest.raises(InputError, match=problem):
        read_metaimage(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (zlib.compress(ARRAY.tobytes(order="F"))[:-8], "holds more or less data"),
        (zlib.compress(ARRAY.tobytes(order="F") + b"more"), "holds more or less data"),
        (zlib.compress(ARRAY.tobytes(order="F")[:-2]), "holds more or less data"),
        (zlib.compress(bytes(10**7)), "holds more or less data"),
        (b"", r"should have 120 bytes"),
        (b"nothing deflated", "cannot be read as deflated voxels"),
    ],
)
def test_damaged_voxels_are_refused(tmp_path, content, problem):
    path = write(tmp_path, name="a.zraw", compressed=True)
    (tmp_path / "a.zraw").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.zraw: .*{problem}"):
        read_metaimage(path)


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"\x00" * 100_000, b"# a text\n"):
        (tmp_path / "a.mhd").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.mhd: is not a MetaImage header"):
            read_metaimage(tmp_path / "a.mhd")
