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
