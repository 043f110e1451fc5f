"""Overlap metrics against scikit-learn, torchmetrics and MONAI."""

import warnings

import numpy as np
import pytest
import torch

from spectralseg import metrics

sklearn = pytest.importorskip("sklearn.metrics")
torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai.metrics")

CLASSES = 4


def pairs():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shape = [(30, 20), (6, 12, 10)][seed % 2]
        reference = rng.integers(0, CLASSES + 1, shape)
        yield np.where(rng.random(shape) < 0.6, reference, rng.integers(0, CLASSES + 1, shape)), reference


@pytest.mark.parametrize(("prediction", "reference"), list(pairs()))
def test_counts_equal_scikit_learn(prediction, reference):
    counts = metrics.overlap_counts(prediction, reference, CLASSES)
    expected = sklearn.multilabel_confusion_matrix(
        reference.ravel(), prediction.ravel(), labels=list(range(1, CLASSES + 1))
    )
    assert np.array_equal(counts.tn, expected[:, 0, 0])
    assert np.array_equal(counts.fp, expected[:, 0, 1])
    assert np.array_equal(counts.fn, expected[:, 1, 0])
    assert np.array_equal(counts.tp, expected[:, 1, 1])


@pytest.mark.parametrize(("prediction", "reference"), list(pairs()))
def test_ratios_equal_scikit_learn_torchmetrics_and_monai(prediction, reference):
    counts = metrics.overlap_counts(prediction, reference, CLASSES)
    flat = {"average": None, "labels": list(range(1, CLASSES + 1))}
    truth, guess = reference.ravel(), prediction.ravel()
    assert metrics.dice(counts) == pytest.approx(sklearn.f1_score(truth, guess, **flat))
    assert metrics.iou(counts) == pytest.approx(sklearn.jaccard_score(truth, guess, **flat))
    assert metrics.sensitivity(counts) == pytest.approx(sklearn.recall_score(truth, guess, **flat))

    tensors = torch.from_numpy(prediction), torch.from_numpy(reference)
    options = {"num_classes": CLASSES + 1, "average": None}
    specificity = torchmetrics.multiclass_specificity(tensors[0].ravel(), tensors[1].ravel(), **options)
    assert metrics.specificity(counts) == pytest.approx(specificity[1:].numpy(), abs=1e-6)
    jaccard = torchmetrics.multiclass_jaccard_index(tensors[0].ravel(), tensors[1].ravel(), **options)
    assert metrics.iou(counts) == pytest.approx(jaccard[1:].numpy(), abs=1e-6)
    for k in range(1, CLASSES + 1):
        accuracy = sklearn.accuracy_score(truth == k, guess == k)
        assert metrics.accuracy(counts)[k - 1] == pytest.approx(accuracy)

    one_hot = [torch.nn.functional.one_hot(t, CLASSES + 1).movedim(-1, 0)[None].float() for t in tensors]
    assert metrics.dice(counts) == pytest.approx(
        monai.compute_dice(*one_hot, include_background=False)[0].numpy(), abs=1e-6
    )


def test_absent_structures_are_undefined_as_in_monai():
    empty = np.zeros((8, 8), int)
    counts = metrics.overlap_counts(empty, empty, 1)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(empty), 2).movedim(-1, 0)[None].float()
    assert np.isnan(metrics.dice(counts)[0])
    assert monai.compute_dice(one_hot, one_hot, include_background=False).isnan().all()
