import logging
import sys

import pytest
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent


@pytest.fixture
def shown(monkeypatch, repository):
    monkeypatch.syspath_prepend(str(repository / "workflow" / "scripts"))
    from snakemake_logger_plugin_stages import LogHandler

    return LogHandler(OutputSettings(), None)


def tell(shown, message="", level=logging.INFO, **fields):
    record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
    vars(record).update(fields)
    shown.emit(record)


def start(shown, jobid, rule):
    tell(shown, event=LogEvent.JOB_INFO, jobid=jobid, rule_name=rule)


def test_the_line_names_what_runs_and_the_time_left(shown):
    tell(shown, event=LogEvent.RUN_INFO, stats={"train": 2, "evaluate": 2, "total": 4})
    start(shown, 1, "train")
    tell(shown, event=LogEvent.JOB_FINISHED, job_id=1)
    start(shown, 2, "train")
    start(shown, 3, "evaluate")
    line = shown.line(shown._start + 100)
    assert line == "train 2 of 2, evaluate 1 of 2: 31%, 1:40 gone, about 3:40 left"


def test_jobs_that_come_later_count(shown):
    tell(shown, event=LogEvent.RUN_INFO, stats={"leakage": 1, "total": 1})
    start(shown, 1, "leakage")
    tell(shown, event=LogEvent.JOB_FINISHED, job_id=1)
    tell(shown, event=LogEvent.RUN_INFO, stats={"leakage": 1, "train": 9, "total": 10})
    assert ": 2%," in shown.line(shown._start)


def test_failures_are_shown_in_full_and_all_else_is_not(shown, capsys, tmp_path):
    log = tmp_path / "train.log"
    log.write_text("error: kvasir_seg: no such file\n")
    failed = dict.fromkeys(("msg", "rule_msg", "conda_env", "shellcmd", "wildcards"), "")
    failed |= {"rule_name": "train", "jobid": 1, "input": [], "output": ["model.pt"], "log": [str(log)], "aux": {}}
    start(shown, 1, "train")
    tell(shown, event=LogEvent.JOB_ERROR, **failed)
    tell(shown, "Select jobs to execute...")
    tell(shown, "Nothing to be done (all requested files are present and up to date).")
    tell(shown, "WorkflowError: no such dataset", logging.ERROR)
    said = capsys.readouterr().err
    assert "Error in rule train" in said
    assert f"log: {log}" in said
    assert "error: kvasir_seg: no such file" in said
    assert "Select" not in said
    assert said.splitlines()[-2:] == [
        "Nothing to be done (all requested files are present and up to date).",
        "WorkflowError: no such dataset",
    ]


def test_a_terminal_has_one_line(shown, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell(shown, event=LogEvent.RUN_INFO, stats={"card": 2, "total": 2})
    for job in (1, 2):
        start(shown, job, "card")
        tell(shown, event=LogEvent.JOB_FINISHED, job_id=job)
    shown.close()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith("done: 100%, 0:00 gone, about 0:00 left\n")
