"""Status of the runs, masked autoencoders and failed jobs of a study, read from its folder.

It needs no server and works the same with and without SLURM, which is asked only for the reasons of queued jobs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectralseg import slurm
from spectralseg.config import Config
from spectralseg.errors import InputError, explained
from spectralseg.grid import Autoencoder, Run
from spectralseg.loading import reading
from spectralseg.operations.heartbeat import Beat, read_beat
from spectralseg.parsing import read_json
from spectralseg.study_folder import PAGES, StudyFolder

SLURM_LOGS = ".snakemake/slurm_logs"  # logs of SLURM jobs of the workflow

State = Literal["done", "diverged", "outdated", "unreadable", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "diverged", "outdated", "unreadable", "running", "failed", "waiting")
FINAL: tuple[State, ...] = ("done", "diverged")  # states of runs without remaining work

_SENTENCE = re.compile(r"^error: (.+)")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning)\b(?:: .+)?$")
_SLURM = re.compile(r"(?:oom.?kill|out of memory|DUE TO |CANCELLED|NODE FAIL|Killed)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(_\d+)?", re.ASCII)  # of a SLURM job
_RECORDS = "records.parquet"
_RETRAIN = "delete it, so that the workflow repeats the training"
_MAX_BYTES = 2**24  # of run.json
_OF_A_DATASET = {"fetch", "phantom", "prepare", "export", "cards"}  # folders of logs with one for each dataset
_KILLED = "ended without an error message: killed by kill -9, a limit on memory or time, or a reboot"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Validation(_Strict):
    """Keys that are read from a line of the training log."""

    iteration: Annotated[int, Field(ge=0, lt=2**53)]
    score: float


class _RunValidation(_Validation):
    score: Annotated[float, Field(ge=0, le=1, validation_alias="validation_dice")]


class _AutoencoderValidation(_Validation):
    score: Annotated[float, Field(le=1, validation_alias="validation_r2")]


class _Training(_Strict):
    """Keys that are read from run.json."""

    seconds: Annotated[float, Field(ge=0, le=1e12)]
    iterations: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    diverged: str | None = None
    data: dict[str, Any]


class _OwnTraining(_Training):
    training: dict[str, Any]


class _RunTraining(_OwnTraining):
    architecture: dict[str, Any]
    objective: dict[str, Any]


@dataclass(frozen=True)
class _Kind:
    """What distinguishes runs, those of external methods, and masked autoencoders.

    Attributes:
        tasks: rules of the workflow in their order, the training first, and the outputs of each.
        rule: ending of the names of its rules.
        wildcards: keys that are wildcards of its rules.
        score: key of the validation score in the training log.
        symbol: short name of this score.
        validation: a line of the training log.
        training: ``run.json``.
    """

    tasks: Mapping[str, Set[str]]
    rule: str
    wildcards: tuple[str, ...]
    score: str
    symbol: str
    validation: type[_Validation]
    training: type[_Training]

    @property
    def first(self) -> str:
        """The task that trains."""
        return next(iter(self.tasks))


_WEIGHTS, _EVALUATION = {"model.pt", "run.json", "history.jsonl"}, {_RECORDS, "reliability.parquet", "examples.npz"}
_RUN = _Kind(
    {"train": _WEIGHTS, "evaluate": _EVALUATION},
    "",
    ("dataset", "architecture", "objective", "lambda", "seed"),
    *("validation_dice", "Dice"),
    _RunValidation,
    _RunTraining,
)
_EXTERNAL = replace(
    _RUN,
    tasks={"train": {"run.json"}, "evaluate": _EVALUATION},
    rule="_external",
    wildcards=("dataset", "architecture", "seed"),
    training=_Training,
)
_AUTOENCODER = _Kind(
    {"pretrain": _WEIGHTS | {"map_quality.csv", "residual_maps.png"}},
    "",
    ("dataset", "pretraining"),
    *("validation_r2", "R²"),
    _AutoencoderValidation,
    _OwnTraining,
)


def _kind_of(run: Run | Autoencoder) -> _Kind:
    if isinstance(run, Autoencoder):
        return _AUTOENCODER
    return _EXTERNAL if run.external else _RUN


@dataclass(frozen=True)
class RunStatus:
    """Status of a run or of a masked autoencoder.

    Attributes:
        run: the run or the masked autoencoder.
        state: ``done`` after the last task, the evaluation of a run, or ``diverged`` if the run could not be scored;
            ``waiting`` before training, between training and evaluation, while the job is in the queue of SLURM, and
            after an interruption, from which the run resumes when the workflow is started again; ``outdated`` if
            settings, data or a masked autoencoder have changed since training, so that the workflow retrains the run;
            ``unreadable`` if a file is damaged.
        trained: whether training is finished.
        task: the current, failed or next task, ``train`` or ``evaluate`` of a run, ``pretrain`` of an autoencoder;
            empty without remaining work.
        step: current step of the task.
        done: finished units of the step; iterations during training.
        total: units of the step; None if unknown.
        seconds_left: estimated time until the step is finished, 0 for an autoencoder without iterations; None if
            unknown.
        iteration: iteration of the last validation; None before the first.
        score: its score, Dice of a run in [0, 1], R² of hidden pixels of an autoencoder up to 1.
        seconds: training time; None before training is finished, for runs that diverged, which end early, and for
            autoencoders without iterations.
        queued: reason why the SLURM job is queued; empty if it is not.
        waits_for: masked autoencoders that are not trained and that an untrained run needs.
        where: device, machine and SLURM job of a running task.
        error: first line of the error, the reason for divergence, or what is outdated or unreadable; otherwise empty.
        log: file with the full error, relative to the working directory; empty without an error.
    """

    run: Run | Autoencoder
    state: State
    trained: bool
    task: str
    step: str = ""
    done: float = 0
    total: float | None = None
    seconds_left: float | None = None
    iteration: int | None = None
    score: float | None = None
    seconds: float | None = None
    queued: str = ""
    waits_for: tuple[str, ...] = ()
    where: str = ""
    error: str = ""
    log: str = ""

    @property
    def kind(self) -> _Kind:
        """What is specific to runs or to masked autoencoders."""
        return _kind_of(self.run)

    @property
    def title(self) -> str:
        """Folder of the run below ``runs``; that of an autoencoder with ``pretraining``."""
        return self.run.folder if isinstance(self.run, Run) else f"{self.run.parent}/{self.run.folder}"


def study_status(config: Config, results: Path, queue: Iterable[tuple[str, str]] = ()) -> list[RunStatus]:
    """The status of every masked autoencoder and every run of a study, in the order of its grid.

    Args:
        config: the study.
        results: its results folder; it need not exist.
        queue: queued jobs, from :func:`study_queue`.
    """
    study, reasons = StudyFolder(results, config), dict(queue)
    autoencoders = {autoencoder: _status(study, autoencoder, reasons) for autoencoder in study.autoencoders}
    untrained = {autoencoder for autoencoder, status in autoencoders.items() if not status.trained}
    missing = {run: [item.name for item in study.autoencoders_of(run) if item in untrained] for run in study.runs}
    return [*autoencoders.values(), *(_status(study, run, reasons, missing[run]) for run in study.runs)]


def of_runs(statuses: Iterable[RunStatus]) -> list[RunStatus]:
    """The statuses of runs."""
    return [status for status in statuses if isinstance(status.run, Run)]


def of_autoencoders(statuses: Iterable[RunStatus]) -> list[RunStatus]:
    """The statuses of masked autoencoders."""
    return [status for status in statuses if isinstance(status.run, Autoencoder)]


def study_queue(results: Path) -> list[tuple[str, str]]:
    """Queued SLURM jobs of a study: the path of each log in ``SLURM_LOGS``, and the reason why it is queued."""
    name = _lines(results / "logs" / "slurm_name.txt")
    return slurm.queued(name[0], _slurm_logs(results)) if name else []  # without a name, no job was submitted to SLURM


@dataclass(frozen=True)
class FailedJob:
    """A job of the workflow that is not one of a run or of a masked autoencoder, and whose last attempt failed.

    Attributes:
        name: rule or kind of page, and what it was for, such as ``prepare/acdc``, ``tables/summary`` or ``leakage``.
        error: first line of the error.
        log: file with the full error, relative to the working directory.
    """

    name: str
    error: str
    log: str


def failed_jobs(study: StudyFolder) -> list[FailedJob]:
    """Jobs whose logs end with an error, sorted by name; every attempt overwrites its log.

    Logs of datasets and pages that the configuration does not name are left out.
    """
    logs = {
        file.relative_to(study.root / "logs").with_suffix(""): file for file in (study.root / "logs").rglob("*.log")
    }
    if study.config:
        logs |= {
            Path("fetch", file.stem): file for file in (study.home / study.config.downloads / "logs").glob("*.log")
        }
    found = []
    for name, file in sorted(logs.items()):
        if (error := first_error(_lines(file))) and _in_study(study.config, name):
            found.append(FailedJob(name.as_posix(), error, str(file)))
    return found


def _in_study(config: Config | None, name: Path) -> bool:
    kind = name.parent.name
    if config is None or not kind:
        return True
    if kind in PAGES:
        pages = getattr(config, kind)
        return pages is None or name.name in pages
    return kind not in _OF_A_DATASET or name.name in config.datasets


def _slurm_logs(results: Path) -> Path:
    return StudyFolder(results, None).home / SLURM_LOGS


def _status(
    study: StudyFolder, run: Run | Autoencoder, queue: Mapping[str, str], missing: Sequence[str] = ()
) -> RunStatus:
    """The status of a run or of a masked autoencoder, ``unreadable`` if its files are damaged.

    Args:
        study: the study.
        run: the run or the masked autoencoder.
        queue: reasons of queued jobs by their log.
        missing: names of the masked autoencoders of the run that are not trained.
    """
    try:
        return _readable_status(study, run, queue, missing)
    except InputError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or study.run_folder(run)}: {explained(error)}"
    return RunStatus(run, "unreadable", trained=True, task="", error=reason, log=str(study.run_folder(run)))


def _readable_status(
    study: StudyFolder, run: Run | Autoencoder, queue: Mapping[str, str], missing: Sequence[str]
) -> RunStatus:
    folder, kind = study.run_folder(run), _kind_of(run)
    present = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    trained = kind.tasks[kind.first] <= present
    values, changed, diverged = _last_validation(folder, kind), "", ""
    if trained:
        description = read_json(folder / "run.json", _MAX_BYTES, _RETRAIN)
        values["seconds"], diverged = _training_result(folder / "run.json", description, kind)
        changed = _outdated(study, run, description, missing)
    trained = trained and not changed
    if not trained:
        values["waits_for"] = tuple(missing)
    beat = read_beat(folder)
    if beat and beat.alive:
        progress = (beat.step, beat.done, beat.total, beat.seconds_left)
        return RunStatus(run, "running", trained, beat.task, *progress, where=_where(beat), **values)
    if not trained and _without_iterations(study, run):
        values["seconds_left"] = 0.0
    if changed:
        values["seconds"] = None
        values["queued"] = queue.get(_job(kind.first, run), "")
        return RunStatus(run, "outdated", False, kind.first, error=changed, log=str(folder), **values)
    task = next((task for task, outputs in kind.tasks.items() if not outputs <= present), "")
    if not task:
        if reason := diverged or (_divergence(folder / _RECORDS) if _RECORDS in present else ""):
            return RunStatus(run, "diverged", True, "", error=reason, log=str(folder))
        return RunStatus(run, "done", True, "", **values)
    if queued := queue.get(_job(task, run)):
        return RunStatus(run, "waiting", trained, task, queued=queued, **values)
    error, log = _error(folder, task, beat, _slurm_logs(study.root))
    return RunStatus(run, "failed" if error else "waiting", trained, task, error=error, log=log, **values)


def _without_iterations(study: StudyFolder, run: Run | Autoencoder) -> bool:
    """Whether it is a masked autoencoder that stays untrained."""
    if not isinstance(run, Autoencoder) or study.config is None:
        return False
    return not study.config.pretraining[run.name].iterations


def _outdated(
    study: StudyFolder, run: Run | Autoencoder, description: Mapping[str, Any], missing: Sequence[str]
) -> str:
    """Why the workflow retrains a trained run or masked autoencoder; empty if it does not."""
    if changed := study.outdated(run, description):
        return f"'{changed}' differs from run.json; the workflow retrains it"
    return f"its masked autoencoder '{missing[0]}' is not trained; the workflow trains both" if missing else ""


def _job(task: str, run: Run | Autoencoder) -> str:
    """Log folder of the workflow's job for a task, in ``SLURM_LOGS``: the wildcards of the rule in their order."""
    kind = _kind_of(run)
    return f"rule_{task}{kind.rule}/{'_'.join(str(run.keys[key]) for key in kind.wildcards)}"


