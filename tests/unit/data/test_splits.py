from collections import Counter

import pytest

from spectralseg.data import splits
from spectralseg.data.cases import Case
from spectralseg.data.specification import Split
from spectralseg.errors import InputError


def case(identity, group=None, **attributes):
    return Case(identity, group or identity, lambda: None, attributes)


def grouped(groups, size):
    return [case(f"g{g:03}s{s}", f"g{g:03}") for g in range(groups) for s in range(size)]


def assign(cases, rule, **options):
    return splits.assign(cases, Split.model_validate(rule), dataset="toy", **options)


def shares(parts):
    return {part: count / len(parts) for part, count in Counter(parts.values()).items()}


@pytest.mark.parametrize("rule", [{"random": 0.2}, {"attribute": "fold", "test": ["1"]}])
def test_every_case_has_one_part_and_groups_are_not_split(rule):
    cases = [case(c.id, c.group, fold=str(hash(c.id) % 3)) for c in grouped(40, 3)]
    parts = assign(cases, rule)
    assert set(parts) == {c.id for c in cases}
    assert set(parts.values()) == set(splits.PARTS)
    by_group = {}
    for c in cases:
        by_group.setdefault(c.group, set()).add(parts[c.id])
    assert all(len(result) == 1 for result in by_group.values())


def test_random_shares_are_of_groups():
    result = shares(assign(grouped(100, 2), {"random": 0.2}, validation=0.1))
    assert result == {"test": 0.2, "validation": 0.08, "train": 0.72}


def test_a_random_split_depends_on_neither_order_nor_machine_but_on_the_dataset():
    cases = grouped(50, 1)
    parts = assign(cases, {"random": 0.3})
    assert assign(cases[::-1], {"random": 0.3}) == parts
    other = splits.assign(cases, Split.model_validate({"random": 0.3}), dataset="other")
    assert other != parts
    assert [c.id for c in cases if parts[c.id] == "test"][:4] == TEST_OF_TOY


TEST_OF_TOY = ["g001s0", "g002s0", "g003s0", "g011s0"]


def test_additional_groups_move_few_others():
    few = assign(grouped(50, 1), {"random": 0.3})
    more = assign(grouped(52, 1), {"random": 0.3})
    assert sum(few[name] != more[name] for name in few) <= 5


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("groups", [2, 3, 10])
def test_random_splits_leave_no_part_empty(groups, share):
    assert {"train", "test"} <= set(assign(grouped(groups, 2), {"random": share}, validation=share).values())


def test_a_single_training_group_stays_in_training():
    cases = [case("a", fold="1"), case("b", fold="2")]
    assert assign(cases, {"attribute": "fold", "test": ["2"]}) == {"a": "train", "b": "test"}


def test_everything_may_be_for_testing_only():
    assert set(assign(grouped(3, 2), {"everything": "test"}).values()) == {"test"}


def test_an_attribute_decides_by_the_majority_of_a_group_and_ties_go_to_training():
    cases = [
        *(case(f"a{n}", "a", fold=fold) for n, fold in enumerate("551")),
        *(case(f"b{n}", "b", fold=fold) for n, fold in enumerate("511")),
        *(case(f"c{n}", "c", fold=fold) for n, fold in enumerate("51")),
    ]
    parts = assign(cases, {"attribute": "fold", "test": ["5"]}, validation=0.01)
    assert {parts[f"a{n}"] for n in range(3)} == {"test"}
    assert "test" not in {parts[f"b{n}"] for n in range(3)} | {parts[f"c{n}"] for n in range(2)}


def test_an_attribute_may_define_the_validation_part():
    cases = [case(f"c{n}", fold=str(n % 5)) for n in range(50)]
    parts = assign(cases, {"attribute": "fold", "test": ["4"], "validation": ["3"]}, validation=0.5)
    assert {c.attributes["fold"] for c in cases if parts[c.id] == "validation"} == {"3"}
    assert shares(parts) == {"train": 0.6, "validation": 0.2, "test": 0.2}


def test_a_missing_attribute_names_the_case():
    with pytest.raises(InputError, match="toy: case 'b' has no attribute 'fold'"):
        assign([case("a", fold="1"), case("b")], {"attribute": "fold", "test": ["1"]})


