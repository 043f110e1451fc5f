import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spectralseg import outputs
from spectralseg.config import load_config, validate_config
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError
from spectralseg.study_outputs import run_features, with_outputs

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "config" / "published"
SPECIFICATIONS = read_specifications(REPOSITORY / "workflow" / "rules" / "datasets")
ALWAYS = {
    "leaderboard",
    "leakage",
    "metrics",
    "strata",
    "summary",
    "examples",
    "cost",
    "leakage_matrix",
    "learning_curves",
    "study_protocols",
}
OWN = {
    "name": "own",
    "datasets": {"btseg": {}},
    "architectures": {"segformer": {"model": "segformer", "encoder": "mit_b0"}},
    "objectives": {"cross_entropy": {"base": "cross_entropy"}},
    "grid": {
        "main": {
            **{"datasets": ["btseg"], "architectures": ["segformer"]},
            **{"objectives": ["cross_entropy"], "seeds": [0, 1]},
        }
    },
    "evaluation": {"suites": ["iid"]},
}


def made(raw, published=PUBLISHED):
    """Names of all outputs of a study."""
    config = with_outputs(validate_config(raw, "own.yaml", SPECIFICATIONS), SPECIFICATIONS, published)
    return {name for kind in outputs.KINDS for name in getattr(config, kind)}


def changed(**changes):
    """The study of a user's own loss on BTSeg with other parts; ``grid`` changes its only block."""
    grid = {"main": {**OWN["grid"]["main"], **changes.pop("grid", {})}}
    return {**OWN, **changes, "grid": grid}


def every(kind):
    return [output.name for output in outputs.describe_all(kind, PUBLISHED)]


@pytest.mark.parametrize(("name", "without"), [("config", {"lesions", "questions", "inner_maps"}), ("demo", set())])
def test_the_grid_of_the_paper_gets_all_but_what_it_has_no_runs_for(name, without):
    config = load_config(REPOSITORY / "config" / f"{name}.yaml", SPECIFICATIONS)
    config = with_outputs(config, SPECIFICATIONS, PUBLISHED)
    assert config.tables == [name for name in every("tables") if name not in without]
    assert config.tables[:6] == [f"table_{number}" for number in range(1, 7)]
    assert config.figures == [name for name in every("figures") if name not in without]
    assert config.studies == [name for name in every("studies") if name != "study_mid_band"]


def test_one_objective_without_the_runs_of_a_paper():
    assert made(OWN) == ALWAYS
    assert made(changed(datasets={"atlas": {"source": "phantom"}}, grid={"datasets": ["atlas"]})) == ALWAYS | {
        "lesions"
    }


def test_questions_and_residual_maps_have_outputs_of_their_own():
    asked = {"questions": {"own": {"title": "Better?", "reference": "segformer", "methods": ["second"]}}}
    networks = {**OWN["architectures"], "second": {"model": "grcsf", "pretrained": ["half"]}}
    study = changed(architectures=networks, pretraining={"half": {"mask_ratio": 0.5}}, comparison=asked)
    study["grid"]["main"]["architectures"] = ["segformer", "second"]
    assert made(study) == ALWAYS | {"questions", "inner_maps"}


PLAIN, DICE = {"base": "cross_entropy"}, {"base": "dice"}
SPECTRAL = {**PLAIN, "auxiliary": "spectral"}
BAND = {**SPECTRAL, "auxiliary_options": {"band": [8, 32]}}
SPATIAL = {"base": "bce_dice"}
UNET = {"architectures": {"unet": {"model": "unet"}}, "objectives": {"spatial": SPATIAL}}
UNET_RUNS = {"architectures": ["unet"], "objectives": ["spatial"]}
OURS = {**UNET, "objectives": {"spatial": SPATIAL, "spatial_spectral": {**SPATIAL, "auxiliary": "spectral"}}}
OUR_RUNS = {**UNET_RUNS, "objectives": ["spatial", "spatial_spectral"], "lambdas": ["0.2"]}
COMPARED = {"overall", "forest", "scatter"}
NOISY = {"robustness", "severity", "corruptions"}


def with_objectives(*lambdas, **objectives):
    return changed(objectives=objectives, grid={"objectives": list(objectives), "lambdas": list(lambdas)})


def with_noise(*suites, **noise):
    return changed(evaluation={"suites": ["iid", *suites], "noise": noise})


