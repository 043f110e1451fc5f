import shutil
from pathlib import Path

import pytest

from spectralseg import outputs
from spectralseg.errors import InputError
from spectralseg.papers import find_table, published_tables, read_papers
from spectralseg.published.tables import read_published_table

PUBLISHED = Path(__file__).parents[2] / "config" / "published"


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "config" / "published"
    shutil.copytree(PUBLISHED, folder)
    return folder


def test_the_papers_of_the_repository():
    grcsf, harmonized = read_papers(PUBLISHED)
    assert (grcsf.id, grcsf.name, grcsf.tables) == ("grcsf", "GRCSF", {})
    assert (harmonized.id, harmonized.name) == ("harmonized", "Harmonized")
    assert list(harmonized.tables) == [f"table_{number}" for number in range(1, 7)]
    assert all(file.is_file() for paper in (grcsf, harmonized) for file in paper.files)


def test_a_folder_without_papers_and_a_missing_folder_have_none(tmp_path):
    assert read_papers(tmp_path) == read_papers(tmp_path / "absent") == ()


def test_a_paper_may_lack_claims_and_tables(published):
    for file in (published / "grcsf").glob("*.csv"):
        file.unlink()
    paper = read_papers(published)[0]
    assert paper.claims is None
    assert [file.name for file in paper.files] == ["paper.yaml"]


def test_tables_know_their_paper():
    table = read_published_table(PUBLISHED, "table_3")
    assert table.paper.id == "harmonized"
    assert table.name == "table_3"


def test_an_unknown_table_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match="no paper has a table 'table_66'; did you mean 'table_6'"):
        find_table(PUBLISHED, "table_66")


def test_two_tables_of_one_name_are_refused_at_the_start(published):
    shutil.copy(published / "harmonized" / "table_1.csv", published / "grcsf")
    message = r"harmonized/table_1\.csv: table 'table_1' is also in .*grcsf/table_1\.csv; renumber one of them$"
    for read in (read_papers, published_tables):
        with pytest.raises(InputError, match=message):
            read(published)
    with pytest.raises(InputError, match=message):
        outputs.own_names(published.parents[1])


def test_files_outside_of_a_paper_are_refused(published):
    shutil.copy(published / "harmonized" / "table_1.csv", published / "table_7.csv")
    with pytest.raises(InputError, match=r"table_7\.csv: is not in the folder of a paper; move it to .*/<paper>/$"):
        read_papers(published)


def test_a_folder_needs_a_plain_name(published):
    (published / "Ours 2024").mkdir()
    with pytest.raises(InputError, match="Ours 2024: is not a valid folder of a paper; name it with lower"):
        read_papers(published)


@pytest.mark.parametrize(
    "text",
    [
        "name: A\ntitle: B\n",
        "name: A\ntitle: B\ncitation: C\nyear: 2024\n",
        "name: A\ntitle: B\ncitation: 2024\n",
        "name: A\ntitle: ''\ncitation: C\n",
        "[name, title, citation]\n",
        "",
    ],
)
def test_an_invalid_description_is_refused(published, text):
    (published / "grcsf" / "paper.yaml").write_text(text)
    with pytest.raises(InputError, match=r"paper\.yaml: is not the description of a paper; give name, title, citation"):
        read_papers(published)


def test_a_missing_description_is_refused(published):
    (published / "grcsf" / "paper.yaml").unlink()
    with pytest.raises(InputError, match=r"grcsf/paper\.yaml: cannot be read"):
        read_papers(published)


def test_own_methods_select_the_runs_that_a_paper_is_about(published):
    papers = {paper.id: paper for paper in read_papers(published)}
    run = {"dataset": "acdc", "architecture": "unet", "objective": "spatial", "lambda": "0", "seed": 0}
    assert not papers["harmonized"].is_own(run)
    assert papers["harmonized"].is_own({**run, "objective": "spatial_spectral", "lambda": "0.2"})
    assert papers["grcsf"].is_own({**run, "architecture": "gcu"})


@pytest.mark.parametrize("own", ["[]", "grcsf", "{network: [grcsf]}", "{architecture: grcsf}", "{architecture: []}"])
def test_a_selection_of_no_runs_is_refused(published, own):
    (published / "grcsf" / "paper.yaml").write_text(f"name: G\ntitle: T\ncitation: C\nown: {own}\n")
    with pytest.raises(InputError, match=r"paper\.yaml: 'own' selects no runs; give lists of names for dataset, "):
        read_papers(published)
