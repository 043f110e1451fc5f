from dataclasses import replace

import numpy as np
import pytest
import torch

from spectralseg.config import Evaluation
from spectralseg.corruptions import conditions_of
from spectralseg.errors import InputError
from spectralseg.evaluation.conditions import Condition, conditions
from spectralseg.preprocessing import to_float

NOISE = {"datasets": ["toy"], "corruptions": {"gaussian": ["0.01", "0.1"], "bernoulli": ["0.05"]}}


def conditions_of_run(data, partners, **changes):
    evaluation = Evaluation.model_validate({"noise": NOISE, **changes})
    return [(c.suite, c.data.name, c.corruption, c.severity) for c in conditions(evaluation, data, partners)]


class TestWhatIsTested:
    def test_all_suites_together(self, toy, partner):
        assert conditions_of_run(toy, [partner]) == [
            ("iid", "toy", "none", "0"),
            ("ood", "other", "none", "0"),
            ("noise", "toy", "gaussian", "0.01"),
            ("noise", "toy", "gaussian", "0.1"),
            ("noise", "toy", "bernoulli", "0.05"),
        ]

    @pytest.mark.parametrize(
        ("suites", "expected"),
        [
            (["iid"], ["iid"]),
            (["ood"], ["ood"]),
            (["iid", "ood"], ["iid", "ood"]),
            (["calibration"], ["iid", "ood"]),
            (["interpretation"], ["iid", "ood"]),
            (["iid", "calibration", "interpretation"], ["iid", "ood"]),
            (["noise"], ["noise"] * 3),
            ([], []),
        ],
    )
    def test_each_suite_alone(self, toy, partner, suites, expected):
        assert [suite for suite, *_ in conditions_of_run(toy, [partner], suites=suites)] == expected

    def test_noise_applies_to_the_configured_datasets_only(self, toy, partner):
        elsewhere = {**NOISE, "datasets": ["other"], "sweep": ["other"]}
        assert {suite for suite, *_ in conditions_of_run(toy, [partner], noise=elsewhere)} == {"iid", "ood"}

    def test_without_partners_there_is_no_ood(self, toy):
        assert {suite for suite, *_ in conditions_of_run(toy, [])} == {"iid", "noise"}

    def test_a_sweep_runs_every_corruption_of_the_modality(self, hearts):
        pairs = [pair[2:] for pair in conditions_of_run(hearts, [], suites=["noise"], noise={"sweep": ["acdc"]})]
        assert pairs == conditions_of("cardiac MR")
        assert len(set(pairs)) == len(pairs) >= 25


class TestCases:
    def test_cases_are_those_of_the_test_part(self, toy):
        assert set(Condition("iid", toy).cases()["part"]) == {"test"}

    def test_a_dataset_without_test_cases_is_an_input_error(self, toy):
        data = replace(toy, cases=toy.cases[toy.cases["part"] == "train"])
        with pytest.raises(InputError, match="there are no test cases"):
            Condition("iid", data).cases()


class TestImages:
    def test_clean_images_equal_the_dataset(self, hearts):
        condition = Condition("iid", hearts)
        for _, case in condition.cases().iterrows():
            rows = slice(case["first"], case["first"] + case["slices"])
            assert np.array_equal(condition.images(case), to_float(hearts.images[rows]))

    def test_corruptions_depend_on_case_and_corruption_only(self, toy):
        first_case, second_case = (case for _, case in Condition("iid", toy).cases().iloc[:2].iterrows())
        condition, other = (Condition("noise", toy, "gaussian", level) for level in ("0.01", "0.1"))
        first = condition.images(first_case)
        np.random.default_rng().random()
        torch.manual_seed(5)
        assert np.array_equal(condition.images(first_case), first)
        clean = Condition("iid", toy).images(first_case)
        assert not np.allclose(other.images(first_case) - clean, first - clean)
        alike = second_case.copy()
        alike[["first", "slices"]] = first_case[["first", "slices"]]
        assert not np.array_equal(condition.images(alike), first)

    def test_a_sweep_takes_its_parameters_from_the_modality(self, hearts):
        condition = Condition("noise", hearts, "bias_field", "5")
        case = condition.cases().iloc[0]
        clean, corrupted = Condition("iid", hearts).images(case), condition.images(case)
        assert corrupted.shape == clean.shape
        assert np.abs(corrupted - clean).mean() > 0.01
