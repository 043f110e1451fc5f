"""Photographs and their masks: JPEG and PNG."""

import io
import os
import re
import shutil
import struct
import zlib

import cv2
import numpy as np
from PIL import Image
from tests.unit.data.bad_input.entry import IMAGE, LABEL, Entry, on, on_all, replaced, rewritten

JPEG, MASK = IMAGE["kvasir_seg"], LABEL["kvasir_seg"]
LOSSLESS = LABEL["isic2018"]


def _encoded(extension, pixels):
    return bytes(cv2.imencode(extension, pixels)[1])


def _redrawn(extension, draw):
    """Replace an image by the encoded result of ``draw``, under the same name."""

    def change(path):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        path.write_bytes(_encoded(extension, draw(pixels)))

    return change


def _saved(mode, kind, **options):
    """Save an image with Pillow in another mode, format or with other options, under the same name."""

    def change(path):
        picture = Image.open(path).convert("RGB").convert(mode)
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        path.write_bytes(stream.getvalue())

    return change


def _transparent(path):
    picture = Image.open(path).convert("RGBA")
    picture.putalpha(
        Image.fromarray(
            np.linspace(0, 255, picture.width * picture.height).astype(np.uint8).reshape(picture.size[::-1])
        )
    )
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    path.write_bytes(stream.getvalue())


def _several(kind):
    def change(path):
        picture = Image.open(path).convert("RGB")
        stream = io.BytesIO()
        picture.save(stream, kind, save_all=True, append_images=[picture.rotate(180)])
        path.write_bytes(stream.getvalue())

    return change


def _tagged(path):
    """Add an orientation tag of a quarter turn."""
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, "JPEG", exif=exif)


def _tagged_beside_a_turned_mask(raw):
    image = sorted(raw.glob(JPEG))[0]
    image.write_bytes(_encoded(".jpg", np.zeros((30, 40, 3), np.uint8)))
    _tagged(image)
    (raw / "Kvasir-SEG" / "masks" / image.name).write_bytes(_encoded(".jpg", np.zeros((40, 30), np.uint8)))


