import re

import pytest
import yaml

from spectralseg.config import Config
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError
from spectralseg.grid import runs
from spectralseg.interpretation.scores import CAM_METRICS, SPECTRAL_METRICS
from spectralseg.metrics.policy import POLICY
from spectralseg.published.claims import Claim, read_claims
from spectralseg.published.consistency import audit
from spectralseg.published.tables import SELECTION, read_published

# Inconsistencies between text and tables of the paper: claim, value of the text, value of the tables.
INCONSISTENCIES = {
    ("monuseg-transunet-dsc", 0.58, 0.74),
    ("objects-and-boundaries", 33.63, 30.45),  # HD on Synapse: TransUNet(ours), TransUNet
    ("isic2017-transunet-most-sensitive", 82.62, 82.84),  # TransUNet(ours), TransUNet
    ("ood-consistent", 40.35, 43.98),  # DSC on PolypGen: UNet(ours), UNet
    ("ood-consistent", 33.81, 37.15),  # IOU on PolypGen
    ("acdc-trends", 1.30, 1.82),  # HD on ACDC: TransUNet(ours), TransUNet; on Synapse it rises by 3.18
    ("calibration-consistent", 16.04, 15.85),  # MCE on Kvasir-SEG: UNet(ours), UNet
    ("calibration-consistent", 13.34, 12.80),  # ECE on ISIC-17
    ("calibration-consistent", 26.12, 25.00),  # MCE on ISIC-17
    ("noise-acdc", 73.46, 73.59),  # DSC with Gaussian noise: UNet(ours), UNet
    ("noise-robustness", 73.46, 73.59),
}


@pytest.fixture(scope="module")
def claims(published):
    return read_claims(published / "claims.csv")


@pytest.fixture(scope="module")
def cells(published):
    """Printed values by the keys of their records."""
    rows = [row for file in published.glob("table_*.csv") for row in read_published(file).cells.to_dict("records")]
    return {tuple(row[name] for name in (*SELECTION, "class", "metric")): row["value"] for row in rows}


def value(cells, selection):
    return cells.get(tuple(selection[name] for name in (*SELECTION, "class", "metric")))


def test_every_claim_has_comparisons_or_a_reason(claims):
    assert len(claims) == 83
    assert sum(bool(claim.untestable) for claim in claims) == 18
    assert all(claim.section and claim.text for claim in claims)


def test_comparisons_select_what_the_grid_of_the_paper_computes(claims, repository):
    config = Config.model_validate(yaml.safe_load((repository / "config" / "config.yaml").read_text()))
    specifications = read_specifications(repository / "workflow" / "rules" / "datasets")
    planned = {(run.dataset, run.architecture, run.objective, run.lam) for run in runs(config)}
    noise = config.evaluation.noise
    metrics = {*POLICY["published"], *POLICY["sound"], "ece", "mce", *CAM_METRICS, *SPECTRAL_METRICS}
    for claim in claims:
        for comparison in claim.comparisons:
            for side in comparison.sides:
                dataset, test = side["dataset"], side["test_dataset"]
                assert tuple(side[name] for name in SELECTION[:4]) in planned
                assert side["metric"] in metrics
                assert side["class"] in ("mean", *specifications[test].classes)
                if side["suite"] == "noise":
                    assert dataset in noise.datasets
                    assert side["severity"] in noise.corruptions[side["corruption"]]
                else:
                    assert (side["corruption"], side["severity"]) == ("none", "0")
                assert test in (specifications[dataset].ood if side["suite"] == "ood" else [dataset])


def test_sizes_of_the_text_are_differences_of_the_tables(claims, cells):
    wrong, sizes = {}, 0
    for claim in claims:
        for comparison in claim.comparisons:
            if comparison.size is not None:
                sizes += 1
                difference = value(cells, comparison.method) - value(cells, comparison.reference)
                if abs(difference - comparison.difference) > 0.0101:
                    wrong[claim.id] = (comparison.difference, pytest.approx(difference))
    assert sizes == 22
    assert wrong == {"monuseg-transunet-dsc": (0.58, 0.74)}


def test_inconsistencies_between_text_and_tables(published, claims):
    report = audit(sorted(published.glob("table_*.csv")), published / "claims.csv")
    findings = report.findings[report.findings["check"] == "text against tables"]
    result = {(row["name"], round(row["printed"], 2), round(row["bound"], 2)) for row in findings.to_dict("records")}
    assert result == INCONSISTENCIES
    assert len(findings) == len(INCONSISTENCIES)
    # No printed cells: 46 comparisons of spectra and activation maps, 16 of boundaries, 6 of SE. 24 are not directed.
    assert report.note.startswith("not compared with tables: 68 comparisons of cells that are not printed, 24 that say")
    covered = report.checks.set_index("check")["covered"]
    assert covered["text against tables"] + 68 + 24 == sum(len(claim.comparisons) for claim in claims)


def test_printed_directions(claims, cells):
    """The same list, computed without the audit."""
    result = set()
    for claim in claims:
        outcomes = []
        for comparison in claim.comparisons:
            pair = tuple(value(cells, side) for side in comparison.sides)
            if None not in pair and comparison.minus:
                pair = pair[0] - pair[1], pair[2] - pair[3]
            if comparison.size is None and comparison.direction in ("higher", "lower") and None not in pair:
                better, worse = pair if comparison.direction == "higher" else pair[::-1]
                outcomes.append(better >= worse)  # values that are printed alike may differ
                if better < worse and claim.quantifier == "all":
                    result.add((claim.id, *pair))
        assert claim.quantifier != "most" or not outcomes or claim.holds(outcomes)
    assert result == {entry for entry in INCONSISTENCIES if entry[0] != "monuseg-transunet-dsc"}


