"""The page of findings: written from its files alone, with no claim stronger than its intervals."""

import json
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.standins.study import write_claims

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting.findings import extract, write_page, writing
from spectralseg.reporting.results import Results

CONTROL = "squared_dice"
TRAINING = {"learning_rate": 0.1, "iterations": 600}


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """The study of three seeds with a squared Dice as control, which differs from Eq. (2) by a hundredth of a point."""
    root = tmp_path_factory.mktemp("finished") / "study"
    shutil.copytree(study, root)
    config = yaml.safe_load((root / "config.yaml").read_text())
    squared = {"base": "bce_dice", "auxiliary": "dice", "auxiliary_options": {"denominator": "squared"}}
    config["objectives"][CONTROL] = squared
    config["grid"]["main"]["objectives"].append(CONTROL)
    config["training"] = {"iterations": 600, "learning_rate": 0.1}
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    records = pd.read_parquet(root / "records.parquet")
    ours = records[(records["objective"] == "spatial_spectral") & (records["lambda"] == "0.2")]
    control = ours.assign(objective=CONTROL, value=ours["value"] + 1e-4)
    pd.concat([records, control])[list(COLUMNS)].to_parquet(root / "records.parquet")
    for file in root.glob("prepared/*/dataset.json"):
        digests = {"images.npy": "a" * 64, "masks.npy": "b" * 64}
        file.write_text(json.dumps({**json.loads(file.read_text()), "files": digests}))
    for file in root.glob("runs/*/*/*/*/*/run.json"):
        described = json.loads(file.read_text())
        file.write_text(
            json.dumps(
                {
                    **described,
                    "iterations": 600,
                    "training": TRAINING,
                    "git": {"commit": "c" * 40},
                    "versions": {"torch": "2.13.0"},
                }
            )
        )
        lines = [{"iteration": n, "validation_dice": 0.8 - 0.3 / n * 100} for n in (100, 500, 600)]
        (file.parent / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (file.parent / "records.parquet").touch()
    claims = [["harmonized", "a", "1", "It helps", 2, "holds", "of 2 comparisons 2 hold"]]
    claims.append(["harmonized", "b", "2", "It cooks", 0, "cannot be tested with this data", "no such thing"])
    names = ["paper", "id", "section", "claim", "comparisons", "verdict", "reason"]
    write_claims(root, [dict(zip(names, row, strict=True)) for row in claims], untested=["GRCSF"])
    return root


@pytest.fixture(scope="module")
def folder(finished, published, tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "evidence"
    extract(Results(finished, published), [finished], out)
    write_page(out, out.with_suffix(".md"))
    return out


@pytest.fixture(scope="module")
def text(folder):
    return folder.with_suffix(".md").read_text(encoding="utf-8")


def test_page_and_plots_are_written_from_the_files_alone(folder, text, tmp_path):
    copy = tmp_path / "evidence"
    copy.mkdir()
    for file in folder.iterdir():
        if file.suffix in (".csv", ".yaml"):
            shutil.copy(file, copy)
    write_page(copy, tmp_path / "evidence.md")
    assert (tmp_path / "evidence.md").read_text(encoding="utf-8") == text
    plots = sorted(file.name for file in folder.glob("*.svg"))
    assert plots == ["curves.svg", "forest.svg", "sweep.svg"]
    for name in plots:
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_effects_follow_from_the_records_beside_them(folder, finished, published, tmp_path):
    root = tmp_path / "study"
    shutil.copytree(finished, root)
    shutil.copy(folder / "records.parquet", root)
    extract(Results(root, published), [], tmp_path / "evidence")
    before, after = (pd.read_csv(place / "effects.csv") for place in (folder, tmp_path / "evidence"))
    pd.testing.assert_frame_equal(before, after, rtol=1e-3, atol=1e-4)
    records = pd.read_parquet(folder / "records.parquet")
    assert set(records["suite"]) <= {"iid", "noise"}
    assert set(records.loc[records["suite"] == "noise", "metric"]) <= {"dsc"}


def test_the_page_reports_the_simulated_effects(text):
    assert "`spatial_spectral` (λ = 0.2) against the baseline `spatial`, 4 comparisons in DSC: 3 better" in text
    assert f"Against its control `{CONTROL}`, 4 comparisons in DSC: 0 better, 0 worse, 4 equivalent within ±" in text
    assert "4 comparisons of 4 under 'sound' are equivalent; all would be with a margin of 0.01" in text
    assert "GRCSF: none of its 7 claims can be tested, as the study has none of their runs." in text
    assert "### Harmonized: A title\n\nOf 2 claims of the paper 1 can be tested with these datasets: 1 holds." in text
    assert "| 1 | It helps | holds | of 2 comparisons 2 hold |" in text


def test_every_effect_on_the_page_is_a_row_of_its_file(folder, text):
    effects = pd.read_csv(folder / "effects.csv", dtype={"lambda": "str", "leak_free": "str"}, keep_default_na=True)
    intervals = {
        tuple(f"{value:+.2f}".replace("-", "−").replace("−0.00", "+0.00") for value in row)
        for limits in (["difference", "low", "high"], ["difference", "narrow_low", "narrow_high"])
        for row in effects[limits].dropna().to_numpy()
    }
    noise = pd.read_csv(folder / "noise.csv")
    intervals |= {
        tuple(f"{value:+.2f}".replace("-", "−").replace("−0.00", "+0.00") for value in row)
        for row in noise[["gain", "gain_low", "gain_high"]].dropna().to_numpy()
    }
    printed = re.findall(r"([+−]\d+\.\d\d) \[([+−]\d+\.\d\d), ([+−]\d+\.\d\d)\]", text)
    assert len(printed) > 40
    assert set(printed) <= intervals


def test_verdicts_follow_from_intervals(folder, text):
    """A cell is called better, worse or equivalent where its interval says so, and nowhere else."""
    table = re.search(r"### ISIC-18\n\n(.*?)\n\n", text, re.DOTALL).group(1).splitlines()[2:]
    effects = pd.read_csv(folder / "effects.csv", dtype={"lambda": "str"}).set_index(
        ["dataset", "architecture", "objective", "lambda", "reference", "metric", "protocol", "leak_free"]
    )
    for line in table:
        name, cell = line.strip("| ").split(" | ")[:2]
        architecture = "transunet" if "TransUNet" in name else "unet"
        objective = re.search("`([a-z_]+)", name).group(1)
        lam = (re.search(r"λ = ([0-9.]+)", name) or ["", "0"])[1]
        row = effects.loc[("isic2018", architecture, objective, lam, "spatial", "dsc", "sound", np.nan)]
        row = row.iloc[0] if isinstance(row, pd.DataFrame) else row
        equivalent = max(-row["narrow_low"], row["narrow_high"]) < 0.5
        assert ("equivalent" in cell) == equivalent
        assert ("better" in cell) == (row["low"] > 0 and not equivalent)
        assert ("worse" in cell) == (row["high"] < 0 and not equivalent)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("verdict", "undecided", "and 4 undecided"),
        ("verdict", "worse", "4 worse"),
        ("verdict", "equivalent", "4 equivalent within"),
    ],
)
def test_the_answer_counts_verdicts(column, value, expected, folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    effects = pd.read_csv(copy / "effects.csv", dtype="str", keep_default_na=False)
    effects.assign(**{column: value}).to_csv(copy / "effects.csv", index=False)
    assert expected in writing.answer(writing.Numbers(copy))[0]


def test_objectives_without_runs_have_no_weight(folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    effects = pd.read_csv(copy / "effects.csv", dtype="str", keep_default_na=False)
    effects[effects["objective"] != "printed"].to_csv(copy / "effects.csv", index=False)
    page = writing.text(writing.Numbers(copy), "evidence")
    assert "| `printed` | bce_dice | spectral | printed | – |" in page
    assert "| `spatial_spectral` | bce_dice | spectral | add | 0.2 |" in page


def test_few_seeds_decide_nothing(study, published, finished, tmp_path):
    root = tmp_path / "study"
    shutil.copytree(finished, root)
    records = pd.read_parquet(root / "records.parquet")
    records[records["seed"] < 2].to_parquet(root / "records.parquet")
    extract(Results(root, published), [], tmp_path / "evidence")
    effects = pd.read_csv(tmp_path / "evidence" / "effects.csv")
    assert set(effects["verdict"]) == {"undecided"}
    assert not effects["equivalent"].any()


def test_phantoms_and_missing_runs_are_reported_first(folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    for name, column, value in (("datasets", "source", "phantom"), ("runs", "state", "missing")):
        pd.read_csv(copy / f"{name}.csv", dtype="str").assign(**{column: value}).to_csv(
            copy / f"{name}.csv", index=False
        )
    page = writing.text(writing.Numbers(copy), "evidence").split("## Protocol")[0]
    assert "nothing here says anything about a paper" in page
    assert "runs are missing or diverged" in page


def test_hand_written_notes_join_the_page(folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    (copy / "data.md").write_text("Recompressed, all of it.\n")
    (copy / "obstacles.md").write_text("Nothing was in the way.\n")
    page = writing.text(writing.Numbers(copy), "evidence")
    assert page.index("Recompressed, all of it.") < page.index("## Effects") < page.index("Nothing was in the way.")


def test_the_command_writes_files_and_page(finished, folder, text, published, tmp_path, capsys):
    out = tmp_path / "docs" / "evidence"
    arguments = ["--published", str(published), "--tuning", str(finished), "--out", str(out)]
    assert cli.main(["findings", str(finished), *arguments]) == 0
    assert capsys.readouterr().out.strip() == str(out.with_suffix(".md"))
    assert out.with_suffix(".md").read_text(encoding="utf-8") == text
    out.with_suffix(".md").unlink()
    assert cli.main(["findings", "--out", str(out)]) == 0
    assert out.with_suffix(".md").read_text(encoding="utf-8") == text


def test_the_command_of_the_guide_runs(finished, text, repository, tmp_path, monkeypatch):
    guide = (repository / "docs" / "read-the-results.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```bash\n(spectralseg findings .*)\n```", guide)
    for name, target in (("results/demo", finished), ("config", repository / "config")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == 0
    page = (tmp_path / "findings.md").read_text(encoding="utf-8")
    assert page.split("## Data")[0] == text.split("## Data")[0].replace("evidence", "findings")


def test_missing_files_raise(tmp_path, folder, official, published):
    with pytest.raises(InputError, match=r"there is no config\.yaml; give the results folder of a study"):
        extract(Results(official, published), [], tmp_path / "out")
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    (copy / "noise.csv").unlink()
    with pytest.raises(InputError, match=r"noise\.csv: cannot be read as the numbers of a study"):
        write_page(copy, tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()


def test_a_baseline_that_is_a_control_is_compared_once(finished, published, tmp_path):
    root = tmp_path / "study"
    shutil.copytree(finished, root)
    config = yaml.safe_load((root / "config.yaml").read_text())
    config["comparison"] = {"baseline": CONTROL}
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    extract(Results(root, published), [], tmp_path / "evidence")
    keys = ["dataset", "architecture", "objective", "lambda", "reference", "reference_lambda", "metric", "protocol"]
    assert not pd.read_csv(tmp_path / "evidence" / "effects.csv").duplicated([*keys, "leak_free"]).any()
    write_page(tmp_path / "evidence", tmp_path / "evidence.md")
    assert "Against its control" not in (tmp_path / "evidence.md").read_text()


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        ([0.1, 0.2948], "with a margin of 0.30 percentage"),
        ([0.1, np.nan], "no margin would be enough, because equivalence needs 3"),
    ],
)
def test_the_reported_margin_is_rounded_up(needed, expected):
    assert expected in writing._all_equivalent(pd.DataFrame({"margin_needed": needed}))


def test_the_main_weight_is_that_of_most_cells_then_the_first(folder):
    numbers = writing.Numbers(folder)
    assert numbers.weights == {"spatial_spectral": "0.2", CONTROL: "0.2", "printed": "0.2", "convex": "0.2"}
    sweep = numbers.effects[numbers.effects["objective"] == "convex"]
    numbers.__dict__["effects"] = pd.concat([numbers.effects, sweep.assign(**{"lambda": "0"})])
    numbers.__dict__.pop("weights")
    assert "0" not in set(numbers.main(numbers.effects[numbers.effects["objective"] == "convex"])["lambda"])


def test_comparisons_without_interval_are_not_undecided(folder):
    rows = writing._dice(writing.Numbers(folder), writing.Numbers(folder).against(), "spatial_spectral")
    rows = rows.assign(low=[np.nan, *rows["low"][1:]], margin=[0.5, 0.5, 1.0, 2.0])
    page = writing._outcome(rows)
    assert page.startswith("3 comparisons in DSC (1 comparison more without an interval): ")
    assert "within ± 0.5 or 1 or 2 percentage points" in page
    assert writing._outcome(rows[1:2]).endswith(
        f"; difference {writing.signed(rows['difference'].iloc[1])} percentage points"
    )
    assert (
        writing._outcome(rows.assign(low=np.nan))
        == "no comparison could be made (4 comparisons more without an interval)"
    )


def test_the_ends_of_a_sweep_are_paired_and_compared_with_the_same_network_of_the_paper(text):
    section = text.split("## λ and the sign")[1].split("\n## ")[0]
    acdc, isic = section.split("ISIC-18, UNet")
    assert re.search(
        r"`printed` from λ = 0\.1 to λ = 0\.5: [+−]\d\.\d\d \[.*\].* percentage points; the paper's DSC", acdc
    )
    assert "the paper's" not in isic


def test_a_curve_of_one_validation_has_no_final_rise(folder):
    numbers = writing.Numbers(folder)
    curves = numbers.curves("curves")
    assert writing._flattened(numbers, curves).startswith(
        "In the last sixth of training, mean validation Dice changes by +"
    )
    assert writing._flattened(numbers, curves[curves["iteration"] == 600]) == ""


def test_random_maps_get_no_verdict():
    row = {"metric": "cam_random_energy_relative", "verdict": "better", "difference": 1.0, "low": 0.5, "high": 1.5}
    assert "better" in writing._entry(row)
    assert "better" not in writing._entry(row, marked=False)
