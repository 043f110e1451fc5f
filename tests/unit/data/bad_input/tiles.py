"""Histology tiles: TIFF images and Aperio XML polygons."""

import struct

import cv2
import numpy as np
import tifffile
from tests.unit.data.bad_input.entry import IMAGE, LABEL, Entry, on, rewritten

TILE, POLYGONS = IMAGE["monuseg"], LABEL["monuseg"]
TIF, XML = r"TCGA-\S+\.tif: ", r"TCGA-\S+\.xml: "
BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


def _xml(text, encoding="utf-8"):
    return on(POLYGONS, lambda path: path.write_bytes(text.encode(encoding)))


def _region(*vertices):
    return (
        '<Region Id="5"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in vertices)
        + "</Vertices></Region>"
    )


def _regions(*regions):
    return f"<Annotations><Annotation><Regions>{''.join(regions)}</Regions></Annotation></Annotations>"


def _more(*regions):
    """Add regions."""
    return on(POLYGONS, rewritten(lambda c: c.replace(b"</Regions>", "".join(regions).encode() + b"</Regions>", 1)))


def _tiff(draw, **options):
    """Replace the image of a tile."""

    def change(path):
        tifffile.imwrite(path, draw(tifffile.imread(path)), **options)

    return on(TILE, change)


def _tag(number, value):
    """Store a tile without compression, and change a short or long value in its first directory."""

    def change(path):
        tifffile.imwrite(path, tifffile.imread(path), photometric="rgb", byteorder="<", metadata=None)
        content = bytearray(path.read_bytes())
        (directory,) = struct.unpack_from("<I", content, 4)
        (count,) = struct.unpack_from("<H", content, directory)
        for place in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from("<HH", content, place)
            if tag == number:
                struct.pack_into("<H" if kind == 3 else "<I", content, place + 8, value)
        path.write_bytes(bytes(content))

    return on(TILE, change)


