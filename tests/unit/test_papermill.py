import json
import sys

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from spectralseg.papermill import ENGINE


def executed(tmp_path, *sources):
    """The outputs of code cells."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    out = tmp_path / "out.ipynb"
    try:
        papermill.execute_notebook(notebook, out, engine_name=ENGINE, kernel_name="python3", progress_bar=False)
    finally:
        notebook = nbformat.read(out, as_version=4)
        nbformat.validate(notebook)
    return [cell.outputs for cell in notebook.cells]


def test_notebooks_run_in_this_interpreter(tmp_path, monkeypatch):
    decoy = tmp_path / "kernels" / "python3"
    decoy.mkdir(parents=True)
    decoy.joinpath("kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    ((value,),) = executed(tmp_path, "import sys; [sys.executable, sys.path]")
    assert repr(sys.executable) in value.data["text/plain"]
    assert str(tmp_path) not in value.data["text/plain"]


def test_outputs_of_all_types(tmp_path):
    plain, rich, awaited = executed(
        tmp_path,
        "import sys; print('a'); print('b'); print('c', file=sys.stderr)",
        "from IPython.display import Markdown, display; display(Markdown('*d*'))\nMarkdown('e')",
        "import asyncio; await asyncio.sleep(0, 'f')",
    )
    assert [(output.name, output.text) for output in plain] == [("stdout", "a\nb\n"), ("stderr", "c\n")]
    assert [output.output_type for output in rich] == ["display_data", "execute_result"]
    assert [output.data["text/markdown"] for output in rich] == ["*d*", "e"]
    assert awaited[0].data["text/plain"] == "'f'"


def test_execution_stops_after_a_failing_cell(tmp_path):
    with pytest.raises(PapermillExecutionError, match="division"):
        executed(tmp_path, "1 / 0", "open('reached', 'w')")
    outputs = [cell.get("outputs") for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells]
    assert [[output.ename for output in cell] for cell in outputs if cell] == [["ZeroDivisionError"]]
    assert outputs[-1] == []


def test_the_state_of_the_process_is_restored(tmp_path):
    before = sys.stdout, sys.stderr, sys.displayhook, sys.excepthook, sys.modules["__main__"]
    executed(tmp_path, "x = 1")
    assert before == (sys.stdout, sys.stderr, sys.displayhook, sys.excepthook, sys.modules["__main__"])
    with pytest.raises(PapermillExecutionError, match="'x' is not defined"):
        executed(tmp_path, "x")
