"""Cardiac CT: MetaImage volumes of orCaScore, and DICOM slices with regions of OsiriX of COCA."""

import plistlib
import shutil
import struct
import zlib

import pydicom
from tests.unit.data.bad_input.entry import IMAGE, LABEL, Entry, first, on, on_all, replaced, rewritten

# Of orCaScore: a patient with voxels beside the headers, one with deflated voxels, and one with voxels in the header.
FOLDER = "Challenge_data/Training_set/Images"
RAW, DEFLATED, LOCAL = (f"{FOLDER}/{patient}" for patient in ("TRV3P3", "TRV4P1", "TRV1P5"))
# Of COCA: the only series of a patient, a slice of it without region, and its annotation.
SERIES, SLICE, REGIONS = IMAGE["coca"].rpartition("/")[0], IMAGE["coca"], LABEL["coca"]
TWO_SERIES = "*/Gated_release_final/patient/394"


def _header(old, new):
    """Change an entry of a MetaImage header."""

    def change(content):
        assert old in content
        return content.replace(old, new, 1)

    return rewritten(change)


def _entry(line):
    """Add an entry to a MetaImage header."""
    return _header(b"NDims = 3\n", b"NDims = 3\n" + line + b"\n")


def _labels_of_the_angiography(raw):
    for suffix in ("mhd", "raw"):
        shutil.copy(first(raw, f"{RAW}CTAI.{suffix}"), first(raw, f"{RAW}R.{suffix}"))
    _header(b"CTAI.raw", b"R.raw")(first(raw, f"{RAW}R.mhd"))


def _voxel(value):
    """Set the first voxel, a big-endian number of two bytes."""
    return rewritten(lambda content: struct.pack(">h", value) + content[2:])


def _also_as(pattern, name):
    return on(pattern, lambda path: shutil.copy(path, path.with_name(name)))


def _deflated(change):
    """Change the voxels before they are deflated."""
    return on(f"{DEFLATED}CTI.zraw", rewritten(lambda content: zlib.compress(change(zlib.decompress(content)))))


def _tags(**values):
    """Set tags of a DICOM file; None deletes one."""

    def change(path):
        content = pydicom.dcmread(path)
        for tag, value in values.items():
            if value is None:
                delattr(content, tag)
            else:
                setattr(content, tag, value)
        content.save_as(path)

    return change


def _deflated_slice(path):
    content = pydicom.dcmread(path)
    content.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    content.save_as(path)


def _letters(header):
    """Replace the number of a tag, given by the first bytes of its element, by letters."""

    def change(content):
        start = content.index(header) + 8
        length = int.from_bytes(content[start - 2 : start], "little")
        return content[:start] + b"x" * length + content[start + length :]

    return rewritten(change)


def _tilted(path):
    content = pydicom.dcmread(path)
    x, y, z = map(float, content.ImagePositionPatient)
    content.ImagePositionPatient = [x, y + float(content.InstanceNumber), z]
    content.save_as(path)


def _images(change):
    """Change the images of an annotation."""

    def spoil(path):
        content = plistlib.loads(path.read_bytes())
        change(content["Images"])
        path.write_bytes(plistlib.dumps(content))

    return on(REGIONS, spoil)


def _region(**values):
    """Set entries of the first region; None deletes one, a function gets the former value."""

    def change(images):
        region = images[0]["ROIs"][0]
        for key, value in values.items():
            if value is None:
                del region[key]
            else:
                region[key] = value(region[key]) if callable(value) else value

    return _images(change)


def _shifted(axis, distance):
    """Move points, given as text."""

    def change(points):
        numbers = [[float(number) for number in point.strip("()").split(",")] for point in points]
        for point in numbers:
            point[axis] += distance
        return [f"({', '.join(map(str, point))})" for point in numbers]

    return change


def _another_slice(images):
    """Indices and coordinates agree; the stored values alone contradict."""
    for image in images[:2]:
        image["ImageIndex"] += 1
        for region in image["ROIs"]:
            region["Point_mm"] = _shifted(2, 3.0)(region["Point_mm"])