SQUARE = _region((2, 2), (9, 2), (9, 9), (2, 9))
ENTRIES = [
    Entry(
        "entity bomb",
        "monuseg",
        _xml(BOMB + f"<Annotations>&i;{SQUARE}</Annotations>"),
        XML + "declares a document type, which is refused",
    ),
    Entry(
        "entity bomb in UTF-16",
        "monuseg",
        _xml(BOMB + f"<Annotations>&i;{SQUARE}</Annotations>", "utf-16"),
        XML + "declares a document type",
    ),
    Entry(
        "entity bomb in UTF-16 without a mark",
        "monuseg",
        _xml('<?xml version="1.0" encoding="UTF-16"?>' + BOMB + f"<Annotations>{SQUARE}</Annotations>", "utf-16-be"),
        XML,
    ),
    Entry(
        "entity bomb in UTF-7",
        "monuseg",
        _xml('<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-' + _regions(SQUARE)),
        XML,
    ),
    Entry(
        "file as an entity",
        "monuseg",
        _xml('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + _regions(SQUARE)),
        XML + "declares a document type",
    ),
    Entry(
        "document type elsewhere",
        "monuseg",
        _xml('<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd">' + _regions(SQUARE)),
        XML + "declares a document type",
    ),
    Entry(
        "unknown entity",
        "monuseg",
        _xml(f"<Annotations>&a;{SQUARE}</Annotations>"),
        XML + "cannot be read as an Aperio XML",
    ),
    Entry("unknown encoding", "monuseg", _xml('<?xml version="1.0" encoding="none"?>' + "<Annotations>"), XML),
    Entry("other root", "monuseg", _xml(f"<html>{SQUARE}</html>"), XML + "holds no annotated region"),
    Entry("no region", "monuseg", _xml(_regions()), XML + "holds no annotated region"),
    Entry(
        "vertex without Y",
        "monuseg",
        _more('<Region Id="5"><Vertex X="1"/></Region>'),
        XML + "region 5 has a vertex whose X and Y are not numbers",
    ),
    Entry("vertex of words", "monuseg", _more(_region(("one", 2))), XML + "region 5 has a vertex"),
    Entry("vertex NaN", "monuseg", _more(_region((1, "nan"), (2, 2), (3, 3))), XML + "region 5 has a vertex"),
    Entry("vertex infinite", "monuseg", _more(_region((1, "-inf"), (2, 2), (3, 3))), XML + "region 5 has a vertex"),
    Entry(
        "vertex at 1e12",
        "monuseg",
        _more(_region((1, 1), (1e12, 1), (1e12, 9))),
        XML + "region 5 has a vertex .* far outside",
    ),
    Entry(
        "vertex at 1e308",
        "monuseg",
        _more(_region((1, 1), (1e308, 1), (-1e308, 9))),
        XML + "region 5 has a vertex .* far outside",
    ),
    Entry("too many regions", "monuseg", _more("<Region/>" * 20_001), XML + "holds more than 20000 regions"),
    Entry(
        "too many vertices",
        "monuseg",
        _more(_region(*[(1, 1)] * 10_001)),
        XML + "region 5 has more than 10000 vertices",
    ),
    Entry(
        "32 MiB of annotation",
        "monuseg",
        on(POLYGONS, rewritten(lambda c: c + b" " * 2**25)),
        XML + r"has \d+\.\d MiB, more than the limit of 32 MiB",
    ),
    Entry(
        "a million elements", "monuseg", _xml("<a>" + "<a/>" * 2**20 + "</a>"), XML + "holds more than 1048576 elements"
    ),
    Entry("nested without end", "monuseg", _xml("<a>" * 200_000), XML + "cannot be read"),
    Entry(
        "polygon of two points",
        "monuseg",
        _more(_region((1, 1), (9, 9))),
        r"\d regions of fewer than three vertices left out",
        recorded=True,
    ),
    Entry(
        "polygon outside the frame",
        "monuseg",
        _more(_region((90, 90), (99, 90), (99, 99))),
        r"1 regions outside the image left out",
        recorded=True,
    ),
    Entry(
        "polygon that crosses itself", "monuseg", _more(_region((1, 1), (9, 9), (9, 1), (1, 9))), r"\[\{", recorded=True
    ),
    Entry(
        "only a polygon of two points",
        "monuseg",
        _xml(_regions(_region((1, 1), (9, 9)))),
        r"1 regions of fewer than three vertices left out\", \"no foreground",
        recorded=True,
    ),
    Entry(
        "nothing but odd characters",
        "monuseg",
        on(POLYGONS, rewritten(lambda c: c.replace(b"<Annotations", b"<!-- \xff --><Annotations", 1))),
        r"\[\{",
        recorded=True,
    ),
    Entry(
        "annotation of UTF-16",
        "monuseg",
        on(POLYGONS, rewritten(lambda c: c.decode().encode("utf-16"))),
        r"\[\{",
        recorded=True,
    ),
    Entry(
        "grey tile",
        "monuseg",
        _tiff(lambda i: i[..., 0]),
        TIF + r"is uint8 of shape \(\d+, \d+\) \(MINISBLACK\), not an 8-bit RGB image",
    ),
    Entry(
        "16-bit tile",
        "monuseg",
        _tiff(lambda i: i.astype(np.uint16) * 256, photometric="rgb"),
        TIF + "is uint16 of shape",
    ),
    Entry(
        "tile of fractions",
        "monuseg",
        _tiff(lambda i: i / np.float32(255), photometric="rgb"),
        TIF + "is float32 of shape",
    ),
    Entry(
        "tile with alpha",
        "monuseg",
        _tiff(lambda i: np.dstack([i, i[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]),
        TIF + r"is uint8 of shape \(\d+, \d+, 4\)",
    ),
    Entry(
        "tile by colour planes",
        "monuseg",
        _tiff(lambda i: np.moveaxis(i, -1, 0), photometric="rgb", planarconfig="separate"),
        TIF + r"is uint8 of shape \(3, ",
    ),
    Entry(
        "tile of CIELAB",
        "monuseg",
        _tiff(lambda i: i, photometric="cielab"),
        TIF + r".*\(CIELAB\), not an 8-bit RGB image",
    ),
    Entry(
        "tile of YCbCr",
        "monuseg",
        _tiff(lambda i: i, photometric="ycbcr"),
        TIF + r".*\(YCBCR\), not an 8-bit RGB image",
    ),
    Entry(
        "several tiles in one",
        "monuseg",
        _tiff(lambda i: np.stack([i, i]), photometric="rgb"),
        TIF + "holds several images",
    ),
    Entry(
        "a JPEG for a tile",
        "monuseg",
        on(TILE, lambda path: path.write_bytes(bytes(cv2.imencode(".jpg", np.zeros((24, 24, 3), np.uint8))[1]))),
        TIF + "cannot be read as a TIFF image",
    ),
    Entry("promises 18 exapixels", "monuseg", _tag(256, 2**32 - 1), TIF),
    Entry("promises 4 gigapixels", "monuseg", _tag(257, 2**31 // 12), TIF),
    Entry("strip beyond the file", "monuseg", _tag(273, 2**30), TIF + "parts of the image are missing"),
    Entry("strip of no bytes", "monuseg", _tag(279, 0), TIF + "parts of the image are missing"),
    Entry("more lines than strips", "monuseg", _tag(278, 4), TIF + "parts of the image are missing"),
    Entry("no channels", "monuseg", _tag(277, 0), TIF),
    Entry("unknown compression", "monuseg", _tag(259, 65000), TIF),
    Entry(
        "orientation tag",
        "monuseg",
        _tiff(lambda i: i, photometric="rgb", extratags=[(274, "H", 1, 6)]),
        "orientation tag of the image ignored",
        recorded=True,
    ),
    Entry(
        "tile without annotation",
        "monuseg",
        on(POLYGONS, lambda path: path.unlink()),
        XML + "the annotation of tile TCGA-.* is missing",
    ),
    Entry(
        "annotation without tile",
        "monuseg",
        on(TILE, lambda path: path.unlink()),
        XML + r"its tile TCGA-\S+\.tif is missing",
    ),
    Entry(
        "one tile in both archives",
        "monuseg",
        lambda raw: (
            [(raw / "copy" / "MoNuSegTestData").mkdir(parents=True)]
            + [
                (raw / "copy" / "MoNuSegTestData" / path.name).write_bytes(path.read_bytes())
                for path in (raw / "MoNuSegTestData").iterdir()
            ]
        ),
        r"case 'TCGA-\S+' appears twice",
    ),
]
