"""The reader of images with one mask file each: options, real files and malformed input."""

from __future__ import annotations

import os
import pickle
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from spectralseg.data.cases import Case
from spectralseg.data.readers import options_of, read_cases
from spectralseg.data.readers._masks import read_mask
from spectralseg.data.specification import Split, read_specification
from spectralseg.data.splits import assign
from spectralseg.errors import InputError
from spectralseg.metrics.records import POOLED

ROOT = Path(__file__).parents[3]
REAL = Path(os.environ.get("SPECTRALSEG_REAL_SAMPLES", ROOT.parent / "shared" / "real_samples"))
PLAIN = {"images": "images/{id}.png", "masks": "masks/{id}.png"}
SHAPE = (20, 30)


def write(path: Path, pixels: NDArray[Any], **flags: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def picture(shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """BGR, the order of OpenCV: blue 10, green 20, red 200."""
    return np.full((*shape, 3), (10, 20, 200), np.uint8)


def square(value: int = 255, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[5:15, 10:20] = value
    return mask


def plain(root: Path, *names: str, mask: NDArray[Any] | None = None) -> Path:
    for name in names:
        write(root / "images" / f"{name}.png", picture())
        write(root / "masks" / f"{name}.png", square() if mask is None else mask)
    return root


def read(root: Path, **options: Any) -> list[Case]:
    return read_cases("paired_images", root, {**PLAIN, **options})


def test_plain_folder(tmp_path: Path) -> None:
    cases = read(plain(tmp_path, "b", "a"))
    assert [(case.id, case.group, dict(case.attributes)) for case in cases] == [("a", "a", {}), ("b", "b", {})]
    sample = cases[0].load()
    assert sample.image.shape == (*SHAPE, 3)
    assert sample.image[0, 0].tolist() == [200, 20, 10], "channels are RGB"
    assert sample.labels.dtype == np.uint8
    assert np.array_equal(sample.labels, square(1))
    assert sample.spacing is None


def test_a_nested_top_folder_makes_no_difference(tmp_path: Path) -> None:
    plain(tmp_path / "set" / "set", "a")
    assert [case.id for case in read(tmp_path)] == ["a"]


def test_archive_clutter_is_not_listed(tmp_path: Path) -> None:
    plain(tmp_path, "a")
    plain(tmp_path / "__MACOSX", "a")
    (tmp_path / "images" / "._a.png").write_bytes(b"clutter")
    assert [case.id for case in read(tmp_path)] == ["a"]


def test_listing_opens_no_image_and_cases_can_be_pickled(tmp_path: Path) -> None:
    plain(tmp_path, "a")
    (tmp_path / "images" / "a.png").write_bytes(b"")
    (case,) = read(tmp_path)
    with pytest.raises(InputError, match=r"a\.png: damaged"):
        pickle.loads(pickle.dumps(case)).load()


def test_masks_without_an_image_are_listed_with_a_defect(tmp_path: Path) -> None:
    plain(tmp_path, "a")
    write(tmp_path / "masks" / "withdrawn.png", square())
    whole, withdrawn = read(tmp_path)
    assert (whole.id, whole.defect) == ("a", "")
    assert (withdrawn.id, withdrawn.defect) == ("withdrawn", "mask withdrawn.png without an image")
    with pytest.raises(InputError, match=r"withdrawn\.png: a mask without an image"):
        withdrawn.load()


def test_names_are_compared_in_normalised_form(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Müller é") for form in ("NFC", "NFD"))
    assert composed != decomposed
    write(tmp_path / unicodedata.normalize("NFD", "Köln") / "images" / f"{decomposed}.png", picture())
    write(tmp_path / unicodedata.normalize("NFC", "Köln") / "masks" / f"{composed}.png", square())
    options = {
        "images": unicodedata.normalize("NFC", "Köln/images/{id}.png"),
        "masks": unicodedata.normalize("NFD", "Köln/masks/{id}.png"),
    }
    (case,) = read_cases("paired_images", tmp_path, options)
    assert case.id == composed, "the same on every system"
    assert case.load().labels.any()
    own = tmp_path / "own.csv"
    own.write_text(f"case,part\n{decomposed},test\n", encoding="utf-8")
    assert assign([case], Split(list=str(own)), dataset="plain") == {composed: "test"}


def test_two_files_whose_names_differ_in_normalisation_only_are_refused(tmp_path: Path) -> None:
    plain(tmp_path, *(unicodedata.normalize(form, "é") for form in ("NFC", "NFD")))
    with pytest.raises(InputError, match=r"a mask of the same image as"):
        read(tmp_path)


def test_reserved_case_names_are_refused(tmp_path: Path) -> None:
    assert POOLED == "pooled"
    with pytest.raises(InputError, match="case 'Pooled' has a name that is reserved in records"):
        read(plain(tmp_path, "Pooled"))


def test_images_and_masks_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture())
    write(tmp_path / "a_mask.png", square())
    assert [case.id for case in read(tmp_path, images="{id}.png", masks="{id}_mask.png")] == ["a"]


def test_captured_group_and_attributes(tmp_path: Path) -> None:
    write(tmp_path / "images" / "north" / "p1_left.png", picture())
    write(tmp_path / "masks" / "p1_left.png", square())
    (case,) = read(tmp_path, images=r"images/{centre}/(?P<id>(?P<group>[^_/]+)_{eye})\.png")
    assert (case.id, case.group) == ("p1_left", "p1")
    assert case.attributes == {"centre": "north", "eye": "left"}


def test_split_by_folder_with_repeated_names(tmp_path: Path) -> None:
    for part in ("train", "test"):
        plain(tmp_path / part, "001", "002", "003")
    cases = read(tmp_path, images="{part}/images/{name}.png", masks="{part}/masks/{name}.png")
    assert len({case.id for case in cases}) == 6
    parts = assign(cases, Split(attribute="part", test=("test",)), dataset="plain")
    assert {case for case, part in parts.items() if part == "test"} == {"test_001", "test_002", "test_003"}


def test_duplicate_ids_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        plain(tmp_path / part, "001")
    with pytest.raises(InputError, match=r"001\.png: a mask of the same image as"):
        read(tmp_path)


def test_grey_images_keep_their_depth(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", np.full(SHAPE, 40000, np.uint16))
    write(tmp_path / "masks" / "a.png", square())
    image = read(tmp_path, grey=True)[0].load().image
    assert image.shape == SHAPE
    assert image.dtype == np.uint16
    assert image[0, 0] == 40000
    assert read(tmp_path)[0].load().image.shape == (*SHAPE, 3)


def test_orientation_tags_are_ignored(tmp_path: Path) -> None:
    """A quarter turn of the image only would misalign image and mask."""
    content = write(tmp_path / "images" / "a.jpg", picture()).read_bytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    tag = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    tagged = content[:2] + tag + content[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape[:2] == SHAPE[::-1], "the tag works"
    (tmp_path / "images" / "a.jpg").write_bytes(tagged)
    write(tmp_path / "masks" / "a.png", square())
    sample = read(tmp_path, images="images/{id}.jpg")[0].load()
    assert sample.image.shape[:2] == sample.labels.shape == SHAPE


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_masks_with_any_number_of_equal_channels(tmp_path: Path, channels: int) -> None:
    mask = square() if channels == 1 else np.dstack([square()] * 3 + [np.full(SHAPE, 255, np.uint8)] * (channels - 3))
    assert np.array_equal(read(plain(tmp_path, "a", mask=mask))[0].load().labels, square(1))


def test_threshold(tmp_path: Path) -> None:
    mask = square(127, SHAPE) + np.uint8(1)
    mask[mask == 1] = 127
    root = plain(tmp_path, "a", mask=mask)
    assert read(root)[0].load().labels.sum() == 100
    with pytest.raises(InputError, match=r"a\.png: .* none of them above the threshold 128"):
        read(root, threshold=128)[0].load()


@pytest.mark.parametrize("extension", ["png", "tif", "bmp"])
@pytest.mark.parametrize("other", [1, 100, 128, 254])
def test_a_third_value_of_a_lossless_mask_is_refused(tmp_path: Path, extension: str, other: int) -> None:
    """Void would become object, or object background."""
    mask = square(255)
    mask[0] = other
    write(tmp_path / "images" / "a.png", picture())
    write(tmp_path / "masks" / f"a.{extension}", mask)
    pattern = rf"masks/{{id}}\.{extension}"
    with pytest.raises(InputError, match=rf"a\.{extension}: the mask holds 3 values, 0, {other}, 255, .*'values'"):
        read(tmp_path, masks=pattern)[0].load()
    assert read(tmp_path, masks=pattern, values=[0, 255, other])[0].load().labels.max() == 2


def test_soft_edges_of_a_lossless_mask_are_recorded(tmp_path: Path) -> None:
    mask = cv2.GaussianBlur(square(), (5, 5), 0.8)
    count = len(np.unique(mask))
    assert count > 8
    sample = read(plain(tmp_path, "a", mask=mask))[0].load()
    assert np.array_equal(sample.labels, square(1))
    assert sample.remarks == (f"mask with soft edges: {count} grey values, divided at 127",)


@pytest.mark.parametrize(
    "mask",
    [
        np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1)),
        np.kron(np.arange(0, 240, 4).reshape(6, 10), np.ones((6, 6))).astype(np.uint8),
    ],
    ids=["a ramp", "a number for each object"],
)
def test_grey_values_of_whole_regions_are_refused(tmp_path: Path, mask: NDArray[np.uint8]) -> None:
    write(tmp_path / "images" / "a.png", picture(mask.shape))
    write(tmp_path / "masks" / "a.png", mask)
    with pytest.raises(InputError, match=r"a\.png: the mask holds \d+ values, 0, .* would merge into two; "):
        read(tmp_path)[0].load()


def test_a_region_of_grey_in_a_lossy_mask_is_recorded(tmp_path: Path) -> None:
    mask = square()
    mask[12:18, 22:29] = 128
    write(tmp_path / "images" / "a.png", picture())
    write(tmp_path / "masks" / "a.jpg", mask)
    (case,) = read(tmp_path, masks=r"masks/{id}\.jpg")
    assert case.load().remarks == ("mask with regions of grey, divided at 127",)
    write(tmp_path / "masks" / "a.jpg", square())
    assert case.load().remarks == ()


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("void", [30, 60, 128, 200, 230])
def test_a_third_value_that_fills_a_region_of_a_lossy_mask_is_refused(tmp_path: Path, void: int, quality: int) -> None:
    """Void would become object or background."""
    mask = square(255, (64, 80))
    mask[20:60, 20:60] = 255
    two_values = mask.copy()
    mask[30:60, 40:70] = void
    write(tmp_path / "images" / "a.png", picture(mask.shape))
    path = tmp_path / "masks" / "a.jpg"
    path.parent.mkdir()
    (case,) = read_cases(
        "paired_images", write_jpeg(path, mask, quality).parents[1], {**PLAIN, "masks": "masks/{id}.jpg"}
    )
    with pytest.raises(
        InputError, match=r"a\.jpg: the lossy mask has regions of the grey value \d+, .*; save it without"
    ):
        case.load()
    for value in (255, 200, 140):
        write_jpeg(path, (two_values > 0).astype(np.uint8) * np.uint8(value), quality)
        assert np.abs(case.load().labels.astype(int) - (two_values > 0)).mean() < 0.01


def write_jpeg(path: Path, pixels: NDArray[Any], quality: int) -> Path:
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def disc(shape: tuple[int, int] = (64, 80)) -> NDArray[np.uint8]:
    rows, columns = np.indices(shape)
    return ((rows - 30) ** 2 + (columns - 41) ** 2 < 400).astype(np.uint8) * np.uint8(255)


@pytest.mark.parametrize("few", ["halved", "decoded"])
def test_soft_edges_may_have_few_values(tmp_path: Path, few: str) -> None:
    mask = disc()
    if few == "halved":
        mask = cv2.resize(mask, (40, 32), interpolation=cv2.INTER_AREA)
    else:
        mask = cv2.imread(str(write_jpeg(tmp_path / "a.jpg", mask, 100)), cv2.IMREAD_GRAYSCALE)
    count = len(np.unique(mask))
    assert 4 <= count <= 8
    write(tmp_path / "images" / "a.png", picture(mask.shape))
    write(tmp_path / "masks" / "a.png", mask)
    (case,) = read(tmp_path)
    sample = case.load()
    assert np.array_equal(sample.labels, mask > 127)
    assert sample.remarks == (f"mask with soft edges: {count} grey values, divided at 127",)


@pytest.mark.parametrize(
    "labels",
    [
        {1: np.s_[:], 2: np.s_[::2]},
        {128: np.s_[:2, :2], 64: np.s_[:1, :1]},
        {1: np.s_[:], 254: np.s_[:3]},
        {64: np.s_[:], 128: np.s_[:3]},
    ],
    ids=["small labels", "spots far from the object", "near both", "wide"],
)
def test_few_values_away_from_edges_are_refused(tmp_path: Path, labels: dict[int, Any]) -> None:
    mask = disc()
    for value, place in labels.items():
        mask[54:62, 2:10][place] = value
    write(tmp_path / "images" / "a.png", picture(mask.shape))
    write(tmp_path / "masks" / "a.png", mask)
    with pytest.raises(InputError, match=r"a\.png: the mask holds 4 values, .* would merge into two"):
        read(tmp_path)[0].load()


@pytest.mark.parametrize("void", [1, 128, 254])
def test_a_contour_of_one_value_is_refused(tmp_path: Path, void: int) -> None:
    """The contour may be void, as in VOC masks."""
    mask = disc()
    mask[(cv2.dilate(mask, np.ones((3, 3))) == 255) & (mask == 0)] = void
    write(tmp_path / "images" / "a.png", picture(mask.shape))
    write(tmp_path / "masks" / "a.png", mask)
    with pytest.raises(InputError, match=rf"a\.png: the mask holds 3 values, 0, {void}, 255"):
        read(tmp_path)[0].load()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_soft_edges_of_other_types_of_number(tmp_path: Path, dtype: type) -> None:
    mask = cv2.resize(disc(), (40, 32), interpolation=cv2.INTER_AREA).astype(dtype) * dtype(100)
    write(tmp_path / "images" / "a.png", picture(mask.shape))
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "a.tif", mask, metadata=None)
    (case,) = read(tmp_path, masks=r"masks/{id}\.tif", threshold=12_700)
    assert np.array_equal(case.load().labels, mask > 12_700)
    mask[2:10, 2:10] = 3000
    tifffile.imwrite(tmp_path / "masks" / "a.tif", mask, metadata=None)
    with pytest.raises(InputError, match="would merge into two"):
        case.load()


def encoded(extension: str, pixels: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(extension, pixels)[1])


@pytest.mark.parametrize("content", [".jpg", ".png"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_compression_is_judged_by_content(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path / "images" / "a.png", picture())
    path = tmp_path / "masks" / name
    path.parent.mkdir()
    path.write_bytes(encoded(content, square(8)))
    (case,) = read(tmp_path, masks=r"masks/{id}\.(png|jpg)")
    if content == ".jpg":
        assert not case.load().labels.any(), "artefacts of an empty mask"
    else:
        with pytest.raises(InputError, match=r"values 0, 8, none of them above the threshold 127"):
            case.load()
    path.write_bytes(encoded(content, square(60)))
    with pytest.raises(InputError, match=r"none of them above the threshold 127"):
        case.load()


@pytest.mark.parametrize(("quality", "lossless"), [(80, False), (101, True)])
def test_webp_is_judged_by_content(tmp_path: Path, quality: int, lossless: bool) -> None:
    path = tmp_path / "a.webp"
    cv2.imwrite(str(path), square(), [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert read_mask(path)[1].lossy != lossless


def test_empty_masks_are_accepted(tmp_path: Path) -> None:
    assert not read(plain(tmp_path, "a", mask=square(0)))[0].load().labels.any()


def test_compression_noise_in_an_empty_jpeg_mask_is_accepted(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", picture())
    write(tmp_path / "masks" / "a.jpg", square(8))
    assert not read(tmp_path, masks="masks/{id}.jpg")[0].load().labels.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_zero_and_one_are_not_silently_empty(tmp_path: Path, dtype: type) -> None:
    root = plain(tmp_path, "a", mask=square(1).astype(dtype))
    with pytest.raises(InputError, match=r"a\.png: .* values 0, 1, none of them above the threshold 127; .*'values'"):
        read(root)[0].load()
    assert np.array_equal(read(root, values=[0, 1])[0].load().labels, square(1))


def test_values_are_labels(tmp_path: Path) -> None:
    mask = square(128)
    mask[0] = 255
    root = plain(tmp_path, "a", mask=mask)
    labels = read(root, values=[0, 255, 128])[0].load().labels
    expected = square(2)
    expected[0] = 1
    assert np.array_equal(labels, expected)
    with pytest.raises(InputError, match=r"a\.png: the mask holds the values 128, 255, which are not in \[0, 1, 2\]"):
        read(root, values=[0, 1, 2])[0].load()


def test_coloured_masks_are_refused(tmp_path: Path) -> None:
    root = plain(tmp_path, "a", mask=picture())
    for options in ({}, {"values": [0, 1]}):
        with pytest.raises(InputError, match=r"a\.png: the mask has colours or a palette; convert"):
            read(root, **options)[0].load()


def test_missing_mask(tmp_path: Path) -> None:
    plain(tmp_path, "a", "b", "c")
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(InputError, match=r"images/b\.png: 1 of 3 images, this one first, have no mask"):
        read(tmp_path)


def test_no_matching_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file matches images 'images/\{id\}\.png'"):
        read(tmp_path)


def test_sizes_differ(tmp_path: Path) -> None:
    plain(tmp_path, "a", mask=square(shape=(20, 29)))
    with pytest.raises(InputError, match=r"masks/a\.png: the mask has 29 x 20 pixels but its image a\.png has 30 x 20"):
        read(tmp_path)[0].load()


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_truncated_image(tmp_path: Path, extension: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
    path = write(tmp_path / "images" / f"a.{extension}", noise)
    write(tmp_path / "masks" / "a.png", square())
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match=rf"a\.{extension}: damaged or truncated image file"):
        read(tmp_path, images=rf"images/{{id}}\.{extension}")[0].load()


def test_a_tiff_with_a_damaged_strip(tmp_path: Path) -> None:
    """OpenCV silently leaves such parts black."""
    write(tmp_path / "masks" / "a.png", square())
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0).integers(1, 255, (*SHAPE, 3), np.uint8)
    path = tmp_path / "images" / "a.tif"
    tifffile.imwrite(path, noise, photometric="rgb", compression="lzw", byteorder="<", metadata=None)
    (case,) = read(tmp_path, images=r"images/{id}\.tif")
    assert np.array_equal(case.load().image, noise)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags["StripByteCounts"].offset + 8
    content[place : place + 4] = (5).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    assert (cv2.imread(str(path)) == 0).mean() > 0.9, "OpenCV does"
    with pytest.raises(InputError, match=r"a\.tif: damaged or truncated"):
        case.load()


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_truncation_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str) -> None:
    """Older versions of OpenCV return partial images."""
    path = write(tmp_path / "images" / f"a.{extension}", picture())
    write(tmp_path / "masks" / "a.png", square())
    (case,) = read(tmp_path, images=rf"images/{{id}}\.{extension}")
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: picture() if flags & 1 else decode(data, flags))
    assert case.load().image.shape == (*SHAPE, 3)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=rf"a\.{extension}: damaged or truncated image file"):
        case.load()


def test_damaged_mask(tmp_path: Path) -> None:
    plain(tmp_path, "a")
    (tmp_path / "masks" / "a.png").write_text("an error page instead of the file")
    with pytest.raises(InputError, match=r"masks/a\.png: damaged or truncated"):
        read(tmp_path)[0].load()


def test_a_missing_file(tmp_path: Path) -> None:
    (case,) = read(plain(tmp_path, "a"))
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(InputError, match=r"images/a\.png: cannot be read: the file is missing"):
        case.load()


def photograph(root: Path, shape: tuple[int, int], extension: str = "jpg", **mask: Any) -> Case:
    """A pair of a smooth colourful image and the mask of an off-centre square."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [127 + 100 * np.sin(rows / a + columns / b) for a, b in ((40, 90), (70, 30), (55, 60))]
    write(root / "images" / f"a.{extension}", np.stack(waves, axis=-1).astype(np.uint8))
    write(root / "masks" / "a.png", square(**{"shape": shape, **mask}))
    return read(root, images=rf"images/{{id}}\.{extension}")[0]


@pytest.mark.parametrize(
    ("shape", "smallest_side", "reduction"),
    [
        ((320, 400), 160, 2),
        ((320, 400), 161, 1),
        ((321, 403), 80, 4),
        ((333, 415), 41, 8),
        ((333, 415), 42, 4),
        ((320, 400), 2, 8),
        ((320, 400), 500, 1),
    ],
)
def test_jpeg_images_are_reduced_as_far_as_the_smallest_side_allows(
    tmp_path: Path, shape: tuple[int, int], smallest_side: int, reduction: int
) -> None:
    case = photograph(tmp_path, shape)
    full, reduced = case.load(), case.load_reduced(smallest_side)
    assert (full.reduction, reduced.reduction) == (1, reduction)
    assert full.image.shape == (*shape, 3)
    assert reduced.image.shape == (-(-shape[0] // reduction), -(-shape[1] // reduction), 3)
    height, width = (side // reduction for side in shape)
    blocks = full.image[: height * reduction, : width * reduction].reshape(height, reduction, width, reduction, 3)
    assert np.abs(reduced.image[:height, :width] - blocks.mean(axis=(1, 3))).max() < 4, "the mean of what they cover"
    assert np.array_equal(reduced.labels, full.labels), "labels are never reduced"


def test_reduced_grey_images(tmp_path: Path) -> None:
    photograph(tmp_path, (64, 80))
    (case,) = read(tmp_path, images="images/{id}.jpg", grey=True)
    assert case.load_reduced(8).image.shape == (8, 10)


@pytest.mark.parametrize(("written", "named"), [("png", "png"), ("png", "jpg"), ("tif", "tif"), ("bmp", "bmp")])
def test_other_images_are_never_reduced_whatever_their_name(tmp_path: Path, written: str, named: str) -> None:
    photograph(tmp_path, (64, 80), written)
    (tmp_path / "images" / f"a.{written}").rename(tmp_path / "images" / f"a.{named}")
    (case,) = read(tmp_path, images=rf"images/{{id}}\.{named}")
    full, reduced = case.load(), case.load_reduced(8)
    assert reduced.reduction == 1
    assert np.array_equal(reduced.image, full.image)


def test_masks_are_never_reduced_though_they_are_jpeg(tmp_path: Path) -> None:
    photograph(tmp_path, (64, 80))
    write(tmp_path / "masks" / "a.jpg", square(shape=(64, 80)))
    (case,) = read(tmp_path, images="images/{id}.jpg", masks="masks/{id}.jpg")
    assert case.load_reduced(8).labels.shape == (64, 80)


def test_reduced_sizes_are_compared_exactly(tmp_path: Path) -> None:
    case = photograph(tmp_path, (61, 80))
    write(tmp_path / "masks" / "a.png", square(shape=(64, 80)))  # an eighth of both has 8 x 10 pixels
    with pytest.raises(InputError, match=r"mask has 80 x 64 pixels but its image a\.jpg has 80 x 61"):
        case.load_reduced(7)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.98])
def test_truncated_images_are_detected_at_reduced_size(tmp_path: Path, keep: float) -> None:
    case = photograph(tmp_path, (64, 80))
    path = tmp_path / "images" / "a.jpg"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.jpg: damaged or truncated image file"):
        case.load_reduced(8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "images/({id}.png"}, "'images': .* is not a valid pattern"),
        ({"masks": "masks/{name}.png"}, "have no group in common"),
        ({"values": [0, 1, 1]}, r"'values': \[0, 1, 1\] is not a list of different mask values"),
        ({"values": [0]}, "'values'"),
        ({"values": [0, "1"]}, r"'values': \[0, '1'\] should be a valid integer; see docs"),
        ({"values": 1}, "'values': 1 should be a list; see docs"),
        ({"values": "01"}, "'values': '01' .*; see docs"),
        ({"threshold": "127"}, "'threshold': '127' should be a valid integer; see docs"),
        ({"threshold": None}, "'threshold': None should be a valid integer"),
        ({"threshold": True}, "'threshold': True should be a valid integer"),
        ({"threshold": 127.5}, "'threshold': 127.5 should be a valid integer"),
        ({"threshold": -1}, "'threshold': -1 lies below all mask values"),
        ({"grey": "no"}, "'grey': 'no' should be a valid boolean"),
        ({"images": 3}, "'images': 3 should be a valid string"),
        ({"masks": None}, "'masks': None should be a valid string"),
    ],
)
def test_malformed_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    root = plain(tmp_path, "a")
    with pytest.raises(InputError, match=rf"^reader options? ?.*{message}"):
        read(root, **options)
    with pytest.raises(InputError, match=rf"^mine\.smk: reader options? ?.*{message}"):
        read_as("mine", "paired_images", root, {**PLAIN, **options})


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        ("btcv", {"organs": 3}, "'organs': 3 should be a list; see docs"),
        ("btcv", {"organs": ["8"]}, r"'organs': \['8'\] should be a valid integer"),
        ("acdc", {"folder": None}, "'folder': None should be a valid string"),
    ],
)
def test_malformed_options_of_other_readers(tmp_path: Path, reader: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^a\.smk: reader option {message}"):
        read_as("a", reader, tmp_path, options)


def read_as(dataset: str, reader: str, root: Path, options: dict[str, Any]) -> list[Case]:
    with options_of(dataset):
        return read_cases(reader, root, options)


def real(folder: str) -> Path:
    if not (REAL / folder).is_dir():
        pytest.skip(f"no real samples in {REAL}; set SPECTRALSEG_REAL_SAMPLES")
    return REAL / folder


def test_real_kvasir_pairs() -> None:
    specification = read_specification(ROOT / "workflow/rules/datasets/kvasir_seg.smk")
    cases = read_cases(specification.reader, real("kvasir_seg"), specification.reader_options)
    assert [case.id for case in cases] == [
        "cju0qkwl35piu0993l0dewei2",
        "cju0qoxqj9q6s0835b43399p4",
        "cju0qx73cjw570799j4n5cjze",
    ]
    samples = [case.load() for case in cases]
    assert [sample.labels.shape for sample in samples] == [(529, 622), (1070, 1348), (529, 619)]
    for case, sample in zip(cases, samples, strict=True):
        assert sample.image.shape == (*sample.labels.shape, 3)
        assert sample.image[..., 0].mean() > sample.image[..., 2].mean(), "mucosa is red"
        raw = cv2.imread(str(real("kvasir_seg") / f"Kvasir-SEG/masks/{case.id}.jpg"), cv2.IMREAD_GRAYSCALE)
        assert raw is not None
        ringing = int((raw > 0).sum()) - int(sample.labels.sum())
        assert ringing > 0, "a threshold of 0 would take compression noise for polyp"


def test_real_isic_pair() -> None:
    options = {"images": r"(?P<id>ISIC_\d+)\.jpg", "masks": r"(?P<id>ISIC_\d+)_segmentation\.png"}
    (case,) = read_cases("paired_images", real("isic"), options)
    sample = case.load()
    assert case.id == "ISIC_0000256"
    assert sample.image.shape == (384, 512, 3)
    assert set(np.unique(sample.labels)) == {0, 1}, "interpolated grey values are binarised"
    assert sample.remarks == ("mask with soft edges: 158 grey values, divided at 127",)
    brightness = sample.image.mean(axis=2)
    assert brightness[sample.labels == 1].mean() < brightness[sample.labels == 0].mean() - 50
