"""Papermill with an in-process engine: ``python -m spectralseg.papermill NOTEBOOK OUTPUT``.

A kernel named python3 may belong to another Python, as Jupyter takes the first one that it finds. In the process of
papermill, no kernel has to be chosen or started, and notebooks do not compete for ports. Options are those of
``papermill``.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets import Type
from traitlets.config import Config

from spectralseg.startup import spare_garbage_collection

ENGINE = "in-process"


class InProcess(Engine):  # type: ignore[misc]
    """Runs the cells of a notebook in order and stops after the first failure."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, *, log_output: bool = False, **options: Any
    ) -> None:
        """Fill the outputs of all cells.

        Args:
            nb_man: the notebook and its callbacks of papermill.
            kernel_name: ignored; papermill selects the language of parameters by it.
            log_output: whether the output of cells is also printed.
            options: options of other engines, ignored.
        """
        nb_man.nb.metadata["language_info"] = {"name": "python", "version": platform.python_version()}
        with _shell() as shell:
            for index, cell in enumerate(nb_man.nb.cells):
                if cell.cell_type != "code" or not cell.source.strip():
                    continue
                nb_man.cell_start(cell, index)
                succeeded = shell.run(cell, log_output=log_output)
                if not succeeded:
                    nb_man.cell_exception(cell, index)
                nb_man.cell_complete(cell, index)
                if not succeeded:
                    return


papermill_engines.register(ENGINE, InProcess)


class _Publisher(DisplayPublisher):
    """Appends displayed objects to the outputs of a cell."""

    shell: Any

    def publish(self, data: Any, metadata: Any = None, source: Any = None, **_: Any) -> None:
        self.shell.outputs.append(new_output("display_data", _as_text(data), metadata=metadata or {}))

    def clear_output(self, wait: bool = False) -> None:
        self.shell.outputs.clear()


class _Hook(DisplayHook):
    """Appends the value of the last expression of a cell to its outputs."""

    shell: Any

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        count = self.shell.execution_count
        output = new_output("execute_result", _as_text(format_dict), metadata=md_dict or {}, execution_count=count)
        self.shell.outputs.append(output)


class _Shell(InteractiveShell):
    """IPython without the user's history, profile and virtual environments; outputs are stored in cells."""

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_Hook)
    outputs: list[NotebookNode]

    def run(self, cell: NotebookNode, *, log_output: bool) -> bool:
        """Run a cell, fill its outputs, and return whether it succeeded."""
        self.outputs, cell.execution_count = cell.outputs, self.execution_count
        streams = [
            _Stream(name, self.outputs, getattr(sys, name) if log_output else None) for name in ("stdout", "stderr")
        ]
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            return bool(self.run_cell(cell.source, store_history=True).success)  # type: ignore[no-untyped-call]

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        self.outputs.append(new_output("error", ename=etype.__name__, evalue=str(evalue), traceback=list(stb)))

    def init_virtualenv(self) -> None:
        pass


class _Stream(io.TextIOBase):
    """Appends text to the outputs of a cell, and copies it to another stream if given."""

    def __init__(self, name: str, outputs: list[NotebookNode], copy: TextIO | None) -> None:
        self.name, self.outputs, self.copy = name, outputs, copy

    def write(self, text: str) -> int:
        last = self.outputs[-1] if self.outputs else None
        if last is not None and last.output_type == "stream" and last.name == self.name:
            last.text += text
        elif text:
            self.outputs.append(new_output("stream", name=self.name, text=text))
        if self.copy is not None:
            self.copy.write(text)
            self.copy.flush()
        return len(text)

    def writable(self) -> bool:
        return True


@contextmanager
def _shell() -> Iterator[_Shell]:
    """The shell of this process, which ``get_ipython()`` returns in cells."""
    settings = Config({"HistoryManager": {"enabled": False}})
    with tempfile.TemporaryDirectory() as folder:  # instead of ~/.ipython
        shell = _Shell.instance(config=settings, ipython_dir=folder)
        try:
            yield shell
        finally:
            shell.restore_sys_module_state()  # type: ignore[no-untyped-call]
            _Shell.clear_instance()


def _as_text(data: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs by MIME type, with bytes such as images encoded in base64."""
    return {
        kind: base64.b64encode(content).decode() if isinstance(content, bytes) else content
        for kind, content in data.items()
    }


def main() -> None:
    """Run the command line of papermill with this engine."""
    from papermill.cli import papermill

    spare_garbage_collection()
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # figures become outputs
    logging.getLogger("papermill").setLevel("INFO")  # not the libraries that cells use in the same process
    options = {"engine": ENGINE, "kernel": "python3", "language": "python", "log-level": "WARNING"}
    papermill([*(f"--{name}={value}" for name, value in options.items()), *sys.argv[1:]])


if __name__ == "__main__":
    main()