def _error(folder: Path, task: str, beat: Beat | None, slurm_logs: Path) -> tuple[str, str]:
    """First line of the error that ended a task, and the file with more; both empty without an error."""
    log = folder / f"{task}.log"
    if beat and beat.task == task:
        if beat.interrupted:
            return "", ""
        if beat.error:
            return beat.error, str(log if log.exists() else folder)
        for file in slurm_logs.glob(f"**/{beat.slurm_job}.log") if _NUMBER.fullmatch(beat.slurm_job) else ():
            if messages := [line for line in _lines(file) if _SLURM.search(line)]:
                return messages[0], str(file)
        return _KILLED, str(log if log.exists() else folder)
    error = first_error(_lines(log))
    return (error, str(log)) if error else ("", "")


def first_error(lines: Sequence[str]) -> str:
    """First line of the error in the log of a command: its error message, or the exception of the last traceback.

    Empty without an error.
    """
    for line in reversed(lines):
        if match := _SENTENCE.match(line):
            return match[1]
        if _EXCEPTION.match(line) and any(other.startswith("Traceback (") for other in lines):
            return line
    return ""


def _lines(file: Path) -> list[str]:
    """The last lines of a text file, at most 64 KiB; empty if it is not a regular file, as reading a pipe blocks."""
    if not file.is_file():
        return []
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 2**16))
            return stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _last_validation(folder: Path, kind: _Kind) -> dict[str, Any]:
    """Iteration and score of the last validation; empty before the first.

    Raises:
        InputError: the training log is damaged.
    """
    file = folder / "history.jsonl"
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: is not a regular file; {_RETRAIN}")
    for line in reversed(_lines(file)):
        try:
            return kind.validation.model_validate_json(line).model_dump()
        except ValidationError:
            raise InputError(f"{file}: last line is not a valid entry; {_RETRAIN}") from None
    return {}


def _training_result(file: Path, recorded: Any, kind: _Kind) -> tuple[float | None, str]:
    """Training time, None if the run diverged or has no iterations, and the reason for divergence, if any.

    Raises:
        InputError: the description of the run is damaged.
    """
    try:
        training = kind.training.model_validate(recorded)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"])) or "content"
        raise InputError(f"{file}: '{key}' is missing or damaged; {_RETRAIN}") from None
    if training.diverged:
        return None, training.diverged
    return (None if training.iterations == 0 else training.seconds), ""


def _divergence(file: Path) -> str:
    """Reason why an evaluated run diverged; empty if it did not.

    Raises:
        InputError: the records are damaged.
    """
    from pyarrow import parquet  # takes half a second to import

    from spectralseg.metrics.records import divergence

    with reading(file, "metric records", "delete it, so that the workflow evaluates the run again"):
        parquet.read_metadata(file)
    return divergence(file)


def _where(beat: Beat) -> str:
    job = f"SLURM job {beat.slurm_job}" if beat.slurm_job else ""
    return ", ".join(part for part in (beat.device and f"device {beat.device}", beat.host, job) if part)
