"""Readers of Synapse, ACDC, MoNuSeg and BTSeg on their phantoms: every irregularity, and malformed files."""

import gzip
import itertools
import os
import shutil
import zipfile
from pathlib import Path

import cv2
import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io
import tifffile

from spectralseg.data import phantoms
from spectralseg.data.readers import monuseg, read_cases
from spectralseg.data.readers._formats import Volume, reorient
from spectralseg.data.readers._polygons import fill_polygon
from spectralseg.data.readers.cheng import family
from spectralseg.data.specification import read_specification
from spectralseg.data.splits import assign, read_list
from spectralseg.errors import InputError

REPOSITORY = Path(__file__).parents[3]
DATASETS = ("synapse", "acdc", "monuseg", "btseg")
REAL = Path(os.environ.get("SPECTRALSEG_REAL_SAMPLES", REPOSITORY.parent / "shared" / "real_samples")) / "monuseg"
ORGANS = {"organs": [8, 4, 3, 2, 6, 11, 1, 7]}
AORTA, GALLBLADDER, LEFT_KIDNEY, RIGHT_KIDNEY, LIVER, PANCREAS, SPLEEN, STOMACH = range(1, 9)


def specification(name):
    return read_specification(REPOSITORY / "workflow" / "rules" / "datasets" / f"{name}.smk")


def unpack(archives, folder):
    for archive in archives:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
        else:
            shutil.copy(archive, folder)
    return folder


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """Archives of all four phantoms, by dataset."""
    return {name: phantoms.generate(name, tmp_path_factory.mktemp(name), cases=6, side=48, seed=3) for name in DATASETS}


@pytest.fixture(scope="session")
def raw(archives, tmp_path_factory):
    """Unpacked phantoms, by dataset; tests must not change them."""
    return {name: unpack(archives[name], tmp_path_factory.mktemp(f"raw_{name}")) for name in DATASETS}


@pytest.fixture(scope="session")
def cases(raw):
    result = {}
    for name in DATASETS:
        spec = specification(name)
        result[name] = {case.id: case for case in read_cases(spec.reader, raw[name], spec.reader_options)}
    return result


@pytest.fixture(scope="session")
def samples(cases):
    return {name: {case.id: case.load() for case in cases[name].values()} for name in DATASETS}


