"""Predictions have the grid of the source's label files and equal those that the evaluation scores."""

import itertools
import json

import cv2
import nibabel as nib
import numpy as np
import pytest

from spectralseg.data.geometry import Geometry
from spectralseg.data.readers import read_cases
from spectralseg.errors import InputError
from spectralseg.evaluation.conditions import Condition
from spectralseg.evaluation.label_maps import native_labels
from spectralseg.evaluation.predict import load_predictor
from spectralseg.exchange.label_files import file_name, read_labels, write_array
from spectralseg.exchange.predictions import predict
from spectralseg.files import sha256_of
from spectralseg.run_folder import read_settings


def label_file(volumes, case):
    """The source's label file of a case."""
    of = volumes.specification
    (image,) = (
        example.image for example in read_cases(of.reader, volumes.raw, of.reader_options) if example.id == case
    )
    if of.name == "atlas":
        return image.with_name(image.name.replace("_T1w", "_label-L_desc-T1lesion_mask"))
    if of.name == "synapse":
        return image.parent.parent / "label" / image.name.replace("img", "label")
    return image.with_name(image.name.replace(".nii.gz", "_gt.nii.gz"))


def expected_labels(example, case):
    """Native labels of a case, predicted separately."""
    predictor = load_predictor(example.run, read_settings(example.run), "best", 4, "cpu")
    row = example.data.cases[example.data.cases["case"] == case].iloc[0]
    probabilities = predictor(Condition("iid", example.data).images(row))
    return native_labels(probabilities, example.data.native_labels(case).shape, example.specification.fit)


@pytest.mark.parametrize("name", ["synapse", "acdc", "atlas"])
def test_predicted_volumes_have_the_grid_of_the_source(name, source):
    volumes = source(name)
    for case in volumes.tested:
        label, prediction = nib.load(label_file(volumes, case)), nib.load(volumes.predictions / f"{case}.nii.gz")
        assert prediction.shape == label.shape
        assert np.array_equal(prediction.affine, label.affine)
        assert nib.aff2axcodes(prediction.affine) == nib.aff2axcodes(label.affine)
        assert prediction.header.get_zooms() == pytest.approx(label.header.get_zooms())
        assert prediction.header.get_xyzt_units()[0] == "mm"
        assert prediction.get_data_dtype() == np.uint8
    assert len(list(volumes.predictions.iterdir())) == len(volumes.tested) + 1


@pytest.mark.parametrize("name", ["synapse", "acdc", "atlas"])
def test_predicted_labels_are_at_the_positions_of_their_voxels(name, source):
    volumes = source(name)
    matches = set()
    for case in volumes.tested:
        geometry, native = volumes.data.geometry(case), volumes.data.native_labels(case)
        prediction = np.asarray(nib.load(volumes.predictions / f"{case}.nii.gz").dataobj)
        assert np.array_equal(geometry.from_file(prediction), expected_labels(volumes, case))
        # The axes match the geometry: each class is one value of the source at the same voxels.
        original, prepared = np.rint(nib.load(label_file(volumes, case)).get_fdata()), geometry.to_file(native)
        for label in set(np.unique(native)) - {0}:
            (value,) = np.unique(original[prepared == label])
            assert (original == value).sum() == (prepared == label).sum()
            matches.add((label, value))
    assert len(matches) == len(volumes.data.classes)


def test_the_phantoms_of_synapse_have_several_orientations(source):
    data = source("synapse").data
    geometries = [data.geometry(case) for case in data.cases["case"]]
    assert len({nib.aff2axcodes(geometry.affine) for geometry in geometries}) > 1
    assert {geometry.axes for geometry in geometries} == {"SPL"}


@pytest.mark.parametrize("name", ["kvasir_seg", "btseg"])
def test_predicted_images_have_the_size_of_the_source(name, source):
    images = source(name)
    for case in images.tested:
        file = images.predictions / f"{case}.png"
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert (labels.dtype, labels.shape) == (np.uint8, images.data.native_labels(case).shape)
        assert np.array_equal(labels, expected_labels(images, case))
        assert np.array_equal(labels, read_labels(file, images.data, case))


