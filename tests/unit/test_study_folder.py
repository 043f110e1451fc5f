from pathlib import Path

import pytest

from spectralseg.config import validate_config
from spectralseg.errors import InputError
from spectralseg.grid import Autoencoder
from spectralseg.study_folder import StudyFolder


@pytest.fixture
def root(tmp_path):
    """A results folder with two runs, leftovers of killed processes, and invalid names of runs."""
    root = tmp_path / "results" / "toy"
    for folder in (
        *("toy/unet/spatial/lambda0/seed0", "toy/unet/spatial/lambda0/seed7", "toy/unet/spatial/lambda0/.seed1.x"),
        *("toy/.unet/spatial/lambda0/seed0", "toy/unet/spatial/lambda0/seedx", "toy/unet/spatial/0/seed0"),
        "toy/unet/spatial/lambda0/seed99999999999999999999",
    ):
        (root / "runs" / folder).mkdir(parents=True)
        (root / "runs" / folder / "run.json").touch()
    return root


def test_the_configuration_defines_the_runs(config, root):
    study = StudyFolder(root, config)
    assert [run.folder for run in study.runs] == ["toy/unet/spatial/lambda0/seed0", "toy/unet/mixed/lambda0.2/seed0"]
    assert [run.folder for run in study.runs_with("run.json")] == ["toy/unet/spatial/lambda0/seed0"]
    assert study.left_out == {"runs": 1}


def test_without_a_configuration_all_complete_runs_belong_to_the_study(root):
    study = StudyFolder(root, None)
    assert [run.seed for run in study.runs] == [0, 7]
    assert study.left_out == {}
    assert study.left_out_sentence() == ""


def test_pages_of_a_configuration_without_lists_are_all_and_those_of_a_list_are_its_own(study, root):
    (root / "tables").mkdir()
    for name in ("summary", "overall"):
        (root / "tables" / f"{name}.json").touch()
    kinds = ({}, {"tables": ["overall"]})
    folders = [StudyFolder(root, validate_config({**study, **lists}, "toy.yaml")) for lists in kinds]
    assert [[page.stem for page in folder.pages("tables")] for folder in folders] == [
        ["overall", "summary"],
        ["overall"],
    ]
    assert [folder.left_out.get("tables", 0) for folder in folders] == [0, 1]


def test_masked_autoencoders_are_those_that_runs_use(pretrained_study, root):
    for folder in ("toy/half", "toy/.half.x", "toy/other", ".toy/half"):
        (root / "pretraining" / folder).mkdir(parents=True)
    (root / "pretraining" / "toy" / "file").touch()
    study = StudyFolder(root, validate_config(pretrained_study, "toy.yaml"))
    assert study.autoencoders == [Autoencoder("toy", "half"), Autoencoder("toy", "untrained")]
    assert study.run_folder(study.autoencoders[0]) == root / "pretraining" / "toy" / "half"
    assert study.left_out == {"runs": 1, "autoencoders": 1}
    assert study.left_out_sentence().endswith("name them: 1 run, 1 autoencoder.")
    assert StudyFolder(root, None).autoencoders == [Autoencoder("toy", "half"), Autoencoder("toy", "other")]


def test_an_empty_folder_has_no_content(tmp_path, config):
    for study in (StudyFolder(tmp_path / "none", config), StudyFolder(tmp_path / "none", None)):
        assert (study.datasets, study.pages("tables"), study.left_out) == ([], [], {})


def test_paths_of_the_configuration_are_relative_to_the_working_directory_of_the_workflow(tmp_path, monkeypatch):
    assert StudyFolder(tmp_path / "results" / "toy", None).home == tmp_path
    monkeypatch.chdir(tmp_path)
    assert str(StudyFolder(Path("results/toy"), None).home) == "."


class TestMissingFiles:
    @pytest.fixture
    def refuse(self, study, root):
        def check():
            StudyFolder(root, validate_config(study, "toy.yaml")).refuse_missing_files("toy.yaml")

        return check

    def test_a_missing_file_is_reported_with_key_and_nearest_file(self, study, root, refuse):
        study["datasets"]["toy"] = {"source": "path", "path": "raw/toys.zip"}
        home = root.parents[1]
        with pytest.raises(
            InputError, match=r"toy\.yaml: datasets\.toy\.path: raw/toys\.zip does not exist; correct the path"
        ):
            refuse()
        (home / "raw").mkdir()
        (home / "raw" / "toy.zip").touch()
        with pytest.raises(InputError, match=r"did you mean .*raw/toy\.zip\?"):
            refuse()
        (home / "raw" / "toys.zip").touch()
        refuse()

    def test_sources_of_prepared_datasets_and_trained_runs_may_be_missing(self, study, root, refuse):
        study["datasets"]["toy"] = {"source": "path", "path": "raw", "split": "list.csv"}
        study["architectures"]["unet"]["encoder_weights"] = "weights.pt"
        prepared = root / "prepared" / "toy"
        prepared.mkdir(parents=True)
        (prepared / "dataset.json").touch()
        with pytest.raises(InputError, match=r"architectures\.unet\.encoder_weights: weights\.pt does not exist"):
            refuse()
        for run in StudyFolder(root, validate_config(study, "toy.yaml")).runs:
            folder = root / "runs" / run.folder
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.pt").touch()
        refuse()
