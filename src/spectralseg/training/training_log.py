"""The training log of a run: a line of JSON per validation, and event files for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spectralseg.files import replacing
from spectralseg.run_folder import HISTORY


class TrainingLog:
    """Writes ``history.jsonl``, which is complete after every entry, and ``tensorboard/``.

    Args:
        folder: the run folder.
        tensorboard: whether to write event files.
        start: iteration at which training starts or resumes. TensorBoard discards later events of earlier attempts.
    """

    def __init__(self, folder: Path, *, tensorboard: bool, start: int) -> None:
        self.file = folder / HISTORY
        self.writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

            self.writer = SummaryWriter(folder / "tensorboard", purge_step=start + 1)

    def scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Write values to the event files."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, iteration)

    def write(self, history: list[dict[str, float]]) -> None:
        """Replace ``history.jsonl``."""
        with replacing(self.file) as partial:
            partial.write_text("".join(json.dumps(entry) + "\n" for entry in history), encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.close()
