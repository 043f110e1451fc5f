"""The raw layout of nnU-Net v2, by the rules of its integrity check."""

import json
import re

import cv2
import nibabel as nib
import numpy as np
import pytest

from spectralseg.data.prepare import prepare
from spectralseg.data.prepared import open_prepared
from spectralseg.data.readers import read_cases
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.exchange.nnunet import export_nnunet

from ..data.test_volume_readers import nnunet

NAMES = ["synapse", "acdc", "atlas", "kvasir_seg", "btseg"]


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """``exported(name)``: source and folder, created once; tests must not change them."""
    made = {}

    def make(name):
        if name not in made:
            example = source(name)
            out = tmp_path_factory.mktemp("nnUNet_raw") / f"Dataset501_{name}"
            export_nnunet(example.specification, example.raw, example.data, out, threads=2)
            made[name] = example, out
        return made[name]

    return make


def identifiers(folder, ending):
    """Cases of a folder of images: file names without ending and the four digits of the channel."""
    names = (path.name for path in folder.iterdir())
    return sorted({name[: -len(ending) - 5] for name in names if name.endswith(ending)})


def read(file):
    """Array with channels first and the geometry that nnU-Net compares."""
    if file.suffix == ".png":
        array = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        return (array[None] if array.ndim == 2 else array[..., ::-1].transpose(2, 0, 1)), ((999, 1, 1),)
    image = nib.load(file)
    return np.asarray(image.dataobj)[None], (image.header.get_zooms(), image.affine)


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_has_the_layout_of_nnunet(name, exported):
    example, folder = exported(name)
    data = example.data
    described = json.loads((folder / "dataset.json").read_text())
    assert {"labels", "channel_names", "numTraining", "file_ending"} <= described.keys()
    assert re.fullmatch(r"Dataset\d{3}_.+", folder.name)
    ending = described["file_ending"]
    assert ending in (".nii.gz", ".png")
    assert list(described["channel_names"]) == [str(n) for n in range(data.info["channels"])]
    assert described["labels"]["background"] == 0
    labels = sorted(described["labels"].values())
    assert labels == list(range(len(data.classes) + 1)), "consecutive whole numbers from 0"
    assert described["numTraining"] == len(identifiers(folder / "imagesTr", ending)) > 0
    for part in ("Tr", "Ts"):
        cases = identifiers(folder / f"images{part}", ending)
        assert sorted(path.name for path in (folder / f"labels{part}").iterdir()) == [case + ending for case in cases]
        for case in cases:
            files = [path for path in (folder / f"images{part}").iterdir() if path.name.startswith(f"{case}_")]
            assert [path.name for path in files] == [f"{case}_0000{ending}"], "one file, even for colour images"
            (image, image_place), (labels_found, place) = (
                read(files[0]),
                read(folder / f"labels{part}" / (case + ending)),
            )
            assert len(image) == len(described["channel_names"])
            assert image.shape[1:] == labels_found.shape[1:]
            assert all(np.allclose(*pair) for pair in zip(image_place, place, strict=True))
            assert np.isfinite(image).all()
            assert set(np.unique(labels_found)) <= set(labels)


@pytest.mark.parametrize("name", NAMES)
def test_the_split_is_that_of_the_prepared_dataset(name, exported):
    example, folder = exported(name)
    data = example.data
    ending = json.loads((folder / "dataset.json").read_text())["file_ending"]
    parts = {part: sorted(rows["case"]) for part, rows in data.cases.groupby("part")}
    assert identifiers(folder / "imagesTs", ending) == parts["test"]
    assert identifiers(folder / "imagesTr", ending) == sorted(parts["train"] + parts["validation"])
    ((fold),) = json.loads((folder / "splits_final.json").read_text())
    assert {key: sorted(cases) for key, cases in fold.items()} == {"train": parts["train"], "val": parts["validation"]}


