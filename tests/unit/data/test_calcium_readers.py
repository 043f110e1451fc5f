"""Readers of orCaScore and COCA on their phantoms: every irregularity, and malformed files."""

import logging
import math
import plistlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage
from scipy.stats import rankdata

from spectralseg.data import phantoms
from spectralseg.data.geometry import Geometry
from spectralseg.data.phantoms._coronary import LARGEST, SMALLEST, draw
from spectralseg.data.phantoms._drawing import generator
from spectralseg.data.phantoms._volumes import nifti
from spectralseg.data.readers import coca, read_cases
from spectralseg.data.readers._metaimage import read_metaimage
from spectralseg.data.readers._polygons import fill_polygon
from spectralseg.data.specification import read_specification
from spectralseg.data.splits import assign
from spectralseg.errors import InputError

REPOSITORY = Path(__file__).parents[3]
DATASETS = ("orcascore", "coca")


def specification(name):
    return read_specification(REPOSITORY / "workflow" / "rules" / "datasets" / f"{name}.smk")


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """Unpacked phantoms, by dataset; tests must not change them."""
    folders = {}
    for name in DATASETS:
        folders[name] = tmp_path_factory.mktemp(f"raw_{name}")
        (archive,) = phantoms.generate(name, tmp_path_factory.mktemp(name), cases=8, side=64, seed=3)
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folders[name])
    return folders


@pytest.fixture(scope="session")
def cases(raw):
    return {name: {case.id: case for case in read_cases(name, raw[name], {})} for name in DATASETS}


@pytest.fixture(scope="session")
def samples(cases):
    return {name: {c.id: c.load() for c in cases[name].values() if not c.defect} for name in DATASETS}


def load_all(root, name, options):
    for case in read_cases(name, root, options):
        if not case.defect:
            case.load()


def refusal(root, name, problem, **options):
    """All cases are loaded; the message of the error must be one sentence with the problem."""
    with pytest.raises(InputError, match=problem) as caught:
        load_all(root, name, options)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return message


# Both


@pytest.mark.parametrize("name", DATASETS)
def test_samples_follow_the_contract(name, samples):
    for sample in samples[name].values():
        assert sample.labels.dtype == np.uint8
        assert sample.image.shape == sample.labels.shape
        assert sample.image.flags["C_CONTIGUOUS"]
        assert sample.labels.flags["C_CONTIGUOUS"]
        assert sample.labels.max() <= 1
        assert isinstance(sample.geometry, Geometry)
        assert sample.geometry.axes == "SPL"
        assert sample.image.min() < -1000
        assert (sample.image[sample.labels > 0] >= 130).all()
    assert {int(sample.labels.max()) for sample in samples[name].values()} == {0, 1}


