"""Stroke scans: masks that do not fit, several releases below one folder, and archives that are still encrypted."""

import shutil

import nibabel as nib
import numpy as np
from tests.unit.data.bad_input.archives import ARCHIVE
from tests.unit.data.bad_input.entry import IMAGE, LABEL, Entry, first, on, replaced, rewritten

SCAN, MASK = IMAGE["atlas"], LABEL["atlas"]
MNI, ENDINGS = "space-MNI152NLin2009aSym", ("_T1w.nii.gz", "_label-L_desc-T1lesion_mask.nii.gz")


def _voxels(change, affine=lambda a: a):
    """Store another array, or the same with another affine."""

    def spoil(path):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), affine(image.affine.copy())), path)

    return spoil


def _shifted(millimetres):
    return _voxels(lambda array: array, lambda affine: affine + np.outer([1, 0, 0, 0], [0, 0, 0, millimetres]))


def _one_voxel(raw):
    """Shift the mask by one voxel, whose size depends on the phantom."""
    path = first(raw, MASK)
    _shifted(float(nib.load(path).header.get_zooms()[0]))(path)


def _copied_to(release, *endings):
    """Copy a scan to the names of release 3.0."""

    def spoil(raw):
        for old, new in zip((SCAN, MASK), endings, strict=False):
            source = first(raw, old)
            name = source.name[: source.name.index("space-")] + new
            target = raw / release / "R001" / "sub-r001s001" / "ses-1" / "anat" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)

    return spoil


def _outlier(array):
    array = array.astype(np.uint8)
    array[0, 0, 0] = 3
    return array


def _in_the_corner(array):
    array = array.astype(np.uint8)
    array[0, 0, 0] = 1
    return array


def _half(array):
    return np.where(array > 0, np.float32(0.5), np.float32(0))


def _nearly_one(array):
    return np.where(array > 0, 0.999999999767, 0.0)


def _second_session(raw):
    """A copy of a scan in another session, without its mask."""
    source = first(raw, SCAN)
    target = source.parents[2] / "ses-2" / "anat" / source.name.replace("ses-1", "ses-2")
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)


def _files_of_macos(raw):
    for path in sorted(raw.rglob("*.nii.gz")):
        path.with_name(f"._{path.name}").write_bytes(b"resource fork")


def _renamed(path):
    path.rename(path.with_name("ATLAS_R2.0.tar.gz.cpt"))


