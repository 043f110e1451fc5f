"""External predictions get the scores of the evaluation; errors say what to correct."""

import shutil

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from spectralseg import cli
from spectralseg.data.audit import LEAKS, PAIRS, Audit
from spectralseg.errors import InputError
from spectralseg.evaluation.suites import evaluate
from spectralseg.exchange.scoring import score, summarise
from spectralseg.grid import Run
from spectralseg.metrics.policy import LESIONS, POLICY
from spectralseg.metrics.records import COLUMNS, read_records

VALUES = ["case", "group", "class", "protocol", "metric", "value", "flag"]


def method(trained_on):
    return Run(trained_on, "theirs", "external", "0", 3)


@pytest.fixture
def copied(source, tmp_path):
    """``copied(name)``: source, a copy of its predictions for a test to change, and the first file of the copy."""

    def make(name):
        example = source(name)
        folder = shutil.copytree(example.predictions, tmp_path / "theirs")
        return example, folder, folder / f"{example.tested[0]}{example.ending}"

    return make


@pytest.mark.parametrize("name", ["acdc", "atlas", "kvasir_seg"])
def test_exported_predictions_get_the_scores_of_the_evaluation(name, source, tmp_path):
    example = source(name)
    evaluate(example.run, example.data, [], example.config.evaluation, tmp_path, device_name="cpu")
    score(example.predictions, example.data, method(name), tmp_path / "theirs.parquet")
    evaluated, external = (
        records[(records["protocol"] == "sound") & (records["case"] != "pooled")][VALUES]
        .sort_values(VALUES[:5])
        .reset_index(drop=True)
        for records in (read_records(tmp_path / "records.parquet"), read_records(tmp_path / "theirs.parquet"))
    )
    assert evaluated["value"].notna().any()
    pd.testing.assert_frame_equal(evaluated, external)


def test_records_have_the_schema_and_the_keys_of_the_method(source, tmp_path):
    polyps = source("kvasir_seg")
    score(polyps.predictions, polyps.data, method("kvasir_seg"), tmp_path / "records.parquet")
    records = pd.read_parquet(tmp_path / "records.parquet")
    assert list(records.columns) == list(COLUMNS)
    keys = records[list(COLUMNS[:9])].drop_duplicates().values.tolist()
    assert keys == [["kvasir_seg", "theirs", "external", "0", 3, "iid", "kvasir_seg", "none", "0"]]
    for protocol, metrics in POLICY.items():
        assert set(metrics) - set(LESIONS) < set(records[records["protocol"] == protocol]["metric"])


def test_predictions_of_a_method_trained_elsewhere_are_out_of_distribution(source, tmp_path):
    polyps = source("kvasir_seg")
    score(polyps.predictions, polyps.data, method("elsewhere"), tmp_path / "records.parquet")
    records = pd.read_parquet(tmp_path / "records.parquet")
    assert set(records["dataset"]) == {"elsewhere"}
    assert set(records["suite"]) == {"ood"}


@pytest.mark.parametrize("name", ["acdc", "atlas", "kvasir_seg"])
def test_the_reference_has_perfect_scores(name, copied, tmp_path):
    example, folder, _ = copied(name)
    for case in example.tested:
        geometry, labels = example.data.geometry(case), example.data.native_labels(case)
        if geometry is None:
            cv2.imwrite(str(folder / f"{case}.png"), labels)
        else:
            stored = geometry.to_file(labels).astype(np.float32)  # as some tools write labels
            nib.save(nib.Nifti1Image(stored, geometry.affine), folder / f"{case}.nii.gz")
    scored = score(folder, example.data, method(name), tmp_path / "r")
    assert "equal the reference in every pixel" in scored.findings[0]
    summary = scored.summary.set_index(["protocol", "metric"])["mean"]
    assert summary["sound", "dsc"] == summary["sound", "nsd"] == 1
    assert summary["sound", "hd95"] == summary["published", "hd95"] == 0
    if name == "kvasir_seg":  # the published protocol scores 0 if a structure is absent in both
        assert summary["published", "dsc"] == 1


