import os

import pytest

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.operations.deployment import DEPLOYED, deploy


def test_a_deployed_folder_has_the_files_of_the_repository(tmp_path, repository):
    deploy(tmp_path / "study")
    for name in DEPLOYED:
        source, target = repository / name, tmp_path / "study" / name
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        visible_files = [file for file in files if "__pycache__" not in file.parts]
        assert visible_files
        for file in visible_files:
            copy = target / file.relative_to(source) if source.is_dir() else target
            assert copy.read_bytes() == file.read_bytes()
    assert os.readlink(tmp_path / "study" / "slurm") == os.readlink(repository / "slurm")
    assert "$" not in (tmp_path / "study" / "README.md").read_text(encoding="utf-8")
    script = tmp_path / "study" / "envs" / "environment.post-deploy.sh"
    assert os.access(script, os.X_OK)


def test_existing_files_are_kept(tmp_path, capsys):
    (tmp_path / "Snakefile").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty; remove the folder or choose another name"):
        deploy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Snakefile"]
    assert (tmp_path / "Snakefile").read_text(encoding="utf-8") == "mine"
    assert cli.main(["init", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_an_empty_folder_is_filled(tmp_path, capsys):
    assert cli.main(["init", str(tmp_path)]) == 0
    assert "snakemake -n --configfile config/demo.yaml" in capsys.readouterr().out
    assert (tmp_path / "workflow" / "Snakefile").is_file()
