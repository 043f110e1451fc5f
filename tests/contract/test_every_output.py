"""Every table, figure and study has its texts and a builder, and is found by its file alone."""

import importlib
import inspect
import re
import shutil
from pathlib import Path

import pytest

from spectralseg import outputs
from spectralseg.errors import InputError
from spectralseg.papers import find_table, published_tables
from spectralseg.reporting.example_cases import METHODS
from spectralseg.study_outputs import run_features

PUBLISHED = Path(__file__).parents[2] / "config" / "published"
DEFAULTS = [(kind, output.name) for kind in outputs.KINDS for output in outputs.describe_all(kind, PUBLISHED)]
MODULES = [(kind, name) for kind in outputs.KINDS for name in outputs.names(kind)]


@pytest.mark.parametrize(("kind", "name"), DEFAULTS)
def test_texts(kind, name):
    output = outputs.describe(kind, name, PUBLISHED)
    assert 5 < len(output.title) <= 100
    assert len(output.caption) > 60
    assert output.caption.endswith(".")
    assert "notebook" not in output.caption
    assert output.numbered == name.startswith(("table_", "figure_"))
    assert not output.numbered or output.label in output.caption
    assert output.markdown().startswith(f"# {output.label}. {output.title}\n\n{output.caption}")


@pytest.mark.parametrize(("kind", "name"), MODULES)
def test_a_module_builds_it_from_the_results(kind, name):
    module = importlib.import_module(outputs.module_of(kind, name))
    assert list(inspect.signature(module.build).parameters) == ["results"]
    assert module.build.__doc__
    output = outputs.describe(kind, name)
    assert getattr(module, "NEEDS", ()) == output.needs
    assert (getattr(module, "RUNS", {}),) == output.runs
    assert getattr(module, "IMAGES", False) == output.images


@pytest.mark.parametrize(("kind", "name"), MODULES)
def test_a_module_that_draws_images_of_cases_says_so(kind, name):
    code = inspect.getsource(importlib.import_module(outputs.module_of(kind, name)))
    drawing = re.search(r"layout\.(picture|outline)|contour_figure|imshow|shown_image", code)
    assert bool(drawing) == outputs.describe(kind, name).images


@pytest.mark.parametrize(("kind", "name"), DEFAULTS)
def test_needs_are_files_of_the_workflow(kind, name):
    for need in outputs.describe(kind, name, PUBLISHED).needs:
        folder, _, file = need.rpartition("/")
        assert (folder, file) == ("", "comparisons.parquet") or find_table(PUBLISHED, Path(file).stem)[1].is_file()


def test_all_of_a_kind_are_its_modules_and_the_published_tables():
    assert set(DEFAULTS) - set(MODULES) == {("tables", name) for name in published_tables(PUBLISHED)}
    assert set(MODULES) <= set(DEFAULTS)


@pytest.mark.parametrize(("kind", "name"), DEFAULTS)
def test_the_runs_that_it_shows_are_selected_by_features_of_runs(kind, name, config, toy_specification):
    (features, *_) = run_features(config, {"toy": toy_specification()})
    for selection in outputs.describe(kind, name, PUBLISHED).runs:
        assert selection.keys() <= features.keys()
        assert all(isinstance(values, tuple) for values in selection.values()), "a text would be its letters"


def test_figures_of_predictions_select_the_methods_that_they_show():
    own = [method for method in METHODS if method.lam != "0"]  # a paper's baseline alone is not about the paper
    methods = {
        "architecture": {method.architecture for method in own},
        "objective": {method.objective for method in own},
        "lambda": {method.lam for method in own},
    }
    for number in range(5, 10):
        (selection,) = outputs.describe("figures", f"figure_{number}").runs
        assert {key: set(selection[key]) for key in methods} == methods


def test_names_differ_over_all_kinds():
    names = [name for _, name in DEFAULTS]
    assert len(set(names)) == len(names)


def test_numbered_ones_come_first():
    numbered = [outputs.is_numbered(name) for name in outputs.names("figures")]
    assert numbered == sorted(numbered, reverse=True)


def test_names_are_written_as_in_print():
    assert outputs.describe("figures", "leakage_matrix").label == "Leakage matrix"


def test_one_without_a_module_comes_from_its_own_notebook():
    output = outputs.describe("tables", "mine")
    assert (output.title, output.caption) == ("", "Made by its own notebook.")


def test_unknown_modules_are_refused():
    with pytest.raises(InputError, match="figure 'figure_1' is unknown; valid: figure_2, "):
        outputs.module_of("figures", "figure_1")


def test_a_repository_adds_its_notebooks_and_published_tables(tmp_path):
    for file in ("notebooks/mine.ipynb", "notebooks/table.ipynb", "config/published/theirs/table_7.csv"):
        Path(tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    shutil.copy(PUBLISHED / "harmonized" / "paper.yaml", tmp_path / "config/published/theirs")
    assert outputs.own_names(tmp_path) == ["mine", "table_7"]