def test_the_summary_is_the_mean_over_cases_and_then_classes():
    rows = [("a", "x", 1.0), ("b", "x", 0.0), ("a", "y", 0.5), ("b", "y", np.nan)]
    records = pd.DataFrame(rows, columns=["case", "class", "value"]).assign(protocol="sound", metric="dsc")
    assert summarise(records).values.tolist() == [["sound", "dsc", 0.5, 2, 1]]
    assert summarise(records.assign(metric="tp")).empty
    assert summarise(records.assign(metric="false_structure"))["mean"].tolist() == [0.5]


class TestLeakage:
    def audit(self, example, cases):
        pairs = [["elsewhere", "kvasir_seg", "ood", len(example.tested), 0, len(cases), 0, 0, ""]]
        leaks = [["elsewhere", "kvasir_seg", case, "bytes", "x", "train", np.nan] for case in cases]
        return Audit(pd.DataFrame(pairs, columns=list(PAIRS)), pd.DataFrame(leaks, columns=list(LEAKS)))

    def test_leak_free_means_exclude_leaked_cases(self, source, tmp_path):
        example = source("kvasir_seg")
        first, *rest = example.tested
        scored = score(
            example.predictions, example.data, method("elsewhere"), tmp_path / "r", audit=self.audit(example, [first])
        )
        records = read_records(tmp_path / "r")
        selected = (records["protocol"] == "sound") & (records["metric"] == "dsc")
        expected = records[selected & records["case"].isin(rest)]["value"].mean()
        means = scored.summary.set_index(["protocol", "metric"])["leak_free"]
        assert means["sound", "dsc"] == pytest.approx(expected)
        assert f"1 of {len(example.tested)} test cases match training or validation data" in scored.findings[-1]

    def test_datasets_that_the_audit_did_not_compare_are_an_error(self, source, tmp_path):
        example = source("kvasir_seg")
        with pytest.raises(InputError, match="has not compared 'other' with 'kvasir_seg'"):
            score(example.predictions, example.data, method("other"), tmp_path / "r", audit=self.audit(example, []))
        assert not (tmp_path / "r").exists()


def refused(data, folder, out, pattern, **options):
    with pytest.raises(InputError, match=pattern) as caught:
        score(folder, data, method(data.name), out, **options)
    assert not out.exists()
    return str(caught.value)


def frame_of(folder, example, out):
    score(folder, example.data, method(example.data.name), out)
    return read_records(out)


