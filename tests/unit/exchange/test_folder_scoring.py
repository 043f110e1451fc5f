"""Folders of predictions are scored against a folder of references, without a prepared dataset."""

import json
import re
import subprocess
import sys

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.exchange.class_labels import ClassLabels, parse_labels
from spectralseg.exchange.folder_scoring import score_folders
from spectralseg.exchange.prediction_folders import prediction_folders
from spectralseg.exchange.references import open_references
from spectralseg.metrics.records import COLUMNS, read_records

AFFINE = np.diag([0.8, 0.7, 3.0, 1.0])
TWO = parse_labels(["1=left ventricle", "2=myocardium"])


def labels_of(seed, shape=(7, 24, 20), classes=2):
    """Smooth regions of labels 0..``classes``."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, classes + 1):
        noise = ndimage.gaussian_filter(rng.random(shape), 1.5)
        labels[noise > np.quantile(noise, 0.9)] = label
    return labels


def write(path, labels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(labels.T, affine), path)
    elif path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, labels)
    else:
        cv2.imwrite(str(path), labels)


@pytest.fixture
def volumes(tmp_path):
    """Folders ``labelsTs`` and ``theirs`` with four NIfTI files each."""
    for case in range(4):
        reference = labels_of(case)
        write(tmp_path / "labelsTs" / f"case_{case}.nii.gz", reference)
        write(tmp_path / "theirs" / f"case_{case}.nii.gz", np.where(labels_of(9 + case) == 1, 0, reference))
    return tmp_path


@pytest.fixture
def masks(tmp_path):
    """Folders ``polyps`` and ``theirs`` with four PNG masks of 0 and 255 each."""
    for case in range(4):
        reference = labels_of(case, (32, 24), 1)
        write(tmp_path / "polyps" / f"{case}.png", reference * 255)
        write(tmp_path / "theirs" / f"{case}.png", np.roll(reference, 1, 0) * 255)
    return tmp_path


def scored(folder, *names, reference="labelsTs", labels=TWO, **options):
    settings = {name: options.pop(name) for name in ("groups", "spacing", "name") if name in options}
    references = open_references(folder / reference, labels=labels, **settings)
    folders = prediction_folders([folder / name for name in names or ("theirs",)])
    return score_folders(references, folders, objective="external", **options)


def values(scores, metric, protocol="sound"):
    selected = scores.records[(scores.records["metric"] == metric) & (scores.records["protocol"] == protocol)]
    return selected.set_index(["case", "class"])["value"].sort_index()


def findings(scores):
    return [f"{where}: {what}: {', '.join(names)}" for where, what, names in scores.findings]


class TestRecords:
    def test_they_have_the_schema_and_sensible_keys(self, volumes):
        records = scored(volumes, name="hearts").records
        assert list(records.columns) == list(COLUMNS)
        keys = records[list(COLUMNS[:9])].drop_duplicates().values.tolist()
        assert keys == [["hearts", "theirs", "external", "0", 0, "iid", "hearts", "none", "0"]]
        assert set(records["class"]) == {"left ventricle", "myocardium"}
        assert set(records["protocol"]) == {"sound", "published"}
        assert (records["case"] == records["group"]).all()

    def test_the_dataset_of_nnunet_has_the_name_of_the_folder_above(self, volumes):
        assert set(scored(volumes).records["test_dataset"]) == {volumes.name}

    def test_scores_do_not_depend_on_the_format(self, tmp_path):
        for case in range(3):
            reference, prediction = labels_of(case, (32, 24)), labels_of(case + 1, (32, 24))
            for ending in (".png", ".tif", ".bmp"):
                write(tmp_path / f"ref{ending[1:]}" / f"{case}{ending}", reference)
                write(tmp_path / ending[1:] / f"{case}{ending}", prediction)
            write(tmp_path / "refnii" / f"{case}.nii.gz", reference, np.eye(4))
            write(tmp_path / "nii" / f"{case}.nii.gz", prediction[None], np.eye(4))  # one slice instead of a plane
        frames = [
            scored(tmp_path, name, reference=f"ref{name}", name="x").records.drop(columns="architecture")
            for name in ("png", "tif", "bmp", "nii")
        ]
        for frame in frames[1:]:
            pd.testing.assert_frame_equal(frame, frames[0])
        assert not frames[0]["metric"].str.startswith("slice").any()

    def test_distances_are_in_millimetres_of_the_header_or_of_the_option(self, volumes, tmp_path):
        pixels = values(scored(volumes), "hd95", "published")
        assert not np.allclose(values(scored(volumes), "hd95"), pixels)
        for case in range(2):
            write(tmp_path / "ref" / f"{case}.png", labels_of(case, (32, 24), 1))
            write(tmp_path / "moved" / f"{case}.png", np.roll(labels_of(case, (32, 24), 1), 2, 1))
        options = {"reference": "ref", "labels": None}
        once = values(scored(tmp_path, "moved", **options), "assd")
        assert np.allclose(values(scored(tmp_path, "moved", spacing=[0.5], **options), "assd"), once / 2)
        assert not np.allclose(values(scored(tmp_path, "moved", spacing=[3, 0.5], **options), "assd"), once / 2)

    def test_axes_in_another_order_are_reordered(self, volumes):
        before = scored(volumes).records
        for file in (volumes / "theirs").iterdir():
            image = nib.load(file)
            turned = image.as_reoriented(nib.orientations.axcodes2ornt("SAR"))
            nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), file)
        pd.testing.assert_frame_equal(scored(volumes).records, before)

    def test_lesion_metrics_have_volumes_in_millilitres(self, volumes):
        scores = scored(volumes, lesions=True)
        voxel = 0.8 * 0.7 * 3 / 1000
        assert values(scores, "volume_reference")["case_0", "myocardium"] == pytest.approx(
            voxel * (labels_of(0) == 2).sum()
        )
        assert values(scores, "lesion_f1").between(0, 1).all()
        assert "lesion_f1" not in set(scored(volumes).records["metric"])


class TestLabels:
    def test_they_come_from_dataset_json_beside_the_references(self, volumes):
        version_2 = {"background": 0, "RV": 1, "LV": 2}
        version_1 = {"0": "background", "1": "RV", "2": "LV"}
        for labels in (version_1, version_2):
            (volumes / "dataset.json").write_text(json.dumps({"labels": labels}))
            assert set(scored(volumes, labels=None).records["class"]) == {"RV", "LV"}

    def test_one_value_is_a_binary_task(self, masks):
        assert set(scored(masks, reference="polyps", labels=None).records["class"]) == {"foreground"}

    def test_values_need_not_be_consecutive(self, tmp_path):
        for case in range(2):
            write(tmp_path / "ref" / f"{case}.png", labels_of(case, (32, 24)))
            write(tmp_path / "p" / f"{case}.png", labels_of(case + 5, (32, 24)))
            write(tmp_path / "ref85" / f"{case}.png", labels_of(case, (32, 24)) * 85)
            write(tmp_path / "p85" / f"{case}.png", labels_of(case + 5, (32, 24)) * 85)
        names = parse_labels(["85=left ventricle", "170=myocardium"])
        expected = values(scored(tmp_path, "p", reference="ref"), "dsc")
        pd.testing.assert_series_equal(
            values(scored(tmp_path, "p85", reference="ref85", labels=names), "dsc"), expected
        )

    def test_a_mask_of_one_class_may_be_stored_as_0_and_1(self, masks):
        options = {"reference": "polyps", "labels": parse_labels(["255=polyp"])}
        before = values(scored(masks, **options), "dsc")
        for file in (masks / "theirs").iterdir():
            write(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED) // 255)
        pd.testing.assert_series_equal(values(scored(masks, **options), "dsc"), before)

    @pytest.mark.parametrize(
        ("texts", "problem"),
        [
            (["polyp"], "is not a value and a name"),
            (["0=polyp"], "has the label 0; give one above 0"),
            (["1=all"], "'all', which is reserved"),
            (["1="], "'', which is reserved"),
            (["1=a", "1=b"], "given twice"),
            (["1=a", "2=A"], "given twice"),
        ],
    )
    def test_labels_that_are_not_valid_are_an_error(self, texts, problem):
        with pytest.raises(InputError, match=problem):
            parse_labels(texts)

    def test_names_are_in_the_order_of_values(self):
        assert parse_labels(["2=b", "1=a = x"]) == ClassLabels((1, 2), ("a = x", "b"))

    @pytest.mark.parametrize(
        ("labels", "problem"),
        [
            ({"background": 0, "whole": [1, 2], "core": 2}, "'whole' is a region of several labels"),
            ({"background": 0, "heart": 1, "ignore": 2}, "the label 'ignore'"),
            ({"background": 0, "heart": "x"}, "the label of 'heart' is not a whole number"),
            ({}, "has no 'labels'"),
        ],
    )
    def test_files_of_nnunet_that_are_not_supported_are_an_error(self, volumes, labels, problem):
        (volumes / "dataset.json").write_text(json.dumps({"labels": labels}))
        with pytest.raises(InputError, match=problem):
            scored(volumes, labels=None)


class TestGroups:
    def test_a_regular_expression_gives_the_patient(self, volumes):
        groups = scored(volumes, groups="^(cas)e").records["group"]
        assert set(groups) == {"cas"}

    def test_a_table_gives_the_patient(self, volumes):
        table = volumes / "patients.csv"
        table.write_text("case,group\n" + "".join(f"case_{case},p{case // 2}\n" for case in range(4)))
        records = scored(volumes, groups=str(table)).records
        assert records.groupby("group")["case"].unique().map(list).to_dict() == {
            "p0": ["case_0", "case_1"],
            "p1": ["case_2", "case_3"],
        }

    @pytest.mark.parametrize(
        ("rule", "problem"),
        [
            ("case", "has 0 groups in parentheses instead of 1"),
            ("(", "is not a regular expression"),
            ("(case_[0-2])", "1 of 4 cases do not match, the first is 'case_3'"),
            ("none.csv", "there is no such file"),
        ],
    )
    def test_rules_that_do_not_fit_are_an_error(self, volumes, rule, problem):
        with pytest.raises(InputError, match=problem):
            scored(volumes, groups=rule)


class TestMethodsAndSeeds:
    def folders(self, root, *names, **options):
        for name in names:
            (root / name).mkdir(parents=True)
        tops = dict.fromkeys(root / name.split("/")[0] for name in names)
        return [(f.method, f.seed) for f in prediction_folders(list(tops), **options)]

    def test_the_name_of_a_folder_is_the_method(self, tmp_path):
        assert self.folders(tmp_path, "unet", "other", seed=4) == [("unet", 4), ("other", 4)]

    def test_folders_of_seeds_are_seeds(self, tmp_path):
        assert self.folders(tmp_path, "unet/seed0", "unet/seed11", "b") == [("unet", 0), ("unet", 11), ("b", 0)]

    def test_a_folder_of_a_seed_belongs_to_the_folder_above(self, tmp_path):
        (tmp_path / "unet" / "seed3").mkdir(parents=True)
        ((method, seed, *_),) = prediction_folders([tmp_path / "unet" / "seed3"])
        assert (method, seed) == ("unet", 3)

    def test_a_pattern_divides_names(self, tmp_path):
        assert self.folders(tmp_path, "unet_s0", "unet_s1", pattern="_s([0-9]+)$") == [("unet", 0), ("unet", 1)]

    def test_names_can_be_given(self, tmp_path):
        assert self.folders(tmp_path, "a/seed0", "b", names=["x", "y"]) == [("x", 0), ("y", 0)]

    @pytest.mark.parametrize(
        ("names", "options", "problem"),
        [
            (["a", "b"], {"names": ["x", "x"]}, "is method 'x' with seed 0, as .* is"),
            (["a", "b"], {"names": ["x"]}, "1 names for 2 folders"),
            (["a_sx"], {"pattern": "_s(.)"}, "finds the seed 'x'"),
            (["a"], {"pattern": "s"}, "has 0 groups"),
        ],
    )
    def test_what_is_ambiguous_is_an_error(self, tmp_path, names, options, problem):
        with pytest.raises(InputError, match=problem):
            self.folders(tmp_path, *names, **options)

    def test_files_beside_folders_of_seeds_are_an_error(self, tmp_path):
        write(tmp_path / "a" / "seed0" / "1.png", labels_of(0, (8, 8)))
        write(tmp_path / "a" / "1.png", labels_of(0, (8, 8)))
        with pytest.raises(InputError, match="holds both label files"):
            prediction_folders([tmp_path / "a"])


class TestNames:
    def test_words_that_all_references_have_are_no_part_of_ids(self, tmp_path):
        for case in range(3):
            write(tmp_path / "ref" / f"p{case}_gt.png", labels_of(case, (16, 16)))
            write(tmp_path / "p" / f"p{case}_pred.png", labels_of(case, (16, 16)))
        scores = scored(tmp_path, "p", reference="ref")
        assert set(scores.records["case"]) == {"p0", "p1", "p2"}
        assert "names have '' before and '_pred' after the id" in " ".join(findings(scores))

    def test_missing_and_extra_files_are_an_error_or_counted(self, volumes):
        (volumes / "theirs" / "case_2.nii.gz").rename(volumes / "theirs" / "late.nii.gz")
        with pytest.raises(InputError, match=r"late\.nii\.gz: 1 files, this one first, belong to no reference"):
            scored(volumes)
        (volumes / "theirs" / "late.nii.gz").rename(volumes / "late.nii.gz")
        with pytest.raises(InputError, match="1 of 4 references have no prediction, the first is 'case_2'"):
            scored(volumes)
        (volumes / "late.nii.gz").rename(volumes / "theirs" / "late.nii.gz")
        (volumes / "theirs" / "plans.json").write_text("{}")
        scores = scored(volumes, allow_missing=True)
        assert set(scores.records["case"]) == {"case_0", "case_1", "case_3"}
        assert findings(scores) == [
            "theirs, seed 0: 1 of 4 references without a prediction, left out: case_2",
            "theirs, seed 0: 1 files without a reference, left out: late.nii.gz",
            "theirs, seed 0: 1 entries without the suffix .nii.gz or .nii, ignored: plans.json",
        ]


class TestAudit:
    def test_copies_and_empty_references_are_counted(self, masks):
        (masks / "polyps" / "3.png").write_bytes((masks / "polyps" / "0.png").read_bytes())
        for case in (1, 2):
            write(masks / "polyps" / f"{case}.png", np.zeros((32, 24), np.uint8))
        for case in range(4):
            (masks / "copy").mkdir(exist_ok=True)
            (masks / "copy" / f"{case}.png").write_bytes((masks / "theirs" / f"{case}.png").read_bytes())
        write(masks / "copy" / "2.png", np.zeros((32, 24), np.uint8))
        text = findings(scored(masks, "theirs", "copy", reference="polyps", labels=None))
        assert "polyps: 1 references with the bytes of another one: 3 = 0" in text
        assert "polyps: 2 of 4 references without foreground: 1, 2" in text
        assert "theirs, seed 0 and copy, seed 0: 3 of 3 predictions are identical: 0, 1, 3" in text

    def test_predictions_that_equal_the_reference_are_reported(self, volumes):
        assert "4 of 4 predictions equal the reference" in " ".join(findings(scored(volumes, "labelsTs")))


def png_beside(root):
    write(root / "labelsTs" / "case_9.png", labels_of(0, (8, 8)))


def with_colours(root):
    write(root / "theirs" / "0.png", np.dstack([labels_of(i, (32, 24), 1) * 255 for i in range(3)]))


HOSTILE = {
    "no folder": (lambda root: (root / "theirs").rename(root / "x"), "theirs: the folder does not exist"),
    "mixed formats": (png_beside, "holds 4 NIfTI files, such as .* and 1 images, such as case_9.png"),
    "other format": (
        lambda root: [write(file.with_name("a.png"), labels_of(0, (8, 8))) or file.unlink() for file in theirs(root)],
        r"has no \.nii\.gz or \.nii file, but a\.png; convert",
    ),
    "other label": (
        lambda root: write(theirs(root)[1], labels_of(1) + np.uint8(5)),
        r"case_1\.nii\.gz: holds the label [567]; give whole numbers, 0 for background up to 2",
    ),
    "label of references": (
        lambda root: write(root / "labelsTs" / "case_1.nii.gz", labels_of(1) + np.uint8(5)),
        r"labelsTs/case_1\.nii\.gz: holds the label [567]; .*, or name it with --labels",
    ),
    "probabilities": (
        lambda root: write(theirs(root)[0], labels_of(0).astype(np.float32) / 3),
        r"case_0\.nii\.gz: holds the label 0\.\d+; it looks like a probability",
    ),
    "other shape": (lambda root: write(theirs(root)[0], labels_of(0)[1:]), r"case_0\.nii\.gz: has shape"),
    "other place": (
        lambda root: write(theirs(root)[0], labels_of(0), AFFINE + np.outer([0, 9, 0, 0], [0, 0, 0, 1])),
        r"case_0\.nii\.gz: lies elsewhere in space",
    ),
    "other voxels": (
        lambda root: write(theirs(root)[0], labels_of(0), np.diag([1.0, 1.0, 3.0, 1.0])),
        r"case_0\.nii\.gz: lies elsewhere in space .* \(voxels of",
    ),
    "two files of a case": (
        lambda root: write(root / "theirs" / "case_0.nii", labels_of(0)),
        "matches case 'case_0', as .* does; keep one of the two files",
    ),
    "two references of a case": (
        lambda root: write(root / "labelsTs" / "case_0.nii", labels_of(0)),
        r"case_0\.nii\.gz: has the case id 'case_0', as case_0\.nii has",
    ),
    "nested references": (
        lambda root: (root / "labelsTs").rename(root / "all") and nest(root / "labelsTs", root / "all"),
        "has no reference files .*; it holds all; give the folder with the files",
    ),
    "nested predictions": (
        lambda root: (root / "theirs").rename(root / "fold_0") and nest(root / "theirs", root / "fold_0"),
        r"has no \.nii\.gz or \.nii file but folders such as fold_0; give the folder with the files",
    ),
    "damaged": (
        lambda root: theirs(root)[2].write_bytes(theirs(root)[2].read_bytes()[:-40]),
        r"case_2\.nii\.gz: .*; write the prediction again",
    ),
    "damaged reference": (
        lambda root: (root / "labelsTs" / "case_2.nii.gz").write_bytes(b"nothing"),
        r"case_2\.nii\.gz: .*; write the reference again",
    ),
    "other names": (
        lambda root: [file.rename(file.with_name(f"x{i}.nii.gz")) for i, file in enumerate(theirs(root))],
        "none of its 4 files, such as x0.nii.gz, belongs to one of the 4 references",
    ),
    "empty": (lambda root: [file.unlink() for file in theirs(root)], "theirs: is empty; give the folder"),
    "references as JPEG": (
        lambda root: [file.rename(file.with_name(f"{n}.jpg")) for n, file in enumerate((root / "labelsTs").iterdir())],
        "has no reference files .*; JPEG compression changes labels; save them as PNG, or give .* with --data",
    ),
    "no references": (
        lambda root: [file.unlink() for file in (root / "labelsTs").iterdir()],
        "has no reference files .*; it is empty",
    ),
}


def theirs(root):
    return sorted((root / "theirs").iterdir())


def nest(outer, inner):
    outer.mkdir()
    return inner.rename(outer / inner.name)


@pytest.mark.parametrize("kind", HOSTILE)
def test_folders_that_cannot_be_scored_are_one_sentence(volumes, kind, capsys):
    change, problem = HOSTILE[kind]
    change(volumes)
    folders = f"--reference {volumes / 'labelsTs'} --predictions {volumes / 'theirs'} --out {volumes / 'r.parquet'}"
    assert cli.main(["score", *folders.split(), "--labels", "1=a", "2=b"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(problem, message), message
    assert not (volumes / "r.parquet").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda root: write(root / "theirs" / "0.png", labels_of(0, (32, 24)) * 7), r"0\.png: holds the label 7"),
        (with_colours, r"0\.png: the mask has colours or a palette; convert it to grey values"),
        (lambda root: write(root / "theirs" / "0.png", labels_of(0, (30, 24))), r"0\.png: has shape \(30, 24\)"),
        (
            lambda root: write(root / "polyps" / "0.png", labels_of(0, (32, 24)) * 9),
            "holds the labels 9, 18, 255 .*name",
        ),
        (
            lambda root: [write(root / "polyps" / f"{i}.png", np.zeros((32, 24), np.uint8)) for i in range(4)],
            "all references are empty; give the classes",
        ),
    ],
)
def test_masks_that_cannot_be_scored_are_one_sentence(masks, change, problem):
    change(masks)
    with pytest.raises(InputError, match=problem):
        scored(masks, reference="polyps", labels=None)


def test_spacing_of_volumes_or_of_three_axes_is_an_error(volumes, masks):
    with pytest.raises(InputError, match="--spacing: applies to images only"):
        scored(volumes, spacing=[1.0])
    with pytest.raises(InputError, match="--spacing: 3 numbers are too many"):
        scored(masks, reference="polyps", labels=None, spacing=[1.0, 1.0, 1.0])


def test_scoring_folders_does_not_import_torch(volumes):
    """From the command line to the report."""
    arguments = "score --reference labelsTs --predictions theirs --out r.parquet --report report --labels 1=a 2=b"
    code = (
        "import sys; from spectralseg import cli; "
        f"assert cli.main({arguments.split()!r}) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=volumes, check=True, capture_output=True)
    assert set(read_records(volumes / "r.parquet")["architecture"]) == {"theirs"}
    assert {path.name for path in (volumes / "report").iterdir()} == {
        *("audit.csv", "cases.csv", "differences.csv", "means.csv"),
        *("scores.html", "scores.json", "scores.md"),
    }


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--leakage l.parquet", "--leakage: applies to --data only"),
        ("--baseline other", "--baseline 'other': is not a method of --predictions; .*valid: theirs"),
    ],
)
def test_options_that_do_not_apply_are_an_error(volumes, capsys, option, problem):
    folders = f"--reference {volumes / 'labelsTs'} --predictions {volumes / 'theirs'} --out {volumes / 'r.parquet'}"
    assert cli.main(["score", *folders.split(), *option.split()]) == 1
    assert re.search(problem, capsys.readouterr().err)


def test_labels_of_a_prepared_dataset_are_an_error(tmp_path, capsys):
    arguments = ["score", "--data", "d", "--predictions", "p", "--out", str(tmp_path / "o"), "--labels", "1=a"]
    assert cli.main(arguments) == 1
    assert "--labels: applies to --reference only" in capsys.readouterr().err


def test_scores_are_printed_without_writing_a_file(volumes, monkeypatch, capsys):
    monkeypatch.chdir(volumes)
    before = sorted(volumes.rglob("*"))
    command = ["score", "--reference", "labelsTs", "--predictions", "theirs", "--labels", "1=a", "2=b"]
    assert cli.main(command) == 0
    assert "theirs" in capsys.readouterr().out
    assert sorted(volumes.rglob("*")) == before