@pytest.mark.parametrize("name", DATASETS)
def test_the_spine_is_at_the_bottom_of_a_slice(name, samples):
    for sample in samples[name].values():
        side = sample.image.shape[1]
        middle = sample.image[:, :, int(0.45 * side) : int(0.55 * side)] > 130
        assert middle[:, side // 2 :].sum() > 2 * middle[:, : side // 2].sum(), "the sternum is smaller"


@pytest.mark.parametrize("name", DATASETS)
def test_the_split_rules_apply(name, cases):
    spec = specification(name)
    kept = [case for case in cases[name].values() if not case.defect]
    for rule in (spec.split, *spec.alternative_splits.values()):
        parts = assign(kept, rule, dataset=name, allow_partial=True)
        assert {"train", "test"} <= set(parts.values())
    assert set(assign(kept, spec.split, dataset=name).values()) == {"train", "validation", "test"}


@pytest.mark.parametrize("name", DATASETS)
def test_intensity_alone_does_not_identify_lesions(name, samples):
    values, lesions = [], []
    for sample in samples[name].values():
        body = ndimage.binary_fill_holes((sample.image > -300).any(axis=0))
        values.append(sample.image[:, body].ravel())
        lesions.append(sample.labels[:, body].ravel() > 0)
    values, lesions = np.concatenate(values), np.concatenate(lesions)
    count = int(lesions.sum())
    area = (rankdata(values)[lesions].sum() - count * (count + 1) / 2) / (count * (len(lesions) - count))
    assert 0.75 < area < 0.97
    assert (values[~lesions] >= 130).mean() > 0.05, "bone"


def test_lesions_are_small_and_on_the_heart():
    scan = draw(generator(5, "scan"), 128, 8, lesions=12, at_ends=True)
    assert scan.labels[0].any()
    assert scan.labels[-1].any()
    assert set(np.unique(scan.labels)) == {0, 1, 2, 3}
    for plane in scan.labels:
        parts, count = ndimage.label(plane, structure=np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        assert (sizes >= SMALLEST).all()
        assert (sizes <= LARGEST).sum() >= count - 1, "at most two lesions touch each other"
    rows, columns = np.nonzero(scan.labels.any(axis=0))
    assert 0.15 * 128 < rows.min() < rows.max() < 0.65 * 128
    assert 0.25 * 128 < columns.min() < columns.max() < 0.85 * 128


# orCaScore


def images(root):
    return root / "Challenge_data" / "Training_set" / "Images"


@pytest.fixture
def orcascore(raw, tmp_path):
    """A copy of one patient that tests may damage, with the folder of the files."""
    folder = images(tmp_path)
    folder.mkdir(parents=True)
    for path in images(raw["orcascore"]).glob("TRV2P4*"):
        shutil.copy(path, folder)
    assert len(list(folder.iterdir())) == 6
    return tmp_path, folder


def replace(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_orcascore_lists_labelled_patients_with_vendor_and_number(cases, raw, caplog):
    assert len(cases["orcascore"]) == 8 + 1 + 4
    for identity, case in cases["orcascore"].items():
        vendor, number = identity[3], identity[5:]
        assert case.group == identity == f"TRV{vendor}P{number}"
        assert case.attributes == {"vendor": vendor, "patient": number}
    with caplog.at_level(logging.INFO):
        read_cases("orcascore", raw["orcascore"], {})
    assert f"{13 + 4} angiographies or scans of the test and validation sets are ignored" in caplog.text


def test_orcascore_reads_every_storage_form(cases, samples, raw):
    headers = [path.read_bytes() for path in images(raw["orcascore"]).iterdir() if path.suffix == ".mhd"]
    for form in (b"CompressedData = True", b"MSB = True", b"ElementDataFile = LOCAL", b"-1", b"MET_USHORT"):
        assert any(form in header[:1000] for header in headers), form
    assert any(path.name.islower() for path in images(raw["orcascore"]).iterdir())
    for identity, sample in samples["orcascore"].items():
        labels = {path.name.lower(): path for path in images(raw["orcascore"]).glob("*.mhd")}[
            f"{identity.lower()}r.mhd"
        ]
        stored = read_metaimage(labels)
        assert sample.labels.sum() == (stored.array > 0).sum()
        assert sample.spacing == pytest.approx(stored.zooms[::-1])
        np.testing.assert_array_equal(sample.geometry.to_file(sample.labels), stored.array > 0)
    assert len({sample.spacing for sample in samples["orcascore"].values()}) == 4, "one per vendor"


def test_orcascore_records_remarks(samples):
    remarks = [remark for sample in samples["orcascore"].values() for remark in sample.remarks]
    assert sum("voxels of an unknown artery" in remark for remark in remarks) == 1
    assert "no negative intensities, taken as Hounsfield units + 1024" in remarks
    assert any(not sample.labels.any() for sample in samples["orcascore"].values())


def test_orcascore_listing_reads_no_file(raw, tmp_path):
    copy = shutil.copytree(raw["orcascore"], tmp_path / "copy")
    for path in copy.rglob("*.*"):
        path.write_bytes(b"")
    for case in read_cases("orcascore", copy, {}):
        with pytest.raises(InputError, match="is not a MetaImage header"):
            case.load()


def test_orcascore_reads_nifti(orcascore, tmp_path):
    root, folder = orcascore
    (expected,) = read_cases("orcascore", root, {})
    expected = expected.load()
    for name in ("TRV2P4CTI", "TRV2P4R"):
        volume = read_metaimage(folder / f"{name}.mhd")
        (folder / f"{name.lower()}.nii.gz").write_bytes(nifti(volume.array, volume.affine))
        (folder / f"{name}.mhd").unlink()
    (case,) = read_cases("orcascore", root, {})
    assert case.id == "TRV2P4"
    np.testing.assert_array_equal(case.load().image, expected.image)
    np.testing.assert_array_equal(case.load().labels, expected.labels)


def test_orcascore_ignores_a_file_on_another_grid(orcascore):
    root, folder = orcascore
    (expected,) = read_cases("orcascore", root, {})
    for suffix in (".mhd", ".raw", ".zraw"):
        if (folder / f"TRV2P4CTAI{suffix}").is_file():
            shutil.copy(folder / f"TRV2P4CTAI{suffix}", folder / f"TRV2P4C{suffix}")
    (case,) = read_cases("orcascore", root, {})
    np.testing.assert_array_equal(case.load().labels, expected.load().labels)


def drop(*names):
    def spoil(folder):
        for name in names:
            for path in [*folder.glob(f"{name}.*")]:
                path.unlink()

    return spoil


def labels_of_the_angiography(folder):
    drop("TRV2P4R")(folder)
    shutil.copy(folder / "TRV2P4CTAI.mhd", folder / "TRV2P4R.mhd")


def second_mask(folder):
    shutil.copy(folder / "TRV2P4R.mhd", folder / "TRV2P4R2.mhd")


def second_scan(folder):
    (folder / "copy").mkdir()
    shutil.copy(folder / "TRV2P4CTI.mhd", folder / "copy" / "trv2p4cti.mhd")


def shifted(folder):
    replace(folder / "TRV2P4R.mhd", b"Offset = -", b"Offset = ")


def label_five(folder):
    header = (folder / "TRV2P4R.mhd").read_text()
    (name,) = [line.split()[-1] for line in header.splitlines() if line.startswith("ElementDataFile")]
    content = bytearray((folder / name).read_bytes())
    content[:2] = b"\x00\x05" if "MSB = True" in header else b"\x05\x00"
    (folder / name).write_bytes(content)


def without_data(folder):
    for path in folder.glob("TRV2P4CTI.*raw"):
        path.unlink()


def oversized(folder):
    replace(folder / "TRV2P4CTI.mhd", b"DimSize = 64", b"DimSize = 65")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (drop("TRV2P4R"), r"TRV2P4CTI\.mhd: the reference mask of case TRV2P4 is missing"),
        (drop("TRV2P4CTI"), "no file is named like TRV1P1CTI"),
        (labels_of_the_angiography, r"TRV2P4R\.mhd: labels have shape"),
        (second_mask, r"TRV2P4R2\.mhd is a mask of the same scan|TRV2P4R\.mhd is a mask of the same scan"),
        (second_scan, "case TRV2P4 appears twice"),
        (shifted, r"TRV2P4R\.mhd: labels and image lie differently in space"),
        (label_five, r"TRV2P4R\.mhd: label value 5 is unknown"),
        (without_data, "the voxels of TRV2P4CTI.mhd are missing"),
        (oversized, "holds more or less data than its header says"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_orcascore_refuses_malformed_files(orcascore, spoil, problem):
    root, folder = orcascore
    form = (folder / "TRV2P4R.mhd").read_bytes()
    assert b"CompressedData = False" in form
    assert b"LOCAL" not in form
    spoil(folder)
    refusal(root, "orcascore", problem)


# COCA


def release(root):
    return root / "cocacoronarycalciumandchestcts-2" / "Gated_release_final"


@pytest.fixture(scope="session")
def patients(cases):
    """Ids in numerical order, which is that of the irregularities of the phantom."""
    return sorted(cases["coca"], key=int)


@pytest.fixture
def patient(raw, patients, tmp_path):
    """Copies a patient that a test may damage; returns the root, the folders of series and the annotation."""

    def copy(position):
        identity = patients[position]
        source, target = release(raw["coca"]), release(tmp_path)
        shutil.copytree(source / "patient" / identity, target / "patient" / identity)
        annotation = target / "calcium_xml" / f"{identity}.xml"
        annotation.parent.mkdir()
        if (source / "calcium_xml" / annotation.name).is_file():
            shutil.copy(source / "calcium_xml" / annotation.name, annotation)
        return tmp_path, sorted((target / "patient" / identity).iterdir()), annotation

    return copy


def rewrite(annotation, change):
    """Store a changed property list."""
    content = plistlib.loads(annotation.read_bytes())
    change(content["Images"])
    annotation.write_bytes(plistlib.dumps(content))


def rewrite_slices(series, change):
    for path in sorted(series.iterdir()):
        content = pydicom.dcmread(path)
        change(content)
        content.save_as(path)


def only(root, **options):
    (case,) = read_cases("coca", root, options)
    return case.load()


def test_coca_lists_patients_and_counts_what_is_ignored(cases, raw, patients, caplog):
    assert len(cases["coca"]) == 8 + 4
    assert all(case.group == case.id for case in cases["coca"].values())
    assert [p for p in patients if cases["coca"][p].defect] == [patients[3]]
    assert cases["coca"][patients[3]].defect == "no annotation file in calcium_xml"
    with caplog.at_level(logging.INFO):
        read_cases("coca", raw["coca"], {})
    assert "1 scans in deidentified_nongated have no masks and are ignored" in caplog.text


def test_coca_masks_are_those_of_the_phantom(samples, patients):
    for position, identity in enumerate(patients):
        if identity not in samples["coca"]:
            continue
        rng = generator(3, "coca", identity)
        lesions = 0 if position == 4 else int(rng.integers(3, 8))
        scan = draw(rng, 64, int(rng.integers(6, 10)), lesions=lesions, at_ends=position == 5)
        np.testing.assert_array_equal(samples["coca"][identity].labels, scan.labels > 0)
        np.testing.assert_array_equal(samples["coca"][identity].image[:, scan.field], scan.image[:, scan.field])
        assert samples["coca"][identity].spacing[0] == pytest.approx(3)


def test_coca_has_both_orders_of_files_and_both_pixel_types(raw):
    forms = set()
    for folder in release(raw["coca"]).glob("patient/*/*"):
        headers = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        rising = headers[0].ImagePositionPatient[2] < headers[1].ImagePositionPatient[2]
        assert headers[0].InstanceNumber == (0 if rising else 1)
        forms.add((rising, headers[0].PixelRepresentation, int(headers[0].RescaleIntercept)))
    assert {form[0] for form in forms} == {True, False}
    assert {form[1:] for form in forms} == {(1, 0), (0, -1024)}


def test_coca_counts_irregular_regions(samples, patients):
    sample = samples["coca"][patients[5]]
    assert sample.labels[0].any()
    assert sample.labels[-1].any()
    assert sample.remarks == (
        "2 regions of fewer than three points left out",
        "1 regions without a calcified pixel",
        "1 regions without the name of an artery",
    )


def test_coca_uses_the_series_that_fits(samples, patients, patient):
    assert samples["coca"][patients[2]].remarks == ("1 of 2 series do not fit the annotation or are damaged",)
    root, (first, second), _ = patient(2)
    assert " " in first.name
    shutil.rmtree(first)
    np.testing.assert_array_equal(only(root).labels, samples["coca"][patients[2]].labels)
    shutil.copytree(second, first)
    refusal(root, "coca", "2 series fit the annotation")


def test_coca_uses_the_series_that_is_not_damaged(patient):
    root, (series,), _ = patient(0)
    expected = only(root)
    damaged = shutil.copytree(series, series.with_name("another"))
    next(damaged.glob("*.dcm")).write_bytes(b"")
    sample = only(root)
    np.testing.assert_array_equal(sample.labels, expected.labels)
    assert sample.remarks == (*expected.remarks, "1 of 2 series do not fit the annotation or are damaged")


def test_coca_refuses_two_series_that_do_not_fit(patient):
    root, (first, second), _ = patient(2)
    shutil.rmtree(second)
    shutil.copytree(first, second)
    text = refusal(root, "coca", "none of its 2 series can be used; .* it belongs to another slice or series")
    assert all(f"; {series.name}: " in text for series in (first, second)), "each series with its problem"


def test_coca_patients_without_annotation_are_negative_on_request(raw, patients):
    for option in ("exclude", "negative"):
        listed = {case.id: case for case in read_cases("coca", raw["coca"], {"missing_xml": option})}
        assert bool(listed[patients[3]].defect) == (option == "exclude")
    sample = listed[patients[3]].load()
    assert not sample.labels.any()
    assert sample.remarks == ("no annotation file, taken for a patient without calcification",)
    with pytest.raises(InputError, match="missing_xml"):
        read_cases("coca", raw["coca"], {"missing_xml": "ignore"})


def test_coca_listing_reads_no_file(raw, tmp_path):
    copy = shutil.copytree(raw["coca"], tmp_path / "copy")
    for path in (*copy.rglob("*.dcm"), *copy.rglob("*.xml")):
        path.write_bytes(b"")
    for case in read_cases("coca", copy, {"missing_xml": "negative"}):
        with pytest.raises(InputError, match="cannot be read as a DICOM file"):
            case.load()


def test_coca_accepts_a_doubled_top_folder_and_refuses_a_patient_in_both(patient, samples, patients):
    root, _, annotation = patient(0)
    inner = release(root) / "Gated_release_final"
    inner.mkdir()
    for folder in ("patient", "calcium_xml"):
        (release(root) / folder).rename(inner / folder)
    np.testing.assert_array_equal(only(root).labels, samples["coca"][patients[0]].labels)
    shutil.copytree(inner / "patient", release(root) / "patient")
    refusal(root, "coca", f"patient {annotation.stem} appears twice")


@pytest.mark.parametrize("content", [{}, {"Images": []}, {"Images": [{"ImageIndex": 1, "NumberOfROIs": 0}]}])
def test_coca_takes_an_annotation_without_regions_for_a_scan_without_calcium(patient, content):
    root, _, annotation = patient(0)
    annotation.write_bytes(plistlib.dumps(content))
    assert not only(root).labels.any()


def test_coca_excludes_annotations_without_slices(patient):
    root, series, annotation = patient(0)
    for identity in ("77", "9999"):
        shutil.copy(annotation, annotation.with_name(f"{identity}.xml"))
    folder = series[0].parent.with_name("77") / "series"
    folder.mkdir(parents=True)
    shutil.copy(next(series[0].glob("*.dcm")), folder / "IM-0001-0001")  # without suffix
    first, *others = read_cases("coca", root, {})
    assert not first.defect
    assert {case.id: case.defect for case in others} == {
        identity: f"no file *.dcm in patient/{identity}" for identity in ("77", "9999")
    }


def test_coca_keeps_polygons_on_request(patient):
    root, _, _ = patient(0)
    calcified, polygons = only(root).labels, only(root, threshold=None).labels
    assert (polygons >= calcified).all()
    assert polygons.sum() > 1.2 * calcified.sum()


def test_coca_applies_slope_and_intercept_of_each_slice(patient, samples, patients):
    root, (series,), _ = patient(1)

    def change(content):
        values = content.pixel_array.astype(np.int32) + int(content.RescaleIntercept)
        factor, shift = (0.5, -1024) if content.InstanceNumber % 2 else (1, -2000)
        content.RescaleSlope, content.RescaleIntercept = factor, shift
        content.PixelRepresentation = 0
        content.PixelData = ((values - shift) / factor).astype("<u2").tobytes()

    rewrite_slices(series, change)
    np.testing.assert_array_equal(only(root).image, samples["coca"][patients[1]].image)
    np.testing.assert_array_equal(only(root).labels, samples["coca"][patients[1]].labels)


def test_coca_reads_slices_of_other_axes(patient, samples, patients):
    """The series is stored head down: rows and slices in the opposite direction, positions in millimetres the same."""
    root, (series,), _ = patient(1)

    def change(content):
        last = (content.Rows - 1) * float(content.PixelSpacing[0])
        content.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]
        x, y, z = content.ImagePositionPatient
        content.ImagePositionPatient = [x, float(y) + last, z]
        content.PixelData = content.pixel_array[::-1].tobytes()

    rewrite_slices(series, change)

    def flip(listed):
        for image in listed:
            for region in image["ROIs"]:
                points = [tuple(map(float, p.strip("()").split(","))) for p in region["Point_px"]]
                region["Point_px"] = [f"({x}, {64 - y})" for x, y in points]

    rewrite(release(root) / "calcium_xml" / f"{patients[1]}.xml", flip)
    sample = only(root)
    np.testing.assert_array_equal(sample.image, samples["coca"][patients[1]].image)
    np.testing.assert_array_equal(sample.labels, samples["coca"][patients[1]].labels)


def test_coca_accepts_every_documented_order_of_image_index(patient, samples, patients):
    root, (series,), annotation = patient(0)
    depth = len(list(series.iterdir()))
    original = annotation.read_bytes()
    for order in (lambda z: z, lambda z: depth - 1 - z, lambda z: depth - z):  # the last is InstanceNumber

        def change(listed, order=order):
            for image in listed:
                image["ImageIndex"] = order(image["ImageIndex"])

        annotation.write_bytes(original)
        rewrite(annotation, change)
        np.testing.assert_array_equal(only(root).labels, samples["coca"][patients[0]].labels)


def on_first(key, value):
    def change(listed):
        region = listed[0]["ROIs"][0]
        region[key] = value(region[key])

    return change


def shift_millimetres(axis, distance):
    def change(points):
        moved = []
        for point in points:
            numbers = [float(number) for number in point.strip("()").split(",")]
            numbers[axis] += distance
            moved.append(f"({', '.join(map(str, numbers))})")
        return moved

    return on_first("Point_mm", change)


def wrong_index(listed):
    listed[0]["ImageIndex"] += 40


def without_maximum(listed):
    del listed[0]["ROIs"][0]["Max"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (on_first("Max", lambda value: value + 60), "do not match its pixels"),
        (on_first("Mean", lambda value: value + 400), "do not match its pixels"),
        (on_first("Mean", lambda value: value - 1600), "do not match its pixels"),
        (without_maximum, "has no Max and Mean"),
        (shift_millimetres(2, 2.0), "ImageIndex and Point_mm place regions on different slices"),
        (on_first("Point_mm", lambda points: ["(0, 0, 0)", *points[1:]]), "does not lie on a slice"),
        (shift_millimetres(2, 500), "does not lie on a slice"),
        (shift_millimetres(0, 9), "Point_px and Point_mm of region 0 of image .* are different places"),
        (on_first("Point_mm", lambda points: points[:-1]), "13 Point_mm"),
        (on_first("Point_px", lambda points: ["(1, nan)", *points[1:]]), "is not 2 numbers"),
        (on_first("Point_px", lambda points: ["__import__('os')", *points[1:]]), "is not 2 numbers"),
        (on_first("Point_mm", lambda points: ["(1, 2)", *points[1:]]), "is not 3 numbers"),
        (on_first("Point_px", lambda points: [7, *points[1:]]), "Images.0.ROIs.0.Point_px.0"),
        (wrong_index, "ImageIndex and Point_mm place regions on different slices"),
    ],
)
def test_coca_refuses_annotations_that_do_not_fit(patient, change, problem):
    root, _, annotation = patient(0)
    rewrite(annotation, change)
    assert str(annotation) in refusal(root, "coca", problem)


@pytest.mark.parametrize("distance", [-3.0, 3.0])
def test_coca_stored_values_reveal_the_neighbouring_slice(patient, distance):
    """All regions and indices are moved by one slice: only the stored values contradict."""
    root, _, annotation = patient(0)

    def change(listed):
        for image in listed:
            image["ImageIndex"] += int(distance / 3)
            for region in image["ROIs"]:
                moved = [[float(n) for n in p.strip("()").split(",")] for p in region["Point_mm"]]
                region["Point_mm"] = [f"({x}, {y}, {z + distance})" for x, y, z in moved]

    rewrite(annotation, change)
    refusal(root, "coca", "do not match its pixels|does not lie on a slice")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no XML",
        b"<plist><dict><key>Images</key></plist>",
        b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "b">]><plist><string>&a;</string></plist>',
        plistlib.dumps(["Images"]),
        plistlib.dumps({"Images": [{"NumberOfROIs": 0}]}),
        plistlib.dumps({"Images": []}, fmt=plistlib.FMT_BINARY),
    ],
)
def test_coca_refuses_malformed_property_lists(patient, content):
    root, _, annotation = patient(0)
    annotation.write_bytes(content)
    assert str(annotation) in refusal(root, "coca", "replace it by an intact copy")