class TestPredictionsOfOtherTools:
    """Scores do not depend on the names, the orientation or the storage that other tools use."""

    @pytest.mark.parametrize(
        ("name", "rename"),
        [
            ("kvasir_seg", lambda case: f"{case}.PNG"),
            ("kvasir_seg", lambda case: f"{case.upper()}_PRED.png"),
            ("acdc", lambda case: f"seg_{case}.nii.gz"),
        ],
    )
    def test_other_file_names_are_accepted(self, copied, tmp_path, caplog, name, rename):
        example, folder, _ = copied(name)
        before = frame_of(folder, example, tmp_path / "before")
        for case in example.tested:
            (folder / f"{case}{example.ending}").rename(folder / rename(case))
        (folder / ".DS_Store").write_bytes(b"Bud1")
        (folder / f"._{rename(example.tested[0])}").write_bytes(b"AppleDouble")
        pd.testing.assert_frame_equal(frame_of(folder, example, tmp_path / "after"), before)
        assert ("is matched to case" in caplog.text) == (rename("") not in (example.ending, example.ending.upper()))

    def test_a_matched_affix_is_logged(self, copied, tmp_path, caplog):
        example, folder, _ = copied("kvasir_seg")
        last = folder / f"{example.tested[-1]}.png"
        last.rename(folder / f"{last.stem}_pred.png")
        score(folder, example.data, method("kvasir_seg"), tmp_path / "r")
        assert f"{last.stem}_pred.png is matched to case '{last.stem}'" in caplog.text

    def test_uncompressed_volumes_are_accepted(self, copied, tmp_path):
        example, folder, _ = copied("acdc")
        before = frame_of(folder, example, tmp_path / "before")
        for file in folder.glob("*.nii.gz"):
            nib.save(nib.load(file), file.with_suffix(""))
            file.unlink()
        pd.testing.assert_frame_equal(frame_of(folder, example, tmp_path / "after"), before)

    @pytest.mark.parametrize("axes", ["LAS", "RAS", "SPL", "ASR", "PIR"])
    def test_volumes_with_other_axes_on_the_same_grid_are_accepted(self, copied, tmp_path, axes):
        example, folder, _ = copied("acdc")
        before = frame_of(folder, example, tmp_path / "before")
        changed = 0
        for file in folder.glob("*.nii.gz"):
            image = nib.load(file)
            to = nib.orientations.axcodes2ornt(axes)
            turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), to))
            changed += turned.shape != image.shape or not np.allclose(turned.affine, image.affine)
            nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), file)
        assert changed == len(example.tested)
        pd.testing.assert_frame_equal(frame_of(folder, example, tmp_path / "after"), before)

    def test_masks_of_0_and_255_are_accepted(self, copied, tmp_path):
        example, folder, _ = copied("kvasir_seg")
        before = frame_of(folder, example, tmp_path / "before")
        for file in folder.glob("*.png"):
            labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(labels)) == {0, 1}
            cv2.imwrite(str(file), labels * 255)
        pd.testing.assert_frame_equal(frame_of(folder, example, tmp_path / "after"), before)

    def test_grey_masks_stored_in_colour_are_accepted(self, copied, tmp_path):
        example, folder, _ = copied("kvasir_seg")
        before = frame_of(folder, example, tmp_path / "before")
        for file in folder.glob("*.png"):
            labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(file), np.dstack([labels * 255] * 3))
        pd.testing.assert_frame_equal(frame_of(folder, example, tmp_path / "after"), before)

    def test_labels_rounded_by_scaling_are_accepted(self, copied, tmp_path):
        example, folder, _ = copied("acdc")
        before = frame_of(folder, example, tmp_path / "before")
        for file in folder.glob("*.nii.gz"):
            image = nib.load(file)
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj, np.float32) * np.float32(0.9999999), image.affine), file)
        pd.testing.assert_frame_equal(frame_of(folder, example, tmp_path / "after"), before)

    def test_exchanged_background_and_object_are_found(self, copied, tmp_path):
        example, folder, _ = copied("kvasir_seg")
        for case in example.tested:
            cv2.imwrite(str(folder / f"{case}.png"), 1 - example.data.native_labels(case))
        findings = score(folder, example.data, method("kvasir_seg"), tmp_path / "r").findings
        assert [finding for finding in findings if "would agree" in finding] == [
            "with background and object exchanged (0 is polyp, 1 is background), the predictions would agree with the "
            "reference far better: Dice over all classes and cases 1.00 instead of 0.00"
        ]