def test_gains_that_are_compared(claims, cells):
    """Claims of the text about two networks, from the printed cells."""
    by_id = {claim.id: claim for claim in claims}
    gains = {}
    for name in ("kvasir-transunet-gains-more", "synapse-depends-on-architecture"):
        for comparison in by_id[name].comparisons:
            actual, reference, other, other_reference = (value(cells, side) for side in comparison.sides)
            gains[name, comparison.method["metric"]] = (round(actual - reference, 2), round(other - other_reference, 2))
            assert (comparison.method["architecture"], comparison.minus[0]["architecture"]) == ("transunet", "unet")
    assert gains == {
        ("kvasir-transunet-gains-more", "dsc"): (1.84, 0.63),
        ("kvasir-transunet-gains-more", "iou"): (2.13, 0.06),
        ("kvasir-transunet-gains-more", "sensitivity"): (1.67, 1.64),
        ("synapse-depends-on-architecture", "hd95"): (3.18, -5.78),
    }


def test_the_trends_of_acdc_are_those_of_synapse(claims, cells):
    (claim,) = [claim for claim in claims if claim.id == "acdc-trends"]
    printed = {"synapse": [], "acdc": []}
    stated = {"synapse": [], "acdc": []}
    for comparison in claim.comparisons:
        name = comparison.method["dataset"]
        printed[name].append(round(value(cells, comparison.method) - value(cells, comparison.reference), 2))
        stated[name].append(comparison.direction)
    assert stated["synapse"] == stated["acdc"] == ["higher", "lower", "higher", "higher"]
    assert printed == {"synapse": [0.82, -5.78, 1.26, 3.18], "acdc": [0.81, -0.44, 1.63, -0.52]}


def test_quantifiers():
    everything = Claim("a", "1", "", "all", "", ())
    most = Claim("a", "1", "", "most", "", ())
    assert everything.holds([True, True])
    assert not everything.holds([True, False])
    assert most.holds([True, True, False])
    assert not most.holds([True, False])


def test_signs_of_differences(claims):
    by_id = {claim.id: claim for claim in claims}
    assert by_id["synapse-unet-hd"].comparisons[0].difference == -5.78
    assert by_id["synapse-transunet-hd"].comparisons[0].difference == 3.18
    assert by_id["lambda-acdc-dsc"].comparisons[0].difference is None


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("claims.csv", "id,section", "name,section", "column 'id' is missing"),
        ("claims.csv", "acdc-unet-hd,", "acdc-unet-dsc,", "claim 'acdc-unet-dsc' appears twice"),
        ("claims.csv", "acdc-unet-hd,", "acdc-unet-hd95,", "claim 'acdc-unet-hd' is not in"),
        (
            "claims.csv",
            "No run minimises the spectral term alone.",
            "",
            "'spatial-superior' needs either",
        ),
        ("claims.csv", "most tasks,most,", "most tasks,many,", "quantifier 'many' is unknown"),
        ("claims.csv", "most tasks,most,", "most tasks,most,because", "'unet-ours-beats-transunet' needs either"),
        ("claims_cells.csv", "claim,direction", "claim,sense", "column 'direction' is missing"),
        ("claims_cells.csv", "acdc-unet-hd,lower", "acdc-unet-hd,less", "direction 'less' is unknown"),
        ("claims_cells.csv", "acdc-unet-hd,lower,0.44", "acdc-unet-hd,lower,-0.44", "size '-0.44' must be a positive"),
        (
            "claims_cells.csv",
            "acdc-unet-hd,lower,0.44",
            "acdc-unet-hd,similar,0.44",
            "with the direction higher or lower",
        ),
        ("claims_cells.csv", "mean,cam_energy", "mean,cam_enery", "is unknown; known metrics"),
        (
            "claims_cells.csv",
            "unet,spatial_spectral,0.2,unet,spatial,0",
            "unet,spatial,0,unet,spatial,0",
            "with itself",
        ),
        ("claims_cells.csv", ",unet/spatial_spectral/0.2,", ",unet/spatial_spectral,", "is not a method; write"),
        ("claims_cells.csv", ",unet/spatial/0\n", ",\n", "minus_reference '' is not a method"),
        (
            "claims_cells.csv",
            "unet/spatial_spectral/0.2,unet/spatial/0",
            "transunet/spatial_spectral/0.2,transunet/spatial/0",
            "a method or gain is compared with itself",
        ),
    ],
)
def test_invalid_files_raise(published, tmp_path, file, old, new, message):
    for name in ("claims.csv", "claims_cells.csv"):
        text = (published / name).read_text(encoding="utf-8")
        if name == file:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        read_claims(tmp_path / "claims.csv")


def test_columns_of_gains_may_be_missing(published, tmp_path):
    (tmp_path / "claims.csv").write_text("id,section,claim,quantifier,untestable\nc,4,It helps,all,\n")
    lines = (published / "claims_cells.csv").read_text(encoding="utf-8").splitlines()
    heading, row = (next(line for line in lines if line.startswith(start)) for start in ("claim,", "acdc-unet-dsc,"))
    short = [",".join(line.split(",")[:-2]) for line in (heading, row.replace("acdc-unet-dsc", "c"))]
    (tmp_path / "claims_cells.csv").write_text("\n".join(short) + "\n")
    (claim,) = read_claims(tmp_path / "claims.csv")
    assert claim.comparisons[0].minus == ()


@pytest.mark.parametrize("missing", ["claims.csv", "claims_cells.csv"])
def test_missing_files_raise(published, tmp_path, missing):
    for name in {"claims.csv", "claims_cells.csv"} - {missing}:
        (tmp_path / name).write_bytes((published / name).read_bytes())
    with pytest.raises(InputError, match=f"{missing}: cannot be read"):
        read_claims(tmp_path / "claims.csv")
