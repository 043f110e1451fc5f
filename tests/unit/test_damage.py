"""Commands that read a damaged output of a study report it in one sentence with its name."""

import shutil

import pytest
import yaml
from tests.conftest import REPOSITORY, STUDY

from spectralseg import cli

RUNS = {"spatial": "runs/toy/unet/spatial/lambda0/seed0", "mixed": "runs/toy/unet/mixed/lambda0.2/seed0"}
RUN = RUNS["mixed"]
PREPARED = "prepared/toy"
COMMANDS = {
    "train": f"train --config config.yaml --data {PREPARED} --out stopped --architecture unet --objective mixed "
    "--lambda 0.2 --device cpu",
    "evaluate": f"evaluate --config config.yaml --data {PREPARED} --run {RUN} --out out --device cpu",
    "predict": f"predict {RUN} --data {PREPARED} --out out --device cpu",
    "export": f"export-model {RUN} --data {PREPARED} --out out --format torchscript",
    "collect": "collect runs --config config.yaml --out out.parquet",
    "compare": "compare records.parquet --baseline spatial --out out.parquet",
    "score": f"score --predictions predictions --data {PREPARED} --method theirs --leakage leakage.parquet --out out",
    "claims": f"claims . --published {REPOSITORY / 'config' / 'published'} --out out",
    "report": "report . --out out",
}
READERS = {
    f"{RUN}/model.pt": ["evaluate", "predict", "export"],
    f"{RUN}/run.json": ["evaluate", "predict", "export", "collect", "report"],
    f"{RUN}/records.parquet": ["export", "collect"],
    f"{RUN}/examples.npz": ["report"],
    "stopped/state.pt": ["train"],
    "records.parquet": ["compare", "claims", "report"],
    "claims.csv": ["report"],
    "claims_papers.csv": ["report"],
    "leakage.parquet": ["score", "claims", "report"],
    "leakage.csv": ["score"],
    "leakage_development.parquet": ["score"],
    f"{PREPARED}/dataset.json": ["train", "evaluate", "predict", "report"],
    f"{PREPARED}/cases.csv": ["train", "evaluate", "report"],
    f"{PREPARED}/images.npy": ["train", "evaluate"],
    f"{PREPARED}/masks.npy": ["train", "evaluate"],
    f"{PREPARED}/native_labels.bin": ["evaluate"],
}
DAMAGES = {
    "cut": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "foreign": lambda content: b"\xff\xfe\x00 of another program\n" * 40,
}


@pytest.fixture(scope="module")
def study_root(tmp_path_factory, toy):
    """A study of two runs with all outputs, and an interrupted training."""
    root = tmp_path_factory.mktemp("study")
    shutil.copytree(toy.path, root / PREPARED)
    study = {**STUDY, "evaluation": {**STUDY["evaluation"], "suites": ["iid"], "recheck": 0}}
    (root / "config.yaml").write_text(yaml.safe_dump(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for objective, folder in RUNS.items():
            identity = f"--objective {objective} --lambda {folder.split('lambda')[1].split('/')[0]}"
            data = f"--config config.yaml --data {PREPARED} --device cpu"
            run(f"train {data} --architecture unet {identity} --out {folder}")
            run(f"evaluate {data} --run {folder}")
        run("collect runs --config config.yaml --out records.parquet")
        run("compare records.parquet --baseline spatial --out comparisons.parquet")
        run(f"leakage {PREPARED} --out leakage.parquet")
        run(COMMANDS["claims"].replace("--out out", "--out ."))
        run(f"predict {RUN} --data {PREPARED} --out predictions --device cpu")
        assert cli.main(f"{COMMANDS['train']} --time-limit 0:01".split()) == 75
        run("report . --out page")
    return root


def run(command):
    assert cli.main(command.split()) == 0, command


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_reported_in_one_sentence(name, damage, study_root, monkeypatch, capsys):
    monkeypatch.chdir(study_root)
    file, content = study_root / name, (study_root / name).read_bytes()
    present = set(study_root.rglob("*"))
    try:
        file.write_bytes(DAMAGES[damage](content))
        for command in READERS[name] if damage == "cut" else READERS[name][:1]:
            assert cli.main(COMMANDS[command].split()) == 1, command
            lines = capsys.readouterr().err.splitlines()
            # Damage makes the files of a prepared dataset inconsistent: any of them may be reported.
            start = f"error: {PREPARED}/" if name.startswith(PREPARED) else f"error: {name}: "
            assert lines[-1].startswith(start), command
            assert "; " in lines[-1], "a remedy"
            assert not any("Traceback" in line for line in lines)
    finally:
        file.write_bytes(content)
    written = {path for path in study_root.rglob("*") if path.is_file() and path.name != "progress.json"} - present
    assert not written, "nothing half-written"