class TestBadPredictions:
    def test_a_missing_case_is_an_error_or_excluded_and_counted(self, copied, tmp_path, caplog):
        example, folder, first = copied("kvasir_seg")
        first.unlink()
        count = len(example.tested)
        refused(example.data, folder, tmp_path / "r", rf"1 of {count} test cases have no file, .*{first.name}")
        scored = score(folder, example.data, method("kvasir_seg"), tmp_path / "r", allow_missing=True)
        assert set(scored.summary["cases"]) == {count - 1}
        assert f"1 of {count} test cases have no file and are left out" in caplog.text

    def test_a_folder_without_any_prediction_is_always_an_error(self, source, tmp_path):
        example = source("kvasir_seg")
        (tmp_path / "empty").mkdir()
        text = refused(example.data, tmp_path / "empty", tmp_path / "r", "have no file", allow_missing=True)
        assert text.endswith("; the folder is empty; give the folder of the predictions")
        (tmp_path / "empty" / "labelsTs").mkdir()
        text = refused(example.data, tmp_path / "empty", tmp_path / "r", "have no file", allow_missing=True)
        assert text.endswith("; give a folder with one .png file per case; this one holds labelsTs")
        refused(example.data, tmp_path / "none", tmp_path / "r", "the folder does not exist")

    def test_a_file_without_a_case_is_an_error(self, copied, tmp_path):
        example, folder, first = copied("kvasir_seg")
        shutil.copy(first, folder / "other.png")
        refused(example.data, folder, tmp_path / "r", r"other\.png: 1 files, .* belong to no test case")

    def test_other_files_are_ignored_and_counted(self, copied, tmp_path, caplog):
        caplog.set_level("INFO")
        example, folder, first = copied("kvasir_seg")
        first.with_suffix(".npz").write_text("probabilities, say")
        score(folder, example.data, method("kvasir_seg"), tmp_path / "r")
        assert "ignored 2 files without the suffix .png, such as" in caplog.text

    def test_a_file_in_another_format_is_an_error_that_names_the_right_one(self, copied, tmp_path):
        example, folder, first = copied("kvasir_seg")
        first.rename(first.with_suffix(".jpg"))
        text = refused(example.data, folder, tmp_path / "r", rf"have no file, the first is {first.name}; ")
        assert text.endswith(f"; convert {first.stem}.jpg and the other files to .png")

    def test_a_file_that_matches_no_case_is_reported_with_a_missing_one(self, copied, tmp_path):
        example, folder, first = copied("kvasir_seg")
        first.rename(folder / "final.png")
        text = refused(example.data, folder, tmp_path / "r", r"final\.png: 1 files, .* belong to no test case")
        assert text.endswith(f"name them as the test cases, such as {first.name}")

    def test_predictions_of_training_cases_are_reported_as_such(self, copied, tmp_path):
        example, folder, first = copied("kvasir_seg")
        trained = example.data.cases.loc[example.data.cases["part"] == "train", "case"].iloc[0]
        shutil.copy(first, folder / f"{trained}.png")
        text = refused(example.data, folder, tmp_path / "r", rf"{trained}\.png: 1 files")
        assert f"belong to no test case, as '{trained}' is a train case; remove them" in text

    def test_a_training_case_does_not_replace_a_missing_test_case(self, copied, tmp_path):
        """Not even if its name has a possible affix."""
        example, folder, first = copied("kvasir_seg")
        first.rename(folder / f"{first.stem}7.png")
        refused(example.data, folder, tmp_path / "r", "belong to no test case")

    def test_two_files_of_one_case_are_an_error(self, copied, tmp_path):
        example, folder, first = copied("acdc")
        nib.save(nib.load(first), first.with_suffix(""))
        text = refused(example.data, folder, tmp_path / "r", "keep one of the two files")
        assert first.name in text
        assert f"{first.with_suffix('').name} " in text

    def test_a_bad_file_is_an_error_before_any_is_scored(self, copied, tmp_path, monkeypatch):
        example, folder, first = copied("kvasir_seg")
        last = folder / f"{example.tested[-1]}.png"
        last.write_bytes(b"nothing")
        monkeypatch.setattr("spectralseg.exchange.scoring.score_labels", None)
        assert last.name in refused(example.data, folder, tmp_path / "r", "damaged")
        assert first != last

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda labels: labels[1:], r"has shape \(\d+, \d+\), the case \(\d+, \d+\)"),
            (lambda labels: labels.T[:, :5], "has shape"),
            (lambda labels: cv2.resize(labels, (32, 32)), "it has the 32 pixels of the prepared images; resize it to"),
            (lambda labels: labels * 0 + np.uint8(np.arange(labels.shape[1])), "holds the label 2; give whole numbers"),
            (lambda labels: labels * 254 + 1, "holds the label 255; give whole numbers"),
            (lambda labels: labels * 0 + 254, "holds the label 254; give whole numbers, 0 for background up to 1"),
            (lambda labels: np.dstack([labels, labels + 1, labels]), "colours or a palette"),
        ],
    )
    def test_images_that_do_not_fit_are_an_error(self, copied, tmp_path, change, problem):
        example, folder, first = copied("kvasir_seg")
        cv2.imwrite(str(first), change(cv2.imread(str(first), cv2.IMREAD_UNCHANGED)))
        assert first.name in refused(example.data, folder, tmp_path / "r", problem)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda array, affine: (array[1:], affine), "has shape"),
            (lambda array, affine: (array.swapaxes(0, 2), affine), "has shape"),
            (lambda array, affine: (array, affine @ np.diag([-1, 1, 1, 1])), "lies elsewhere in space"),
            (lambda array, affine: (array, affine + np.outer([0, 0, 40, 0], [0, 0, 0, 1])), "lies elsewhere in space"),
            (lambda array, affine: (array, affine @ np.diag([0.8, 0.8, 1, 1])), r"voxels of .* mm instead of .* mm"),
            (lambda array, affine: (array.transpose(2, 0, 1), affine), "its axes are in another order"),
            (lambda array, affine: (np.stack([array / 4] * 4, -1), affine), "4 axes .*; write the prediction again"),
            (lambda array, affine: (array.astype(np.float32) / 5, affine), "it looks like a probability: threshold it"),
            (lambda array, affine: (array + np.uint8(9), affine), r"holds the label \d+; .* up to 3"),
            (lambda array, affine: (array.astype(np.float32) + 0.25, affine), r"holds the label \d?\.\d+"),
            (lambda array, affine: (array.astype(np.float32) * np.nan, affine), "holds the label nan"),
            (lambda array, affine: (array.astype(np.int16) - 1, affine), "holds the label -1"),
        ],
    )
    def test_volumes_that_do_not_fit_are_an_error(self, copied, tmp_path, change, problem):
        example, folder, first = copied("acdc")
        image = nib.load(first)
        array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
        nib.save(nib.Nifti1Image(array, affine), first)
        assert first.name in refused(example.data, folder, tmp_path / "r", problem)

    def test_a_contradictory_header_may_match_either_way(self, copied, tmp_path):
        """The affine has unit scale, but the header a voxel size, which some writers use."""
        example, folder, _ = copied("acdc")
        score(folder, example.data, method("acdc"), tmp_path / "first")
        changed = 0
        for file in folder.glob("*.nii.gz"):
            image = nib.load(file)
            affine = image.affine @ np.diag([*image.header.get_zooms(), 1])
            if np.allclose(np.abs(np.diag(image.affine)), 1):
                nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), file)
                changed += 1
        score(folder, example.data, method("acdc"), tmp_path / "second")
        assert changed
        pd.testing.assert_frame_equal(read_records(tmp_path / "first"), read_records(tmp_path / "second"))

    @pytest.mark.parametrize("name", ["acdc", "atlas", "kvasir_seg"])
    def test_damaged_files_are_an_error(self, copied, tmp_path, name):
        example, folder, first = copied(name)
        first.write_bytes(first.read_bytes()[:60])
        assert first.name in refused(example.data, folder, tmp_path / "r", "cannot be read|damaged")


def test_several_folders_are_compared_on_the_command_line(source, tmp_path, capsys):
    example = source("kvasir_seg")
    for name in ("first", "second"):
        shutil.copytree(example.predictions, tmp_path / name)
    shifted = tmp_path / "second" / f"{example.tested[0]}.png"
    cv2.imwrite(str(shifted), np.roll(cv2.imread(str(shifted), cv2.IMREAD_UNCHANGED), 3, 0))
    arguments = ["--data", example.data.path, "--predictions", tmp_path / "first", tmp_path / "second"]
    arguments += ["--out", tmp_path / "r.parquet", "--report", tmp_path / "report"]
    assert cli.main(["score", *map(str, arguments)]) == 0
    records = read_records(tmp_path / "r.parquet")
    assert records.groupby("architecture")["case"].nunique().to_dict() == dict.fromkeys(
        ("first", "second"), len(example.tested)
    )
    text = capsys.readouterr().out
    assert "second − first" in text
    assert "about these predictions, not about the methods" in text
    assert "Calibration metrics are left out: they need probabilities." in text
    assert (tmp_path / "report" / "scores.html").is_file()