def test_published_lists_are_followed():
    listed = splits.read_list("acdc_transunet").parts
    parts = assign(
        [case(f"{p}_frame{n}", p) for p in listed for n in (1, 2)], {"list": "acdc_transunet", "key": "group"}
    )
    assert {(name.split("_")[0], part) for name, part in parts.items()} == set(listed.items())


def test_validation_is_drawn_from_training_if_a_list_has_none():
    listed = splits.read_list("synapse_transunet").parts
    parts = assign([case(name) for name in listed], {"list": "synapse_transunet"}, validation=0.2)
    assert {name for name, part in parts.items() if part == "test"} == {n for n, p in listed.items() if p == "test"}
    assert Counter(parts.values()) == {"test": 12, "validation": 4, "train": 14}


def test_missing_cases_of_a_list_are_an_error_that_counts_and_names_them():
    cases = [case(name) for name in list(splits.read_list("synapse_transunet").parts)[3:]]
    with pytest.raises(
        InputError, match=r"3 of 30 cases .*synapse_transunet.* missing: \d+, \d+, \d+; .*allow_partial: true"
    ):
        assign(cases, {"list": "synapse_transunet"})
    assert len(assign(cases, {"list": "synapse_transunet"}, allow_partial=True)) == 27


@pytest.mark.parametrize("allow_partial", [False, True])
def test_a_case_that_the_list_does_not_name_is_always_an_error(allow_partial):
    cases = [case(name) for name in (*splits.read_list("synapse_transunet").parts, "9999")]
    with pytest.raises(InputError, match="does not contain 9999"):
        assign(cases, {"list": "synapse_transunet"}, allow_partial=allow_partial)


def test_a_list_that_divides_a_group_is_an_error_that_names_it():
    listed = splits.read_list("synapse_transunet").parts
    cases = [case(name, "same") for name in listed]
    with pytest.raises(InputError, match="toy: group 'same' is in two parts"):
        assign(cases, {"list": "synapse_transunet"})


def test_an_unknown_list_is_an_error_with_the_valid_names():
    with pytest.raises(InputError, match=r"split list 'none' is unknown; .*acdc_transunet"):
        splits.read_list("none")


@pytest.mark.parametrize("name", splits.available())
def test_a_stored_list_tells_its_provenance_and_names_each_case_once(repository, name):
    text = (repository / "src" / "spectralseg" / "data" / "splits" / f"{name}.csv").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    content = [line for line in lines if not line.startswith("#")]
    assert content[0] == "id,part"
    listed = splits.read_list(name).parts
    assert len(listed) == len(content) - 1
    assert set(listed.values()) <= set(splits.PARTS)
    assert "test" in listed.values()


def write_list(folder, *rows, head="case,part"):
    (folder / "own.csv").write_text("\n".join([head, *rows]) + "\n")
    return str(folder / "own.csv")


def test_spaces_around_cells_are_ignored(tmp_path):
    name = write_list(tmp_path, " a ,train", "b\t, test", head="case , part")
    assert splits.read_list(name).parts == {"a": "train", "b": "test"}


@pytest.mark.parametrize("row", [",train", "a", "a,train,b", "a,training"])
def test_invalid_lines_are_named(tmp_path, row):
    with pytest.raises(InputError, match=rf"own\.csv: line '{row}' is not an id and one of train, validation, test"):
        splits.read_list(write_list(tmp_path, row))


def test_a_huge_cell_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"own\.csv: cannot be read as a split list"):
        splits.read_list(write_list(tmp_path, '"' + "a" * 200_000))


@pytest.mark.parametrize(
    ("cases", "rule", "part"),
    [([case("a", fold="1")], {"attribute": "fold", "test": ["2"]}, "test"), ([case("a")], {"random": 0.3}, "test")],
)
def test_a_part_without_cases_is_refused_unless_a_subset_is_accepted(cases, rule, part):
    with pytest.raises(InputError, match=f"toy: the split leaves none of the 1 cases for '{part}'"):
        assign(cases, rule)
    assert assign(cases, rule, allow_partial=True) == {"a": "train"}


def test_a_list_without_test_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"own\.csv' has no test case; give"):
        assign([case("a")], {"list": write_list(tmp_path, "a,train")}, allow_partial=True)


def test_a_list_without_training_cases_is_for_testing_only(tmp_path):
    assert set(assign([case("a")], {"list": write_list(tmp_path, "a,test")}).values()) == {"test"}
