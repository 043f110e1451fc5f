"""NIfTI volumes and their headers, and the text files beside them."""

import gzip
import shutil
import struct
import zlib

import nibabel as nib
import numpy as np
from tests.unit.data.bad_input.entry import IMAGE, LABEL, Entry, first, on, on_all, replaced, rewritten

HEART, HEART_LABEL = IMAGE["acdc"], LABEL["acdc"]
ABDOMEN, ABDOMEN_LABEL = IMAGE["synapse"], LABEL["synapse"]
INFO = "ACDC/database/training/patient049/Info.cfg"
# Offsets and formats of fields of the NIfTI-1 header.
DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE = (
    (40, "<8h"),
    (70, "<h"),
    (72, "<h"),
    (76, "<8f"),
    (108, "<f"),
    (112, "<f"),
)
SFORM = (280, "<12f")


def _header(field, change):
    """Change a field of the header, but no voxels."""
    place, form = field

    def spoil(content):
        raw = bytearray(gzip.decompress(content))
        values = list(struct.unpack_from(form, raw, place))
        struct.pack_into(form, raw, place, *change(values))
        return gzip.compress(bytes(raw), mtime=0)

    return rewritten(spoil)


def _voxels(change, affine=lambda a: a):
    """Store another array, or the same with another affine."""

    def spoil(path):
        image = nib.load(path)
        array, where = np.asarray(image.dataobj).copy(), image.affine.copy()
        nib.save(nib.Nifti1Image(change(array), affine(where)), path)

    return spoil


def _moved(affine):
    return _voxels(lambda array: array, affine)


def _with(value, dtype):
    def change(array):
        array = array.astype(dtype)
        array[2, 2, 0] = value
        return array

    return change


def _bomb(path):
    """A header that declares 250 MiB, and many zeros: 40 MiB, in 40 KiB."""
    header = nib.Nifti1Header()
    header.set_data_shape((640, 640, 640))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + bytes(40 * 2**20), 9, mtime=0))


def _endless(content):
    """The volume followed by 40 MiB of zeros."""
    return gzip.compress(gzip.decompress(content) + bytes(40 * 2**20), mtime=0)


def _shifted(content):
    """Voxels 16 bytes after the offset in the header."""
    raw = gzip.decompress(content)
    return gzip.compress(raw[:352] + bytes(16) + raw[352:], mtime=0)


def _wrong_checksum(content):
    return content[:-8] + struct.pack("<I", zlib.crc32(content)) + content[-4:]


def _scaled_labels(slope):
    return _header(SLOPE, lambda _: [slope])


def _unpaired(raw):
    shutil.copy(first(raw, ABDOMEN), first(raw, ABDOMEN).with_name("img0099.nii.gz"))


def _misnamed(path):
    path.rename(path.with_name("img9.nii.gz"))


def _info(text):
    return on(INFO, replaced(text))


def _dim(*values):
    return _header(DIM, lambda old: [*values, *old[len(values) :]])


