"""The documentation site: its navigation, its generated parts and its gallery. Building it is a part of .ci/run."""

import importlib
import re

import pytest
import yaml
from docs.site import catalogues, commands, gallery, markdown, messages, pages, public_names
from PIL import Image
from tests.conftest import REPOSITORY
from tests.contract.test_public_names import SIGNATURES

from spectralseg.data.specification import read_specifications
from spectralseg.metrics.catalogue import CATALOGUE

pytestmark = pytest.mark.slow

DOCS = REPOSITORY / "docs"
TASKS = {
    "install": "install.md",
    "first study": "quickstart.md",
    "own loss": "add-an-objective.md",
    "add a dataset": "add-a-dataset.md",
    "score two folders": "score-predictions.md",
    "compare with nnU-Net": "external-methods.md",
    "run on SLURM": "run-on-a-cluster.md",
    "read the report": "report.md",
    "verdict means": "statistics.md",
    "cite": "cite.md",
    "only the metrics": "install.md",
    "confidence interval": "score-predictions.md",
    "audit the table": "audit-a-table.md",
    "share a study": "share-a-study.md",
    "error message": "error-messages.md",
    "resume after a crash": "train-a-run.md",
}


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without building the Python objects that it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
SETTINGS = yaml.load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)


def leaves(navigation):
    for entry in navigation:
        for content in entry.values():
            if isinstance(content, str):
                yield content
            else:
                yield from leaves(content)


@pytest.fixture
def site(monkeypatch):
    """All pages, with the source of formulas, as the tests have no converter to MathML."""
    monkeypatch.setattr(markdown, "_mathml", lambda formula, display: f"<math>{formula}</math>")
    return pages.pages()


def test_every_page_is_in_the_navigation_once_and_every_page_of_the_navigation_exists():
    assert sorted(leaves(SETTINGS["nav"])) == sorted(pages.sources())
    assert {path.name for path in DOCS.glob("*.md")} <= set(pages.sources())
    assert all(path.is_file() for path in pages.sources().values())


def test_a_strict_build_refuses_broken_links_and_forgotten_pages():
    assert SETTINGS["strict"] is True
    assert set(SETTINGS["validation"]["links"].values()) | set(SETTINGS["validation"]["nav"].values()) == {"warn"}


def test_the_site_loads_nothing_from_other_hosts():
    assert SETTINGS["theme"]["font"] is False
    assert "extra_javascript" not in SETTINGS
    assert [name for name in SETTINGS["extra_css"] if "://" in name] == []


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/a.js">',
        '<link href="https://example.org/a.css" rel="stylesheet">',
        '<link rel="icon" href="//example.org/a.png">',
        '<img alt="a" src="http://example.org/a.png">',
    ],
)
def test_what_a_page_loads_from_another_host_is_detected(tag):
    assert pages.loaded_from_other_hosts(f"<p>text</p>{tag}<p>text</p>") == [tag]


def test_links_to_other_hosts_and_own_files_are_allowed():
    own = '<script src="assets/a.js"></script><link rel="icon" href="images/icon.svg"><img src="images/a.png">'
    assert pages.loaded_from_other_hosts(f'{own}<a href="https://example.org">a page</a>') == []


@pytest.mark.parametrize("task", TASKS)
def test_the_home_page_links_to_the_page_of_a_task(task):
    home = (DOCS / "index.md").read_text(encoding="utf-8")
    (row,) = [line for line in home.splitlines() if line.startswith("| ") and task in line]
    assert TASKS[task] in re.findall(r"\]\(([^)#]+)", row)


def test_the_search_finds_words_beside_punctuation():
    separator = next(plugin["search"] for plugin in SETTINGS["plugins"] if "search" in plugin)["separator"]
    words = re.split(separator, "in containers (Docker, Podman), `lambdas: 0.2` of SurfaceDistances")
    assert {"Docker", "Podman", "lambdas", "0.2", "Distances"} <= set(words)


def test_every_generated_part_is_in_a_page(site):
    written = [pages._CODE.sub("", path.read_text(encoding="utf-8")) for path in pages.sources().values()]
    marks = [name for text in written for name in re.findall("<!-- site: (.+?) -->", text)]
    assert sorted(marks) == sorted(pages.PARTS)
    assert [address for address, text in site.items() if "<!-- site:" in pages._CODE.sub("", text)] == []