def duplicate(series):
    shutil.copy(series / "IM-0001-0003.dcm", series / "IM-0001-0099.dcm")


def missing(series):
    (series / "IM-0001-0003.dcm").unlink()


def single(series):
    for path in sorted(series.iterdir())[1:]:
        path.unlink()


def compressed(content):
    content.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian


def on_third(**values):
    def spoil(series):
        path = series / "IM-0001-0003.dcm"
        content = pydicom.dcmread(path)
        for tag, value in values.items():
            if value is None:
                delattr(content, tag)
            else:
                setattr(content, tag, value)
        content.save_as(path)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (duplicate, r"slices IM-0001-0003\.dcm and IM-0001-0099\.dcm have the same position"),
        (missing, r"slices IM-0001-0004\.dcm and IM-0001-0002\.dcm are 6 mm apart, others 3 mm"),
        (single, "holds 1 slices, expected 2 to"),
        (lambda series: rewrite_slices(series, compressed), r"its transfer syntax \(Deflated Explicit VR"),
        (lambda series: (series / "IM-0001-0003.dcm").write_bytes(b"text"), "cannot be read as a DICOM file"),
        (on_third(RescaleSlope=None), "is not a slice of CT"),
        (on_third(PhotometricInterpretation="RGB", SamplesPerPixel=3), "is not a slice of CT"),
        (on_third(NumberOfFrames=2), "is not a slice of CT"),
        (on_third(Rows=32), "Rows differs from that of"),
        (on_third(PixelData=b"\0" * 64), "holds more or less pixels than its header says"),
        (on_third(PixelData=b"\0" * 9000), "holds more or less pixels than its header says"),
        (on_third(PixelSpacing=[0.9, 0.9]), "PixelSpacing differs from that of"),
        (on_third(PixelSpacing=[0.9]), "2 numbers as PixelSpacing"),
        (on_third(SeriesInstanceUID="1.2.3"), "SeriesInstanceUID differs from that of"),
        (on_third(ImagePositionPatient=None), "3 numbers as ImagePositionPatient"),
        (on_third(ImagePositionPatient=[50, 50, -100]), "slices"),
    ],
)
def test_coca_refuses_malformed_series(patient, spoil, problem):
    root, (series,), _ = patient(0)
    spoil(series)
    assert str(series) in refusal(root, "coca", problem)