def _odd_regions(images):
    regions = images[0]["ROIs"]
    empty = {**regions[0], "NumberOfPoints": 0, "Point_px": [], "Point_mm": []}
    line = {**regions[0], "Point_px": regions[0]["Point_px"][:2], "Point_mm": regions[0]["Point_mm"][:2]}
    regions += [empty, line, {**regions[0], "Area": 0.0}, {**regions[0], "Name": "Unnamed"}]


def _second_series(raw):
    """Both series are the one that fits."""
    right, wrong = (first(raw, f"{TWO_SERIES}/{name}") for name in ("Pro_Gated*", "Pro Gated*"))
    shutil.rmtree(wrong)
    shutil.copytree(right, wrong)


def _wrong_series(raw):
    shutil.rmtree(first(raw, f"{TWO_SERIES}/Pro_Gated*"))


def _doubled_release(raw):
    release = first(raw, "*/Gated_release_final")
    shutil.copytree(release, release / "Gated_release_final")


ENTITIES = b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "b">]><plist><string>&a;</string></plist>'
HOLDS, INTACT = r"holds more or less data than its header says", "replace it by an intact copy"
ORCASCORE = [
    Entry(
        "no voxels", "orcascore", on(f"{RAW}CTI.raw", lambda p: p.unlink()), r"TRV3P3CTI\.raw: the voxels of .* restore"
    ),
    Entry("a large volume", "orcascore", on(f"{RAW}CTI.mhd", _header(b"24 24 9", b"24 24 90")), rf"CTI\.raw: {HOLDS}"),
    Entry("a small volume", "orcascore", on(f"{RAW}CTI.mhd", _header(b"24 24 9", b"24 24 8")), rf"CTI\.raw: {HOLDS}"),
    Entry("truncated voxels", "orcascore", on(f"{RAW}CTI.raw", rewritten(lambda c: c[:-9])), rf"CTI\.raw: {HOLDS}"),
    Entry(
        "voxels with a tail", "orcascore", on(f"{LOCAL}CTI.mhd", rewritten(lambda c: c + b"x")), rf"CTI\.mhd: {HOLDS}"
    ),
    Entry(
        "teravoxels",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"24 24 9", b"32767 32767 32767")),
        r"CTI\.mhd: the volume is 32767 x 32767 x 32767 in size, more than the limit",
    ),
    Entry(
        "more voxels than deflated bytes can hold",
        "orcascore",
        on(f"{DEFLATED}CTI.mhd", _header(b"24 24 6", b"500 500 500")),
        r"CTI\.zraw: the volume should have \d+ bytes, which \d+ stored ones cannot hold",
    ),
    Entry(
        "negative length", "orcascore", on(f"{RAW}CTI.mhd", _header(b"24 24 9", b"24 -24 9")), r"CTI\.mhd: the volume"
    ),
    Entry(
        "no number", "orcascore", on(f"{RAW}CTI.mhd", _header(b"24 24 9", b"24 nan 9")), r"CTI\.mhd: .* as DimSize; "
    ),
    Entry(
        "two axes", "orcascore", on(f"{RAW}CTI.mhd", _header(b"NDims = 3", b"NDims = 2")), r"mhd: NDims is 2, only 3"
    ),
    Entry(
        "three channels",
        "orcascore",
        on(f"{RAW}CTI.mhd", _entry(b"ElementNumberOfChannels = 3")),
        r"Channels is 3, only 1",
    ),
    Entry(
        "voxels as text",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"BinaryData = True", b"BinaryData = False")),
        r"CTI\.mhd: BinaryData is False, only True is supported; convert",
    ),
    Entry(
        "voxels of an unknown type",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"MET_SHORT", b"MET_LONG_LONG")),
        r"CTI\.mhd: ElementType 'MET_LONG_LONG' is not supported; convert",
    ),
    Entry(
        "voxels in another folder",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"TRV3P3CTI.raw", b"../TRV3P3CTI.raw")),
        r"CTI\.mhd: ElementDataFile is '\.\./TRV3P3CTI\.raw', expected LOCAL",
    ),
    Entry(
        "voxels in many files",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"TRV3P3CTI.raw", b"LIST")),
        r"CTI\.mhd: ElementDataFile is 'LIST', expected LOCAL",
    ),
    Entry(
        "no voxel size",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"0.48 0.48 1.5", b"0.48 0 1.5")),
        rf"CTI\.mhd: the header gives no usable voxel size; {INTACT}",
    ),
    Entry(
        "oblique axes that are not perpendicular",
        "orcascore",
        on(f"{RAW}CTI.mhd", _header(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0.5 1 0 0 0 1")),
        rf"CTI\.mhd: the axes in TransformMatrix are not perpendicular; {INTACT}",
    ),
    Entry(
        "a mask with other axes",
        "orcascore",
        on(f"{RAW}R.mhd", _header(b"1 0 0 0 1 0 0 0 1", b"0 1 0 1 0 0 0 0 1")),
        r"TRV3P3R\.mhd: labels and image lie differently in space",
    ),
    Entry(
        "a mask one voxel away",
        "orcascore",
        on(f"{RAW}R.mhd", _header(b"Offset = -5.76", b"Offset = -5.28")),
        r"TRV3P3R\.mhd: labels and image lie differently in space",
    ),
    Entry("a mask of the angiography", "orcascore", _labels_of_the_angiography, r"TRV3P3R\.mhd: labels have shape"),
    Entry("an unknown label", "orcascore", on(f"{RAW}R.raw", _voxel(5)), r"R\.mhd: label value 5 is unknown"),
    Entry("a negative label", "orcascore", on(f"{RAW}R.raw", _voxel(-1)), r"R\.mhd: label value -1 is unknown"),
    Entry(
        "a lesion outside of the crop", "orcascore", on(f"{RAW}R.raw", _voxel(1)), r"case 'TRV3P3' has labelled pixels"
    ),
    Entry(
        "two masks", "orcascore", _also_as(f"{RAW}R.mhd", "TRV3P3R2.mhd"), r"R2?\.mhd is a mask of the same scan, too"
    ),
    Entry(
        "a scan twice", "orcascore", _also_as(f"{RAW}CTI.mhd", "trv3p3cti.mhd"), r"case TRV3P3 appears twice, also as"
    ),
    Entry(
        "a mask without scan",
        "orcascore",
        on(f"{RAW}CTI.mhd", lambda p: p.unlink()),
        r"TRV3P3R\.mhd: the CT of case TRV3P3 is missing; restore it",
    ),
    Entry(
        "the test set only",
        "orcascore",
        on("Challenge_data/Training_set", shutil.rmtree),
        r"no file is named like TRV1P1CTI\.mhd; it has only a part of the official layout",
    ),
    Entry(
        "damaged deflated voxels",
        "orcascore",
        on(f"{DEFLATED}CTI.zraw", rewritten(lambda c: c[:99] + bytes(9) + c[108:])),
        r"CTI\.zraw: cannot be read as deflated voxels",
    ),
    Entry(
        "deflated voxels without their checksum",
        "orcascore",
        on(f"{DEFLATED}CTI.zraw", rewritten(lambda c: c[:-4])),
        rf"CTI\.zraw: {HOLDS}",
    ),
    Entry("too many deflated voxels", "orcascore", _deflated(lambda c: c + bytes(10**7)), rf"CTI\.zraw: {HOLDS}"),
    Entry("too few deflated voxels", "orcascore", _deflated(lambda c: c[:-2]), rf"CTI\.zraw: {HOLDS}"),
]
COCA = [
    Entry(
        "a slice is missing",
        "coca",
        on(SLICE, lambda p: p.unlink()),
        r"slices IM-0001-0002\.dcm and IM-0001-0004\.dcm are 6 mm apart, others 3 mm; restore the missing slices",
    ),
    Entry(
        "a slice appears twice",
        "coca",
        _also_as(SLICE, "IM-0001-0099.dcm"),
        r"slices IM-0001-0003\.dcm and IM-0001-0099\.dcm have the same position; remove one",
    ),
    Entry(
        "a single slice",
        "coca",
        on_all(f"{SERIES}/IM-0001-000[1-9].dcm", lambda p: p.unlink()),
        r"holds 1 slices, expected 2 to \d+; restore the series",
    ),
    Entry(
        "a slice of another series",
        "coca",
        on(SLICE, _tags(SeriesInstanceUID="1.2")),
        r"SeriesInstanceUID differs from",
    ),
    Entry("a slice of another size", "coca", on(SLICE, _tags(Rows=12)), r"0003\.dcm: Rows differs from that of"),
    Entry(
        "no position", "coca", on(SLICE, _tags(ImagePositionPatient=None)), rf"0003\.dcm: .* 3 numbers as .*; {INTACT}"
    ),
    Entry(
        "letters as position",
        "coca",
        on(SLICE, _letters(b"\x20\0\x32\0DS")),
        rf"0003\.dcm: the header does not give 3 numbers as ImagePositionPatient; {INTACT}",
    ),
    Entry(
        "letters as slope",
        "coca",
        on(SLICE, _letters(b"\x28\0\x53\x10DS")),
        rf"0003\.dcm: cannot be read as a DICOM file \(.*\); {INTACT}",
    ),
    Entry(
        "letters as number",
        "coca",
        on(SLICE, _letters(b"\x20\0\x13\0IS")),
        r"\[\{.*\}, \{.*\}\]$",
        recorded=True,
    ),
    Entry("slope zero", "coca", on(SLICE, _tags(RescaleSlope=0)), rf"0003\.dcm: is not a slice of CT, .*; {INTACT}"),
    Entry("no slope", "coca", on(SLICE, _tags(RescaleSlope=None)), rf"0003\.dcm: is not a slice of CT, .*; {INTACT}"),
    Entry("colours", "coca", on(SLICE, _tags(PhotometricInterpretation="RGB")), r"0003\.dcm: is not a slice of CT, "),
    Entry("many frames", "coca", on(SLICE, _tags(NumberOfFrames=9)), r"0003\.dcm: is not a slice of CT, "),
    Entry(
        "few pixels",
        "coca",
        on(SLICE, _tags(PixelData=bytes(64))),
        rf"0003\.dcm: holds more or less pixels .*; {INTACT}",
    ),
    Entry(
        "deflated slices",
        "coca",
        on_all(f"{SERIES}/*.dcm", _deflated_slice),
        r"0000\.dcm: its transfer syntax \(Deflated Explicit VR Little Endian\) is not an uncompressed one; convert",
    ),
    Entry(
        "slices of gigapixels",
        "coca",
        on_all(f"{SERIES}/*.dcm", _tags(Rows=65535, Columns=65535)),
        r"0000\.dcm: the image is 65535 x 65535 in size, more than the limit",
    ),
    Entry("a tilted gantry", "coca", on_all(f"{SERIES}/*.dcm", _tilted), r"\(gantry tilt\); exclude the case"),
    Entry(
        "the maximum of another place",
        "coca",
        _region(Max=lambda value: value + 60),
        r"236\.xml: Max \d+ and Mean \S+ of region 0 of image 2 do not match its pixels: it belongs to another slice",
    ),
    Entry("the mean of another place", "coca", _region(Mean=-1600.0), r"236\.xml: Max .* do not match its pixels"),
    Entry(
        "no maximum",
        "coca",
        _region(Max=None),
        r"236\.xml: region 0 of image 2 has no Max and Mean to verify its place",
    ),
    Entry("regions of the next slice", "coca", _images(_another_slice), r"236\.xml: Max .* do not match its pixels"),
    Entry(
        "Point_mm and ImageIndex in conflict",
        "coca",
        _region(Point_mm=_shifted(2, 3.0)),
        r"236\.xml: ImageIndex and Point_mm place regions on different slices",
    ),
    Entry(
        "a region above the scan",
        "coca",
        _region(Point_mm=_shifted(2, 500)),
        r"236\.xml: .* does not lie on a slice of",
    ),
    Entry(
        "Point_mm and Point_px in conflict",
        "coca",
        _region(Point_mm=_shifted(0, 9)),
        r"236\.xml: Point_px and Point_mm of region 0 of image 2 are different places",
    ),
    Entry(
        "fewer Point_mm than Point_px",
        "coca",
        _region(Point_mm=lambda points: points[:-1]),
        r"236\.xml: region 0 of image 2 has 14 Point_px and 13 Point_mm; fix the file",
    ),
    Entry(
        "code for a point",
        "coca",
        _region(Point_px=lambda points: ["__import__('os')", *points[1:]]),
        r"236\.xml: point '__import__\('os'\)' is not 2 numbers",
    ),
    Entry(
        "a number for a point",
        "coca",
        _region(Point_px=lambda points: [7, *points[1:]]),
        rf"236\.xml: Images\.0\.ROIs\.0\.Point_px\.0: .*; {INTACT}",
    ),
    Entry(
        "points in millimetres only",
        "coca",
        _region(Point_px=[]),
        r"236\.xml: region 0 of image \d+ has 0 Point_px and \d+ Point_mm; fix the file",
    ),
    Entry(
        "fewer regions than promised",
        "coca",
        _images(lambda images: images[0]["ROIs"].pop()),
        rf"236\.xml: image \d+ has \d+ of \d+ regions; {INTACT}",
    ),
    Entry(
        "no regions where some are promised",
        "coca",
        _images(lambda images: images[0].pop("ROIs")),
        rf"236\.xml: image \d+ has 0 of \d+ regions; {INTACT}",
    ),
    Entry(
        "no images",
        "coca",
        on(REGIONS, replaced(plistlib.dumps({"images": []}))),
        rf"236\.xml: Images: .*; {INTACT}",
    ),
    Entry(
        "no list of images",
        "coca",
        on(REGIONS, replaced(plistlib.dumps([]))),
        rf"236\.xml: the top level: .*; {INTACT}",
    ),
    Entry("entities", "coca", on(REGIONS, replaced(ENTITIES)), rf"236\.xml: .*; {INTACT}"),
    Entry(
        "a binary property list",
        "coca",
        on(REGIONS, replaced(plistlib.dumps({"Images": []}, fmt=plistlib.FMT_BINARY))),
        rf"236\.xml: .*; {INTACT}",
    ),
    Entry("two series that fit", "coca", _second_series, r"394: 2 series fit the annotation; remove all but one"),
    Entry(
        "no series that fits", "coca", _wrong_series, r"394\.xml: Max .* do not match its pixels: it belongs to another"
    ),
    Entry("a doubled release", "coca", _doubled_release, r"patient \d+ appears twice, also as .*; remove one copy"),
    Entry(
        "scans that are not gated only",
        "coca",
        on("*/Gated_release_final", shutil.rmtree),
        r"no file matches 'patient/<id>/<series>/\*\.dcm'; it has only a part of the official layout",
    ),
    Entry(
        "no annotation",
        "coca",
        on(REGIONS, lambda p: p.unlink()),
        r'"236": "no annotation file in calcium_xml"',
        recorded=True,
    ),
    Entry(
        "an annotation without images",
        "coca",
        on(REGIONS, replaced(plistlib.dumps({"Images": []}))),
        r'"236": \["no foreground"\]',
        recorded=True,
    ),
    Entry(
        "regions without interior or artery",
        "coca",
        _images(_odd_regions),
        r'"1 regions of area zero left out", "2 regions of fewer than three points left out", "1 regions without',
        recorded=True,
    ),
]
ENTRIES = ORCASCORE + COCA
