import shutil

import pandas as pd
import pytest
import torch
from pyarrow import parquet
from tests.standins.run import DESCRIPTION

from spectralseg.config import validate_config
from spectralseg.errors import InputError
from spectralseg.evaluation.collect import collect
from spectralseg.files import notes_of, write_parquet
from spectralseg.grid import runs
from spectralseg.metrics.records import COLUMNS, read_records
from spectralseg.run_folder import read_settings
from spectralseg.run_folder import write_run as write_run_files

STUDY = {
    "name": "toy",
    "datasets": {"kvasir_seg": {"source": "phantom"}, "isic2018": {"source": "phantom"}},
    "architectures": {"unet": {"model": "unet"}},
    "objectives": {"spatial": {"base": "bce_dice"}},
    "grid": {"main": {"datasets": ["kvasir_seg", "isic2018"], "architectures": ["unet"], "objectives": ["spatial"]}},
}


@pytest.fixture
def config():
    STUDY["grid"]["main"]["seeds"] = [0, 1]
    return validate_config(STUDY, "toy.yaml")


def write_run(folder, run, **changes):
    """Two records with case, class and flag of this run only."""
    rows = [
        {
            **run.keys, "suite": "iid", "test_dataset": run.dataset, "corruption": "none", "severity": "0",
            "case": f"{run.dataset}{case}", "group": "g", "class": run.dataset, "protocol": "sound", "metric": "dsc",
            "value": value, "flag": f"flag{run.seed}",
        }
        for case, value in enumerate((0.25, float("nan")))
    ]  # fmt: skip
    file = folder / run.folder / "records.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).assign(**changes)
    frame.to_parquet(file, index=False)
    return frame


@pytest.mark.parametrize("kind", ["str", "category"])
def test_exactly_the_runs_of_the_grid_are_collected(config, tmp_path, kind):
    frames = [write_run(tmp_path, run) for run in runs(config)]
    text = [name for name in COLUMNS if name not in ("seed", "value")]
    for run in runs(config):
        file = tmp_path / run.folder / "records.parquet"
        pd.read_parquet(file).astype(dict.fromkeys(text, kind)).to_parquet(file, index=False)
    other = tmp_path / "kvasir_seg/unet/spatial/lambda0/seed7"
    other.mkdir(parents=True)
    (other / "records.parquet").write_bytes(b"not read")
    collect(config, tmp_path, tmp_path / "records.parquet")
    records = read_records(tmp_path / "records.parquet")
    expected = pd.concat(frames, ignore_index=True)
    pd.testing.assert_frame_equal(records.astype(expected.dtypes), expected)
    assert {str(records[name].dtype) for name in text} == {"category"}


@pytest.fixture
def bound(config, tmp_path):
    """Folders of the runs of the grid, with records that name their weights."""
    for run in runs(config):
        frame = write_run(tmp_path, run)
        folder = tmp_path / run.folder
        write_run_files(folder, {"best": {"seed": torch.tensor(hash(run))}}, {**DESCRIPTION, "run": run.keys})
        notes = {"run": run.keys, "weights_sha256": read_settings(folder)["weights_sha256"]}
        write_parquet(folder / "records.parquet", frame, notes)
    return [tmp_path / run.folder for run in runs(config)]


def test_records_that_name_their_weights_are_collected_without_a_warning(config, tmp_path, bound, caplog):
    collect(config, tmp_path, tmp_path / "records.parquet")
    assert caplog.text == ""
    (bound[0] / "run.json").unlink()
    collect(config, tmp_path, tmp_path / "records.parquet")
    assert "1 of 4 runs have records that name no weights; they are not verified" in caplog.text


def copied(source, target):
    shutil.copy(source / "records.parquet", target)


def relabelled(source, target):
    """Without the notes of the evaluation."""
    seed = pd.read_parquet(target / "records.parquet")["seed"]
    pd.read_parquet(source / "records.parquet").assign(seed=seed).to_parquet(target / "records.parquet", index=False)


def relabelled_with_notes(source, target):
    notes = notes_of(parquet.read_table(source / "records.parquet"))
    relabelled(source, target)
    write_parquet(target / "records.parquet", pd.read_parquet(target / "records.parquet"), notes)


def retrained(source, target):
    write_run_files(target, {"best": {}}, read_settings(target))


def repeated(source, target):
    frame, notes = pd.read_parquet(target / "records.parquet"), notes_of(parquet.read_table(target / "records.parquet"))
    write_parquet(target / "records.parquet", pd.concat([frame, frame.head(1)]), notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (copied, "holds 0 as seed, but its folder is that of 1"),
        (relabelled, r"holds the evaluation of other weights than those of run\.json"),
        (relabelled_with_notes, "holds the evaluation of another run"),
        (retrained, r"holds the evaluation of other weights than those of run\.json"),
        (repeated, "1 values are recorded twice"),
    ],
)
def test_records_of_another_run_or_other_weights_are_an_error(config, tmp_path, bound, change, message):
    change(*bound[:2])
    with pytest.raises(InputError, match=rf"seed1/records\.parquet: {message}; evaluate the run again"):
        collect(config, tmp_path, tmp_path / "records.parquet")
    assert not (tmp_path / "records.parquet").exists()


def test_a_missing_run_is_an_error_and_nothing_is_written(config, tmp_path):
    first, *_ = runs(config)
    write_run(tmp_path, first)
    with pytest.raises(InputError, match=r"seed1/records\.parquet: cannot be read as metric records"):
        collect(config, tmp_path, tmp_path / "records.parquet")
    assert not (tmp_path / "records.parquet").exists()


def test_an_unfinished_study_is_collected_if_asked_and_missing_runs_are_counted(config, tmp_path, caplog):
    with pytest.raises(InputError, match="no run of the study is evaluated yet"):
        collect(config, tmp_path, tmp_path / "records.parquet", unfinished=True)
    first, *others = runs(config)
    frame = write_run(tmp_path, first)
    collect(config, tmp_path, tmp_path / "records.parquet", unfinished=True)
    assert f"{len(others)} of {len(others) + 1} runs are not evaluated and left out" in caplog.messages
    assert len(read_records(tmp_path / "records.parquet")) == len(frame)
    for run in others:
        write_run(tmp_path, run)
    caplog.clear()
    collect(config, tmp_path, tmp_path / "records.parquet", unfinished=True)
    assert not any("left out" in message for message in caplog.messages)
    collect(config, tmp_path, tmp_path / "all.parquet")
    assert (tmp_path / "records.parquet").read_bytes() == (tmp_path / "all.parquet").read_bytes()


def test_a_damaged_file_is_named(config, tmp_path):
    for run in runs(config):
        write_run(tmp_path, run)
    file = tmp_path / runs(config)[1].folder / "records.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"seed1/records\.parquet: cannot be read"):
        collect(config, tmp_path, tmp_path / "records.parquet")


def test_other_columns_are_an_error(config, tmp_path):
    for run in runs(config):
        write_run(tmp_path, run, extra=1)
    with pytest.raises(InputError, match="has other columns than this version writes"):
        collect(config, tmp_path, tmp_path / "records.parquet")
