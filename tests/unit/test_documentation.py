"""What the guides show must exist: commands parse, configurations are valid, links lead somewhere."""

import json
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from tests.conftest import REPOSITORY

from spectralseg import cli
from spectralseg.config import Config, Dataset, Evaluation, validate_config
from spectralseg.corruptions import CORRUPTIONS
from spectralseg.data import splits
from spectralseg.data.specification import read_specifications
from spectralseg.grid import runs
from spectralseg.published.tables import read_published

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_known(page):
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    commands = re.findall(r"^(spectralseg .*?)(?:  #.*)?$", blocks, re.MULTILINE)
    commands += [c for c in re.findall(r"`(spectralseg [^`]*?)`", text) if not re.search(r"[<|…]", c)]
    for command in commands:
        arguments = shlex.split(command)[1:]
        try:
            cli.parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{page.name}: '{command}' is no command")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_dataset_settings_of_the_data_guide_are_valid():
    text = (REPOSITORY / "docs" / "get-the-data.md").read_text(encoding="utf-8")
    specifications = read_specifications(REPOSITORY / "workflow" / "rules" / "datasets")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        for name, settings in yaml.safe_load(block)["datasets"].items():
            choice = Dataset.model_validate(settings)
            if choice.split and not choice.split.endswith(".csv"):
                splits.choose(specifications[name], choice.split)


def test_the_example_of_the_page_on_corruptions_is_valid():
    text = (REPOSITORY / "docs" / "corruptions.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    noise = Evaluation.model_validate(yaml.safe_load(block)["evaluation"]).noise
    assert set(noise.corruptions) <= set(CORRUPTIONS)
    assert all(f"| `{name}` | " in text for name in CORRUPTIONS)


def test_the_table_of_splits_names_every_dataset_and_alternative():
    text = (REPOSITORY / "docs" / "get-the-data.md").read_text(encoding="utf-8")
    table = text.partition("## Splits")[2]
    for specification in read_specifications(REPOSITORY / "workflow" / "rules" / "datasets").values():
        title = re.split(r"[ (]", specification.title)[0]
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
        for name in specification.alternative_splits:
            assert f"`{name}`" in row or "`fold1` to `fold4`" in row


def test_the_paper_grid_takes_every_dataset_from_its_official_source():
    config = Config.model_validate(yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8")))
    assert {choice.source for choice in config.datasets.values()} == {"official"}


def test_the_page_on_statistics_shows_what_its_example_prints(capsys):
    page = (REPOSITORY / "docs" / "statistics.md").read_text(encoding="utf-8")
    ((python, printed),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    exec(python, {})
    assert capsys.readouterr().out == printed


def test_the_study_of_the_quickstart_is_valid():
    page = (REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    specifications = read_specifications(REPOSITORY / "workflow" / "rules" / "datasets")
    config = validate_config(yaml.safe_load(block), "quickstart.md", specifications)
    assert config.baseline == "spatial"
    assert len(runs(config)) == 12


def test_adding_a_table_as_documented(tmp_path):
    page = (REPOSITORY / "docs" / "add-a-table.md").read_text(encoding="utf-8")
    ((name, cells),) = re.findall(r"`(config/[\w/.]+)`:\n\n```csv\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    (tmp_path / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks" / "table_1.ipynb", tmp_path / "notebooks")
    subprocess.run(["bash", "-e"], input=command, cwd=tmp_path, text=True, check=True)
    notebook = json.loads((tmp_path / "notebooks" / "table_7.ipynb").read_text(encoding="utf-8"))
    source = "".join("".join(cell["source"]) for cell in notebook["cells"])
    assert "table_7.csv" in source
    assert "table_1" not in source
    assert source.startswith("# Table 7: polyps")
    (tmp_path / "table_7.csv").write_text(cells, encoding="utf-8")
    published = read_published(tmp_path / "table_7.csv")
    assert published.name == name.split("/")[-1].removesuffix(".csv")
    assert published.cells["value"].isna().sum() == 2