RAW = ("space-orig_desc-brain_T1w.nii.gz", "space-orig_label-lesion_desc-T1lesion_mask.nii.gz")
NORMALISED = (f"{MNI}_desc-brainnorm_T1w.nii.gz", f"{MNI}_label-lesion_desc-T1lesion_mask.nii.gz")
ENTRIES = [
    Entry(
        "a mask of another shape",
        "atlas",
        on(MASK, _voxels(lambda a: a[:-1])),
        r'"sub-r001s001_ses-1": "its mask has shape \(19, 24, 8\), its image \(20, 24, 8\)"',
        recorded=True,
    ),
    Entry(
        "a mask one voxel away", "atlas", _one_voxel, r'"its mask and image lie differently in space"', recorded=True
    ),
    Entry("a header that differs by rounding", "atlas", on(MASK, _shifted(1e-3)), r"\[\{.*\}, \{\}\]$", recorded=True),
    Entry("an unknown label", "atlas", on(MASK, _voxels(_outlier)), r"_mask\.nii\.gz: label value 3 is unknown"),
    Entry(
        "a mask of fractions",
        "atlas",
        on(MASK, _voxels(_half)),
        r"_mask\.nii\.gz: label values are not whole numbers; use the published",
    ),
    Entry("a mask of nearly one", "atlas", on(MASK, _voxels(_nearly_one)), r"\[\{.*\}, \{\}\]$", recorded=True),
    Entry("files of macOS beside", "atlas", _files_of_macos, r"\[\{.*\}, \{\}\]$", recorded=True),
    Entry(
        "a second session without mask",
        "atlas",
        _second_session,
        r"sub-r001s001_ses-2_\S+_T1w\.nii\.gz: the lesion mask of this scan is missing; restore it",
    ),
    Entry(
        "a lesion outside of the crop",
        "atlas",
        on(MASK, _voxels(_in_the_corner)),
        r"case 'sub-r001s001_ses-1' has labelled pixels outside of its central 16 x 16 pixels; set 'image_size'",
    ),
    Entry("the image is missing", "atlas", on(SCAN, lambda p: p.unlink()), r"_mask\.nii\.gz: the image of this scan"),
    Entry(
        "a scan appears twice",
        "atlas",
        lambda raw: shutil.copytree(raw / "ATLAS_2" / "Training" / "R001", raw / "Training" / "R001"),
        r"nii\.gz: scan sub-r001s001_ses-1 appears twice, also as",
    ),
    Entry(
        "two subjects whose ids differ by case only",
        "atlas",
        lambda raw: [
            shutil.copy(path, path.with_name(path.name.replace("sub-r", "sub-R")))
            for path in (first(raw, SCAN), first(raw, MASK))
        ],
        r"cases 'sub-R001s001_ses-1' and 'sub-r001s001_ses-1' differ in upper and lower case only",
    ),
    Entry(
        "two releases",
        "atlas",
        _copied_to("ATLAS3_Training_Raw", *RAW),
        r"has files of two releases of ATLAS, .*R2\.0.*; give the folder of one release",
    ),
    Entry(
        "masks of another release",
        "atlas",
        lambda raw: _copied_to("ATLAS3_Training_Raw", *RAW)(raw) or first(raw, "ATLAS3*/**/*brain_T1w*").unlink(),
        r"has files of two releases of ATLAS, .*; give the folder of one release",
    ),
    Entry(
        "raw and preprocessed scans of one release",
        "atlas",
        lambda raw: [
            _copied_to("ATLAS3_Training_Raw", *RAW)(raw),
            _copied_to("ATLAS3_Training_Preprocessed", *NORMALISED)(raw),
            shutil.rmtree(raw / "ATLAS_2"),
        ],
        r"has files of two releases of ATLAS, R3\.0 .*; give the folder of one release",
    ),
    Entry(
        "names of release 1.1",
        "atlas",
        on(MASK, lambda p: p.rename(p.with_name("031768_LesionSmooth_stx.nii.gz"))),
        r"031768_LesionSmooth_stx\.nii\.gz: is a file of ATLAS R1\.1, .*; give release 2\.0 or 3\.0",
    ),
    Entry(
        "test scans only",
        "atlas",
        lambda raw: shutil.rmtree(raw / "ATLAS_2" / "Training"),
        r"no file matches 'Training/.*'; it has only a part of the official layout",
    ),
    Entry(
        "still encrypted, as base64",
        "atlas",
        on(ARCHIVE["atlas"], replaced(b"U2FsdGVkX1+abcdefghijkl\n")),
        r"gz: is still encrypted; .* openssl aes-256-cbc -md sha256 -d -a -in ATLAS_R2\.0\.tar\.gz -out \S+$",
        packed=True,
    ),
    Entry(
        "still encrypted",
        "atlas",
        on(ARCHIVE["atlas"], replaced(b"Salted__" + bytes(range(50)))),
        r"gz: is still encrypted; .* openssl aes-256-cbc -md sha256 -d -in ATLAS_R2\.0\.tar\.gz -out \S+$",
        packed=True,
    ),
    Entry(
        "still encrypted by ccrypt",
        "atlas",
        on(ARCHIVE["atlas"], _renamed),
        r"cpt: is still encrypted; .* ccrypt -d ATLAS_R2\.0\.tar\.gz\.cpt$",
        packed=True,
    ),
    Entry(
        "a truncated archive",
        "atlas",
        on(ARCHIVE["atlas"], rewritten(lambda c: c[: len(c) // 2])),
        r"ATLAS_R2\.0\.tar\.gz: cannot be unpacked .*; fetch it again",
        packed=True,
    ),
]