ENTRIES = [
    Entry(
        "promises 34 teravoxels",
        "synapse",
        on(ABDOMEN, _dim(3, 32767, 32767, 32767)),
        r"img\d+\.nii\.gz: the volume is 32767 x 32767 x 32767 in size, more than the limit",
    ),
    Entry(
        "promises more than it can hold",
        "acdc",
        on(HEART, _dim(3, 500, 500, 500)),
        r"frame01\.nii\.gz: the volume should have \d+ bytes, which \d+ stored ones cannot hold",
    ),
    Entry(
        "promises more than it holds",
        "acdc",
        on(HEART, _dim(3, 25, 26, 12)),
        r"frame01\.nii\.gz: holds more or less data",
    ),
    Entry(
        "promises less than it holds",
        "acdc",
        on(HEART, _dim(3, 12, 12, 2)),
        r"frame01\.nii\.gz: holds more or less data",
    ),
    Entry("negative length", "synapse", on(ABDOMEN, _dim(3, -24)), r"img\d+\.nii\.gz: the volume is empty"),
    Entry(
        "no slices",
        "synapse",
        on(ABDOMEN_LABEL, _header(DIM, lambda d: [d[0], d[1], d[2], 0, *d[4:]])),
        r"label\d+\.nii\.gz: the volume is empty",
    ),
    Entry("no axes", "acdc", on(HEART, _dim(0)), r"frame01\.nii\.gz: has 0 axes instead of 3"),
    Entry("nine axes", "acdc", on(HEART, _dim(9)), r"frame01\.nii\.gz"),
    Entry("minus three axes", "acdc", on(HEART, _dim(-3)), r"frame01\.nii\.gz"),
    Entry(
        "a single slice", "acdc", on(HEART, _voxels(lambda a: a[..., 0])), r"frame01\.nii\.gz: has 2 axes instead of 3"
    ),
    Entry(
        "several frames",
        "acdc",
        on(HEART_LABEL, _voxels(lambda a: np.stack([a, a], -1))),
        r"frame01_gt\.nii\.gz: has 4 axes instead of 3",
    ),
    Entry(
        "complex numbers",
        "synapse",
        on(ABDOMEN, _voxels(lambda a: a.astype(np.complex64))),
        r"img\d+\.nii\.gz: holds complex64 instead of plain numbers",
    ),
    Entry(
        "RGB voxels",
        "synapse",
        on(ABDOMEN, _header(DATATYPE, lambda _: [128])),
        r"img\d+\.nii\.gz: holds .* instead of plain numbers",
    ),
    Entry(
        "unknown voxels", "synapse", on(ABDOMEN, _header(DATATYPE, lambda _: [999])), r"img\d+\.nii\.gz: cannot be read"
    ),
    Entry(
        "voxels at byte 0",
        "synapse",
        on(ABDOMEN_LABEL, _header(VOX_OFFSET, lambda _: [0])),
        r"label\d+\.nii\.gz: its header places the voxels at byte 0",
    ),
    Entry("voxels at byte 1e9", "synapse", on(ABDOMEN, _header(VOX_OFFSET, lambda _: [1e9])), r"img\d+\.nii\.gz"),
    Entry(
        "voxels at byte NaN",
        "synapse",
        on(ABDOMEN, _header(VOX_OFFSET, lambda _: [np.nan])),
        r"img\d+\.nii\.gz: its header places the voxels at byte nan",
    ),
    Entry("voxels elsewhere", "acdc", on(HEART, rewritten(_shifted)), r"frame01\.nii\.gz: holds more or less data"),
    Entry(
        "voxel size 0",
        "acdc",
        on(HEART, _header(PIXDIM, lambda p: [p[0], 0, *p[2:]])),
        r"frame01\.nii\.gz: the header gives no usable voxel size",
    ),
    Entry(
        "voxel size negative",
        "synapse",
        on(ABDOMEN, _header(PIXDIM, lambda p: [*p[:3], -p[3], *p[4:]])),
        r"img\d+\.nii\.gz: the header gives no usable voxel size",
    ),
    Entry(
        "voxel size NaN",
        "acdc",
        on(HEART_LABEL, _header(PIXDIM, lambda p: [*p[:2], np.nan, *p[3:]])),
        r"frame01_gt\.nii\.gz: the header gives no usable voxel size",
    ),
    Entry(
        "voxel size of a mountain",
        "acdc",
        on(HEART, _header(PIXDIM, lambda p: [p[0], 1e30, *p[2:]])),
        r"frame01\.nii\.gz: the header gives no usable voxel size",
    ),
    Entry(
        "axes that coincide",
        "synapse",
        on(ABDOMEN, _header(SFORM, lambda a: a[:4] * 3)),
        r"img\d+\.nii\.gz: the header gives no usable axes",
    ),
    Entry(
        "axes of NaN",
        "synapse",
        on(ABDOMEN, _header(SFORM, lambda a: [np.nan] * 12)),
        r"img\d+\.nii\.gz: the header gives no usable axes",
    ),
    Entry(
        "labels mirrored in space",
        "synapse",
        on(ABDOMEN_LABEL, _moved(lambda a: a @ np.diag([-1, 1, 1, 1]))),
        r"label\d+\.nii\.gz: labels and image lie differently in space",
    ),
    Entry(
        "labels shifted in space",
        "acdc",
        on(HEART_LABEL, _moved(lambda a: a + np.outer([30, 0, 0, 0], [0, 0, 0, 1]))),
        r"frame01_gt\.nii\.gz: labels and image lie differently in space",
    ),
    Entry(
        "labels of another voxel size",
        "acdc",
        on(HEART_LABEL, _moved(lambda a: np.eye(4))),
        r"frame01_gt\.nii\.gz: labels have voxels of 1 x 1 x 1 mm, the image of",
    ),
    Entry(
        "labels of another size",
        "synapse",
        on(ABDOMEN_LABEL, _voxels(lambda a: a[:, :-1])),
        r"label\d+\.nii\.gz: labels have shape",
    ),
    Entry(
        "unknown label",
        "acdc",
        on(HEART_LABEL, _voxels(_with(4, np.uint8))),
        r"frame01_gt\.nii\.gz: label value 4 is unknown, expected 0\.\.3",
    ),
    Entry(
        "negative label",
        "synapse",
        on(ABDOMEN_LABEL, _voxels(_with(-1, np.int16))),
        r"label\d+\.nii\.gz: label value -1 is unknown",
    ),
    Entry(
        "fractional label",
        "synapse",
        on(ABDOMEN_LABEL, _voxels(_with(1.5, np.float32))),
        r"label\d+\.nii\.gz: label values are not whole",
    ),
    Entry(
        "label NaN",
        "acdc",
        on(HEART_LABEL, _voxels(_with(np.nan, np.float32))),
        r"frame01_gt\.nii\.gz: label values are not whole",
    ),
    Entry(
        "label beyond all integers",
        "acdc",
        on(HEART_LABEL, _voxels(_with(1e300, np.float64))),
        r"frame01_gt\.nii\.gz: label value",
    ),
    Entry(
        "label infinite",
        "synapse",
        on(ABDOMEN_LABEL, _voxels(_with(np.inf, np.float32))),
        r"label\d+\.nii\.gz: label values are not whole numbers",
    ),
    Entry(
        "labels scaled by the header",
        "acdc",
        on(HEART_LABEL, _scaled_labels(0.3)),
        r"frame01_gt\.nii\.gz: label values are not whole numbers; the header scales labels \(scl_slope 0\.3",
    ),
    Entry(
        "labels scaled to other labels",
        "synapse",
        on(ABDOMEN_LABEL, _scaled_labels(2)),
        r"label\d+\.nii\.gz: label value \d+ is unknown, expected 0\.\.13; the header scales labels \(scl_slope 2",
    ),
    Entry(
        "labels scaled by rounding",
        "acdc",
        on(HEART_LABEL, _scaled_labels(0.9999)),
        r"labels scaled by the header \(scl_slope 0\.9999, scl_inter 0\)",
        recorded=True,
    ),
    Entry(
        "voxel size against the axes",
        "synapse",
        on(ABDOMEN, _header(PIXDIM, lambda p: [p[0], p[1] * 1.1, *p[2:]])),
        r"img\d+\.nii\.gz: pixdim gives voxels of .* mm, the affine of .* mm; correct the header",
    ),
    Entry(
        "voxel size against the axes of labels",
        "acdc",
        on(HEART_LABEL, _header(PIXDIM, lambda p: [*p[:3], p[3] * 1.1, *p[4:]])),
        r"frame01_gt\.nii\.gz: pixdim gives voxels of .* mm, the affine of .* mm; correct the header",
    ),
    Entry(
        "no axes of the patient",
        "synapse",
        on(ABDOMEN_LABEL, _header((252, "<2h"), lambda _: [0, 0])),
        r"label\d+\.nii\.gz: the header does not give the patient's axes",
    ),
    Entry(
        "labels in metres",
        "acdc",
        on(HEART_LABEL, _header((123, "<b"), lambda _: [1])),
        r"frame01_gt\.nii\.gz: labels have voxels of \d+ x \d+ x \d+ mm, the image of",
    ),
    Entry(
        "labels scaled by infinity",
        "acdc",
        on_all("**/*_gt.nii.gz", _scaled_labels(np.inf)),
        r"\[\{\}, \{\}\]",
        recorded=True,
    ),
    Entry(
        "image NaN",
        "acdc",
        on(HEART, _voxels(_with(np.nan, np.float32))),
        r"case 'patient049_ED' has values that are not finite",
    ),
    Entry(
        "image infinite",
        "synapse",
        on(ABDOMEN, _voxels(_with(-np.inf, np.float32))),
        r"case '\d+' has values that are not finite",
    ),
    Entry(
        "image of 1e38",
        "acdc",
        on(HEART, _voxels(_with(1e38, np.float64))),
        r"case 'patient049_ED' has values that are not finite or extremely large",
    ),
    Entry(
        "image and labels exchanged",
        "synapse",
        lambda raw: shutil.copy(first(raw, ABDOMEN), first(raw, ABDOMEN_LABEL)),
        r"label\d+\.nii\.gz: label value -\d+ is unknown",
    ),
    Entry(
        "all labels empty",
        "synapse",
        on_all(ABDOMEN_LABEL, _voxels(np.zeros_like)),
        r"none of the \d+ cases for training has foreground",
    ),
    Entry(
        "one label file empty",
        "acdc",
        on(HEART_LABEL, _voxels(np.zeros_like)),
        r'"patient049_ED": \["no foreground"\]',
        recorded=True,
    ),
    Entry(
        "constant volume",
        "acdc",
        on(HEART, _voxels(lambda a: np.full_like(a, 7))),
        r'"patient049_ED": \["constant image"\]',
        recorded=True,
    ),
    Entry("a bomb", "synapse", on(ABDOMEN, _bomb), r"img\d+\.nii\.gz: .*cannot hold"),
    Entry("zeros without end", "acdc", on(HEART, rewritten(_endless)), r"frame01\.nii\.gz: holds more or less data"),
    Entry(
        "garbage behind the volume",
        "acdc",
        on(HEART, rewritten(lambda c: c + b"garbage")),
        r"frame01\.nii\.gz: cannot be read as a NIfTI volume",
    ),
    Entry(
        "wrong checksum",
        "synapse",
        on(ABDOMEN_LABEL, rewritten(_wrong_checksum)),
        r"label\d+\.nii\.gz: cannot be read as a NIfTI volume \(CRC",
    ),
    Entry(
        "not compressed",
        "synapse",
        on(ABDOMEN, rewritten(gzip.decompress)),
        r"img\d+\.nii\.gz: cannot be read as a NIfTI volume \(Not a gzip",
    ),
    Entry(
        "half of a pair of files",
        "synapse",
        on(ABDOMEN, _header((344, "<4s"), lambda _: [b"ni1\0"])),
        r"img\d+\.nii\.gz: cannot be read as a NIfTI volume",
    ),
    Entry("an image without labels", "synapse", _unpaired, r"img0099\.nii\.gz: the label file of case 0099 is missing"),
    Entry("another name", "synapse", on(ABDOMEN, _misnamed), r"img9\.nii\.gz: is not named imgNNNN"),
    Entry(
        "one number twice",
        "synapse",
        lambda raw: shutil.copytree(raw / "RawData", raw / "copy"),
        r"(img|label)\d+\.nii\.gz: .* twice",
    ),
    Entry("Info.cfg without ES", "acdc", _info(b"ED: 1\nGroup: DCM\n"), r"Info\.cfg: has no frame number 'ES:'"),
    Entry("Info.cfg with words", "acdc", _info(b"ED: first\nES: 7\n"), r"Info\.cfg: has no frame number 'ED:'"),
    Entry(
        "Info.cfg with superscripts", "acdc", _info("ED: ²\nES: 7\n".encode()), r"Info\.cfg: has no frame number 'ED:'"
    ),
    Entry(
        "Info.cfg with 5000 digits",
        "acdc",
        _info(b"ED: " + b"1" * 5000 + b"\nES: 7\n"),
        r"Info\.cfg: has no frame number 'ED:'",
    ),
    Entry(
        "Info.cfg in UTF-16",
        "acdc",
        on(INFO, rewritten(lambda c: c.decode().encode("utf-16"))),
        r"Info\.cfg: has no frame number",
    ),
    Entry(
        "Info.cfg beyond the frames",
        "acdc",
        _info(b"ED: 1\nES: 99\n"),
        r"patient049_frame99\.nii\.gz: Info\.cfg gives this frame as ES",
    ),
    Entry(
        "one frame for both phases", "acdc", _info(b"ED: 1\nES: 1\n"), r"Info\.cfg: gives the same frame for ED and ES"
    ),
    Entry(
        "Info.cfg with a control character",
        "acdc",
        on(INFO, rewritten(lambda c: c.replace(b"Group: ", b"Group: \x07"))),
        r"case 'patient049_ED': '\\x07\w+' has unprintable characters",
    ),
    Entry(
        "Info.cfg of DOS",
        "acdc",
        on(INFO, rewritten(lambda c: b"\xef\xbb\xbf" + c.replace(b"\n", b"\r\n"))),
        r"\[\{\}, \{\}\]",
        recorded=True,
    ),
    Entry("Info.cfg missing", "acdc", on(INFO, lambda path: path.unlink()), r"patient049: Info\.cfg is missing"),
    Entry(
        "a patient twice",
        "acdc",
        lambda raw: shutil.copytree(raw / "ACDC", raw / "copy"),
        r"case 'patient\d+_E[DS]' appears twice",
    ),
]
