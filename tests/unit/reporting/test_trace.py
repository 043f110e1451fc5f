import math
import re
import shlex
import shutil

import pandas as pd
import pytest

from spectralseg.cli import main
from spectralseg.errors import InputError
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table
from spectralseg.reporting.trace import trace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(official, published, tmp_path_factory):
    root = tmp_path_factory.mktemp("traced")
    for name in ("records.parquet", "leakage.parquet", "leakage.csv"):
        if (official / name).exists():
            shutil.copy(official / name, root)
    results = Results(root)
    tables = [build_table(f"table_{number}", Results(root, published)) for number in (2, 3, 6)]
    for table in (*tables, build_table("summary", results), build_table("leakage_effect", results)):
        table.write(root / "tables")
    return results


@pytest.mark.parametrize("name", ["table_2", "table_3", "summary", "leakage_effect"])
def test_every_measured_number_is_recomputed(results, name):
    cells = pd.read_csv(results.root / "tables" / f"{name}.csv", keep_default_na=False, na_values={"measured": [""]})
    for cell in cells.iloc[::9].to_dict("records"):
        heading = " ".join(cell[part] for part in ("block", "group", "column") if cell[part])
        origin = trace(results, name, cell["row"], heading, protocol=cell["protocol"], line=cell["line"])
        assert origin.recomputed == pytest.approx(cell["measured"], nan_ok=True)
        assert len(origin.runs) == cell["seeds"]
        assert len(origin.records) == cell["values"]
        assert origin.records["value"].isna().sum() == cell["undefined"]


def test_leak_free_numbers_exclude_leaked_cases(results):
    everything, rest = (
        trace(results, "table_3", "UNet", "ISIC-18 → ISIC-17 DSC", line=line) for line in ("measured", "leak-free")
    )
    assert set(everything.records["case"]) - set(rest.records["case"]) == {"isic2017_0"}


def test_the_command_shows_cell_records_and_runs(results, capsys):
    main(["trace", "table_3", "UNet(ours)", "ISIC-18 → ISIC-17 DSC", "--results", str(results.root)])
    output = capsys.readouterr().out
    assert output.startswith("table_3 · UNet(ours) · ISIC-18 → ISIC-17 DSC · measured\npublished 94.38 (harmonized)\n")
    assert re.search(r"measured (\d+\.\d\d), from these records \1\n", output)
    assert "6 records: dataset isic2018, architecture unet" in output
    assert output.rstrip().endswith("runs/isic2018/unet/spatial_spectral/lambda0.2/seed1")


def test_a_cell_without_runs_has_no_records(results):
    origin = trace(results, "table_6", "λ = 0.1", "ACDC DSC")
    assert origin.runs == ()
    assert math.isnan(origin.recomputed)
    assert "0 records" in origin.text()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("table_9", "UNet", "DSC"), r"table_9\.csv: there is no such table; did you mean 'table_"),
        (("table_3", "UNot", "DSC"), "row 'UNot' is unknown; did you mean 'UNet'"),
        (("table_3", "UNet", "DSC"), "column 'DSC' is ambiguous; valid: ISIC-18 → ISIC-17 DSC, "),
        (("table_3", "UNet", "nothing"), "column 'nothing' is unknown"),
    ],
)
def test_unknown_cells_raise(results, place, message):
    with pytest.raises(InputError, match=message):
        trace(results, *place)


def test_unknown_lines_raise(results):
    with pytest.raises(InputError, match="line 'x' is unknown"):
        trace(results, "table_3", "UNet", "ISIC-18 → ISIC-17 DSC", line="x")


def test_the_commands_of_the_guide_run(results, repository, tmp_path, monkeypatch, capsys):
    page = (repository / "docs" / "read-the-results.md").read_text(encoding="utf-8")
    commands = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines()
    commands = [command for command in commands if "findings" not in command]  # see test_findings.py
    shutil.copytree(results.root, tmp_path / "results" / "demo")
    (tmp_path / "config").symlink_to(repository / "config")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        main(shlex.split(command)[1:])
    assert [command.split()[1] for command in commands] == ["trace", "claims"]
    assert "table_2 · UNet(ours) · Dice similarity coefficient ACDC Mean DSC" in capsys.readouterr().out
    assert (tmp_path / "results" / "demo" / "claims.html").is_file()
