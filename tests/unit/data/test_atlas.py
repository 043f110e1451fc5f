"""The reader of ATLAS on its phantom: layouts of all releases, irregularities, and how hard lesions are to see."""

import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage, stats

from spectralseg.data import phantoms
from spectralseg.data.phantoms.atlas import ALMOST_ONE, COHORTS, DEPTH
from spectralseg.data.readers import read_cases
from spectralseg.data.specification import read_specification
from spectralseg.data.splits import assign
from spectralseg.errors import InputError

FILE = Path(__file__).parents[3] / "workflow" / "rules" / "datasets" / "atlas.smk"
MNI = "space-MNI152NLin2009aSym"
LAYOUTS = {
    "R3.0 raw": (
        "ATLAS3_Training_Raw/R{site}",
        "space-orig_desc-brain_T1w",
        "space-orig_label-lesion_desc-T1lesion_mask",
    ),
    "R3.0 preprocessed": (
        "ATLAS3_Training_Preprocessed/R{site}",
        f"{MNI}_desc-brainnorm_T1w",
        f"{MNI}_label-lesion_desc-T1lesion_mask",
    ),
    "R2.0": ("train/derivatives/ATLAS", f"{MNI}_T1w", f"{MNI}_label-L_desc-T1lesion_mask"),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The unpacked phantom; tests must not change it."""
    folder = tmp_path_factory.mktemp("atlas")
    (archive,) = phantoms.generate("atlas", folder / "archive", cases=12, side=48, seed=3)
    assert archive.name == "ATLAS_R2.0.tar.gz"
    shutil.unpack_archive(archive, folder / "raw")
    return folder / "raw"


@pytest.fixture(scope="module")
def cases(raw):
    return {case.id: case for case in read_cases("atlas", raw, {})}


@pytest.fixture(scope="module")
def samples(cases):
    return {name: case.load() for name, case in cases.items()}


def scan_files(raw, name):
    """Image and mask of a case."""
    (image,), (mask,) = (list(raw.glob(f"ATLAS_2/Training/*/*/*/anat/{name}_*{end}.nii.gz")) for end in ("T1w", "mask"))
    return image, mask


def arranged(raw, root, layout, change=lambda array, affine: (array, affine)):
    """Two subjects of the phantom in another layout, optionally with other arrays and affines."""
    folder, *endings = LAYOUTS[layout]
    for name in ("sub-r001s001_ses-1", "sub-r005s001_ses-1"):
        subject = name.removesuffix("_ses-1")
        target = root / folder.format(site=subject[5:8]) / subject / "ses-1" / "anat"
        target.mkdir(parents=True)
        for source, ending in zip(scan_files(raw, name), endings, strict=True):
            image = nib.load(source)
            array, affine = change(np.asarray(image.dataobj), image.affine)
            nib.save(nib.Nifti1Image(array, affine), target / f"{name}_{ending}.nii.gz")
    return root


class TestReader:
    def test_each_session_is_a_case_and_each_subject_a_group(self, cases):
        assert len(cases) == 16
        assert {case.group for case in cases.values()} == {name.partition("_")[0] for name in cases}
        repeated = [case for case in cases.values() if case.group == "sub-r005s001"]
        assert [case.id for case in repeated] == ["sub-r005s001_ses-1", "sub-r005s001_ses-2"]
        assert [case.attributes["session"] for case in repeated] == ["1", "2"]
        assert {case.attributes["release"] for case in cases.values()} == {"R2.0"}
        assert {case.attributes["site"] for case in cases.values()} == set(COHORTS)
        assert all(case.attributes["site"] == case.group[4:8].upper() for case in cases.values())
        assert not any(case.defect for case in cases.values())

    def test_test_scans_and_other_files_are_counted(self, raw, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        copy = shutil.copytree(raw, tmp_path / "raw")
        image, _ = scan_files(copy, "sub-r001s001_ses-1")
        shutil.copy(image, image.with_name(image.name.replace("T1w", "FLAIR")))
        assert len(read_cases("atlas", copy, {})) == 16
        assert "ATLAS R2.0: 16 of 655 labelled scans; ignored 3 scans without masks in test" in caplog.text
        assert "and 1 other NIfTI files" in caplog.text

    def test_a_mask_in_a_test_folder_is_refused(self, raw, tmp_path):
        copy = shutil.copytree(raw, tmp_path / "raw")
        _, mask = scan_files(copy, "sub-r001s001_ses-1")
        (image,) = copy.glob("ATLAS_2/Testing/*/sub-*s001/*/anat/*_T1w.nii.gz")
        mask.rename(image.with_name(image.name.replace("T1w", "label-L_desc-T1lesion_mask")))
        with pytest.raises(InputError, match=r"Testing/.*_mask\.nii\.gz: is a lesion mask in a test folder, .*; move"):
            read_cases("atlas", copy, {})

    def test_dot_files_are_ignored(self, raw, cases):
        hidden = [path.name for path in raw.rglob(".*")]
        assert len(hidden) == 3
        assert any(name.startswith("._sub-") for name in hidden)
        assert not any(case.image.name.startswith(".") for case in cases.values())

    def test_files_below_hidden_folders_are_ignored(self, raw, cases, tmp_path):
        copy = shutil.copytree(raw, tmp_path / "raw")
        shutil.copytree(copy / "ATLAS_2", copy / ".trash" / "ATLAS_2")
        assert [case.id for case in read_cases("atlas", copy, {})] == list(cases)

    def test_slices_are_axial_with_anterior_at_the_top(self, raw, samples):
        for name, sample in samples.items():
            image, mask = (nib.load(path) for path in scan_files(raw, name))
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert np.array_equal(sample.image, np.asarray(image.dataobj).T[:, ::-1, ::-1])
            assert np.array_equal(sample.labels, np.rint(np.asarray(mask.dataobj)).T[:, ::-1, ::-1])
            assert sample.spacing == pytest.approx(image.header.get_zooms()[::-1])
            assert np.array_equal(sample.geometry.to_file(sample.labels), np.rint(np.asarray(mask.dataobj)))

    @pytest.mark.parametrize("top", ["", "a/b"])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_other_layouts_give_the_same_cases(self, raw, samples, tmp_path, layout, top):
        arranged(raw, tmp_path / top, layout)
        shutil.copytree(raw / "ATLAS_2" / "Testing", tmp_path / "test" / "derivatives" / "ATLAS", dirs_exist_ok=True)
        if layout.startswith("R3"):
            shutil.rmtree(tmp_path / "test")
        arranged_cases = read_cases("atlas", tmp_path, {})
        assert [case.id for case in arranged_cases] == ["sub-r001s001_ses-1", "sub-r005s001_ses-1"]
        for case in arranged_cases:
            assert dict(case.attributes) == {"site": case.id[4:8].upper(), "session": "1", "release": layout}
            sample = case.load()
            assert np.array_equal(sample.image, samples[case.id].image)
            assert np.array_equal(sample.labels, samples[case.id].labels)

    def test_raw_scans_may_be_sagittal_oblique_and_anisotropic(self, raw, samples, tmp_path):
        """Native scans of release 3.0 keep the axes of their scanner."""
        turn = np.eye(4)
        turn[:3, :3] = [[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]]

        def sagittal(array, affine):
            swap = np.eye(4)[[2, 0, 1, 3]].T  # the file has the axes anterior, superior, right
            return array.transpose(1, 2, 0), turn @ affine @ swap.T

        arranged(raw, tmp_path, "R3.0 raw", sagittal)
        for case in read_cases("atlas", tmp_path, {}):
            stored = nib.load(case.image)
            assert nib.aff2axcodes(stored.affine) == ("A", "S", "R")
            sample, upright = case.load(), samples[case.id]
            assert np.array_equal(sample.image, upright.image)
            assert np.array_equal(sample.labels, upright.labels)
            assert sample.spacing == pytest.approx(upright.spacing)

    def test_listing_reads_headers_only(self, raw, tmp_path):
        """Damaged files are reported when they are loaded, not taken for a mask that does not fit."""
        copy = shutil.copytree(raw, tmp_path / "raw")
        image, mask = scan_files(copy, "sub-r001s001_ses-1")
        for path, share in ((mask, 0), (mask, 0.5), (image, 0.9)):
            intact = path.read_bytes()
            path.write_bytes(intact[: int(share * len(intact))])
            case = read_cases("atlas", copy, {})[0]
            assert not case.defect
            with pytest.raises(InputError, match=r"cannot be read as a NIfTI volume .*intact copy") as error:
                case.load()
            assert str(error.value).startswith(str(path))
            path.write_bytes(intact)

    def test_the_splits_keep_subjects_and_sites_together(self, cases):
        specification = read_specification(FILE)
        parts = assign(list(cases.values()), specification.split, dataset="atlas")
        by_group = {(case.group, parts[case.id]) for case in cases.values()}
        assert len(by_group) == len({case.group for case in cases.values()}) == 15
        assert sum(part == "test" for _, part in by_group) == 3
        parts = assign(list(cases.values()), specification.alternative_splits["leave_sites_out"], dataset="atlas")
        assert {case.attributes["site"] for case in cases.values() if parts[case.id] == "test"} == {"R005"}
        assert set(parts.values()) == {"train", "validation", "test"}


class TestPhantom:
    def test_same_arguments_give_the_same_bytes(self, tmp_path):
        def written(name, seed):
            (archive,) = phantoms.generate("atlas", tmp_path / name, cases=4, side=24, seed=seed)
            return archive.read_bytes()

        assert written("a", 1) == written("b", 1) != written("c", 2)

    def test_there_are_a_table_a_template_and_a_description_per_cohort(self, raw, cases):
        top = raw / "ATLAS_2"
        rows = (top / "20211112_ATLAS_2.0_SupplementaryInfo.csv").read_text().splitlines()[1:]
        assert sorted(row.partition(",")[0] for row in rows) == sorted({case.group for case in cases.values()})
        assert nib.load(top / "MNI152NLin2009aSym.nii.gz").shape[2] == DEPTH
        described = {path.parent.name for path in top.glob("Training/*/dataset_description.json")}
        assert described == set(COHORTS) == {path.name for path in top.glob("Training/R*")}
        assert not list((top / "Testing").rglob("*mask*"))

    def test_some_masks_are_floating_point_numbers(self, raw, cases):
        masks = [nib.load(scan_files(raw, name)[1]) for name in cases]
        assert {mask.get_data_dtype().name for mask in masks} == {"uint8", "float32", "float64"}
        assert any(ALMOST_ONE in np.asarray(mask.dataobj) for mask in masks)

    def test_there_are_two_lesions_in_a_mask_and_a_lesion_on_an_edge_slice(self, samples):
        counts = [ndimage.label(sample.labels, np.ones((3, 3, 3)))[1] for sample in samples.values()]
        assert min(counts) >= 1
        assert max(counts) >= 2
        assert any(sample.labels[0].any() or sample.labels[-1].any() for sample in samples.values())

    def test_lesions_have_two_to_ten_pixels_on_a_slice(self, samples):
        sizes = []
        for sample in samples.values():
            for labels in sample.labels:
                components, _ = ndimage.label(labels, np.ones((3, 3)))
                sizes += np.bincount(components.ravel())[1:].tolist()
        assert 2 <= min(sizes) < max(sizes) <= 10
        assert len(set(sizes)) > 5

    @pytest.mark.parametrize("side", [24, 40, 96])
    def test_lesions_lie_in_the_central_half_of_each_side(self, tmp_path, side):
        (archive,) = phantoms.generate("atlas", tmp_path, cases=4, side=side, seed=0)
        shutil.unpack_archive(archive, tmp_path)
        for case in read_cases("atlas", tmp_path, {}):
            labels = case.load().labels
            assert labels.shape == (DEPTH, side, round(0.85 * side))
            for axis in (1, 2):
                place = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis})))
                offset = np.abs(place - (labels.shape[axis] - 1) / 2).max()
                assert offset <= labels.shape[axis] / 4

    def test_context_gives_lesions_away_and_intensity_does_not(self, samples):
        """Area under the ROC curve of pixels within the brain.

        The expected structure is the median of all scans at the same voxel, which share one grid.
        """
        images = np.stack([sample.image for sample in samples.values()]).astype(float)
        lesions = np.stack([sample.labels for sample in samples.values()]) > 0
        brains = images > 0
        for image, brain in zip(images, brains, strict=True):
            image -= image[brain].mean()
            image /= image[brain].std()
        scores = {"darkness": -images, "deviation": np.abs(images), "context": np.median(images, axis=0) - images}
        area = {name: area_under_curve(score[brains], lesions[brains]) for name, score in scores.items()}
        assert 0.5 < area["darkness"] < 0.85
        assert 0.35 < area["deviation"] < 0.65
        assert area["context"] > 0.95


def area_under_curve(scores, positive):
    """From the rank sum of the positives."""
    ranks, count = stats.rankdata(scores), int(positive.sum())
    return (ranks[positive].sum() - count * (count + 1) / 2) / (count * (positive.size - count))