def test_coca_accepts_headers_that_differ_by_rounding(patient):
    root, (series,), _ = patient(0)
    expected = only(root)
    content = pydicom.dcmread(series / "IM-0001-0003.dcm")
    content.PixelSpacing = [value + 1e-9 for value in content.PixelSpacing]
    content.ImageOrientationPatient = [value + 1e-9 for value in content.ImageOrientationPatient]
    content.save_as(series / "IM-0001-0003.dcm")
    np.testing.assert_array_equal(only(root).labels, expected.labels)


def test_coca_refuses_tilted_stacks(patient):
    root, (series,), _ = patient(0)

    def change(content):
        x, y, z = map(float, content.ImagePositionPatient)
        content.ImagePositionPatient = [x, y + content.InstanceNumber, z]

    rewrite_slices(series, change)
    refusal(root, "coca", "gantry tilt")


# Rasterisation


@pytest.mark.parametrize("radius", [1, 1.5, 2, 3, 5, 8])
def test_areas_of_filled_polygons_are_those_of_the_polygons(radius):
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    polygon_area = 0.5 * len(angles) * math.sin(2 * np.pi / len(angles)) * radius**2
    areas = []
    for _ in range(400):
        mask = np.zeros((32, 32), np.uint8)
        centre = 15 + rng.uniform(0, 1, 2)
        polygon = centre + radius * np.column_stack([np.cos(angles), np.sin(angles)])
        fill_polygon(mask, polygon, outline=False)
        areas.append(mask.sum())
    assert np.mean(areas) / polygon_area == pytest.approx(1, abs=0.02)