def test_links_of_all_pages_lead_to_pages_or_files_of_the_site(site):
    links = {
        link.partition("#")[0]
        for address, text in site.items()
        if not address.startswith(pages.FILES)
        for link in re.findall(r"\]\(([^)\s]+)\)", pages._CODE.sub("", text))
        if ":" not in link
    }
    folders = ("images", "evidence", "lesion_phantoms")
    files = {path.relative_to(DOCS).as_posix() for name in folders for path in (DOCS / name).rglob("*")}
    assert links - {""} <= set(site) | files


def test_files_of_the_repository_are_copied_as_they_are(site):
    copy = site["files/CITATION.cff.md"]
    assert (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8") in copy
    assert copy.startswith("---\nsearch:\n  exclude: true\n---\n")
    assert "- `acdc_transunet.csv`\n" in site["files/src/spectralseg/data/splits.md"]


def test_a_page_with_a_broken_link_or_an_unknown_part_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a page](missing.md)")
    with pytest.raises(ValueError, match=r"page\.md: links to missing\.md, which does not exist; correct the link"):
        pages._page(page, set())
    page.write_text("<!-- site: weather -->")
    with pytest.raises(ValueError, match=r"page\.md: there is no generated part 'weather'; use one of commands, "):
        pages._page(page, set())


def test_links_and_formulas_in_code_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(markdown, "_mathml", lambda formula, display: f"<{display} {formula}>")
    page = tmp_path / "page.md"
    page.write_text("$x$ and `$y$` and $$\nz\n$$\n\n```bash\necho $HOME $PATH [a](missing.md)\n```\n")
    expected = "<inline x> and `$y$` and <block \nz\n>\n\n```bash\necho $HOME $PATH [a](missing.md)\n```\n"
    assert pages._page(page, set()) == expected


def test_pages_are_written_with_their_pictures(site, tmp_path):
    pages.write(tmp_path)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert written == set(site)
    assert (tmp_path / "images" / "demo.png").is_file()


@pytest.mark.parametrize("name", commands.parsers())
def test_the_reference_has_every_argument_of_a_command(name):
    section = commands.reference().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    command = commands.parsers()[name]
    assert command.description.replace("``", "`") in section
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    actions = [action for action in command._actions if action.dest != "help"]
    assert len(rows) == len(actions)
    for row, action in zip(rows, actions, strict=True):
        assert all(option in row for option in action.option_strings or [action.metavar or action.dest])
        assert "%(" not in row
        assert action.required == row.endswith("| required |")


def test_the_reference_of_commands_has_defaults_statuses_and_examples():
    page = commands.reference()
    assert "| `--cases CASES` | approximate number of training cases | `12` |" in page
    assert "- 75 (`EX_TEMPFAIL` of sysexits.h: try again) after a signal" in page
    audit = page.partition("\n## audit-table\n")[2].partition("\n## ")[0]
    assert "Exit status after an error in the input: 2." in audit
    assert "From [Audit a table](audit-a-table.md):\n\n```bash\nspectralseg audit-table " in audit


def test_the_reference_has_every_public_name():
    page = public_names.reference()
    documented = set(re.findall(r"^::: spectralseg\.([\w.]+)$", page, re.MULTILINE))
    exported = {
        f"{package}.{name}": getattr(importlib.import_module(f"spectralseg.{package}"), name)
        for package in public_names.PACKAGES
        for name in importlib.import_module(f"spectralseg.{package}").__all__
    }
    same_names = {"equivalence", "random_effects"}  # functions in modules of their names
    expected = exported.keys() - {f"statistics.{name}" for name in same_names}
    expected |= {f"statistics.{name}.{name}" for name in same_names}
    assert documented - set(public_names.PACKAGES) == expected
    assert {exported[f"statistics.{name}"].__module__ for name in same_names} == {
        f"spectralseg.statistics.{name}" for name in same_names
    }
    assert set(SIGNATURES) <= exported.keys()