def _png(width, height, depth=8, colour=2):
    """A PNG file without pixel data."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _frame_header(change):
    """Change the frame header of a JPEG: precision (1 byte), height, width (2 bytes each)."""

    def spoil(content):
        place = re.search(b"\xff[\xc0-\xc2]\x00\x11", content).end()
        return content[:place] + change(content[place : place + 5]) + content[place + 5 :]

    return rewritten(spoil)


def _flipped(content):
    place = content.index(b"IDAT") + 12
    return content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :]


def _copied(folder, to):
    def spoil(raw):
        source = sorted(raw.glob(folder))[0]
        target = source.parent / to(source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)

    return spoil


def _renamed(to):
    """Rename an image and its mask; names are bytes."""

    def spoil(raw):
        for kind in ("images", "masks"):
            path = sorted((raw / "Kvasir-SEG" / kind).glob("*.jpg"))[0]
            os.rename(path, os.fsencode(path.parent) + b"/" + to)

    return spoil


def _upper_case_twin(raw):
    for kind in ("images", "masks"):
        path = sorted((raw / "Kvasir-SEG" / kind).glob("*.jpg"))[0]
        shutil.copy(path, path.with_name(path.name.upper()))


def _square(value):
    def draw(pixels):
        drawn = np.zeros_like(pixels)
        drawn[4:9, 5:12] = value
        return drawn

    return draw


def _without_alpha(pixels):
    """A mask in the alpha channel."""
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    black = np.zeros_like(grey)
    return np.dstack([black, black, black, grey])


ENTRIES = [
    Entry("CMYK", "kvasir_seg", on(JPEG, _saved("CMYK", "JPEG")), r"\.jpg: holds CMYK colours, .*; convert it to RGB"),
    Entry("CMYK mask", "polypgen", on(LABEL["polypgen"], _saved("CMYK", "JPEG")), r"_mask\.jpg: holds CMYK colours"),
    Entry("JPEG 2000", "kvasir_seg", on(JPEG, _saved("RGB", "JPEG2000")), r"\.jpg: .* not PNG, JPEG"),
    Entry("a GIF", "isic2018", on(IMAGE["isic2018"], _saved("P", "GIF")), r"ISIC_\d+\.jpg: .* not PNG, JPEG, TIFF"),
    Entry(
        "12 bits", "kvasir_seg", on(JPEG, _frame_header(lambda h: b"\x0c" + h[1:])), r"\.jpg: .* not PNG, JPEG, TIFF"
    ),
    Entry(
        "16 bits",
        "isic2017",
        on(IMAGE["isic2017"], _frame_header(lambda h: b"\x10" + h[1:])),
        r"\.jpg: .* not PNG, JPEG, TIFF",
    ),
    Entry(
        "16-bit PNG",
        "isic2018",
        on(IMAGE["isic2018"], _redrawn(".png", lambda p: p.astype(np.uint16) * 200)),
        r"case 'ISIC_\d+' is of type uint16, not 8-bit",
    ),
    Entry(
        "promises 4 gigapixels",
        "polypgen",
        on(IMAGE["polypgen"], _frame_header(lambda h: h[:1] + b"\xff" * 4)),
        r"\.jpg: the image has more than 134217728 pixels",
    ),
    Entry(
        "promises more lines than it has",
        "kvasir_seg",
        on(JPEG, _frame_header(lambda h: h[:1] + b"\x20\x00" + h[3:])),
        r"\.jpg",
    ),
    Entry("no lines", "kvasir_seg", on(JPEG, _frame_header(lambda h: h[:1] + b"\0\0" + h[3:])), r"\.jpg"),
    Entry(
        "PNG of 2 gigapixels",
        "isic2018",
        on(LOSSLESS, replaced(_png(50_000, 40_000))),
        r"segmentation\.png: the image has more than 134217728 pixels",
    ),
    Entry(
        "PNG of 2**62 pixels",
        "isic2017",
        on(LABEL["isic2017"], replaced(_png(2**31 - 1, 2**31 - 1))),
        r"segmentation\.png",
    ),
    Entry(
        "PNG without pixels", "isic2017", on(LABEL["isic2017"], replaced(_png(30, 30))), r"segmentation\.png: damaged"
    ),
    Entry("PNG of no size", "isic2018", on(LOSSLESS, replaced(_png(0, 30))), r"segmentation\.png"),
    Entry("flipped bit in a PNG", "isic2018", on(LOSSLESS, rewritten(_flipped)), r"segmentation\.png: damaged"),
    Entry("several frames", "isic2018", on(LOSSLESS, _several("PNG")), r"segmentation\.png: holds several pictures"),
    Entry(
        "hundreds of scans",
        "kvasir_seg",
        on(JPEG, rewritten(lambda c: c[:-2] + b"\xff\xda\x00\x06\x01\x01\x00\x00\x3f\x00" * 101 + c[-2:])),
        r"\.jpg: holds more than 100 scans",
    ),
    Entry("several pages", "kvasir_seg", on(MASK, _several("TIFF")), r"\.jpg: holds several images"),
    Entry("transparent image", "kvasir_seg", on(JPEG, _transparent), r"\.jpg: is partly transparent"),
    Entry(
        "mask in the alpha channel",
        "isic2018",
        on(LOSSLESS, _redrawn(".png", _without_alpha)),
        r"segmentation\.png: is partly transparent",
    ),
    Entry(
        "coloured mask",
        "isic2018",
        on(LOSSLESS, _redrawn(".png", lambda p: np.dstack([p, p * 0, p]))),
        r"segmentation\.png: the mask has colours or a palette",
    ),
    Entry(
        "mask of another size",
        "isic2017",
        on(LABEL["isic2017"], _redrawn(".png", lambda p: p[:-1])),
        r"segmentation\.png: the mask has \d+ x \d+ pixels but its image ISIC_\d+\.jpg has",
    ),
    Entry(
        "mask of swapped sides",
        "kvasir_seg",
        _tagged_beside_a_turned_mask,
        r"\.jpg: the mask has 30 x 40 .* 40 x 30; rotate the image according to its orientation tag",
    ),
    Entry(
        "mask of 0 and 1",
        "isic2018",
        on(LOSSLESS, _redrawn(".png", lambda p: p // 255)),
        r"segmentation\.png: the mask holds the values 0, 1, none of them above the threshold 127",
    ),
    Entry(
        "unknown labels in 16 bit",
        "isic2018",
        on(LOSSLESS, _redrawn(".png", lambda p: np.arange(p.size).reshape(p.shape).astype(np.uint16))),
        r"segmentation\.png: the mask holds \d+ values, 0, 1, 2, .* would merge into two",
    ),
    Entry(
        "all masks empty",
        "isic2018",
        on_all(LOSSLESS, _redrawn(".png", np.zeros_like)),
        r"none of the \d+ cases for training has foreground",
    ),
    Entry(
        "one mask empty",
        "isic2018",
        on(LOSSLESS, _redrawn(".png", np.zeros_like)),
        r'"ISIC_\d+": \["no foreground"\]',
        recorded=True,
    ),
    Entry(
        "foreground everywhere",
        "polypgen",
        on(LABEL["polypgen"], _redrawn(".jpg", lambda p: np.full_like(p, 255))),
        r'"foreground everywhere"',
        recorded=True,
    ),
    Entry(
        "mask inverted",
        "isic2017",
        on(LABEL["isic2017"], _redrawn(".png", lambda p: 255 - _square(255)(p))),
        r"as if the mask were inverted",
        recorded=True,
    ),
    Entry(
        "constant image",
        "kvasir_seg",
        on(JPEG, _redrawn(".jpg", lambda p: np.full_like(p, 90))),
        r'"constant image"',
        recorded=True,
    ),
    Entry("orientation tag", "kvasir_seg", on(JPEG, _tagged), r'"orientation tag of the image ignored"', recorded=True),
    Entry(
        "grey image",
        "isic2017",
        on(IMAGE["isic2017"], _saved("L", "JPEG")),
        r'"image stored in grey values"',
        recorded=True,
    ),
    Entry(
        "a mask without its image",
        "polypgen",
        on(IMAGE["polypgen"], lambda path: path.unlink()),
        r"mask EndoCV2021_\w+\.jpg without an image",
        recorded=True,
    ),
    Entry(
        "an image in two folders",
        "polypgen",
        _copied(IMAGE["polypgen"], lambda name: f"../../data_C1/images_C1/{name}"),
        r"have no mask",
    ),
    Entry(
        "one id twice",
        "kvasir_seg",
        lambda raw: shutil.copytree(raw / "Kvasir-SEG", raw / "copy"),
        r"\w+\.jpg: a mask of the same image as",
    ),
    Entry(
        "ids that differ in case",
        "kvasir_seg",
        _upper_case_twin,
        r"cases 'CJU\w+' and 'cju\w+' differ in upper and lower case only|a mask of the same image",
    ),
    Entry(
        "line break in a name",
        "kvasir_seg",
        _renamed(b"a\nb.jpg"),
        r"case 'a\\nb': 'a\\nb' has unprintable characters",
    ),
    Entry(
        "name that is no text",
        "kvasir_seg",
        _renamed(b"a\xff.jpg"),
        r"case 'a\\udcff': .* has unprintable characters",
    ),
]
