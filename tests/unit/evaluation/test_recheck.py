import sys

import numpy as np
import pytest
from scipy import ndimage

from spectralseg.errors import InputError
from spectralseg.evaluation import recheck as module
from spectralseg.evaluation.recheck import Labelled, recheck
from spectralseg.metrics.overlap import dice, overlap_counts
from spectralseg.metrics.surface import SurfaceDistances

pytest.importorskip("medpy")
pytest.importorskip("monai")


def recorded(prediction, reference, spacing, classes=3):
    """The values of :mod:`spectralseg.metrics`."""
    recorded = {}
    for label, score in enumerate(dice(overlap_counts(prediction, reference, classes)), 1):
        distances = SurfaceDistances.between(prediction == label, reference == label, spacing)
        values = {"dsc": float(score)} | {f"hd95 {d}": distances.hausdorff95(d) for d in ("pooled", "max")}
        recorded |= {(label, metric): value for metric, value in values.items()}
    return Labelled("", prediction, reference, spacing, recorded)


def labelled(seed, shape, spacing, classes=3):
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.random((classes + 1, *shape)), (0, *[2] * len(shape))) for _ in range(2)]
    reference = smooth[0].argmax(0).astype(np.uint8)
    prediction = (smooth[0] + 0.3 * smooth[1]).argmax(0).astype(np.uint8)
    return recorded(prediction, reference, spacing, classes)._replace(case=f"case{seed}")


CASES = [labelled(0, (40, 30), None), labelled(1, (8, 24, 20), (4, 0.8, 0.7)), labelled(2, (30, 30), (0.5, 0.5))]


def test_other_packages_agree():
    largest = recheck(CASES, 3)
    assert largest is not None
    assert largest.size < 1e-5
    assert largest.recorded > 0


def test_missing_structures_are_skipped():
    empty = np.zeros((8, 8), np.uint8)
    present = empty.copy()
    present[2:5, 2:5] = 1
    assert recheck([recorded(empty, present, None), recorded(present, empty, None)], 2) is None
    assert recheck([], 2) is None


@pytest.mark.parametrize(("metric", "package"), [("hd95 pooled", "medpy"), ("hd95 max", "monai"), ("dsc", "monai")])
def test_a_disagreement_names_case_class_and_both_values(monkeypatch, metric, package):
    original = module._packages()
    function = original[package, metric]
    wrong = {**original, (package, metric): lambda p, r, spacing: function(p, r, spacing) + 0.5}
    monkeypatch.setattr(module, "_packages", lambda: wrong)
    with pytest.raises(InputError, match=rf"case 'case1', class 1: {metric} is [\d.]+ here and [\d.]+ in {package};"):
        recheck(CASES[1:], 3)
    assert recheck(CASES[1:], 3, tolerance=1.0).size > 0.01


def test_the_recorded_value_is_compared():
    right = CASES[0]
    wrong = right._replace(recorded={**right.recorded, (2, "hd95 max"): right.recorded[2, "hd95 max"] + 1})
    with pytest.raises(InputError, match="case 'case0', class 2: hd95 max is"):
        recheck([wrong], 3)
    unrecorded = right._replace(recorded={key: v for key, v in right.recorded.items() if key[1] != "hd95 max"})
    assert recheck([unrecorded], 3) is not None


def test_an_undefined_value_is_a_disagreement():
    assert module.Disagreement("a", 1, "dsc", "monai", 0.5, float("nan")).size == float("inf")


@pytest.mark.parametrize("package", ["medpy", "monai"])
def test_a_missing_package_names_the_extra(monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.* is not installed; install the extra 'reference'"):
        recheck(CASES, 3)


def test_medpy_is_imported_by_this_module_only(repository):
    using = [
        file.name
        for file in (repository / "src").rglob("*.py")
        if "import medpy" in (text := file.read_text()) or "from medpy" in text
    ]
    assert using == ["recheck.py"]