@pytest.mark.parametrize(
    ("study", "more"),
    [
        (with_objectives(cross_entropy=PLAIN, mine=DICE), COMPARED),
        (with_objectives("0.2", cross_entropy=SPECTRAL), {"study_equation_2"}),
        (with_objectives("0.2", cross_entropy=BAND), {"study_equation_2", "study_mid_band"}),
        (
            with_objectives("0.1", "0.2", cross_entropy=DICE, mine={**DICE, "auxiliary": "boundary"}),
            COMPARED | {"lambda_curves"},
        ),
        (changed(evaluation={"suites": ["iid", "calibration"]}), {"reliability"}),
        (changed(evaluation={"suites": ["iid", "interpretation"]}), {"frequency"}),
        (with_noise("noise", datasets=["btseg"], corruptions={"gaussian": ["0.01"]}), NOISY),
        (with_noise("noise", sweep=["btseg"]), NOISY),
        (with_noise("noise", datasets=["btseg"]), set()),
        (with_noise(sweep=["btseg"]), set()),
        (changed(**UNET, grid=UNET_RUNS), set()),  # the baseline of a paper alone is not about the paper
        (
            changed(**OURS, grid=OUR_RUNS),
            {"table_1", "figure_2", "figure_3", "figure_6", "figure_9", "study_equation_2"} | COMPARED,
        ),
    ],
)
def test_each_part_of_a_study_adds_what_shows_it(study, more):
    assert made(study) - ALWAYS - ({"figure_2", "figure_3"} - more) == more


def test_partners_add_results_out_of_distribution():
    isic = changed(datasets={"isic2018": {}, "isic2017": {}}, grid={"datasets": ["isic2018"]})
    isic["evaluation"] = {"suites": ["iid", "ood"]}
    more = {"leakage_effect", "leak_free", "study_leakage"}
    assert more <= made(isic)
    isic["datasets"] = {"isic2018": {}}
    assert not more & made(isic)


def test_a_published_table_needs_one_of_its_conditions():
    """Of the runs of Table 5, noise of another level and runs on clean images show no cell."""
    study = changed(
        **{"datasets": {"acdc": {}}, **OURS},
        grid={"datasets": ["acdc"], **OUR_RUNS},
    )
    noise = {"datasets": ["acdc"], "corruptions": {"gaussian": ["0.01"]}}
    assert {"table_2", "table_5"} <= made({**study, "evaluation": {"noise": noise}})
    assert "table_5" not in made({**study, "evaluation": {"noise": noise, "suites": ["iid"]}})
    noise["corruptions"] = {"gaussian": ["0.02"]}
    assert {"table_2", "table_5", "table_3"} & made({**study, "evaluation": {"noise": noise}}) == {"table_2"}


def test_tables_of_every_paper_count(tmp_path):
    shutil.copytree(PUBLISHED, tmp_path / "published")
    text = (PUBLISHED / "harmonized" / "table_1.csv").read_text(encoding="utf-8")
    text = text.replace(",btseg,unet,spatial,0,", ",btseg,segformer,cross_entropy,0,")
    (tmp_path / "published" / "grcsf" / "table_10.csv").write_text(text, encoding="utf-8")
    assert "table_10" not in made(OWN, tmp_path / "published"), "no run is of a method of the paper"
    description = tmp_path / "published" / "grcsf" / "paper.yaml"
    description.write_text(re.sub("own:.*", "own: {architecture: [segformer]}", description.read_text()))
    assert "table_10" in made(OWN, tmp_path / "published")
    (tmp_path / "published" / "grcsf" / "table_10.csv").rename(tmp_path / "published" / "grcsf" / "table_1.csv")
    with pytest.raises(InputError, match="table 'table_1' is also in"):
        made(OWN, tmp_path / "published")


def test_lists_of_the_configuration_are_taken_as_they_are():
    raw = {**OWN, "tables": ["table_5", "lesions"], "figures": [], "studies": None}
    config = with_outputs(validate_config(raw, "own.yaml", SPECIFICATIONS), SPECIFICATIONS, PUBLISHED)
    assert (config.tables, config.figures, config.studies) == (["table_5", "lesions"], [], ["study_protocols"])
    assert with_outputs(config, SPECIFICATIONS, PUBLISHED) == config
    assert validate_config(config.model_dump(mode="json"), "again.yaml") == config


def test_runs_that_differ_in_the_seed_have_the_same_features(config, toy_specification):
    features = run_features(config, {"toy": toy_specification()})
    assert [run["objective"] for run in features] == [{"spatial"}, {"mixed"}]
    assert [run["compared"] for run in features] == [set(), {"baseline"}]
    assert features[0]["condition"] == {"iid/toy/none/0", "noise/toy/gaussian/0.01", "noise/toy/bernoulli/0.1"}


def test_planning_imports_no_output():
    code = (
        "import sys; from pathlib import Path; from spectralseg import outputs; import spectralseg.study_outputs; "
        f"[outputs.describe_all(kind, {str(PUBLISHED)!r}) for kind in outputs.KINDS]; "
        "sys.exit('matplotlib' in sys.modules or any(name.startswith('spectralseg.reporting.') and "
        "name.count('.') > 2 for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_configurations_of_the_repository_have_lists_or_none():
    for file in (REPOSITORY / "config").glob("*.yaml"):
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        if "grid" in raw:
            config = load_config(file, SPECIFICATIONS)
            filled = with_outputs(config, SPECIFICATIONS, PUBLISHED)
            for kind in outputs.KINDS:
                assert getattr(filled, kind) == raw.get(kind, getattr(filled, kind))
                assert len(set(getattr(filled, kind))) == len(getattr(filled, kind)) > 0
