import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from spectralseg.metrics.ranking import auroc


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_scikit_learn_with_ties(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 6, (7, 9)) / 5, rng.random((7, 9)) < 0.3
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()))


def test_it_is_undefined_without_foreground_or_background():
    assert np.isnan(auroc(np.ones(3), np.zeros(3, bool)))
    assert np.isnan(auroc(np.ones(3), np.ones(3, bool)))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_labels_may_be_of_any_number_type(dtype):
    """Labels 0 and 1 are no indices of the scores."""
    rng = np.random.default_rng(0)
    scores, labels = rng.random((4, 5)), rng.random((4, 5)) < 0.4
    assert auroc(scores, labels.astype(dtype)) == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()))


@pytest.mark.parametrize(
    ("scores", "labels", "complaint"),
    [
        (np.ones((2, 3)), np.ones((3, 2), bool), "shapes differ"),
        (np.array([1.0, np.nan]), np.array([0, 1]), "scores are not numbers, or some are NaN"),
        (np.array(["a", "b"]), np.array([0, 1]), "scores are not numbers"),
        (np.array([1.0, 2.0]), np.array([1, 2]), "labels have values other than 0 and 1, such as 2"),
    ],
)
def test_invalid_scores_and_labels_are_refused(scores, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        auroc(scores, labels)
