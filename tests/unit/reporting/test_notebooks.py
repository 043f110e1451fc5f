"""The notebook templates of tables, figures and studies."""

import nbformat
import papermill
import pytest

from spectralseg.config import Config
from spectralseg.outputs import KINDS
from spectralseg.papermill import ENGINE

DEFAULTS = {kind: Config.model_fields[kind].get_default(call_default_factory=True) for kind in KINDS}
WRITTEN = {
    "tables": ("csv", "json", "md", "tex", "html"),
    "figures": ("pdf", "png"),
    "studies": ("csv", "json", "md", "html", "pdf", "png"),
}


def test_there_is_one_template_for_each_kind(repository):
    assert sorted(file.stem for file in (repository / "notebooks").glob("*.ipynb")) == sorted(KINDS.values())


@pytest.mark.parametrize("template", KINDS.values())
def test_stored_without_outputs_and_with_parameters(repository, template):
    notebook = nbformat.read(repository / "notebooks" / f"{template}.ipynb", as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells)
    parameters, *_ = notebook.cells
    assert parameters.metadata.tags == ["parameters"]
    assert all(f"{name} = " in parameters.source for name in ("name", "results", "published", "out"))
    assert all(word not in cell.source for cell in notebook.cells for word in ("for ", "if ", "def "))


FEW = {
    "tables": ("table_6", "leakage", "overall"),
    "figures": ("figure_8", "forest", "lambda_curves", "leakage_matrix"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"), [*((kind, name) for kind in FEW for name in FEW[kind]), ("studies", "study_sign")]
)
def test_runs(repository, phantom, published, tmp_path, kind, name):
    executed = papermill.execute_notebook(
        repository / "notebooks" / f"{KINDS[kind]}.ipynb",
        tmp_path / f"{name}.ipynb",
        {"name": name, "results": str(phantom), "published": str(published), "out": str(tmp_path)},
        engine_name=ENGINE,
        progress_bar=False,
        cwd=str(tmp_path),
    )
    assert all((tmp_path / f"{name}.{suffix}").stat().st_size > 0 for suffix in WRITTEN[kind])
    _, description, result = executed.cells[-3:]
    (output,) = description.outputs
    assert output["data"]["text/markdown"].startswith(f"# {name.replace('_', ' ').capitalize()}. ")
    displayed = {form for output in result.outputs for form in output.get("data", {})}
    assert {"text/markdown", "image/png"} & displayed
