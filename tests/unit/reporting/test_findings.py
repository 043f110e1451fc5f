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
from spectralseg.reporting.findings import cells, extract, write_page
from spectralseg.reporting.findings.extract import SEGMENTATION
from spectralseg.reporting.findings.numbers import Numbers
from spectralseg.reporting.findings.page import page_text
from spectralseg.reporting.findings.sections import effects, properties, setup, summary
from spectralseg.reporting.rendering import signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.studies import _common as common

pytestmark = pytest.mark.slow

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
    helps = {"paper": "harmonized", "id": "a", "section": "1", "claim": "It helps", "comparisons": 2, "untested": 0}
    helps |= {"verdict": "holds", "reason": "of 2 comparisons 2 hold", "p": 0.04}
    helps |= {"verdict_adjusted": "too uncertain to say", "p_adjusted": 0.08}
    untested = "cannot be tested with this data"
    cooks = {**helps, "id": "b", "section": "2", "claim": "It cooks", "untested": 1, "verdict": untested}
    cooks |= {"verdict_adjusted": untested, "reason": "no such thing", "p": 1.0}
    number = {**helps, "id": "c", "claim": "It is 2 pp", "comparisons": 1, "published": 2.0, "unit": "pp"}
    number |= {"verdict": "does not hold", "reason": "no", "measured": -0.5, "low": -1.0, "high": 0.25}
    write_claims(root, [helps, cooks, number], untested=["GRCSF"])
    return root