def test_the_description_names_run_weights_and_labels(source):
    hearts = source("acdc")
    described = json.loads((hearts.predictions / "predictions.json").read_text())
    assert described["run"] == {
        "dataset": "acdc", "architecture": "unet", "objective": "mixed", "lambda": "0.2", "seed": 0
    }  # fmt: skip
    assert described["weights_sha256"] == sha256_of(hearts.run / "model.pt")
    assert described["labels"] == ["background", "right ventricle", "myocardium", "left ventricle"]
    assert described["dataset_files"] == hearts.data.info["files"]
    assert (described["checkpoint"], described["file_ending"]) == ("best", ".nii.gz")
    assert described["cases"] == len(hearts.tested)


def test_a_folder_with_content_is_an_error_and_stays_unchanged(source, tmp_path):
    polyps = source("kvasir_seg")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="already exists and is not empty; remove the folder"):
        predict(polyps.run, polyps.data, tmp_path, device_name="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_failed_predictions_leave_no_files(source, tmp_path, monkeypatch):
    polyps = source("kvasir_seg")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spectralseg.exchange.predictions.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        predict(polyps.run, polyps.data, tmp_path / "out", device_name="cpu")
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverged_is_an_error(diverged, tmp_path):
    run, data = diverged
    with pytest.raises(InputError, match="diverged: the run diverged: its logits are not finite"):
        predict(run, data, tmp_path / "out", device_name="cpu")
    assert not (tmp_path / "out").exists()


def test_data_that_do_not_fit_the_run_are_an_error(source, toy, tmp_path):
    hearts = source("acdc")
    with pytest.raises(InputError, match="has other classes, size or channels"):
        predict(hearts.run, toy, tmp_path / "out", device_name="cpu")
    settings = read_settings(hearts.run)
    settings["data"]["files"]["cases.csv"] = "0" * 64
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"was trained on different data than .*; train the run again"):
        predict(tmp_path, hearts.data, tmp_path / "out", device_name="cpu")


@pytest.mark.parametrize("case", ["a/b", "", ".", "..", ".hidden", "x" * 300])
def test_ids_that_are_not_valid_file_names_are_an_error(case):
    with pytest.raises(InputError, match="cannot be the name of a file"):
        file_name(case, ".png")


@pytest.mark.parametrize("value", [-1, 65536, 0.5, np.nan, np.inf])
def test_values_that_png_cannot_store_are_an_error(value, tmp_path):
    with pytest.raises(InputError, match="PNG cannot store"):
        write_array(tmp_path / "a.png", np.array([[value]]), None, None)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_images_are_stored_without_loss(shape, kind, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    write_array(tmp_path / "a.png", array, None, None)
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == (np.uint8 if kind is np.uint8 else np.uint16), "one depth for a dataset, whatever its values"
    assert np.array_equal(stored[..., ::-1] if len(shape) == 3 else stored, array)


class OneVolume:
    """The part of a prepared dataset that :func:`read_labels` uses: one case on an oblique grid."""

    classes = ("one", "two")

    def __init__(self, affine, axes, shape):
        self.place, self.shape = Geometry(affine, axes), shape

    def geometry(self, case):
        return self.place

    def native_shape(self, case):
        return self.shape

    def spacing(self, case):
        return None


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.78])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([1, -1], repeat=3)))
def test_axes_in_any_order_and_direction_are_restored_from_the_affine(angle, order, flips, tmp_path):
    shape = np.array([5, 6, 7])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([1.1, 1.1, 4.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    stored = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    data = OneVolume(affine, "SAR", (7, 6, 5))
    orientation = np.column_stack([order, flips])
    turned = nib.orientations.apply_orientation(stored, orientation)
    nib.save(
        nib.Nifti1Image(turned, affine @ nib.orientations.inv_ornt_aff(orientation, shape)), tmp_path / "case.nii.gz"
    )
    assert np.array_equal(data.place.to_file(read_labels(tmp_path / "case.nii.gz", data, "case")), stored)
