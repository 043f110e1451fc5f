import nbformat
import papermill
import pytest

from spectralseg.config import Config
from spectralseg.papermill import ENGINE
from spectralseg.reporting.captions import caption, label

TABLES = Config.model_fields["tables"].get_default()
FIGURES = [*Config.model_fields["figures"].get_default(), "corruptions"]
STUDIES = Config.model_fields["studies"].get_default()
FURTHER = ["overall", "metrics", "robustness"]
NAMES = [*TABLES, *FIGURES, *STUDIES]


def test_every_notebook_is_known(repository):
    assert sorted(file.stem for file in (repository / "notebooks").glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_stored_without_outputs_and_with_parameters(repository, name):
    notebook = nbformat.read(repository / "notebooks" / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    (parameters,) = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert "results = " in parameters.source
    assert "out = " in parameters.source
    assert all(word not in cell.source for cell in code for word in ("for ", "if ", "def "))


@pytest.mark.parametrize("name", NAMES)
def test_has_a_caption(name):
    found = caption(name)
    assert len(found.text) > 60
    assert 5 < len(found.title) < 80
    assert "notebook" not in found.text
    assert found.paper == name.startswith(("table_", "figure_"))
    assert not found.paper or label(name) in found.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "table_6",
        "figure_8",
        "forest",
        "lambda_curves",
        "leakage",
        "leakage_effect",
        "leakage_matrix",
        *FURTHER,
        *STUDIES,
    ],
)
def test_runs(repository, phantom, published, tmp_path, name):
    inputs = {"published": str(published)} if name in ("table_6", "lambda_curves", *STUDIES) else {}
    executed = papermill.execute_notebook(
        repository / "notebooks" / f"{name}.ipynb",
        tmp_path / f"{name}.ipynb",
        {"results": str(phantom), "out": str(tmp_path), **inputs},
        engine_name=ENGINE,
        progress_bar=False,
        cwd=str(tmp_path),
    )
    wanted = {"table": ("csv", "md", "tex"), "study": ("csv", "md", "html", "pdf", "png")}
    wanted = wanted["table"] if name in TABLES else wanted["study"] if name in STUDIES else ("pdf", "png")
    assert all((tmp_path / f"{name}.{suffix}").stat().st_size > 0 for suffix in wanted)
    shown = {kind for output in executed.cells[-1].outputs for kind in output.get("data", {})}
    assert {"text/markdown", "image/png"} & shown
