"""Prediction files are matched to cases by name if that is unambiguous; otherwise the error names both files."""

import unicodedata

import pytest

from spectralseg.errors import InputError
from spectralseg.exchange.case_matching import pair

PNG, NIFTI = (".png",), (".nii.gz", ".nii")
NFC, NFD = (unicodedata.normalize(form, "Fälle-é") for form in ("NFC", "NFD"))


@pytest.fixture
def paired(tmp_path):
    """``paired(names, cases)``: the pairing of a folder of empty files, with names instead of paths."""

    def make(names, cases, endings=PNG):
        for name in names:
            (tmp_path / name).touch()
        pairing = pair(tmp_path, cases, endings)
        files = {case: path.name for case, path in pairing.files.items()}
        return files, [path.name for path in pairing.unmatched], [path.name for path in pairing.others], pairing.affixes

    return make


@pytest.mark.parametrize(("name", "case"), [(NFC, NFD), (NFD, NFC), (NFD, NFD), ("CASE", "case"), ("É", "é")])
def test_unicode_form_and_upper_or_lower_case_may_differ(paired, name, case):
    assert paired([f"{name}.png"], [case, "other"]) == ({case: f"{name}.png"}, [], [], ("", ""))


def test_suffixes_in_upper_case_and_of_uncompressed_volumes_are_accepted(paired):
    files, *rest = paired(["a.nii", "b.NII.GZ", "c.nii.gz"], ["a", "b", "c"], NIFTI)
    assert files == {"a": "a.nii", "b": "b.NII.GZ", "c": "c.nii.gz"}
    assert rest == [[], [], ("", "")]


def test_an_exact_match_takes_precedence(paired):
    files, *_ = paired(["a.png", "A.png"], ["a", "A"])
    assert files == {"a": "a.png", "A": "A.png"}


@pytest.mark.parametrize(
    ("pattern", "affixes"), [("{}_pred", ("", "_pred")), ("Mask-{}", ("mask-", "")), ("p_{}.seg_0", ("p_", ".seg_0"))]
)
def test_affixes_that_all_names_share_are_removed(paired, pattern, affixes):
    cases = ["1", "11", "21", f"{NFC}_1"]
    files, unmatched, _, detected = paired([f"{pattern.format(case)}.png" for case in cases], cases)
    assert files == {case: f"{pattern.format(case)}.png" for case in cases}
    assert (unmatched, detected) == ([], affixes)


def test_a_number_is_an_affix_if_several_names_have_it(paired, tmp_path):
    assert paired(["a_2.png"], ["a", "b"])[:2] == ({}, ["a_2.png"])
    assert paired(["b_2.png"], ["a", "b"])[0] == {"a": "a_2.png", "b": "b_2.png"}


@pytest.mark.parametrize("name", ["case_10", "xcase_1", "case_1b", "case_01"])
def test_an_id_within_a_word_or_number_does_not_match(paired, name):
    assert paired([f"{name}.png"], ["case_1"])[:2] == ({}, [f"{name}.png"])


def test_names_with_different_affixes_do_not_match(paired):
    names = ["a_pred.png", "b_seg.png", "unknown.png"]
    assert paired(names, ["a", "b"]) == ({}, names, [], ("", ""))


def test_a_name_that_contains_two_ids_does_not_match(paired):
    assert paired(["a_b_pred.png"], ["a", "b"])[:2] == ({}, ["a_b_pred.png"])


@pytest.mark.parametrize(
    ("names", "endings"),
    [
        (["a.png", "a.PNG"], PNG),
        (["a.nii", "a.nii.gz"], NIFTI),
        (["a.png", "A.png"], PNG),
        ([f"{NFC}.png", f"{NFD}.png"], PNG),
        (["a.png", "a_prob.png"], PNG),
        (["a_gt.png", "a_pred.png", "b_gt.png", "b_pred.png"], PNG),
    ],
)
def test_two_files_of_one_case_are_an_error_that_names_both(paired, tmp_path, names, endings):
    with pytest.raises(InputError) as caught:
        paired(names, ["a", "b", NFC], endings)
    sentence = str(caught.value)
    both = sorted(names)[:2]
    assert all(name in sentence for name in both)
    assert sentence.endswith("; keep one of the two files")


def test_files_without_the_suffix_of_predictions_are_listed_as_others(paired, tmp_path):
    (tmp_path / "folder").mkdir()
    names = ["a.png", ".DS_Store", "._a.png", "Thumbs.db", "a.npz", ".png"]
    files, unmatched, others, _ = paired(names, ["a", "b"])
    assert (files, unmatched, others) == ({"a": "a.png"}, [], ["Thumbs.db", "a.npz", "folder"])
