"""Files find their cases by name where that is unambiguous, and where not, the error shows both names."""

import unicodedata

import pytest

from spectralseg.errors import InputError
from spectralseg.exchange.pairing import pair

PNG, NIFTI = (".png",), (".nii.gz", ".nii")
NFC, NFD = (unicodedata.normalize(form, "Fälle-é") for form in ("NFC", "NFD"))


@pytest.fixture
def paired(tmp_path):
    """``paired(names, cases)``: the pairing of a folder of empty files, with names in place of paths."""

    def make(names, cases, endings=PNG):
        for name in names:
            (tmp_path / name).touch()
        found = pair(tmp_path, cases, endings)
        files = {case: path.name for case, path in found.files.items()}
        return files, [path.name for path in found.strangers], [path.name for path in found.others], found.added

    return make


@pytest.mark.parametrize(("name", "case"), [(NFC, NFD), (NFD, NFC), (NFD, NFD), ("CASE", "case"), ("É", "é")])
def test_names_that_are_equal_to_a_reader(paired, name, case):
    assert paired([f"{name}.png"], [case, "other"]) == ({case: f"{name}.png"}, [], [], ("", ""))


def test_endings_in_upper_case_and_uncompressed_volumes(paired):
    files, *rest = paired(["a.nii", "b.NII.GZ", "c.nii.gz"], ["a", "b", "c"], NIFTI)
    assert files == {"a": "a.nii", "b": "b.NII.GZ", "c": "c.nii.gz"}
    assert rest == [[], [], ("", "")]


def test_an_equal_name_comes_before_an_alike_one(paired):
    files, *_ = paired(["a.png", "A.png"], ["a", "A"])
    assert files == {"a": "a.png", "A": "A.png"}


@pytest.mark.parametrize(
    ("pattern", "added"), [("{}_pred", ("", "_pred")), ("Mask-{}", ("mask-", "")), ("p_{}.seg_0", ("p_", ".seg_0"))]
)
def test_what_all_names_have_in_addition_is_no_part_of_the_id(paired, pattern, added):
    cases = ["1", "11", "21", f"{NFC}_1"]
    files, strangers, _, found = paired([f"{pattern.format(case)}.png" for case in cases], cases)
    assert files == {case: f"{pattern.format(case)}.png" for case in cases}
    assert (strangers, found) == ([], added)


def test_numbers_added_to_many_names_are_an_addition_but_to_one_may_be_another_id(paired, tmp_path):
    assert paired(["a_2.png"], ["a", "b"])[:2] == ({}, ["a_2.png"])
    assert paired(["b_2.png"], ["a", "b"])[0] == {"a": "a_2.png", "b": "b_2.png"}


@pytest.mark.parametrize("name", ["case_10", "xcase_1", "case_1b", "case_01"])
def test_an_id_within_a_word_or_number_is_no_id(paired, name):
    assert paired([f"{name}.png"], ["case_1"])[:2] == ({}, [f"{name}.png"])


def test_names_that_no_addition_explains_together_are_not_paired(paired):
    names = ["a_pred.png", "b_seg.png", "unknown.png"]
    assert paired(names, ["a", "b"]) == ({}, names, [], ("", ""))


def test_a_name_in_which_two_ids_fit_is_not_paired(paired):
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
def test_two_files_of_one_case_are_refused_with_both_names(paired, tmp_path, names, endings):
    with pytest.raises(InputError) as caught:
        paired(names, ["a", "b", NFC], endings)
    sentence = str(caught.value)
    both = sorted(names)[:2]
    assert all(name in sentence for name in both)
    assert sentence.endswith("; keep one of the two files")


def test_files_that_are_no_predictions(paired, tmp_path):
    (tmp_path / "folder").mkdir()
    names = ["a.png", ".DS_Store", "._a.png", "Thumbs.db", "a.npz", ".png"]
    files, strangers, others, _ = paired(names, ["a", "b"])
    assert (files, strangers, others) == ({"a": "a.png"}, [], ["Thumbs.db", "a.npz", "folder"])
