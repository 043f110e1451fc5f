"""The claims of GRCSF: of its abstract alone, on lesion datasets, without a published number."""

import pytest
import yaml

from spectralseg.config import Config
from spectralseg.data.specification import read_specifications
from spectralseg.grid import runs
from spectralseg.metrics.policy import POLICY
from spectralseg.papers import read_papers
from spectralseg.published.claims import read_claims

DATASETS = {"atlas": "dice_focal", "orcascore": "focal", "coca": "focal"}
UNTESTABLE = {"maps-highlight-lesions", "state-of-the-art"}


@pytest.fixture(scope="module")
def paper(published):
    return next(paper for paper in read_papers(published.parent) if paper.id == "grcsf")


@pytest.fixture(scope="module")
def claims(paper):
    return read_claims(paper.claims)


@pytest.fixture(scope="module")
def sides(claims):
    return [side for claim in claims for comparison in claim.comparisons for side in comparison.sides]


def test_no_number_is_published(paper, claims):
    assert paper.tables == {}
    assert all(comparison.size is None for claim in claims for comparison in claim.comparisons)


def test_claims_have_comparisons_or_a_reason(claims):
    assert {claim.id for claim in claims if claim.untestable} == UNTESTABLE
    assert all(claim.section == "Abstract" and claim.quantifier == "all" for claim in claims if claim.comparisons)


def test_comparisons_select_records_of_lesion_datasets(sides, repository):
    specifications = read_specifications(repository / "workflow" / "rules" / "datasets")
    for side in sides:
        assert specifications[side["dataset"]].lesions is not None
        assert side["test_dataset"] == side["dataset"]
        assert side["objective"] == DATASETS[side["dataset"]]
        assert (side["suite"], side["class"], side["lambda"]) == ("iid", "mean", "0")
        assert side["metric"] in POLICY["sound"]
        assert ("lesion" in side["metric"]) <= (side["metric"] not in POLICY["published"])


def test_general_claims_are_about_every_type_of_lesion(claims):
    for claim in claims:
        datasets = {comparison.method["dataset"] for comparison in claim.comparisons}
        expected = set(DATASETS) - ({"coca"} if claim.id == "beats-backbone" else set())
        assert datasets == (set() if claim.untestable else expected)


def test_comparisons_select_what_the_study_of_lesions_computes(sides, repository):
    file = repository / "config" / "lesions.yaml"
    if not file.is_file():
        pytest.skip("the study of lesions is not part of this checkout")
    config = Config.model_validate(yaml.safe_load(file.read_text()))
    planned = {(run.dataset, run.architecture, run.objective, run.lam) for run in runs(config)}
    keys = ("dataset", "architecture", "objective", "lambda")
    assert {tuple(side[key] for key in keys) for side in sides} <= planned
