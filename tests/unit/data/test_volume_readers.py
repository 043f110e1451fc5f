"""Readers of volumes that need no code: pairs of NIfTI files by pattern, and the raw layout of nnU-Net."""

import json

import cv2
import nibabel as nib
import numpy as np
import pytest

from spectralseg import cli
from spectralseg.data import open_prepared
from spectralseg.data.readers import read_cases
from spectralseg.errors import InputError

SHAPE = (10, 8, 6)  # x, y, z
PATTERNS = {"images": r"images/{id}\.nii\.gz", "masks": r"masks/{id}\.nii\.gz"}
LAS = np.diag([-1.5, 2.0, 3.0, 1.0])


def save(path, array, affine=LAS, placed=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine if placed else None), path)


def draw(seed=0, values=(0, 1)):
    """A noisy image int16 and a mask uint8 or int16 of all values."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.int16)
    for number, value in enumerate(values[1:]):
        mask[2 + 2 * number : 4 + 2 * number, 2:6, 1:5] = value
    return (rng.normal(100, 10, SHAPE) + 50 * (mask > 0)).astype(np.int16), mask


def pairs(root, ids=("a_1", "a_2", "b_1"), values=(0, 1), **options):
    for seed, name in enumerate(ids):
        image, mask = draw(seed, values)
        save(root / "images" / f"{name}.nii.gz", image, **options)
        save(root / "masks" / f"{name}.nii.gz", mask, **options)


class TestPairedVolumes:
    def test_arrays_spacing_and_geometry(self, tmp_path):
        pairs(tmp_path)
        (case, *_), (image, mask) = read_cases("paired_volumes", tmp_path, PATTERNS), draw(0)
        sample = case.load()
        # From LAS to LPS, the second axis is flipped.
        np.testing.assert_array_equal(sample.image, image[:, ::-1].transpose(2, 1, 0))
        np.testing.assert_array_equal(sample.labels, mask[:, ::-1].transpose(2, 1, 0))
        assert sample.labels.dtype == np.uint8
        assert sample.spacing == (3.0, 2.0, 1.5)
        np.testing.assert_array_equal(sample.geometry.to_file(sample.labels), mask)

    def test_groups_and_attributes_come_from_the_pattern(self, tmp_path):
        for part in ("train", "test"):
            pairs(tmp_path / part)
        options = {kind: rf"{{part}}/{kind}/{{group}}_{{visit}}\.nii\.gz" for kind in ("images", "masks")}
        cases = read_cases("paired_volumes", tmp_path, options)
        assert [case.id for case in cases][:3] == ["test_a_1", "test_a_2", "test_b_1"]
        assert [case.group for case in cases] == ["a", "a", "b"] * 2
        assert cases[-1].attributes == {"part": "train", "visit": "1"}

    def test_masks_beside_the_images(self, tmp_path):
        image, mask = draw()
        save(tmp_path / "a.nii.gz", image)
        save(tmp_path / "a_seg.nii.gz", mask)
        options = {"images": r"{id}\.nii\.gz", "masks": r"{id}_seg\.nii\.gz"}
        (case,) = read_cases("paired_volumes", tmp_path, options)
        assert case.id == "a"
        assert case.load().labels.sum() == mask.sum()

    def test_values_become_labels(self, tmp_path):
        pairs(tmp_path, values=(0, 300, 7))
        (case, *_) = read_cases("paired_volumes", tmp_path, {**PATTERNS, "values": [0, 7, 300]})
        mask = draw(0, (0, 300, 7))[1]
        labels = case.load().labels
        assert np.unique(labels).tolist() == [0, 1, 2]
        assert (labels == 1).sum() == (mask == 7).sum()

    def test_floating_point_masks_of_whole_numbers_are_read(self, tmp_path):
        image, mask = draw()
        save(tmp_path / "images" / "a.nii.gz", image)
        save(tmp_path / "masks" / "a.nii.gz", mask.astype(np.float32))
        (case,) = read_cases("paired_volumes", tmp_path, {**PATTERNS, "values": [0, 1]})
        assert case.load().labels.sum() == mask.sum()

    def test_slices_as_stored_need_no_axes(self, tmp_path):
        pairs(tmp_path, ids=["a"], placed=False)
        (case,) = read_cases("paired_volumes", tmp_path, PATTERNS)
        with pytest.raises(InputError, match=r"a\.nii\.gz: the header does not give .*; correct it, or set .*'slices'"):
            case.load()
        (case,) = read_cases("paired_volumes", tmp_path, {**PATTERNS, "slices": "stored"})
        np.testing.assert_array_equal(case.load().image, draw()[0].transpose(2, 1, 0))

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"values": [0, 2]}, r"a_1\.nii\.gz: the mask holds the values 1, which are not in \[0, 2\]"),
            ({"values": [0, 0]}, "reader option 'values'"),
            ({"values": ["a"]}, "reader option 'values'"),
            ({"slices": "sagittal"}, "reader option 'slices'"),
            ({"images": r"a/{id}\.nii", "masks": r"b/{id}\.nii"}, "no file matches images .*new-dataset"),
            ({"images": r"images/{x}\.nii\.gz"}, "have no group in common"),
            ({"masks": r"masks/{id}_1\.nii\.gz"}, "have no mask that matches"),
        ],
    )
    def test_invalid_options_raise(self, tmp_path, options, problem):
        pairs(tmp_path)
        with pytest.raises(InputError, match=problem):
            read_cases("paired_volumes", tmp_path, {**PATTERNS, **options})[0].load()

    @pytest.mark.parametrize(
        ("array", "affine", "problem"),
        [
            (np.zeros((10, 8, 5), np.uint8), LAS, "labels have shape"),
            (np.zeros(SHAPE, np.uint8), np.diag([-1.5, 2, 4, 1]), "labels have voxels of"),
            (np.zeros(SHAPE, np.uint8), LAS + np.eye(4, k=3) * 9, "lie differently in space"),
            (np.full(SHAPE, 0.5, np.float32), LAS, "not whole numbers"),
            (np.full(SHAPE, -1, np.int16), LAS, "label value -1 is unknown"),
        ],
    )
    def test_masks_that_do_not_fit_raise(self, tmp_path, array, affine, problem):
        pairs(tmp_path, ids=["a"])
        save(tmp_path / "masks" / "a.nii.gz", array, affine)
        (case,) = read_cases("paired_volumes", tmp_path, PATTERNS)
        with pytest.raises(InputError, match=rf"a\.nii\.gz: .*{problem}|a\.nii\.gz: {problem}"):
            case.load()

    def test_a_mask_without_image_is_a_case_with_a_defect(self, tmp_path):
        pairs(tmp_path)
        (tmp_path / "images" / "b_1.nii.gz").unlink()
        defects = {case.id: case.defect for case in read_cases("paired_volumes", tmp_path, PATTERNS)}
        assert defects == {"a_1": "", "a_2": "", "b_1": "mask b_1.nii.gz without an image"}


def description(**changes):
    content = {
        "channel_names": {"0": "T1", "1": "T2", "2": "FLAIR", "3": "DWI"},
        "labels": {"background": 0, "oedema": 1, "core": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    return {**content, **changes}


def nnunet(root, channels=4, test_labels=True, **changes):
    folder = root / "Dataset042_Brain"
    for seed, (part, case) in enumerate([("Tr", "p1_1"), ("Tr", "p1_2"), ("Ts", "p2_1")]):
        image, mask = draw(seed, (0, 1, 3))
        for channel in range(channels):
            save(folder / f"images{part}" / f"{case}_{channel:04}.nii.gz", (image * (channel + 1)).astype(np.int16))
        if part == "Tr" or test_labels:
            save(folder / f"labels{part}" / f"{case}.nii.gz", mask)
    (folder / "dataset.json").write_text(json.dumps(description(**changes)))
    return folder


class TestNnunetRaw:
    def test_chosen_channels_of_both_parts(self, tmp_path):
        nnunet(tmp_path)
        options = {"channels": ["FLAIR", "0000", "T2"], "cases": "{group}_{visit}"}
        cases = read_cases("nnunet_raw", tmp_path, options)
        assert [(case.id, case.group, case.attributes["part"]) for case in cases] == [
            ("p1_1", "p1", "train"),
            ("p1_2", "p1", "train"),
            ("p2_1", "p2", "test"),
        ]
        sample, image = cases[0].load(), draw(0, (0, 1, 3))[0][:, ::-1].transpose(2, 1, 0)
        np.testing.assert_array_equal(sample.image, np.stack([3 * image, image, 2 * image], axis=-1))
        assert np.unique(sample.labels).tolist() == [0, 1, 2]

    def test_one_channel_has_no_axis_of_its_own(self, tmp_path):
        nnunet(tmp_path, channels=1, channel_names={"0": "CT"})
        (case, *_) = read_cases("nnunet_raw", tmp_path, {})
        assert case.load().image.shape == SHAPE[::-1]

    def test_test_images_without_labels_are_counted(self, tmp_path, caplog):
        nnunet(tmp_path, test_labels=False)
        with caplog.at_level("INFO"):
            cases = read_cases("nnunet_raw", tmp_path, {"channels": ["T1"]})
        assert [case.id for case in cases] == ["p1_1", "p1_2"]
        assert "ignored 1 test cases without labels" in caplog.text

    def test_descriptions_of_version_1(self, tmp_path):
        folder = nnunet(tmp_path, channels=1)
        old = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "oedema", "3": "core"}}
        (folder / "dataset.json").write_text(json.dumps(old))
        (case, *_) = read_cases("nnunet_raw", tmp_path, {})
        assert np.unique(case.load().labels).tolist() == [0, 1, 2]

    def test_pictures(self, tmp_path):
        rng = np.random.default_rng(0)
        for part, case in (("Tr", "a"), ("Tr", "b"), ("Ts", "c")):
            for kind, name in (("images", f"{case}_0000"), ("labels", case)):
                (tmp_path / f"{kind}{part}").mkdir(exist_ok=True)
                array = rng.integers(0, 255, (16, 16, 3)) if kind == "images" else rng.integers(0, 2, (16, 16))
                cv2.imwrite(str(tmp_path / f"{kind}{part}" / f"{name}.png"), array.astype(np.uint8))
        content = description(
            channel_names={"0": "R", "1": "G", "2": "B"}, labels={"background": 0, "cell": 1}, file_ending=".png"
        )
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        cases = read_cases("nnunet_raw", tmp_path, {})
        assert [(case.id, case.attributes["part"]) for case in cases] == [("a", "train"), ("b", "train"), ("c", "test")]
        assert cases[0].load().image.shape == (16, 16, 3)

    @pytest.mark.parametrize(
        ("changes", "options", "problem"),
        [
            ({}, {}, "4 channels are chosen, but networks take one or three .*0000 T1, 0001 T2"),
            ({}, {"channels": ["T1", "T2"]}, "2 channels are chosen"),
            ({}, {"channels": ["T9"]}, "'T9' is not a channel of the dataset; it has 0000 T1"),
            ({}, {"channels": ["T1"], "cases": "x{id}"}, "case 'p1_1' does not match the reader option 'cases'"),
            ({"channel_names": {"T1": 0}}, {}, r"dataset\.json: 'channel_names' is not .* with the number first"),
            ({"labels": {"background": 0, "whole": [1, 2]}}, {}, r"dataset\.json: has regions"),
            ({"labels": {"background": 0, "a": 1, "ignore": 2}}, {}, r"dataset\.json: has an 'ignore' label"),
            ({"labels": {"a": 1, "b": 2}}, {}, r"dataset\.json: 'labels' needs different values, 0"),
            ({"labels": {"background": 0, "a": "x"}}, {}, r"dataset\.json: 'labels' has a value that is not"),
            ({"labels": {}}, {}, r"dataset\.json: 'labels' is not an object"),
            ({"file_ending": ".nrrd"}, {}, r"dataset\.json: 'file_ending' is '\.nrrd', which is not read"),
            ({"file_ending": ".nii"}, {"channels": ["T1"]}, "imagesTr: no file is named like <case>_0000.nii;"),
        ],
    )
    def test_unsupported_datasets_raise(self, tmp_path, changes, options, problem):
        nnunet(tmp_path, **changes)
        with pytest.raises(InputError, match=problem):
            read_cases("nnunet_raw", tmp_path, options)

    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            ("labelsTr/p1_2.nii.gz", "labelsTr: 1 cases have no labels, case 'p1_2' first"),
            ("imagesTr/p1_2_0000.nii.gz", "case 'p1_2' has no file p1_2_0000.nii.gz; restore it"),
            ("dataset.json", "has no 'dataset.json' beside a folder 'imagesTr'"),
        ],
    )
    def test_missing_files_raise(self, tmp_path, file, problem):
        (nnunet(tmp_path) / file).unlink()
        with pytest.raises(InputError, match=problem):
            read_cases("nnunet_raw", tmp_path, {"channels": ["T1"]})

    def test_two_datasets_raise(self, tmp_path):
        for name in ("one", "two"):
            nnunet(tmp_path / name)
        with pytest.raises(InputError, match="holds 2 datasets of nnU-Net"):
            read_cases("nnunet_raw", tmp_path, {"channels": ["T1"]})


def test_channels_of_volumes_are_scaled_one_by_one(tmp_path):
    nnunet(tmp_path)
    specification = {
        "name": "brain",
        "title": "Brain",
        "modality": "MR",
        "classes": ["oedema", "core"],
        "dimensions": 3,
        "channels": 3,
        "licence": "own data",
        "citation": "none",
        "homepage": "none",
        "reader": "nnunet_raw",
        "reader_options": {"channels": ["T1", "T2", "FLAIR"]},
        "intensity": {"percentiles": [0, 100]},
        "split": {"attribute": "part", "test": ["test"]},
    }
    (tmp_path / "brain.smk").write_text(f"SPECIFICATION = {specification!r}\n")
    arguments = ["prepare", tmp_path / "brain.smk", "--raw", tmp_path / "Dataset042_Brain", "--out", tmp_path / "out"]
    assert cli.main([*map(str, arguments), "--image-size", "8"]) == 0
    images = open_prepared(tmp_path / "out").images
    # Channels are multiples of each other, so that they are equal after scaling.
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    assert images.max() > 60000
