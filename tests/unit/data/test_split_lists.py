import hashlib
import re

import pytest
from tests.conftest import DATASET_FILES

from spectralseg.data import splits
from spectralseg.data.cases import Case
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError

COUNTS = {
    "acdc_adawac": (70, 10, 20),
    "acdc_ssl4mis": (70, 10, 20),
    "acdc_transunet": (70, 10, 20),
    "isic2017_official_test": (0, 0, 600),
    "isic2018_bcdu_sorted": (1815, 259, 520),
    "kvasir_seg_official": (880, 0, 120),
    "monuseg_official": (30, 0, 14),
    "synapse_transunet": (18, 0, 12),
}
UPSTREAM = {  # SHA-256 of the published files, or of lists derived from them
    ("kvasir_seg_official", "train"): "49992c7c6c80abf02032050d4ae754236da3ba1041f609659ad0043ff6d1795c",
    ("kvasir_seg_official", "test"): "d9b48bd3d980324edb39df97764fdbb5489b2583f088fb49c659b76f6d20876b",
    ("isic2017_official_test", "test"): "4a1d4d2f422216d1c175ee1667b7ff182210f1080d216d10dafc80087859fbfc",
}
ISIC2018_TRAINING = "b6a11fa50b1cf0363160258b5cac96ccae382ea524e34434c3212d1fbb1e4775"


def of_part(name, part):
    return [case for case, its_part in splits.read_list(name).parts.items() if its_part == part]


def checksum(ids):
    return hashlib.sha256("".join(f"{case}\n" for case in ids).encode()).hexdigest()


def test_every_list_has_a_count_here():
    assert sorted(COUNTS) == splits.available()


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_checksums_match_the_comments(name):
    listed = splits.read_list(name)
    assert tuple(len(of_part(name, part)) for part in splits.PARTS) == COUNTS[name]
    stated = re.findall(r"sha256 of its (\d+) (\w+) ids, one per line: ([0-9a-f]{64})", listed.provenance)
    assert {part for _, part, _ in stated} == set(listed.parts.values())
    for count, part, digest in stated:
        ids = of_part(name, part)
        assert (len(ids), checksum(ids)) == (int(count), digest)
        assert UPSTREAM.get((name, part), digest) == digest


def test_the_isic_2018_list_is_the_whole_official_training_set():
    assert checksum(splits.read_list("isic2018_bcdu_sorted").parts) == ISIC2018_TRAINING


def test_the_three_acdc_lists_differ():
    tests = [frozenset(of_part(name, "test")) for name in COUNTS if name.startswith("acdc")]
    assert len(set(tests)) == 3


def test_every_dataset_has_a_provenance_of_its_split():
    for specification in read_specifications(DATASET_FILES).values():
        rule = splits.describe(specification.split)
        assert rule.get("everything") or len(rule["provenance"]) > 20
        for other in specification.alternative_splits.values():
            splits.describe(other)


class TestChoice:
    @pytest.fixture
    def specification(self, toy_specification):
        return toy_specification(alternative_splits={"small": {"random": 0.1}, "fold2": {"random": 0.2}})

    def test_without_a_name_the_default_is_used(self, specification):
        assert splits.choose(specification).random == 0.3

    def test_alternatives_are_selected_by_name(self, specification):
        assert splits.choose(specification, "small").random == 0.1

    def test_unknown_alternatives_are_refused_with_the_nearest(self, specification):
        with pytest.raises(InputError, match="toy: there is no split 'smal'; did you mean 'small'"):
            splits.choose(specification, "smal")

    def test_a_dataset_without_alternatives_raises(self, toy_specification):
        message = "toy: there is no split 'smal'; it has no alternatives: use its default, or give a .csv file$"
        with pytest.raises(InputError, match=message):
            splits.choose(toy_specification(alternative_splits={}), "smal")

    @pytest.mark.parametrize(("key", "ids"), [("case", "abcdef"), ("group", ["p0", "p1", "p2"])])
    def test_a_list_of_the_user(self, tmp_path, specification, key, ids):
        file = tmp_path / "mine.csv"
        parts = {name: ("train", "validation", "test")[n % 3] for n, name in enumerate(ids)}
        lines = ["# from me", f"{key},part", *(f"{name},{part}" for name, part in parts.items())]
        file.write_text("\n".join(lines))
        cases = [Case(name, f"p{n // 2}" if key == "group" else name, lambda: None) for n, name in enumerate("abcdef")]
        rule = splits.choose(specification, str(file))
        assigned = splits.assign(cases, rule, dataset="toy")
        assert assigned == {case.id: parts[case.group if key == "group" else case.id] for case in cases}
        assert splits.describe(rule)["provenance"] == "from me"

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("", "starts with the header"),
            ("a,train\n", "starts with the header"),
            ("case,part\na,train\na,test\n", "'a' is listed twice"),
            ("case,part\na,tset\n", "line 'a,tset'"),
            ("case,part\na\n", "line 'a' is not an id"),
        ],
    )
    def test_a_malformed_list_is_refused(self, tmp_path, specification, content, problem):
        file = tmp_path / "mine.csv"
        file.write_text(content)
        with pytest.raises(InputError, match=problem):
            splits.choose(specification, str(file))

    def test_a_missing_list_is_named(self, specification):
        with pytest.raises(InputError, match=r"absent\.csv: the split list is missing; check the path"):
            splits.choose(specification, "absent.csv")