def test_polygons_with_a_common_side_share_no_pixel():
    left, right = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    fill_polygon(left, np.array([(1.0, 1), (4, 1), (4, 5), (1, 5)]), outline=False)
    fill_polygon(right, np.array([(4.0, 1), (6, 1), (6, 5), (4, 5)]), outline=False)
    assert left.sum() == 3 * 4
    assert right.sum() == 2 * 4
    assert not (left & right).any()


class TestStoredValues:
    polygon = np.array([(2.6, 2.6), (9.4, 2.6), (9.4, 8.4), (2.6, 8.4)])
    values = np.random.default_rng(1).integers(0, 1000, (12, 12)).astype(np.int16)

    def stored(self, rows, columns):
        inside = self.values[rows, columns]
        return float(inside.max()), float(inside.mean())

    def test_sets_of_pixels_with_or_without_the_outline_agree(self):
        for grow in (0, 1):
            window = slice(3 - grow, 9 + grow), slice(3 - grow, 10 + grow)
            assert coca.agrees(self.values, self.polygon, *self.stored(*window))

    def test_another_maximum_or_mean_does_not(self):
        maximum, mean = self.stored(slice(3, 9), slice(3, 10))
        assert not coca.agrees(self.values, self.polygon, maximum + 2000, mean)
        assert not coca.agrees(self.values, self.polygon, maximum - 300, mean)
        assert not coca.agrees(self.values, self.polygon, maximum, mean + 300)
        assert not coca.agrees(self.values, self.polygon, maximum, mean - 300)

    def test_the_range_of_means_is_that_of_all_sets(self):
        """Independent implementation: every subset of the pixels that may or may not belong to the region."""
        core, rim = np.array([5.0, 9.0]), np.array([1.0, 7.0, 30.0, 12.0])
        for certain in (core, core[:0]):
            means = [
                np.concatenate([certain, rim[[bool(code >> k & 1) for k in range(4)]]]).mean()
                for code in range(0 if len(certain) else 1, 16)
            ]
            assert coca._smallest_mean(certain, rim) == pytest.approx(min(means))
            assert -coca._smallest_mean(-certain, -rim) == pytest.approx(max(means))

    def test_polygons_beyond_the_image_agree(self):
        assert coca.agrees(self.values, self.polygon - 100, 1, 1)