@pytest.mark.parametrize("name", NAMES)
def test_arrays_and_grids_equal_the_source(name, exported):
    example, folder = exported(name)
    of = example.specification
    by_id = {case.id: case for case in read_cases(of.reader, example.raw, of.reader_options)}
    for _, row in example.data.cases.iterrows():
        case, part = by_id[row["case"]], "Ts" if row["part"] == "test" else "Tr"
        image, (_, *place) = read(folder / f"images{part}" / f"{case.id}_0000{example.ending}")
        labels, _ = read(folder / f"labels{part}" / f"{case.id}{example.ending}")
        sample = case.load()
        if example.data.volumes:
            stored = nib.load(case.image)
            assert np.array_equal(image[0], stored.dataobj)
            assert np.allclose(place[0], stored.affine)
            assert np.array_equal(labels[0], sample.geometry.to_file(sample.labels))
        else:
            assert np.array_equal(image, np.moveaxis(np.atleast_3d(sample.image), -1, 0))
            assert np.array_equal(labels[0], sample.labels)


def test_channel_names_select_the_normalisation_of_nnunet(exported):
    def channels(name):
        return json.loads((exported(name)[1] / "dataset.json").read_text())["channel_names"]

    assert channels("synapse") == {"0": "CT"}
    assert channels("acdc") == {"0": "short-axis cine cardiac MR"}
    assert channels("kvasir_seg") == {"0": "R", "1": "G", "2": "B"}


@pytest.mark.parametrize("name", ["kvasir", "Dataset1_kvasir", "Dataset0501_x", "Dataset501", "Dataset501_a b"])
def test_a_name_that_nnunet_does_not_accept_is_an_error(name, source, tmp_path):
    example = source("kvasir_seg")
    with pytest.raises(InputError, match="three digits and a name, such as Dataset501_kvasir_seg"):
        export_nnunet(example.specification, example.raw, example.data, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("case", "no such", "has no case 'no such'; give what"),
        ("image_sha256", "0", r"the raw image of case '\w+' differ"),
        ("first", 0, r"the raw labels of case '\w+' differ"),
        ("native_shape", "[5, 5]", r"the raw labels of case '\w+' differ"),
    ],
)
def test_raw_files_that_differ_from_the_prepared_dataset_are_an_error(source, tmp_path, column, value, problem):
    example = source("kvasir_seg")
    changed = open_prepared(example.data.path)
    changed.cases[column] = value
    with pytest.raises(InputError, match=problem):
        export_nnunet(example.specification, example.raw, changed, tmp_path / "Dataset501_kvasir")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_of_the_layout_reads_what_was_exported(name, exported):
    example, folder = exported(name)
    options = {} if example.data.info["dimensions"] == 2 else {"slices": "stored"}
    cases = read_cases("nnunet_raw", folder, options)
    assert [case.id for case in cases] == sorted(example.data.cases["case"])
    parts = {row["case"]: row["part"] for row in example.data.cases.to_dict("records")}
    for case in cases:
        assert case.attributes["part"] == ("test" if parts[case.id] == "test" else "train")
        if parts[case.id] == "test":
            labels, native = case.load().labels, example.data.native_labels(case.id)
            assert np.bincount(labels.ravel()).tolist() == np.bincount(native.ravel()).tolist()


def test_channels_of_volumes_become_files(tmp_path):
    raw = nnunet(tmp_path / "raw", channels=3, channel_names={"0": "A", "1": "B", "2": "C"})
    content = {
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
        "intensity": {"percentiles": [0, 100]},
        "split": {"attribute": "part", "test": ["test"]},
    }
    specification = DatasetSpecification.model_validate(content)
    prepare(specification, raw, tmp_path / "prepared", image_size=8, source="path", validation=0.5)
    out = tmp_path / "Dataset501_Brain"
    export_nnunet(specification, raw, open_prepared(tmp_path / "prepared"), out)
    assert json.loads((out / "dataset.json").read_text())["channel_names"] == {"0": "MR 0", "1": "MR 1", "2": "MR 2"}
    for first, second in zip(read_cases("nnunet_raw", raw, {}), read_cases("nnunet_raw", out, {}), strict=True):
        np.testing.assert_array_equal(first.load().image, second.load().image)
        np.testing.assert_array_equal(first.load().labels, second.load().labels)
