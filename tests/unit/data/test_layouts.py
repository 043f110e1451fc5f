"""If a folder within the official layout is given as raw data, the error names the folder to give instead."""

import shutil
import unicodedata
import zipfile

import pytest

from spectralseg import cli
from spectralseg.data import phantoms
from spectralseg.data.cases import OTHER_LAYOUT
from spectralseg.data.readers import read_cases

# Folder within the unpacked phantom, and the folder of the dataset.
INNER = [
    ("acdc", "ACDC/database/training", "ACDC/database"),
    ("acdc", "ACDC/database/training/patient049", "ACDC/database"),
    ("synapse", "RawData/Training", "RawData"),
    ("synapse", "RawData/Training/img", "RawData"),
    ("synapse", "RawData/Training/label", "RawData"),
    ("monuseg", "MoNuSegTestData", "."),
    ("monuseg", "MoNuSeg 2018 Training Data/Tissue Images", "MoNuSeg 2018 Training Data"),
    ("monuseg", "MoNuSeg 2018 Training Data/Annotations", "MoNuSeg 2018 Training Data"),
    ("kvasir_seg", "Kvasir-SEG/images", "Kvasir-SEG"),
    ("kvasir_seg", "Kvasir-SEG/masks", "Kvasir-SEG"),
    ("isic2018", "ISIC2018_Task1-2_Training_Input", "."),
    ("isic2018", "ISIC2018_Task1_Training_GroundTruth", "."),
]


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """``unpacked(name)``: a phantom in the official layout; tests must not change it."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            for file in phantoms.generate(name, tmp_path_factory.mktemp("archives"), cases=3, side=24, seed=2):
                if file.suffix == ".zip":
                    with zipfile.ZipFile(file) as archive:
                        archive.extractall(made[name])
                else:
                    shutil.copy(file, made[name])
        return made[name]

    return make


def prepare(repository, tmp_path, name, raw):
    specification = repository / "workflow" / "rules" / "datasets" / f"{name}.smk"
    arguments = [specification, "--raw", raw, "--out", tmp_path / "prepared", "--image-size", 16, "--allow-partial"]
    return cli.main(["prepare", *map(str, arguments)])


@pytest.mark.parametrize(("name", "inner", "outer"), INNER, ids=[inner for _, inner, _ in INNER])
def test_the_parent_folder_is_named(unpacked, repository, tmp_path, capsys, name, inner, outer):
    root = unpacked(name)
    assert prepare(repository, tmp_path, name, root / inner) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.endswith(f"of the official layout: give the folder that holds it, {(root / outer).resolve()}")
    assert str(root / inner) in line


@pytest.mark.parametrize("name", sorted({name for name, *_ in INNER}))
def test_another_folder_is_not_taken_for_a_part(repository, tmp_path, capsys, name):
    (tmp_path / "raw" / "elsewhere").mkdir(parents=True)
    (tmp_path / "raw" / "elsewhere" / "a.txt").touch()
    assert prepare(repository, tmp_path, name, tmp_path / "raw") == 1
    assert capsys.readouterr().err.rstrip().endswith(f"; {OTHER_LAYOUT}")


@pytest.mark.parametrize("scratch", ["prepared", "link/prepared"])
def test_temporary_folders_are_not_named(repository, tmp_path, capsys, scratch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    files = phantoms.generate("isic2018", tmp_path / "raw", cases=3, side=24, seed=2)
    zips = [file for file in files if file.suffix == ".zip"]
    assert len(zips) > 1
    for file in zips:
        specification = repository / "workflow" / "rules" / "datasets" / "isic2018.smk"
        arguments = [specification, "--raw", file, "--out", tmp_path / scratch, "--image-size", 16]
        assert cli.main(["prepare", *map(str, arguments)]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"error: {file}: no file matches")
        assert line.endswith("a part of the official layout: add the other files, and give the folder that holds all")
        assert ".unpacked" not in line


def test_underscores_for_spaces_in_folders_of_tiles(unpacked, repository, tmp_path, capsys):
    root = shutil.copytree(unpacked("monuseg"), tmp_path / "raw")
    expected = sorted(case.id for case in read_cases("monuseg", root, {}))
    folder = root / "MoNuSeg 2018 Training Data" / "Tissue Images"
    folder = folder.rename(folder.with_name("Tissue_Images"))
    assert sorted(case.id for case in read_cases("monuseg", root, {})) == expected
    assert prepare(repository, tmp_path, "monuseg", folder) == 1
    assert capsys.readouterr().err.rstrip().endswith(f"give the folder that holds it, {folder.parent.resolve()}")


def test_annotations_without_tiles_are_a_part(unpacked, repository, tmp_path, capsys):
    root = shutil.copytree(unpacked("monuseg") / "MoNuSeg 2018 Training Data", tmp_path / "raw")
    shutil.rmtree(root / "Tissue Images")
    assert prepare(repository, tmp_path, "monuseg", root) == 1
    assert "it has only a part of the official layout: add the other files" in capsys.readouterr().err


def test_tiles_and_annotations_pair_across_unicode_forms(unpacked, repository, tmp_path):
    root = shutil.copytree(unpacked("monuseg"), tmp_path / "raw")
    folder = root / "MoNuSegTestData"
    stem = sorted(folder.glob("*.tif"))[0].stem
    for suffix, form in ((".tif", "NFC"), (".xml", "NFD")):
        (folder / f"{stem}{suffix}").rename(folder / f"{unicodedata.normalize(form, 'é')}{suffix}")
    cases = {case.id: case for case in read_cases("monuseg", root, {})}
    assert cases["é"].load().labels.any()