@pytest.fixture(scope="module")
def folder(finished, published, tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "evidence"
    extract(Results(finished, published), [finished], out)
    write_page(out, out.with_suffix(".md"))
    return out


def copied(folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    return copy


def rewrite(copy, name, change):
    """Apply a change to one of the CSV files, as text."""
    file = copy / f"{name}.csv"
    change(pd.read_csv(file, dtype="str", keep_default_na=False)).to_csv(file, index=False)


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
    records = pd.read_parquet(folder / "records.parquet")
    of_claims = records[(records["metric"] == "dsc") & (records["suite"] == "iid")].assign(metric="mce")
    pd.concat([records, of_claims]).to_parquet(root / "records.parquet")
    extract(Results(root, published), [], tmp_path / "evidence")
    before, after = (pd.read_csv(place / "effects.csv") for place in (folder, tmp_path / "evidence"))
    pd.testing.assert_frame_equal(before.drop(columns="p"), after.drop(columns="p"), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(before["p"], after["p"], atol=1e-3)
    kept = pd.read_parquet(tmp_path / "evidence" / "records.parquet")
    assert len(kept) == len(records) + len(of_claims) > len(records)
    assert set(records["suite"]) == {"iid", "noise", "ood"}
    assert set(records.loc[records["suite"] == "noise", "metric"]) <= {"dsc"}


def test_the_page_reports_the_simulated_effects(text):
    assert "`spatial_spectral` (λ = 0.2) is better than the baseline `spatial` in 3 of 4 comparisons in DSC" in text
    assert f"It is better than its control `{CONTROL}` in 0 of 4 comparisons in DSC, worse in 0, equivalent" in text
    assert "Equivalent under 'sound': 4 of 4 comparisons; all would be with a margin of 0.02 percentage" in text
    assert "the two nevertheless differ by up to 0.01 (ACDC) and 0.01 (ISIC-18) percentage points of DSC." in text
    assert "GRCSF: none of its 7 claims can be tested, as the study has none of their runs." in text
    some = (
        "these runs have all comparisons of 2 and some comparisons of 1 more. With them, 1 holds and 1 does not hold."
    )
    assert f"### Harmonized: A title\n\nOf 3 claims of the paper, {some} A claim that needs all" in text
    assert "*Adjusted*: the verdict when the 3 claims with a p value are judged together" in text
    assert "(statistics.md#many-comparisons). Adjusted, 2 are too uncertain to say.\n" in text
    assert "| 1 | It helps | holds | 0.040 | too uncertain to say | 0.080 | of 2 comparisons 2 hold |" in text
    assert "| 0.080 | no; published +2.00, measured −0.50 [−1.00, +0.25] pp |" in text


def test_other_test_data_have_tables_and_a_sentence_of_their_own(folder, text):
    own, other, *_ = text.split("### ISIC-17, trained on ISIC-18\n")
    assert "### ISIC-18\n" in own
    assert "### ISIC-17, trained on ISIC-18, without leaked test cases\n" in other
    assert "On other data, it is better than the baseline in 1 of 2 comparisons in DSC, worse in 0" in text
    assert "2 of 3 on ISIC-17 (1 in ISIC-18's train part, 1 in ISIC-18's test part)." in text
    numbers = Numbers(folder)
    assert set(numbers.effects["test_dataset"]) == {"acdc", "isic2018"}
    assert set(numbers.other_data["test_dataset"]) == {"isic2017"}
    assert set(numbers.other_data["metric"]) <= set(SEGMENTATION)


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
    claims = pd.read_csv(folder / "claims.csv")
    intervals |= {tuple(map(signed, row)) for row in claims[["measured", "low", "high"]].dropna().to_numpy()}
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
        if "`spatial`" in name:
            assert re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", cell), "the value of the baseline"
            continue
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
        ("verdict", "undecided", "and undecided in 4;"),
        ("verdict", "worse", "worse in 4,"),
        ("verdict", "equivalent", "percentage points in 4 and"),
    ],
)
def test_the_answer_counts_verdicts(column, value, expected, folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    effects = pd.read_csv(copy / "effects.csv", dtype="str", keep_default_na=False)
    effects.assign(**{column: value}).to_csv(copy / "effects.csv", index=False)
    assert expected in summary.answer(Numbers(copy))[0]


def test_objectives_without_runs_have_no_weight(folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    effects = pd.read_csv(copy / "effects.csv", dtype="str", keep_default_na=False)
    effects[effects["objective"] != "printed"].to_csv(copy / "effects.csv", index=False)
    page = page_text(Numbers(copy), "evidence")
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
    page = page_text(Numbers(copy), "evidence").split("## Protocol")[0]
    assert "nothing here says anything about a paper" in page
    assert re.search(r"Unfinished: (\d+) of \1 runs have no results\.", page)


def test_hand_written_notes_join_the_page(folder, tmp_path):
    copy = tmp_path / "evidence"
    shutil.copytree(folder, copy)
    (copy / "data.md").write_text("Recompressed, all of it.\n")
    (copy / "obstacles.md").write_text("Nothing was in the way.\n")
    page = page_text(Numbers(copy), "evidence")
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
    keys += ["class", "test_dataset", "leak_free"]
    assert not pd.read_csv(tmp_path / "evidence" / "effects.csv").duplicated(keys).any()
    write_page(tmp_path / "evidence", tmp_path / "evidence.md")
    assert "its control" not in (tmp_path / "evidence.md").read_text()


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        ([0.1, 0.2948], "with a margin of 0.30 percentage"),
        ([0.1, 0.29], "with a margin of 0.30 percentage"),
        ([0.0], "with a margin of 0.01 percentage"),
        ([0.1, np.nan], "no margin would be enough, because equivalence needs 3"),
    ],
)
def test_all_intervals_lie_within_the_reported_margin(needed, expected):
    assert expected in effects._all_equivalent(pd.DataFrame({"margin_needed": needed}))


def test_the_main_weight_is_that_of_most_cells_then_the_first(folder):
    numbers = Numbers(folder)
    assert numbers.weights == {"spatial_spectral": "0.2", CONTROL: "0.2", "printed": "0.2", "convex": "0.2"}
    sweep = numbers.effects[numbers.effects["objective"] == "convex"]
    numbers.__dict__["effects"] = pd.concat([numbers.effects, sweep.assign(**{"lambda": "0"})])
    numbers.__dict__.pop("weights")
    assert "0" not in set(numbers.main(numbers.effects[numbers.effects["objective"] == "convex"])["lambda"])


def test_comparisons_without_interval_are_not_undecided(folder):
    rows = summary._dice(Numbers(folder), Numbers(folder).against(), "spatial_spectral")
    rows = rows.assign(low=[np.nan, *rows["low"][1:]], margin=[0.5, 0.5, 1.0, 2.0])
    page = summary._outcome("It", "this", rows)
    assert page.startswith("It is better than this in 2 of 3 comparisons in DSC (1 comparison more without an")
    assert "within ± 0.5 or 1 or 2 percentage points" in page
    difference, low, high = map(signed, rows[["difference", "smallest_seed", "largest_seed"]].iloc[1])
    expected = f"; the difference is {difference} percentage points, those of single seeds {low} to {high}."
    assert summary._outcome("It", "this", rows[1:2]).endswith(expected)
    impossible = summary._outcome("It", "this", rows.assign(low=np.nan))
    assert impossible == "It could not be compared with this in DSC (4 comparisons more without an interval)."


def test_the_ends_of_a_sweep_are_paired_and_compared_with_the_same_network_of_the_paper(text):
    section = text.split("## λ and the sign")[1].split("\n## ")[0]
    acdc, isic = section.split("ISIC-18, UNet")
    assert re.search(
        r"`printed` from λ = 0\.1 to λ = 0\.5: [+−]\d\.\d\d \[.*\].* percentage points; the paper's DSC", acdc
    )
    assert "the paper's" not in isic


def test_the_final_change_is_that_of_runs_with_both_validations(folder, tmp_path):
    copy = copied(folder, tmp_path)
    curves = pd.read_csv(copy / "curves.csv", dtype="str")
    start = "Change of validation Dice at the end of training, mean over runs, in percentage points: "
    both = f"{start}+1.0 on ACDC (iterations 500 to 600) and +1.0 on ISIC-18 (iterations 500 to 600). The learning"
    assert setup._flattened(Numbers(copy)).startswith(both)
    early = curves[(curves["dataset"] == "acdc") & (curves["seed"] == "0") & (curves["iteration"] == "500")]
    curves.drop(early.index).replace({"validation_dice": {"0.75": "0.1"}}).to_csv(copy / "curves.csv", index=False)
    assert "ACDC (iterations 100 to 600)" in setup._flattened(Numbers(copy))
    curves[curves["iteration"] == "600"].to_csv(copy / "curves.csv", index=False)
    assert setup._flattened(Numbers(copy)) == ""


def test_maps_and_spectra_get_no_verdict(folder):
    row = {"metric": "frc_mid", "seeds": 3, "verdict": "better", "difference": 1.0, "low": 0.5, "high": 1.5}
    assert "better" in cells.entry(row)
    assert "better" not in cells.entry(row, marked=False)
    numbers = Numbers(folder)
    dice = numbers.effects[numbers.effects["metric"] == "dsc"]
    assert "better" in set(dice["verdict"])
    maps = [dice.assign(metric=name) for name in ("frc_mid", "cam_random_pointing")]
    numbers.__dict__["effects"] = pd.concat(maps)
    _, table = properties.maps_section(numbers, "evidence")
    assert "better" not in table
    assert "| the same of a random map | " in table
    assert all("[" not in line for line in table.splitlines() if "random" in line)


def against(frame, reference):
    return frame[frame["reference"] != reference]


REDUCED = {
    "complete": [],
    "no baseline": [("effects", lambda frame: against(frame, "spatial"))],
    "no control": [("effects", lambda frame: against(frame, CONTROL))],
    "no interval": [("effects", lambda frame: frame.assign(low="", high="", narrow_low="", narrow_high=""))],
    "no Dice": [("effects", lambda frame: frame[frame["metric"] != "dsc"])],
    "two weights": [("effects", lambda frame: frame[frame["lambda"].isin(["0", "0.1", "0.2"])])],
    "three weights of no objective": [
        ("effects", lambda frame: frame[(frame["objective"] == "printed") == (frame["lambda"] == "0.5")])
    ],
    "no effect": [("effects", lambda frame: frame[:0])],
    "no curve": [("curves", lambda frame: frame[:0]), ("tuning", lambda frame: frame[:0])],
    "no rate": [("curves", lambda frame: frame.assign(learning_rate=""))],
    "no noise": [("noise", lambda frame: frame[:0])],
    "no audit": [("leakage", lambda frame: frame[:0])],
    "no claim": [("claims", lambda frame: frame[frame["verdict"] != "holds"])],
    "no run": [("runs", lambda frame: frame.assign(state="missing", iterations=""))],
    "nothing recorded": [
        (
            "runs",
            lambda frame: frame.assign(device="", threads="", evaluation="", parameters="", commit="", torch=""),
        )
    ],
}


@pytest.mark.parametrize("case", REDUCED)
def test_a_page_has_no_empty_part(case, folder, tmp_path):
    """No heading or table without content, no plot without data, no number that is NaN."""
    copy = copied(folder, tmp_path)
    for name, change in REDUCED[case]:
        rewrite(copy, name, change)
    write_page(copy, tmp_path / "evidence.md")
    page = (tmp_path / "evidence.md").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert {f"evidence/{file.name}" for file in copy.glob("*.svg")} == set(re.findall(r"!\[[^]]*\]\((.*?)\)", page))
    parts = page.strip().split("\n\n")
    for part, after in zip(parts, [*parts[1:], "# End"], strict=True):
        level = len(re.match("#*", part)[0])
        assert level < 2 or level < len(re.match("#*", after)[0]) or not after.startswith("#"), part
        assert not part.endswith(":") or not after.startswith("#"), part
        assert not part.startswith("|") or part.count("\n") > 1, part
        assert part.startswith("|") or not re.search(r"  |\(\)|: ?[.;]|,,|\b1 (runs|claims|seeds)\b", part), part


def test_the_baseline_is_reported_with_its_values(folder, text):
    records = pd.read_parquet(folder / "records.parquet")
    keys = {"suite": "iid", "dataset": "isic2018", "architecture": "unet", "objective": "spatial", "metric": "dsc"}
    mask = np.logical_and.reduce([records[key] == value for key, value in keys.items()])
    seeds = 100 * records[mask & (records["protocol"] == "sound")].groupby("seed")["value"].mean()
    section = text.split("### ISIC-18\n")[1]
    assert section.index(f"| UNet `spatial` | {seeds.mean():.2f} ± {seeds.std():.2f} |") < section.index(
        "UNet `spatial_spectral, λ = 0.2`"
    )


def test_measures_without_a_value_have_no_column(text):
    assert "| DSC, sound | DSC, published | HD95, sound |" in text
    assert "NSD, sound" not in text


def test_methods_follow_the_configuration(text):
    lines = re.findall(r"^\| (\w+) `(\w+)", text.split("## Noise")[1].split("\n## ")[0], re.MULTILINE)
    first = lines[: len(lines) // 2]
    assert first[0] == ("UNet", "spatial")
    assert first == sorted(first, key=lambda line: line[0] == "TransUNet"), "UNet is the first network"


@pytest.mark.parametrize("seeds", [1, 2])
def test_diverged_runs_are_not_missing_runs(seeds, folder, tmp_path):
    copy = copied(folder, tmp_path)

    def diverge(frame):
        chosen = (frame["objective"] == "printed") & (frame["lambda"] == "0.2") & (frame["dataset"] == "acdc")
        return frame.assign(state=np.where(chosen & (frame["seed"].astype(int) < seeds), "diverged", "evaluated"))

    rewrite(copy, "runs", diverge)
    page = page_text(Numbers(copy), "evidence")
    assert re.search(rf"\*\*{seeds} of \d+ runs diverged: `printed` {seeds}\. Comparisons leave out their seeds", page)
    assert "Unfinished" not in page


def test_twice_the_iterations_are_compared_with_those_of_the_study(folder, text, tmp_path):
    assert "Twice the iterations" not in text
    copy = copied(folder, tmp_path)

    def add(frame):
        longer = frame.assign(iterations="1200", validation_dice=frame["validation_dice"].astype(float) + 0.0123)
        other = longer.assign(learning_rate="0.3", validation_dice=1.0)
        return pd.concat([frame, longer[longer["architecture"] == "unet"], other]).astype("str")

    rewrite(copy, "tuning", add)
    page = page_text(Numbers(copy), "evidence")
    assert "Twice the iterations of this study change the best validation Dice by +1.2 (ACDC UNet) and +1.2" in page


def test_learning_rates_are_compared_where_all_were_tried_alike(folder, text, tmp_path):
    assert "Mean of each learning rate" not in text
    copy = copied(folder, tmp_path)

    def add(frame):
        at = {rate: frame.assign(learning_rate=rate, validation_dice=f"0.{rate[-1]}1") for rate in ("0.02", "0.03")}
        missing = at["0.03"][at["0.03"]["dataset"] == "acdc"].assign(learning_rate="0.04")
        longer = at["0.03"].assign(learning_rate="0.05", iterations="1200")
        once = frame[frame["dataset"] == "acdc"].assign(dataset="btseg", validation_dice="0.99")
        return pd.concat([frame, *at.values(), missing, longer, once])

    rewrite(copy, "tuning", add)
    sentence = re.search(
        "Mean of each learning rate over (.*), with that many iterations: (.*)", page_text(Numbers(copy), "evidence")
    )
    assert sentence[1] == "ACDC UNet (600), ACDC TransUNet (600), ISIC-18 UNet (600) and ISIC-18 TransUNet (600)"
    assert sentence[2] == "21.0 (0.02), 31.0 (0.03) and 75.0 (0.1)."

    def train_longer(frame):
        return frame.assign(iterations=[iterations.replace("600", "2400") for iterations in frame["iterations"]])

    rewrite(copy, "runs", train_longer)
    assert sentence[0] in page_text(Numbers(copy), "evidence")


@pytest.mark.parametrize(("least", "named"), [("95.0", True), ("89.0", False)])
def test_a_corruption_that_leaves_nothing_is_named(least, named, folder, tmp_path):
    copy = copied(folder, tmp_path)

    def lose(frame):
        measured = ["96.0" if name == "spatial_spectral" else least for name in frame["objective"]]
        return frame.assign(measured=measured, corruption="gaussian", quantity="rD")

    rewrite(copy, "noise", lose)
    page = page_text(Numbers(copy), "evidence")
    assert ("Under `gaussian`, every method loses more than 90 % of its Dice" in page) == named


def test_the_tuning_study_may_have_other_datasets(folder, tmp_path):
    copy = copied(folder, tmp_path)
    rewrite(copy, "tuning", lambda frame: frame.replace({"dataset": {"acdc": "btseg"}}))
    rows = re.findall(r"^\| ([\w-]+ \w+) \| 75\.0 \|$", page_text(Numbers(copy), "evidence"), re.MULTILINE)
    assert rows == ["ISIC-18 UNet", "ISIC-18 TransUNet", "BTSeg UNet", "BTSeg TransUNet"]


def test_limits_name_what_was_measured(folder, text, tmp_path):
    assert "- ACDC and ISIC-18 with UNet and TransUNet only, each tested on cases of its own dataset, and some" in text
    assert "- Learning rate and iterations were tuned for the baseline alone" in text
    copy = copied(folder, tmp_path)

    def lose(frame):
        lost = (frame["dataset"] == "acdc") | (frame["architecture"] == "transunet")
        return frame.assign(state=frame["state"].mask(lost, "missing"), parameters="3600000.0")

    rewrite(copy, "runs", lose)
    rewrite(copy, "tuning", lambda frame: frame[:0])
    page = page_text(Numbers(copy), "evidence")
    assert "- ISIC-18 with UNet only, each tested on cases of its own dataset" in page
    assert "networks of 3.6 million parameters" in page
    assert "none was tuned individually" in page


def test_the_protocol_is_that_of_the_configuration(folder, tmp_path):
    copy = copied(folder, tmp_path)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["evaluation"] = {"checkpoint": "last"}
    (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    page = page_text(Numbers(copy), "evidence")
    assert "*add*: L + λA. *printed*: L + λ(1 − A), the sign of Eq. (3). *convex*: (1 − λ)L + λA. Training: SGD" in page
    assert "The checkpoint after the last iteration is evaluated." in page


def test_the_audit_is_reported_where_it_found_nothing(folder, text, tmp_path):
    found = "Test cases that match another case of their dataset: 0 of 3 on ACDC, "
    assert found in text
    copy = copied(folder, tmp_path)
    rewrite(copy, "leakage", lambda frame: frame.assign(train="1", not_hashed="2"))
    page = page_text(Numbers(copy), "evidence")
    assert "their dataset: 1 of 3 on ACDC (1 in its train part, 2 not compared), " in page


def test_a_margin_above_the_measured_error_says_little(folder, tmp_path):
    copy = copied(folder, tmp_path)

    def calibrated(frame):
        hd95 = frame[(frame["metric"] == "hd95") & (frame["protocol"] == "sound")]
        changes = {"margin": "0.5", "equivalent": "True", "verdict": "equivalent"}
        return pd.concat([hd95.assign(metric="ece", reference_measured="0.3", **changes), frame])

    rewrite(copy, "effects", calibrated)
    warning = "the margin, ± 0.5 percentage points, is at least as large as the ECE of the baseline itself"
    assert warning in page_text(Numbers(copy), "evidence")
    rewrite(copy, "effects", lambda frame: frame.assign(reference_measured="4.2"))
    assert warning not in page_text(Numbers(copy), "evidence")


def test_a_verdict_is_not_rounded_away():
    row = {"metric": "nll", "seeds": 3, "verdict": "better", "difference": -0.0006, "low": -0.0011, "high": -0.0002}
    assert cells.entry(row) == "−0.0006 [−0.0011, −0.0002] **better**"
    assert cells.entry({**row, "verdict": "undecided", "high": 0.0002}) == "−0.0006 [−0.0011, +0.0002]"
    assert cells.entry({**row, "verdict": "undecided", "seeds": 2}) == "−0.0006 [−0.0011, −0.0002] (2 seeds)"
    row = {"metric": "dsc", "difference": 0.1, "narrow_low": -0.2, "narrow_high": 0.4996}
    assert cells.limits_apart(row, "narrow_low", "narrow_high", [0.5]) == "+0.1000 [−0.2000, +0.4996]"


def test_a_study_without_eq_2_is_answered_for_each_objective(folder, tmp_path):
    copy = copied(folder, tmp_path)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["objectives"]["spatial_spectral"]["form"] = "convex"
    (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    first, *others = summary.answer(Numbers(copy))
    assert first == "No objective of this study adds 1 − S, with S of Eq. (2) over all frequencies, to the baseline."
    assert others[0].startswith("`spatial_spectral` (λ = 0.2) is better than the baseline `spatial` in 3 of 4 ")
    own = [sentence for sentence in others if not sentence.startswith("On other data, it is ")]
    assert len(own) == len(config["objectives"]) - 1


def test_the_baseline_is_not_the_subject(folder, tmp_path):
    copy = copied(folder, tmp_path)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["comparison"] = {"baseline": "spatial_spectral"}
    del config["grid"]["curves"]
    (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert "`spatial_spectral` (λ = 0.2) against" not in " ".join(summary.answer(Numbers(copy)))


def test_external_methods_have_no_effect(finished, published, tmp_path):
    root = tmp_path / "study"
    shutil.copytree(finished, root)
    config = yaml.safe_load((root / "config.yaml").read_text())
    commands = {"train": "train {data} {seed} {model}", "predict": "predict {model} {images} {predictions}"}
    config["external"] = {"other": {"datasets": ["acdc"], "seeds": [0, 1, 2], **commands}}
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    records = pd.read_parquet(root / "records.parquet")
    ours = (records["dataset"] == "acdc") & (records["objective"] == "spatial") & (records["architecture"] == "unet")
    external = records[ours].assign(architecture="other", objective="external")
    pd.concat([records, external])[list(COLUMNS)].to_parquet(root / "records.parquet")
    extract(Results(root, published), [], tmp_path / "evidence")
    write_page(tmp_path / "evidence", tmp_path / "evidence.md")
    assert "external" not in set(pd.read_csv(tmp_path / "evidence" / "effects.csv")["objective"])
    assert "| other `external` |" in (tmp_path / "evidence.md").read_text(encoding="utf-8").split("## Noise")[1]


def test_spectra_are_those_of_all_test_cases(folder, text):
    """Only class activation maps are limited to the interpreted cases."""
    records = pd.read_parquet(folder / "records.parquet")
    patients = records[(records["metric"] == "frc_mid") & (records["dataset"] == "acdc")]["group"].nunique()
    assert re.search(rf"\| ACDC \| UNet \| Fourier ring correlation, middle band \|.*\| 3 \| {patients} \|", text)
    assert "spectra are those of all test cases" in text


def test_published_values_are_beside_the_measured_ones(finished, published, folder, text):
    gains = common.published_gains(Results(finished, published), "table_1", "table_2")
    cell = (gains["dataset"] == "acdc") & (gains["architecture"] == "unet") & (gains["lambda"] == "0.2")
    (row,) = gains[cell & (gains["metric"] == "dsc")].to_dict("records")
    gain = signed(row["published_gain"])
    table = text.split("### ")[0].split("## Effects")[1]
    assert re.search(
        rf"\n\| ACDC \| UNet \| {row['value_spatial']:.2f} \| [\d. ±]+ \| {re.escape(gain)} \| [^|]+\]", table
    )
    assert re.search(
        rf"\n\| ACDC \| UNet \| DSC \| [\d.]+ \| {re.escape(gain)} \|", text.split("## Statistical power")[1]
    )


def test_without_published_values_there_is_no_such_table(folder, tmp_path):
    copy = copied(folder, tmp_path)
    rewrite(copy, "published", lambda frame: frame.iloc[:0])
    write_page(copy, tmp_path / "page.md")
    assert "in the paper and here" not in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_classes_average_to_the_mean(folder, text):
    effects = pd.read_csv(
        folder / "effects.csv", dtype={"lambda": "str", "reference_lambda": "str", "leak_free": "str"}
    )
    effects = effects[(effects["metric"] == "dsc") & (effects["protocol"] == "sound")]
    single = effects[effects["class"] != "mean"]
    assert set(single["dataset"]) == {"acdc"}  # the others have one class
    keys = ["architecture", "objective", "lambda", "reference", "reference_lambda", "leak_free"]
    for values, part in effects[effects["dataset"] == "acdc"].groupby(keys, dropna=False):
        by_class = part.set_index("class")["measured"]
        assert by_class.drop("mean").mean() == pytest.approx(by_class["mean"], abs=1e-3), values
    assert "| DSC of left ventricle, sound | DSC of myocardium, sound | DSC of right ventricle, sound |" in text


def test_p_values_agree_with_intervals(folder):
    effects = pd.read_csv(folder / "effects.csv").dropna(subset=["p"])
    assert len(effects) > 100
    excludes = (effects["low"] > 0) | (effects["high"] < 0)
    assert (excludes == (effects["p"] <= 0.05)).all()


def test_a_missing_column_raises(folder, tmp_path):
    copy = copied(folder, tmp_path)
    rewrite(copy, "runs", lambda frame: frame.drop(columns="state"))
    with pytest.raises(InputError, match=r"runs\.csv: .*'state'.*run 'spectralseg findings' again"):
        write_page(copy, tmp_path / "page.md")
