"""The guides are correct: commands parse, configurations are valid, linked files exist."""

import importlib
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.conftest import REPOSITORY

from spectralseg import cli
from spectralseg.config import Config, Dataset, Evaluation, validate_config
from spectralseg.corruptions import CORRUPTIONS
from spectralseg.data import splits
from spectralseg.data.specification import read_specifications
from spectralseg.grid import runs
from spectralseg.metrics.records import COLUMNS
from spectralseg.outputs import describe
from spectralseg.published.claims import CELL_COLUMNS, MINUS, read_claims
from spectralseg.published.claims import COLUMNS as CLAIM_COLUMNS
from spectralseg.published.tables import SELECTION, read_published_table
from spectralseg.reporting.claim_verdicts import HOLDS, UNTESTED, build_claim_verdicts
from spectralseg.reporting.rendering import MINUS as MINUS_SIGN
from spectralseg.reporting.rendering import NO_RUN, limits
from spectralseg.reporting.results import Results

GUIDES = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [*(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")), *GUIDES]
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_valid(page):
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    commands = re.findall(r"^(spectralseg .*?)(?:  #.*)?$", blocks, re.MULTILINE)
    commands += [c for c in re.findall(r"`(spectralseg [^`]*?)`", text) if not re.search(r"[<|…]", c)]
    for command in commands:
        arguments = shlex.split(command)[1:]
        try:
            cli.parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{page.name}: '{command}' is not a valid command")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_linked_files_and_sections_exist(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            file, _, section = target.partition("#")
            path = page.parent / file if file else page
            assert path.exists(), target
            assert not section or section in sections(path), target


def sections(page):
    """The anchors of the headings of a page, as GitHub forms them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_dataset_settings_of_the_data_guide_are_valid():
    text = (REPOSITORY / "docs" / "get-the-data.md").read_text(encoding="utf-8")
    specifications = read_specifications(REPOSITORY / "workflow" / "rules" / "datasets")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
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


def test_the_example_of_the_page_on_grcsf_is_valid():
    text = (REPOSITORY / "docs" / "grcsf.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    specifications = read_specifications(REPOSITORY / "workflow" / "rules" / "datasets")
    config = validate_config(yaml.safe_load(block), "grcsf.md", specifications)
    assert len(runs(config)) == 2 * 6


def test_the_page_on_grcsf_explains_every_network_of_its_study():
    text = (REPOSITORY / "docs" / "grcsf.md").read_text(encoding="utf-8")
    raw = yaml.safe_load((REPOSITORY / "config" / "lesions.yaml").read_text(encoding="utf-8"))
    config = Config.model_validate(raw)
    assert set(config.architectures) <= set(re.findall(r"`(\w+)`", text.partition("## Masked")[0]))
    names = {name for architecture in config.architectures.values() for name in architecture.options}
    assert names <= set(re.findall(r"[a-z_]+", text))
    asked = [name for question in config.comparison.questions.values() for _, name in question.sides]
    assert set(asked) == set(config.architectures)


def test_the_page_on_grcsf_has_the_numbers_of_its_study_of_phantoms():
    text = (REPOSITORY / "docs" / "grcsf.md").read_text(encoding="utf-8").partition("## The same study on phantoms")[2]
    section = text.partition("\n## ")[0]
    tables = {file.stem: pd.read_csv(file) for file in (REPOSITORY / "docs" / "lesion_phantoms").glob("*.csv")}
    ranking, questions = (
        table[(table["protocol"] == "sound") & (table["metric"] == "dsc")]
        for table in (tables["leaderboard"], tables["questions"])
    )
    lesions = tables["lesions"].query("metric == 'lesion_f1' and line == 'measured'").set_index("architecture")
    assert len(ranking) == len(lesions) == 9
    assert set(ranking["seeds"].dropna()) == set(questions["seeds"]) == {6}
    assert set(questions["cases"]) == {15}
    for row in ranking.to_dict("records"):
        reference = row["architecture"] == "unet"
        difference = NO_RUN if reference else limits(row["difference"], row["low"], row["high"])
        detected = lesions.loc[row["architecture"], "measured"]
        line = f"| `{row['architecture']}` | {row['mean']:.2f} ± {row['sd']:.2f} | {difference} | {detected:.2f} |"
        assert line in section
    for row in questions.to_dict("records"):
        compared = f"| {row['question']} | `{row['architecture']}` {MINUS_SIGN} `{row['reference']}` |"
        interval = limits(row["difference"], row["low"], row["high"])
        assert f"{compared} {interval} | {row['p_adjusted']:.3f} | {row['verdict']} |" in section
    assert set(questions["verdict"]) == {"not settled"}, "as the page says"
    decided = questions[questions["low"] * questions["high"] > 0]
    assert list(decided["architecture"]) == ["gcu_cos"], "the one interval without zero"
    maps = tables["map_quality"].groupby("map")["auroc"].agg(["min", "max"])
    low, high = 1 - maps.loc["intensity", ["max", "min"]]
    assert f"darkness alone is {low:.2f} to {high:.2f}" in section
    assert f"residual maps {maps.loc['residual', 'min']:.2f} to {maps.loc['residual', 'max']:.2f}" in section


def test_the_table_of_splits_names_every_dataset_and_alternative():
    text = (REPOSITORY / "docs" / "get-the-data.md").read_text(encoding="utf-8")
    table = text.partition("## Splits")[2]
    for specification in read_specifications(REPOSITORY / "workflow" / "rules" / "datasets").values():
        title = re.split(r"[ (]", specification.title)[0]
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
        for name in specification.alternative_splits:
            assert f"`{name}`" in row or (name.startswith("fold") and "`fold1` to `fold" in row)


def test_the_paper_grid_takes_every_dataset_from_its_official_source():
    config = Config.model_validate(yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8")))
    assert {choice.source for choice in config.datasets.values()} == {"official"}


def test_the_page_on_statistics_shows_what_its_example_prints(capsys):
    page = (REPOSITORY / "docs" / "statistics.md").read_text(encoding="utf-8")
    ((python, printed),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    exec(python, {})
    assert capsys.readouterr().out == printed


ADDING = (REPOSITORY / "docs" / "add-a-table.md").read_text(encoding="utf-8")


def test_adding_a_published_table_as_documented(tmp_path):
    folder = write_paper(tmp_path)
    published = read_published_table(folder.parent, "table_7")
    assert published.paper.name == "Polyps"
    assert published.cells["value"].isna().sum() == 2
    output = describe("tables", "table_7", folder.parent)
    assert (output.title, output.needs) == (published.title, ("published/table_7.csv",))
    assert output.caption.startswith("Dice and surface Dice")


def test_adding_claims_of_a_paper_as_documented(tmp_path):
    folder = write_paper(tmp_path)
    claims = {claim.id: claim for claim in read_claims(folder / "claims.csv")}
    assert [len(claim.comparisons) for claim in claims.values()] == [2, 1, 0]
    table = read_published_table(folder.parent, "table_7").cells.set_index(["objective", "metric"])["value"]
    difference = table["spatial_spectral", "dsc"] - table["spatial", "dsc"]
    assert claims["dsc"].comparisons[0].difference == pytest.approx(difference), "the example contradicts itself"
    gains = {"spatial": 0.5, "spatial_spectral": 0.6}
    rows = [
        value_of(objective=name, case=f"c{case}", group=f"g{case}", seed=seed, value=value + 0.001 * case * seed)
        for name, value in gains.items()
        for case in range(8)
        for seed in range(3)
    ]
    for row in rows:
        row["lambda"] = "0.2" if row["objective"] == "spatial_spectral" else "0"
    pd.DataFrame(rows)[list(COLUMNS)].to_parquet(tmp_path / "records.parquet")
    ledger = build_claim_verdicts(Results(tmp_path), folder.parent)
    verdicts = ledger.claims.set_index("id")["verdict"].to_dict()
    assert verdicts == {"better": UNTESTED, "dsc": HOLDS, "faster": UNTESTED}
    assert set(ledger.claims["paper"]) == {"polyps"}
    assert ledger.papers[0].sentence == "Polyps: 1 of its 3 claims can be tested with this study."
    (table,) = re.findall(r"\| column \| content \|\n.*?\n\n", ADDING, re.DOTALL)
    columns = {*CLAIM_COLUMNS, *CELL_COLUMNS, *MINUS} - {*SELECTION, "class", "metric"}
    columns -= {name for name in columns if name.startswith("reference_")}
    assert columns <= set(re.findall(r"`([\w]+)`", table))


def write_paper(root):
    """The files of the paper in the guide; returns their folder."""
    folder = root / "config" / "published" / "polyps"
    folder.mkdir(parents=True)
    files = re.findall(r"`(config/published/polyps/[\w.]+)`.*?:\n\n```\w+\n(.*?)```", ADDING, re.DOTALL)
    assert [Path(name).name for name, _ in files] == ["paper.yaml", "table_7.csv", "claims.csv", "claims_cells.csv"]
    for name, content in files:
        (root / name).write_text(content, encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", ["tables", "figures"])
def test_adding_a_module_as_documented(tmp_path, monkeypatch, kind):
    examples = re.findall(r"`src/spectralseg/reporting/(\w+)/(\w+)\.py`:\n\n```python\n(.*?)```", ADDING, re.DOTALL)
    ((name, code),) = [(name, code) for folder, name, code in examples if folder == kind]
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    package = importlib.import_module(f"spectralseg.reporting.{kind}")
    folders = [*package.__path__, str(tmp_path)]
    monkeypatch.setattr(package, "__path__", folders)
    monkeypatch.setattr(package.__spec__, "submodule_search_locations", folders)
    rows = [value_of(case=f"c{number}", value=number / 10) for number in range(4)]
    pd.DataFrame(rows)[list(COLUMNS)].to_parquet(tmp_path / "records.parquet")
    output = describe(kind, name)
    assert output.title
    assert output.caption.endswith("protocol.")
    built = getattr(package, f"build_{kind.removesuffix('s')}")(name, Results(tmp_path))
    assert "| Kvasir-SEG | unet spatial | 0.00 |" in built.markdown() if kind == "tables" else built.axes[0].lines


def value_of(**changes):
    """A metric record."""
    keys = {"dataset": "kvasir_seg", "architecture": "unet", "objective": "spatial", "lambda": "0", "seed": 0}
    condition = {"suite": "iid", "test_dataset": "kvasir_seg", "corruption": "none", "severity": "0"}
    return {
        **keys,
        **condition,
        "group": "g",
        "class": "polyp",
        "protocol": "sound",
        "metric": "dsc",
        "flag": "",
    } | changes