def test_roles_and_examples_of_docstrings_become_code():
    text = "Builds :class:`~spectralseg.Objective` objects.\n\n>>> dice(1)\n0.5\n\nDone."
    assert markdown.of_docstring(text) == (
        "Builds `spectralseg.Objective` objects.\n\n```pycon\n>>> dice(1)\n0.5\n```\n\nDone."
    )


def test_the_catalogues_have_every_dataset_and_metric():
    datasets, metrics = catalogues.datasets(), catalogues.metrics()
    for specification in read_specifications(REPOSITORY / "workflow" / "rules" / "datasets").values():
        section = datasets.partition(f"## {specification.title}\n")[2].partition("\n## ")[0]
        assert f"`{specification.name}`" in section
        assert specification.licence in section
        assert specification.citation in section
    assert re.findall(r"^\| `(\w+)`", metrics, re.MULTILINE) == list(CATALOGUE)


SOURCE = """
LIMIT = "the limit"

def read(path, names, error):
    problem = "is empty" if path else f"has {len(names)} names"
    if not names:
        raise InputError(f"{path.name}: {problem}; {suggest('a', names)}")
    if error:
        raise InputError(str(error))
    raise ValueError("the values " + f"{', '.join(sorted(names))} exceed {LIMIT}")
"""


def test_messages_are_collected_with_placeholders(tmp_path, monkeypatch):
    (tmp_path / "data" / "readers").mkdir(parents=True)
    (tmp_path / "data" / "readers" / "toy.py").write_text(SOURCE)
    monkeypatch.setattr(messages, "PACKAGE", tmp_path)
    collected, unwritten = messages.messages()
    assert collected == [
        messages.Message(
            "data.readers", "InputError", "‹name›: is empty or has ‹names› names", "‹the nearest valid names›"
        ),
        messages.Message("data.readers", "ValueError", "the values ‹names› exceed the limit", ""),
    ]
    assert unwritten == 1


def test_messages_of_the_package_are_listed_with_their_remedies():
    page = messages.reference()
    assert "| ‹root›/records.parquet: there are no metric records | run the workflow until 'collect' |" in page
    assert (
        "| ‹run›: the run diverged: ‹reason› | lower 'learning\\_rate' or set 'gradient\\_clip' and retrain |" in page
    )
    collected, unwritten = messages.messages()
    assert len(collected) > 500
    assert f"{len(collected)} messages are listed. {unwritten} more " in page
    assert all(f"\n## {message.area}\n" in page for message in collected)


def test_the_gallery_shows_small_pictures_and_labels_those_of_phantoms():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    names = [*gallery.PAGES, *gallery.EVIDENCE, *gallery.FIGURES]
    assert sorted(re.findall(r"!\[.+\]\(images/gallery/(\w+)\.webp\)", page)) == sorted(names)
    files = sorted(gallery.GALLERY.iterdir())
    assert [file.stem for file in files] == sorted(names)
    assert sum(file.stat().st_size for file in files) < gallery.MOST_BYTES
    sections = page.split("\n## ")[1:]
    others = [section for section in sections if not section.rstrip().endswith("Phantoms.")]
    assert [re.findall(r"\(images/gallery/(\w+)\.webp\)", section) for section in others] == [[*gallery.EVIDENCE]]


def test_a_figure_of_the_gallery_is_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "GALLERY", tmp_path)
    Image.new("RGBA", (3000, 1500), "red").save(tmp_path / "large.png")
    gallery.reduce(tmp_path / "large.png", "small")
    with Image.open(tmp_path / "small.webp") as image:
        assert image.size == (gallery.WIDTH, gallery.WIDTH // 2)
    with pytest.raises(SystemExit, match=r"cost\.png: does not exist; run the study first"):
        gallery.existing(tmp_path / "cost.png")


def test_the_entry_to_cite_agrees_with_the_citation_file():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    page = (DOCS / "cite.md").read_text(encoding="utf-8")
    (paper,) = citation["references"]
    for entry, text in (
        (citation["title"], "title   = {%s}"),
        (citation["version"], "version = {%s}"),
        (citation["date-released"].year, "year    = {%s}"),
        (paper["title"], "title     = {%s}"),
        (paper["year"], "year      = {%s}"),
    ):
        assert text % entry in page
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]) in page