def one_line(error):
    """The message of an error, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


# All four readers


@pytest.mark.parametrize("name", DATASETS)
def test_archives_are_named_like_the_official_ones(name, archives):
    assert sorted(path.name for path in archives[name]) == sorted(s.file for s in specification(name).sources)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_same_arguments_give_the_same_bytes(name, archives, tmp_path):
    again = phantoms.generate(name, tmp_path / "again", cases=6, side=48, seed=3)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in archives[name]]
    other = phantoms.generate(name, tmp_path / "other", cases=6, side=48, seed=4)
    assert [p.read_bytes() for p in other] != [p.read_bytes() for p in archives[name]]


@pytest.mark.parametrize("name", DATASETS)
def test_samples_follow_the_contract(name, samples):
    spec = specification(name)
    for sample in samples[name].values():
        assert sample.labels.dtype == np.uint8
        assert sample.labels.flags["C_CONTIGUOUS"]
        assert sample.image.flags["C_CONTIGUOUS"]
        assert sample.labels.ndim == spec.dimensions
        assert sample.image.shape == sample.labels.shape + ((3,) if spec.channels == 3 else ())
        assert sample.labels.max() <= len(spec.classes)
        assert (sample.spacing is None) == (spec.dimensions == 2)
    result = set().union(*(np.unique(sample.labels).tolist() for sample in samples[name].values()))
    assert result == set(range(len(spec.classes) + 1))


@pytest.mark.parametrize("name", DATASETS)
def test_the_split_rule_of_the_dataset_applies(name, cases):
    spec = specification(name)
    kept = [case for case in cases[name].values() if case.id not in spec.exclude]
    parts = assign(kept, spec.split, dataset=name, allow_partial=True)
    assert set(parts.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize("name", DATASETS[:3])
def test_listing_reads_no_arrays(name, raw, tmp_path):
    """Image files are emptied; listing must not notice. BTSeg needs the patient number, which lies in the file."""
    copy = shutil.copytree(raw[name], tmp_path / "copy")
    for path in (*copy.rglob("*.nii.gz"), *copy.rglob("*.tif")):
        path.write_bytes(b"")
    spec = specification(name)
    listed = read_cases(spec.reader, copy, spec.reader_options)
    for case in listed:
        with pytest.raises(InputError, match="official archive") as error:
            case.load()
        assert str(copy) in one_line(error)


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_refused(name, tmp_path):
    spec = specification(name)
    with pytest.raises(InputError, match="official layout"):
        read_cases(spec.reader, tmp_path, spec.reader_options)


# Synapse


def native(root, number, kind="label"):
    return nib.load(root / "RawData" / "Training" / kind / f"{kind}{number}.nii.gz")


def by_anatomy(image):
    """Independent implementation: sort voxels by their millimetres, inferior, anterior and right first."""
    array = np.asarray(image.dataobj)
    axes = [int(np.argmax(np.abs(image.affine[i, :3]))) for i in (2, 1, 0)]
    signs = [np.sign(image.affine[i, axis]) for i, axis in zip((2, 1, 0), axes, strict=True)]
    target = (1, -1, -1)  # superior, posterior, left
    flips = [slice(None, None, int(s * w)) for s, w in zip(signs, target, strict=True)]
    return array.transpose(axes)[tuple(flips)]


def test_synapse_lists_labelled_cases_by_their_official_ids(cases, raw):
    listed = read_list("synapse_transunet").parts
    assert set(cases["synapse"]) <= set(listed)
    assert {listed[i] for i in cases["synapse"]} == {"train", "test"}
    assert all(case.group == case.id for case in cases["synapse"].values())
    assert list((raw["synapse"] / "RawData" / "Testing" / "img").glob("img006*.nii.gz"))
    assert not {"0061", "0062"} & set(cases["synapse"])


def test_synapse_volumes_have_radiological_orientation(samples, raw):
    stored_axes = set()
    for number, sample in samples["synapse"].items():
        image = native(raw["synapse"], number, "img")
        stored_axes.add(nib.aff2axcodes(image.affine))
        np.testing.assert_array_equal(sample.image, by_anatomy(image))
        centre = {k: np.argwhere(sample.labels == k).mean(axis=0) for k in (LIVER, SPLEEN, STOMACH, AORTA)}
        assert centre[LIVER][2] < sample.labels.shape[2] / 2 < centre[SPLEEN][2]
        assert centre[STOMACH][1] < centre[AORTA][1]
    assert len(stored_axes) == 2, "one case must be stored with other axes than the rest"


def test_synapse_labels_are_remapped_in_the_order_of_the_classes(samples, raw):
    dropped = set()
    for number, sample in samples["synapse"].items():
        values = np.rint(by_anatomy(native(raw["synapse"], number))).astype(int)
        for new, old in enumerate(ORGANS["organs"], start=1):
            np.testing.assert_array_equal(sample.labels == new, values == old)
        dropped |= set(np.unique(values)) - set(ORGANS["organs"])
    assert dropped == {0, 5, 9, 10, 12, 13}


def test_synapse_has_float_labels_and_cases_without_gallbladder(samples, raw):
    kinds = {number: native(raw["synapse"], number).get_data_dtype().kind for number in samples["synapse"]}
    assert sorted(kinds.values()).count("f") == 1
    assert set(kinds.values()) == {"f", "u"}
    listed = read_list("synapse_transunet").parts
    lacking = [number for number, sample in samples["synapse"].items() if GALLBLADDER not in sample.labels]
    assert sorted(listed[number] for number in lacking) == ["test", "train"]


def test_synapse_spacing_and_intensities(samples, raw):
    for number, sample in samples["synapse"].items():
        zooms = native(raw["synapse"], number, "img").header.get_zooms()
        assert sample.spacing == pytest.approx(zooms[::-1])
        assert 2.5 <= sample.spacing[0] <= 5
        assert 0.59 <= sample.spacing[1] <= 0.98
        assert sample.image.dtype == np.int16
        assert sample.image.min() == -1024
        assert sample.image.max() > 275
    assert len({sample.spacing for sample in samples["synapse"].values()}) == len(samples["synapse"])


def test_reorientation_permutes_the_voxel_size_with_the_axes():
    array = np.arange(24).reshape(2, 3, 4)
    affine = np.array([[0, 0, -4.0, 9], [2.0, 0, 0, 1], [0, 3.0, 0, 2], [0, 0, 0, 1]])  # anterior, superior, left
    turned = reorient(Volume(array, (2.0, 3.0, 4.0), affine), "LPS")
    assert turned.zooms == (4.0, 2.0, 3.0)
    np.testing.assert_array_equal(turned.array, array.transpose(2, 0, 1)[:, ::-1, :])
    np.testing.assert_allclose(turned.affine @ [0, 0, 0, 1], affine @ [1, 0, 0, 1])


@pytest.fixture
def synapse(raw, tmp_path):
    """A copy of one case that tests may damage, with its number."""
    source = raw["synapse"] / "RawData" / "Training"
    number = sorted(path.name[5:9] for path in (source / "label").iterdir())[-1]
    for kind in ("img", "label"):
        folder = tmp_path / "RawData" / "Training" / kind
        folder.mkdir(parents=True)
        shutil.copy(source / kind / f"{kind}{number}.nii.gz", folder)
    return tmp_path, number


def rewrite(root, number, change, kind="label"):
    """Store a changed array, and optionally another affine, in place of a file."""
    image = native(root, number, kind)
    changed = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    nib.save(nib.Nifti1Image(*changed), image.get_filename())


def outlying(value, dtype):
    def change(array, affine):
        array = array.astype(dtype)
        array[0, 0, 0] = value
        return array, affine

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (outlying(14, np.uint8), "label value 14 is unknown"),
        (outlying(-1, np.int16), "label value -1 is unknown"),
        (outlying(2.5, np.float32), "not whole numbers"),
        (outlying(np.nan, np.float32), "not whole numbers"),
        (lambda array, affine: (array[:, :, :-1], affine), "labels have shape"),
        (lambda array, affine: (array[..., None].repeat(2, axis=3), affine), "4 axes instead of 3"),
        (lambda array, affine: (array, affine @ np.diag([1, -1, 1, 1])), "affines differ"),
        (
            lambda array, affine: (array, affine + np.outer([0, 0, 9, 0], [0, 0, 0, 1])),
            "differ",
        ),
    ],
)
def test_synapse_refuses_labels_that_do_not_fit(synapse, change, problem):
    root, number = synapse
    rewrite(root, number, change)
    (case,) = read_cases("btcv", root, ORGANS)
    with pytest.raises(InputError, match=problem) as error:
        case.load()
    assert f"label{number}.nii.gz" in one_line(error)


def test_synapse_accepts_headers_and_floats_that_differ_by_rounding(synapse):
    root, number = synapse
    before = read_cases("btcv", root, ORGANS)[0].load()
    rewrite(root, number, lambda array, affine: (array.astype(np.float32) - 1e-4, affine * (1 + 1e-6)))
    np.testing.assert_array_equal(read_cases("btcv", root, ORGANS)[0].load().labels, before.labels)


def test_synapse_reads_a_volume_with_a_trailing_axis_of_one(synapse):
    root, number = synapse
    before = read_cases("btcv", root, ORGANS)[0].load()
    rewrite(root, number, lambda array, affine: (array[..., None], affine))
    np.testing.assert_array_equal(read_cases("btcv", root, ORGANS)[0].load().labels, before.labels)


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"no nifti" * 100, mtime=0)])
def test_synapse_names_a_damaged_file(synapse, content):
    root, number = synapse
    path = root / "RawData" / "Training" / "img" / f"img{number}.nii.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a NIfTI volume") as error:
        read_cases("btcv", root, ORGANS)[0].load()
    assert str(path) in one_line(error)


def test_synapse_names_a_truncated_file(synapse):
    root, number = synapse
    path = root / "RawData" / "Training" / "img" / f"img{number}.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cannot be read as a NIfTI volume"):
        read_cases("btcv", root, ORGANS)[0].load()


@pytest.mark.parametrize(("kind", "lacking"), [("img", "image"), ("label", "label file")])
def test_synapse_names_a_missing_partner(synapse, kind, lacking):
    root, number = synapse
    shutil.copy(
        root / f"RawData/Training/{kind}/{kind}{number}.nii.gz", root / f"RawData/Training/{kind}/{kind}0099.nii.gz"
    )
    lacking = {"img": "label file", "label": "image"}[kind]
    with pytest.raises(InputError, match=f"the {lacking} of case 0099 is missing"):
        read_cases("btcv", root, ORGANS)


@pytest.mark.parametrize("organs", [[], [1, 1], [0, 1], [14]])
def test_synapse_refuses_invalid_organs(synapse, organs):
    with pytest.raises(InputError, match="'organs'"):
        read_cases("btcv", synapse[0], {"organs": organs})


# ACDC


def acdc_folder(root, patient, part="training"):
    return root / "ACDC" / "database" / part / patient


def test_acdc_lists_two_phases_per_training_patient(cases):
    result = cases["acdc"]
    assert {case.group for case in result.values()} <= set(read_list("acdc_transunet").parts)
    assert "patient090" in {case.group for case in result.values()}
    for case in result.values():
        assert case.id == f"{case.group}_{case.attributes['phase']}"
        assert set(case.attributes) == {"frame", "phase", "disease"}
        assert case.attributes["disease"] in {"DCM", "HCM", "MINF", "NOR", "RV"}
    assert len(result) == 2 * len({case.group for case in result.values()})


def test_acdc_takes_phases_from_info_and_not_from_the_order_of_frames(cases, samples, raw):
    diastole, systole = (cases["acdc"][f"patient090_{phase}"].attributes["frame"] for phase in ("ED", "ES"))
    assert int(diastole) > int(systole) > 1
    folder = acdc_folder(raw["acdc"], "patient090")
    stored = np.asarray(nib.load(folder / f"patient090_frame{diastole}.nii.gz").dataobj)
    np.testing.assert_array_equal(samples["acdc"]["patient090_ED"].image, stored.T)
    for case in cases["acdc"].values():
        sample = samples["acdc"]
        assert (sample[f"{case.group}_ED"].labels == 3).sum() > (sample[f"{case.group}_ES"].labels == 3).sum()


def test_acdc_reads_the_official_test_part_on_request_only(raw, cases):
    assert acdc_folder(raw["acdc"], "patient101", "testing").is_dir()
    assert "patient101_ED" not in cases["acdc"]
    assert [c.id for c in read_cases("acdc", raw["acdc"], {"folder": "testing"})] == ["patient101_ED", "patient101_ES"]


def test_acdc_spacing_is_the_voxel_size_even_where_the_affine_has_unit_scale(cases, samples, raw):
    unit = set()
    for case in cases["acdc"].values():
        image = nib.load(
            acdc_folder(raw["acdc"], case.group) / f"{case.group}_frame{case.attributes['frame']}_gt.nii.gz"
        )
        spacing = samples["acdc"][case.id].spacing
        assert spacing == pytest.approx(image.header.get_zooms()[::-1])
        assert 5 <= spacing[0] <= 10
        assert spacing[1] == spacing[2]
        assert spacing[1] != 1
        unit.add(bool(np.allclose(np.abs(np.diag(image.affine)), 1)))
    assert unit == {True, False}


def test_acdc_stacks_vary_and_hold_slices_without_structures(samples):
    result = samples["acdc"].values()
    assert len({sample.image.shape for sample in result}) > 3
    assert all(6 <= sample.image.shape[0] <= 12 for sample in result)
    empty_ends = {(bool(s.labels[0].any()), bool(s.labels[-1].any())) for s in result}
    assert {first for first, _ in empty_ends} == {True, False}
    assert {last for _, last in empty_ends} == {True, False}
    # The right ventricle is at the left of the image.
    for sample in result:
        assert np.argwhere(sample.labels == 1)[:, 2].mean() < np.argwhere(sample.labels == 3)[:, 2].mean()


@pytest.fixture
def patient(raw, tmp_path):
    """A copy of one patient that tests may damage."""
    return shutil.copytree(
        acdc_folder(raw["acdc"], "patient090"), acdc_folder(tmp_path, "patient090"), dirs_exist_ok=True
    )


@pytest.mark.parametrize("text", ["ED: 11\n", "ED: eleven\nES: 3\n", ""])
def test_acdc_refuses_an_incomplete_info(patient, text):
    (patient / "Info.cfg").write_text(text)
    with pytest.raises(InputError, match=r"Info\.cfg: has no frame number"):
        read_cases("acdc", patient.parents[2], {})


def test_acdc_names_missing_files(patient):
    (patient.parent / "patient091").mkdir()
    with pytest.raises(InputError, match=r"patient091: Info\.cfg is missing"):
        read_cases("acdc", patient.parents[2], {})
    (patient.parent / "patient091").rmdir()
    (patient / "patient090_frame03_gt.nii.gz").unlink()
    with pytest.raises(InputError, match="gives this frame as ES"):
        read_cases("acdc", patient.parents[2], {})


def test_acdc_refuses_unknown_labels(patient):
    path = patient / "patient090_frame03_gt.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.uint8(1), image.affine), path)
    with pytest.raises(InputError, match="label value 4 is unknown"):
        read_cases("acdc", patient.parents[2], {})[1].load()


# MoNuSeg


def test_monuseg_finds_both_archives_and_no_clutter(cases, raw):
    result = cases["monuseg"]
    listed = read_list("monuseg_official").parts
    later = set(specification("monuseg").exclude)
    assert len(later) == 7
    assert later <= set(result)
    assert set(result) - later <= set(listed)
    clutter = [path for path in raw["monuseg"].rglob("._*") if "__MACOSX" in path.parts]
    assert len(clutter) >= 2 * len(result)
    for case in result.values():
        assert case.group == case.id
        assert case.attributes["participant"] == case.id[:12]
        assert case.attributes["archive"] == ("train" if case.id in later else listed[case.id])


def test_monuseg_tiles_have_both_compressions(raw):
    compressions = {}
    for path in raw["monuseg"].rglob("TCGA*.tif"):
        with tifffile.TiffFile(path) as file:
            compressions[path.parent.name] = file.pages[0].compression.name
    assert compressions == {"Tissue Images": "LZW", "MoNuSegTestData": "PACKBITS"}


def test_monuseg_masks_cover_the_dark_nuclei(samples):
    """Swapped or mirrored coordinates would put the mask on the pink background."""
    for sample in samples["monuseg"].values():
        red = sample.image[..., 0].astype(float)
        inside = sample.labels == 1
        assert red[~inside].mean() - red[inside].mean() > 25
        assert red[~inside.T].mean() - red[inside.T].mean() < 25


def test_monuseg_phantom_has_short_overlapping_and_protruding_regions(raw, samples):
    polygons = {path.stem: monuseg.read_polygons(path) for path in raw["monuseg"].rglob("TCGA*.xml")}
    assert sum(len(p) == 2 for result in polygons.values() for p in result) == 1
    side = next(iter(samples["monuseg"].values())).labels.shape[0]
    assert any((p < 0).any() for result in polygons.values() for p in result)
    assert any((p > side).any() for result in polygons.values() for p in result)
    for tile, result in polygons.items():
        areas = []
        for polygon in result:
            mask = np.zeros((side, side), np.uint8)
            fill_polygon(mask, polygon)
            areas.append(int(mask.sum()))
        total = int(samples["monuseg"][tile].labels.sum())
        assert max(areas) < total <= sum(areas)
        if total < sum(areas):
            break
    else:
        pytest.fail("no polygons overlap")


def write_tile(root, polygons, *, image=None, xml=None):
    folder = root / "MoNuSegTestData"
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / "TCGA-AA-0001.tif", np.zeros((20, 30, 3), np.uint8) if image is None else image)
    regions = "".join(
        "<Region><Vertices>" + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in p) + "</Vertices></Region>"
        for p in polygons
    )
    text = f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>" if xml is None else xml
    (folder / "TCGA-AA-0001.xml").write_text(text, encoding="utf-8")
    return root


def loaded(root):
    return read_cases("monuseg", root, {})[0].load()


def test_monuseg_x_is_the_column(tmp_path):
    labels = loaded(write_tile(tmp_path, [[(20, 2), (26, 2), (26, 5), (20, 5)]])).labels
    expected = np.zeros((20, 30), np.uint8)
    expected[2:6, 20:27] = 1
    np.testing.assert_array_equal(labels, expected)


def test_monuseg_unites_overlapping_polygons(tmp_path):
    labels = loaded(
        write_tile(tmp_path, [[(2, 2), (9, 2), (9, 9), (2, 9)], [(5, 5), (12, 5), (12, 12), (5, 12)]])
    ).labels
    assert labels.sum() == 64 + 64 - 25


def test_monuseg_skips_regions_without_area_and_clips_at_the_frame(tmp_path):
    two, outside = [(1, 1), (9, 9)], [(50, 50), (60, 50), (60, 60)]
    protruding = [(-9.5, -9.5), (3.5, -9.5), (3.5, 3.5), (-9.5, 3.5)]
    labels = loaded(write_tile(tmp_path, [two, [], outside, protruding])).labels
    expected = np.zeros((20, 30), np.uint8)
    expected[:4, :4] = 1
    np.testing.assert_array_equal(labels, expected)


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def fill_independently(polygons, shape):
    draw = pytest.importorskip("skimage.draw")
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        if len(polygon) > 2:
            mask[draw.polygon(polygon[:, 1], polygon[:, 0], shape)] = 1
    return mask


@pytest.mark.parametrize("whole", [False, True])
def test_monuseg_rasteriser_agrees_with_an_independent_one(whole):
    rng = np.random.default_rng(7)
    polygons = []
    for _ in range(60):
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 40))))
        radius = rng.uniform(3, 12) * rng.uniform(0.6, 1.0, len(angles))
        polygon = rng.uniform(-3, 123, 2) + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        polygons.append(np.rint(polygon) if whole else polygon)
    actual = np.zeros((110, 120), np.uint8)
    for polygon in polygons:
        fill_polygon(actual, polygon)
    assert dice(actual, fill_independently(polygons, actual.shape)) >= 0.999
    outlined = np.zeros_like(actual)
    for polygon in polygons:
        cv2.fillPoly(outlined, [np.rint(polygon * 256).astype(np.int32)], 1, shift=8)
    assert dice(actual, outlined) > 0.9


@pytest.mark.parametrize("tiles", [1, pytest.param(None, marks=pytest.mark.slow, id="all")])
def test_monuseg_agrees_with_an_independent_rasteriser_on_real_tiles(tiles):
    if not REAL.is_dir():
        pytest.skip(f"no real tiles in {REAL}; set SPECTRALSEG_REAL_SAMPLES to check with them")
    result = read_cases("monuseg", REAL, {})
    assert {case.attributes["archive"] for case in result} == {"train", "test"}
    xml = {path.stem: path for path in REAL.rglob("TCGA*.xml")}
    for case in result[:tiles]:
        sample = case.load()
        assert sample.image.shape == (1000, 1000, 3)
        reference = fill_independently(monuseg.read_polygons(xml[case.id]), sample.labels.shape)
        assert dice(sample.labels, reference) >= 0.99
        grey = sample.image.mean(axis=2)
        assert grey[sample.labels == 1].mean() < grey[sample.labels == 0].mean()


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations><Region/></Annotations>', "refused"),
        ("<!DOCTYPE a><Annotations><Region/></Annotations>", "refused"),
        ("<!doctype a><Annotations><Region/></Annotations>", "cannot be read as an Aperio XML annotation"),
        ("<Annotations><Region>", "cannot be read as an Aperio XML annotation"),
        ("", "cannot be read as an Aperio XML annotation"),
        ("<Annotations/>", "no annotated region"),
        ("<html><Region/></html>", "no annotated region"),
        ('<Annotations><Region Id="5"><Vertex X="1"/></Region></Annotations>', "region 5"),
        ('<Annotations><Region Id="5"><Vertex X="1" Y="b"/></Region></Annotations>', "region 5"),
        ('<Annotations><Region Id="5"><Vertex X="1" Y="inf"/></Region></Annotations>', "region 5"),
    ],
)
def test_monuseg_refuses_malformed_annotations(tmp_path, xml, problem):
    root = write_tile(tmp_path, [], xml=xml)
    with pytest.raises(InputError, match=problem) as error:
        loaded(root)
    assert "TCGA-AA-0001.xml" in one_line(error)


def test_monuseg_refuses_a_document_type_in_another_encoding(tmp_path):
    root = write_tile(tmp_path, [])
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><Annotations><Region/></Annotations>'
    (root / "MoNuSegTestData" / "TCGA-AA-0001.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="declares a document type"):
        loaded(root)


@pytest.mark.parametrize("image", [np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3), np.uint16)])
def test_monuseg_refuses_images_that_are_not_8_bit_rgb(tmp_path, image):
    root = write_tile(tmp_path, [[(1, 1), (5, 1), (5, 5)]], image=image)
    with pytest.raises(InputError, match="not an 8-bit RGB image"):
        loaded(root)


def test_monuseg_names_a_truncated_tile(raw, tmp_path):
    tile = next(iter(sorted(raw["monuseg"].rglob("Tissue Images/TCGA*.tif"))))
    root = write_tile(tmp_path, [[(1, 1), (5, 1), (5, 5)]])
    (root / "MoNuSegTestData" / "TCGA-AA-0001.tif").write_bytes(tile.read_bytes()[: tile.stat().st_size // 2])
    with pytest.raises(InputError, match=r"TCGA-AA-0001\.tif: parts of the image are missing"):
        loaded(root)


@pytest.mark.parametrize(("suffix", "problem"), [(".xml", "annotation of tile"), (".tif", "its tile")])
def test_monuseg_names_a_missing_partner(tmp_path, suffix, problem):
    root = write_tile(tmp_path, [[(1, 1), (5, 1), (5, 5)]])
    for other in (".xml", ".tif"):
        shutil.copy(root / f"MoNuSegTestData/TCGA-AA-0001{other}", root / f"MoNuSegTestData/TCGA-AA-0002{other}")
    (root / f"MoNuSegTestData/TCGA-AA-0002{suffix}").unlink()
    with pytest.raises(InputError, match=problem):
        read_cases("monuseg", root, {})


# BTSeg


def test_btseg_lists_slices_and_not_the_file_of_folds(cases, raw):
    assert (raw["btseg"] / "cvind.mat").is_file()
    assert set(cases["btseg"]) == {f"{int(p.stem):04d}" for p in raw["btseg"].glob("[0-9]*.mat")}
    with h5py.File(raw["btseg"] / "cvind.mat") as file:
        folds = np.ravel(file["cvind"])
    assert folds.shape == (3064,)
    for case in cases["btseg"].values():
        assert case.attributes["fold"] == str(int(folds[int(case.id) - 1]))
        assert case.attributes["tumour"] in {"meningioma", "glioma", "pituitary"}
    archives = {range(1, 767), range(767, 1533), range(1533, 2299), range(2299, 3065)}
    assert all(any(int(i) in part for i in cases["btseg"]) for part in archives)


def test_btseg_arrays_are_transposed_back(samples, raw):
    asymmetric = 0
    for number, sample in samples["btseg"].items():
        with h5py.File(raw["btseg"] / f"{int(number)}.mat") as file:
            stored, mask = file["cjdata/image"][()], file["cjdata/tumorMask"][()]
            border = np.ravel(file["cjdata/tumorBorder"])
            assert file["cjdata/label"].shape == (1, 1)
            assert file["cjdata/PID"].dtype == np.uint16
        np.testing.assert_array_equal(sample.image, stored.T)
        np.testing.assert_array_equal(sample.labels, mask.T)
        rows, columns = border[::2].astype(int) - 1, border[1::2].astype(int) - 1
        assert sample.labels[rows, columns].all()
        asymmetric += not mask[rows, columns].all()
        assert sample.image.dtype == np.int16
    assert asymmetric > 1


def test_btseg_slices_differ_in_side_and_range(samples):
    sides = {sample.image.shape[0] for sample in samples["btseg"].values()}
    assert sides == {48, 24}
    peaks = [int(sample.image.max()) for sample in samples["btseg"].values()]
    assert max(peaks) > 3 * min(peaks)
    assert all(sample.labels.any() for sample in samples["btseg"].values())


def test_btseg_files_follow_the_matlab_format(raw):
    for path in raw["btseg"].glob("*.mat"):
        assert path.read_bytes()[:10] == b"MATLAB 7.3"
        assert path.read_bytes()[512:520] == b"\x89HDF\r\n\x1a\n"


def test_btseg_groups_families_of_patient_numbers(cases):
    result = list(cases["btseg"].values())
    for pid in ("MR049453", "MR051651"):
        members = [case for case in result if case.attributes["pid"].startswith(pid)]
        assert {case.attributes["pid"] for case in members} == {pid, f"{pid}B"}
        assert {case.group for case in members} == {pid}
        assert len({case.attributes["fold"] for case in members}) == 2
    spec = specification("btseg")
    parts = assign(result, spec.split, dataset="btseg")
    straddling = {parts[case.id] for case in result if case.group == "MR051651"}
    assert len(straddling) == 1
    assert straddling <= {"train", "validation"}
    assert any(c.attributes["fold"] == "5" and parts[c.id] != "test" for c in result)


def test_btseg_slices_of_a_patient_are_scattered(cases):
    numbers = {}
    for case in cases["btseg"].values():
        numbers.setdefault(case.group, []).append(int(case.id))
    gaps = [b - a for of_group in numbers.values() for a, b in itertools.pairwise(of_group)]
    assert gaps
    assert min(gaps) > 1


@pytest.mark.parametrize(
    ("pid", "root"), [("MR049453B", "MR049453"), ("MR049453", "MR049453"), ("100360", "100360"), ("XMR1B", "XMR1B")]
)
def test_btseg_families(pid, root):
    assert family(pid) == root


@pytest.fixture
def btseg(raw, tmp_path):
    """A copy of one slice that tests may damage, as ``7.mat``."""
    shutil.copy(next(iter(sorted(raw["btseg"].glob("[0-9]*.mat")))), tmp_path / "7.mat")
    shutil.copy(raw["btseg"] / "cvind.mat", tmp_path)
    return tmp_path


def replace(root, name, value):
    with h5py.File(root / "7.mat", "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


def test_btseg_reads_folds_of_the_older_matlab_format(btseg):
    scipy.io.savemat(btseg / "cvind.mat", {"cvind": np.tile([5.0, 4, 3, 2, 1, 5, 4, 3], 383)[:, None]})
    (case,) = read_cases("cheng", btseg, {})
    assert case.id == "0007"
    assert case.attributes["fold"] == "4"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("cjdata/tumorMask", None, "'cjdata/tumorMask' is missing"),
        ("cjdata/image", None, "'cjdata/image' is missing"),
        ("cjdata/PID", None, "'cjdata/PID' is missing"),
        ("cjdata", None, "'cjdata/PID' is missing"),
        ("cjdata/image", np.zeros((4, 4, 3), np.int16), "3 .*axes instead"),
        ("cjdata/tumorMask", np.zeros((4, 4), np.uint8), "labels have shape"),
        ("cjdata/tumorMask", np.full((48, 48), 255, np.uint8), "label value 255 is unknown"),
        ("cjdata/label", np.array([[4.0]]), "unknown tumour type 4"),
        ("cjdata/PID", np.zeros((1, 0), np.uint16), "'cjdata/PID' is empty"),
    ],
)
def test_btseg_refuses_malformed_slices(btseg, name, value, problem):
    if name == "cjdata/tumorMask" and value is not None and value.max() == 255:
        replace(btseg, "cjdata/image", np.zeros((48, 48), np.int16))
    replace(btseg, name, value)
    with pytest.raises(InputError, match=problem) as error:
        read_cases("cheng", btseg, {})[0].load()
    assert "7.mat" in one_line(error)


def test_btseg_names_truncated_and_foreign_files(btseg):
    path = btseg / "7.mat"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"7\.mat: cannot be read as a MATLAB v7\.3 slice"):
        read_cases("cheng", btseg, {})
    scipy.io.savemat(path, {"cjdata": np.zeros(3)})
    with pytest.raises(InputError, match=r"7\.mat: cannot be read as a MATLAB v7\.3 slice"):
        read_cases("cheng", btseg, {})


def test_btseg_refuses_folds_that_do_not_fit(btseg):
    scipy.io.savemat(btseg / "cvind.mat", {"cvind": np.array([[1.0, 2.0]])})
    with pytest.raises(InputError, match="no fold for slice 7"):
        read_cases("cheng", btseg, {})
    scipy.io.savemat(btseg / "cvind.mat", {"cvind": np.array([[1.0, 7.0]])})
    with pytest.raises(InputError, match="other than 1"):
        read_cases("cheng", btseg, {})
    scipy.io.savemat(btseg / "cvind.mat", {"folds": np.array([[1.0, 2.0]])})
    with pytest.raises(InputError, match="cannot be read as a MATLAB file with a variable 'cvind'"):
        read_cases("cheng", btseg, {})
    (btseg / "cvind.mat").unlink()
    with pytest.raises(InputError, match=r"cvind\.mat"):
        read_cases("cheng", btseg, {})
