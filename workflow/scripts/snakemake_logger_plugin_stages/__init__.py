"""Show a run of Snakemake as stages, share and time left: PYTHONPATH=workflow/scripts snakemake --logger stages.

Failed jobs are shown in full with their logs. Other Snakemake output goes to .snakemake/log.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from logging import WARNING, LogRecord

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# What a job of a rule takes, relative to others: it makes the share of work that is done, and the time left.
WORK = {"train": 5.0, "evaluate": 3.0, "prepare": 1.0, "table": 1.0, "figure": 1.0, "study": 1.5}
_OTHER = 0.7
_FAILURES = (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR, LogEvent.ERROR)
_TOLD = ("Nothing to be done", "Complete log")
_PAUSE = 15.0  # seconds between lines where there is no terminal


class LogHandler(LogHandlerBase):  # type: ignore[misc]
    """The plugin, as Snakemake looks for it."""

    writes_to_stream = has_filter = has_formatter = True
    writes_to_file = needs_rulegraph = False

    def __post_init__(self) -> None:
        self._failures = DefaultFormatter(show_failed_logs=True)
        self._total: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._running: dict[int, str] = {}
        self._start = self._last = time.monotonic()

    def emit(self, record: LogRecord) -> None:
        """Show what a record says, if anything."""
        event, fields = getattr(record, "event", None), record.__dict__
        if event == LogEvent.RUN_INFO:
            self._total = Counter({rule: count for rule, count in fields["stats"].items() if rule != "total"})
        elif event == LogEvent.JOB_INFO:
            self._running[fields["jobid"]] = fields["rule_name"]
        elif event == LogEvent.JOB_FINISHED:
            self._done[self._running.pop(fields["job_id"], "")] += 1
        elif event in _FAILURES:
            self._running.pop(fields.get("jobid", -1), None)
            self._write(self._failures.format(record))
        elif event is None and (record.levelno >= WARNING or record.getMessage().startswith(_TOLD)):
            self._write(record.getMessage())
        if event in (LogEvent.JOB_INFO, LogEvent.JOB_FINISHED):
            self._show()

    def _show(self) -> None:
        """Bring the line up to date; without a terminal, add one now and then."""
        now = time.monotonic()
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{self.line(now)}")
            sys.stderr.flush()
        elif now - self._last > _PAUSE:
            self._last = now
            self._write(self.line(now))

    def line(self, now: float) -> str:
        """``train 12 of 32, evaluate 3 of 32: 31 %, 1:20 gone, about 2:58 left``."""
        total, done = (
            sum(WORK.get(rule, _OTHER) * n for rule, n in jobs.items()) for jobs in (self._total, self._done)
        )
        share, elapsed = min(done / total, 1.0) if total else 0.0, now - self._start
        running = Counter(self._running.values())
        stages = [f"{rule} {self._done[rule] + n} of {self._total[rule]}" for rule, n in running.items()]
        left = f", about {_clock(elapsed * (1 / share - 1))} left" if share > 0.02 else ""
        return f"{', '.join(stages) or 'done'}: {share:.0%}, {_clock(elapsed)} gone{left}"

    def _write(self, text: str) -> None:
        sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + text.rstrip("\n") + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the last line as it is."""
        if sys.stderr.isatty() and self._done:
            self._write(self.line(time.monotonic()))
            self._done.clear()
        super().close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
