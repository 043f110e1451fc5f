import itertools

import pytest

from spectralseg.config import validate_config
from spectralseg.errors import InputError
from spectralseg.grid import Run, lambda_of, runs


def block(**changes):
    return {"datasets": ["toy"], "architectures": ["unet"], "objectives": ["spatial"], "seeds": [0], **changes}


def grid_of(study, **blocks):
    return runs(validate_config({**study, "grid": blocks}, "toy.yaml"))


def test_a_block_is_the_product_of_its_lists(study):
    grid = grid_of(
        study,
        main=block(
            architectures=["unet", "transunet"], objectives=["spatial", "mixed"], lambdas=["0.2", "0.5"], seeds=[0, 3]
        ),
    )
    expected = {
        Run("toy", architecture, objective, lam, seed)
        for architecture, (objective, lam), seed in itertools.product(
            ["unet", "transunet"], [("spatial", "0"), ("mixed", "0.2"), ("mixed", "0.5")], [0, 3]
        )
    }
    assert set(grid) == expected
    assert len(grid) == len(expected)


def test_an_objective_without_auxiliary_term_runs_once_with_lambda_zero(study):
    assert grid_of(study, main=block(lambdas=["0.1", "0.2", "0.3"])) == [Run("toy", "unet", "spatial", "0", 0)]


def test_a_run_in_two_blocks_is_listed_once_at_its_first_position(study):
    first = block(objectives=["spatial", "mixed"], lambdas=["0.2"])
    second = block(objectives=["mixed"], lambdas=["0.1", "0.2"])
    assert [run.lam for run in grid_of(study, a=first, b=second)] == ["0", "0.2", "0.1"]


def test_duplicate_entries_add_no_runs(study):
    assert len(grid_of(study, main=block(datasets=["toy", "toy"], seeds=[0, 0]))) == 1


def test_the_folder_contains_all_keys_of_the_run():
    run = Run("acdc", "unet", "mixed", "0.2", 3)
    assert run.folder == "acdc/unet/mixed/lambda0.2/seed3"
    assert run.keys == {"dataset": "acdc", "architecture": "unet", "objective": "mixed", "lambda": "0.2", "seed": 3}


@pytest.mark.parametrize("file", ["config.yaml", "demo.yaml"])
def test_no_two_runs_of_a_study_share_a_folder(repository, file):
    from spectralseg.config import load_config

    grid = runs(load_config(repository / "config" / file))
    assert len({run.folder for run in grid}) == len(grid)
    assert len(grid) > 10


def test_the_weight_of_an_auxiliary_term_has_no_default(config):
    """With λ 0 the run would be the baseline under another name."""
    assert lambda_of(config, "spatial", None, "toy.yaml") == "0"
    assert lambda_of(config, "mixed", "0.5", "toy.yaml") == "0.5"
    assert lambda_of(config, "mixed", "0", "toy.yaml") == "0", "an explicit ablation"
    with pytest.raises(
        InputError, match=r"toy\.yaml: objective 'mixed' has an auxiliary term; .* --lambda, for example 0\.2"
    ):
        lambda_of(config, "mixed", None, "toy.yaml")
