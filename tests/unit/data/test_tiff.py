"""TIFF files: one decoder for images, masks and tiles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from spectralseg.data.cases import Sample
from spectralseg.data.readers import read_cases
from spectralseg.data.readers._masks import read_mask
from spectralseg.errors import InputError

SHAPE = (20, 30)
OPTIONS = {"images": r"images/{id}\.tif", "masks": r"masks/{id}\.tif"}


def noise(*shape: int, dtype: Any = np.uint8, most: int = 256) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, most, shape or SHAPE).astype(dtype)


def square(value: int = 255, dtype: Any = np.uint8) -> NDArray[Any]:
    mask = np.zeros(SHAPE, dtype)
    mask[3:10, 10:20] = value  # not symmetric
    return mask


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


def load(root: Path, image: NDArray[Any], mask: NDArray[Any], *, grey: bool = False, **options: Any) -> Sample:
    """Options apply to image and mask alike."""
    write(root / "images" / "a.tif", image, **options)
    write(root / "masks" / "a.tif", mask, **options)
    return read_cases("paired_images", root, {**OPTIONS, "grey": grey})[0].load()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_orientation_tags_are_ignored_for_image_and_mask(
    tmp_path: Path, orientation: int, compression: str | None, depth: type
) -> None:
    tag = [(274, "H", 1, orientation)]
    image = noise(dtype=depth)
    sample = load(tmp_path, image, square(), grey=True, extratags=tag, compression=compression)
    assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.labels, square(1))
    expected = ["orientation tag of the image ignored", "orientation tag of the mask ignored"]
    assert list(sample.remarks) == (expected if orientation > 1 else [])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_separate_colour_planes(tmp_path: Path, depth: type, compression: str | None) -> None:
    image = noise(*SHAPE, 3, dtype=depth, most=np.iinfo(depth).max)
    write(tmp_path / "masks" / "a.tif", square())
    write(
        tmp_path / "images" / "a.tif",
        np.ascontiguousarray(np.moveaxis(image, -1, 0)),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
    )
    (case,) = read_cases("paired_images", tmp_path, OPTIONS)
    for _ in range(3):
        assert np.array_equal(case.load().image, image)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", ">u2", ">i4", ">f4"])
def test_masks_of_any_type_of_number(tmp_path: Path, dtype: str) -> None:
    order = ">" if dtype.startswith(">") else "<"
    path = write(tmp_path / "a.tif", square(100, dtype), byteorder=order)
    mask, _ = read_mask(path)
    assert mask.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(mask, square(100, dtype))
    write(tmp_path / "images" / "a.tif", noise(*SHAPE, 3), photometric="rgb")
    write(tmp_path / "masks" / "a.tif", square(100, dtype), byteorder=order)
    for options in ({"threshold": 50}, {"values": [0, 100]}):
        (case,) = read_cases("paired_images", tmp_path, {**OPTIONS, **options})
        assert np.array_equal(case.load().labels, square(1))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (square(-1, np.int8), r"the mask holds the value -1; convert it to 8 bit"),
        (square(-7, np.int32), r"the mask holds the value -7; convert it to 8 bit"),
        (
            square(2**32 - 1, np.uint32) - np.tril(square(1, np.uint32), 11),
            r"the mask holds 3 values, 0, 4294967294, 4294967295, .* would merge into two",
        ),
        (np.where(square(), np.nan, 0.0).astype(np.float32), r"the mask holds the value nan"),
        (square(1, np.int32), r"the mask holds the values 0, 1, none of them above the threshold 127"),
        (square(1).astype(np.complex64), r"holds pixels of \d+-bit complex64"),
    ],
    ids=["int8", "negative", "uint32", "NaN", "labels", "complex"],
)
def test_masks_with_invalid_numbers_are_refused(tmp_path: Path, mask: NDArray[Any], message: str) -> None:
    write(tmp_path / "images" / "a.tif", noise(*SHAPE, 3), photometric="rgb")
    write(tmp_path / "masks" / "a.tif", mask)
    with pytest.raises(InputError, match=rf"masks/a\.tif: {message}"):
        read_cases("paired_images", tmp_path, OPTIONS)[0].load()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.uint32])
def test_white_as_zero_is_inverted_at_every_depth(tmp_path: Path, dtype: type) -> None:
    top = 1 if dtype is bool else int(np.iinfo(dtype).max)
    stored = (top - square(1, np.int64) * top).astype(dtype)
    sample = load(tmp_path, stored, stored, photometric="miniswhite")
    assert np.array_equal(sample.labels, square(1))
    assert "mask stored with white as 0, inverted" in sample.remarks
    assert sample.image[5, 15].min() > sample.image[0, 0].max()


def twelve_bits(pixels: NDArray[np.uint16]) -> bytes:
    """A TIFF file with 12 bits per pixel, which tifffile does not write."""
    high, low = pixels.reshape(-1, 2).T.astype(np.uint32)
    packed = high << 12 | low
    data = np.stack([packed >> 16, packed >> 8, packed], -1).astype(np.uint8).tobytes()
    stream = io.BytesIO()
    tags = {256: SHAPE[1], 257: SHAPE[0], 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: SHAPE[0], 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    stream.write(b"II*\0" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little"))
    for tag, value in tags.items():
        stream.write(tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little"))
        stream.write(value.to_bytes(4, "little"))
    stream.write(bytes(4) + data)
    return stream.getvalue()


def test_twelve_bits_are_not_scaled(tmp_path: Path) -> None:
    image = noise(dtype=np.uint16, most=4096)
    write(tmp_path / "masks" / "a.tif", square())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tif").write_bytes(twelve_bits(image))
    result = read_cases("paired_images", tmp_path, {**OPTIONS, "grey": True})[0].load().image
    assert result.dtype == np.uint16
    assert np.array_equal(result, image)


def test_jpeg_within_tiff_is_lossy(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.tif", noise(*SHAPE, 3), photometric="rgb")
    Image.fromarray(square()).save(write(tmp_path / "masks" / "a.tif", square()), "TIFF", compression="jpeg")
    mask, picture = read_mask(tmp_path / "masks" / "a.tif")
    assert picture.lossy
    assert len(np.unique(mask)) > 2
    assert np.array_equal(read_cases("paired_images", tmp_path, OPTIONS)[0].load().labels, square(1))


def test_palettes_of_grey_values_are_looked_up_and_colours_refused(tmp_path: Path) -> None:
    grey = np.repeat(np.array([0, 0xFFFF] + [0] * 254, np.uint16)[None], 3, axis=0)
    path = write(tmp_path / "a.tif", square(1), photometric="palette", colormap=grey)
    assert np.array_equal(read_mask(path)[0], square())
    grey[0, 1] = 0
    write(path, square(1), photometric="palette", colormap=grey)
    with pytest.raises(InputError, match=r"a\.tif: the mask has colours or a palette"):
        read_mask(path)


@pytest.mark.parametrize("factor", [256, 257])
def test_palettes_of_any_writer_give_the_colours_of_8_bits(tmp_path: Path, factor: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = np.repeat(np.arange(256, dtype=np.uint16)[None] * np.uint16(factor), 3, axis=0)
    path = write(tmp_path / "a.tif", levels, photometric="palette", colormap=palette)
    assert np.array_equal(read_mask(path)[0], levels)


def test_palette_masks_of_pillow_are_read_as_pillow_does(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    picture.putpalette([value for value in range(256) for _ in range(3)])
    for name in ("a.tif", "a.png"):
        picture.save(tmp_path / name)
        assert read_mask(tmp_path / name)[0].tolist() == np.asarray(picture.convert("L")).tolist() == [[0, 1], [2, 3]]


def test_palettes_of_two_colours(tmp_path: Path) -> None:
    """tifffile does not write such files."""
    palette = (320, "H", 6, [0, 0x8080] * 3)
    path = write(tmp_path / "a.tif", square(1).astype(bool), extratags=[palette])
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["PhotometricInterpretation"].overwrite(3)
    assert np.array_equal(read_mask(path)[0], square(128))


def test_palettes_of_8_bits_are_refused(tmp_path: Path) -> None:
    palette = np.repeat(np.arange(256, dtype=np.uint16)[None], 3, axis=0)
    path = write(tmp_path / "a.tif", square(1), photometric="palette", colormap=palette)
    with pytest.raises(InputError, match=r"a\.tif: has a palette of 8 instead of 16 bits"):
        read_mask(path)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (noise(2, *SHAPE), {"photometric": "minisblack"}, "holds several images"),
        (noise(*SHAPE, 4), {"photometric": "separated"}, "holds SEPARATED colours in 4 channels"),
        (noise(*SHAPE, 3, dtype=np.int32), {"photometric": "rgb"}, "holds pixels of 32-bit int32; convert it to 8 bit"),
        (noise(*SHAPE, 3), {"photometric": "cielab"}, "holds CIELAB colours in 3 channels"),
        (noise(*SHAPE, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "is partly transparent"),
    ],
)
def test_other_kinds_of_tiff_are_refused(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(InputError, match=rf"a\.tif: {message}"):
        read_mask(path)


def test_pages_are_not_visited_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(300):
            file.write(square(1)[:1, :1])
    reads = 0

    class Counting(io.BytesIO):
        def read(self, *size: Any) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(*size)

    monkeypatch.setattr("spectralseg.data.readers._tiff.io.BytesIO", Counting)
    with pytest.raises(InputError, match="holds several images"):
        read_mask(path)
    assert reads < 200


@pytest.mark.parametrize("options", [{"truncate": True}, {"imagej": True}, {"imagej": True, "truncate": True}, {}])
@pytest.mark.parametrize("shape", [(2, *SHAPE), (2, *SHAPE, 3), (2, 3, *SHAPE)])
def test_stacks_with_one_header_are_refused(tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    photometric = "rgb" if shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", noise(*shape), photometric=photometric, **options)
    with pytest.raises(InputError, match=r"a\.tif: holds several images; give one file for each"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"description": '{"shape": [2, 20, 3'}])
@pytest.mark.parametrize("shape", [SHAPE, (1, *SHAPE), (*SHAPE, 3)])
def test_metadata_of_a_single_image_is_not_a_stack(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    pixels = np.repeat(noise(*shape[:2], 1), 3, axis=-1) if shape[-1] == 3 else noise(*shape)
    photometric = "rgb" if shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, **options)
    assert read_mask(tmp_path / "a.tif")[0].shape == SHAPE


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    image = noise(*SHAPE, 3)
    opaque = np.dstack([image, np.full(SHAPE, 255, np.uint8)])
    write(tmp_path / "images" / "a.tif", opaque, photometric="rgb", extrasamples=["unassalpha"])
    write(tmp_path / "masks" / "a.tif", square())
    assert np.array_equal(read_cases("paired_images", tmp_path, OPTIONS)[0].load().image, image)
