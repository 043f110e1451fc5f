import pytest

from spectralseg.data.specification import DatasetSpecification, read_specification, read_specifications
from spectralseg.errors import InputError
from spectralseg.metrics.records import MEAN, WHOLE_CASE

LITERAL = {
    "name": "toy",
    "title": "Toy",
    "modality": "drawing",
    "classes": ["disc"],
    "dimensions": 2,
    "channels": 3,
    "licence": "CC0",
    "citation": "nobody",
    "homepage": "https://example.org",
    "reader": "paired_images",
    "split": {"random": 0.3},
}


def write(tmp_path, text=None, stem="toy", **changes):
    values = {key: value for key, value in {**LITERAL, **changes}.items() if value is not ...}
    path = tmp_path / f"{stem}.smk"
    path.write_text(text if text is not None else f"SPECIFICATION = {values!r}\n", encoding="utf-8")
    return path


def refuse(path, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        read_specification(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_literal_is_read_with_its_values(tmp_path):
    result = read_specification(write(tmp_path, exclude={"a": "broken"}, intensity={"window": [-125, 275]}))
    assert isinstance(result, DatasetSpecification)
    assert result.classes == ("disc",)
    assert result.exclude == {"a": "broken"}
    assert result.intensity.window == (-125, 275)


def test_snakemake_rules_may_follow(tmp_path):
    rules = 'rule convert:\n    input: "a"\n    shell: "false"\n'
    assert read_specification(write(tmp_path, f"SPECIFICATION = {LITERAL!r}\n\n\n{rules}")).name == "toy"


def test_nothing_in_the_file_is_executed(tmp_path):
    trap = tmp_path / "executed"
    code = f"open({str(trap)!r}, 'w').close()\n"
    read_specification(write(tmp_path, f"import os\n{code}SPECIFICATION = {LITERAL!r}\n{code}"))
    refuse(write(tmp_path, f"SPECIFICATION = dict(name=open({str(trap)!r}, 'w'))\n"), "literal")
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SPECIFICATION = " + "[" * 5000,
        "SPECIFICATION = " + "-" * 50_000 + "1",
        "SPECIFICATION = " + "+".join(["1"] * 50_000),
        "SPECIFICATION = {'a': " + "9" * 5000 + "}",
        "# nothing\n",
        "OTHER = {}\n",
        "SPECIFICATION = {'name': 'toy'\n",
        "SPECIFICATION = make()\n",
        "SPECIFICATION = {'name': __import__('os').getcwd()}\n",
        "SPECIFICATION = {[]: 1}\n",
        "rule early:\n    shell: 'true'\nSPECIFICATION = {}\n",
        "SPECIFICATION = {}\nSPECIFICATION = {}\n",
    ],
)
def test_a_file_without_one_literal_before_the_rules_is_refused(tmp_path, text):
    refuse(write(tmp_path, text), "cannot read a literal 'SPECIFICATION")


def test_a_missing_or_undecodable_file_is_an_input_error(tmp_path):
    refuse(tmp_path / "none.smk", "cannot be read")
    (tmp_path / "toy.smk").write_bytes(b"SPECIFICATION = '\xff\xfe'\n")
    refuse(tmp_path / "toy.smk", "cannot be read")


@pytest.mark.parametrize("key", list(LITERAL))
def test_a_missing_key_is_named(tmp_path, key):
    refuse(write(tmp_path, **{key: ...}), f"key '{key}'")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("titel", "Toy"),
        ("name", "Toy"),
        ("name", "toy-2"),
        ("title", 5),
        ("classes", []),
        ("classes", "disc"),
        ("dimensions", 4),
        ("channels", 2),
        ("channels", "3"),
        ("split", {}),
        ("split", {"random": 0.2, "everything": "test"}),
        ("split", {"random": 1.0}),
        ("split", {"random": 0}),
        ("split", {"attribute": "fold"}),
        ("split", {"test": ["5"], "random": 0.2}),
        ("split", {"everything": "train"}),
        ("split", {"list": "acdc_transunet", "key": "patient"}),
        ("intensity", {}),
        ("intensity", {"window": [0, 1], "percentiles": [0, 100]}),
        ("intensity", {"window": [0]}),
        ("intensity", {"window": [1500, -650]}),
        ("intensity", {"window": [5, 5]}),
        ("intensity", {"percentiles": [99, 1]}),
        ("intensity", {"percentiles": [50, 50]}),
        ("intensity", {"percentiles": [-1, 99]}),
        ("intensity", {"percentiles": [0, 100.5]}),
        ("classes", ["thing", "thing"]),
        ("classes", ["thing", "Thing"]),
        ("classes", ["disc", "background"]),
        ("classes", ["all"]),
        ("classes", ["Mean"]),
        ("classes", ["disc", ""]),
        ("classes", ["disc "]),
        ("classes", ["di\nsc"]),
        ("sources", [{"file": "a.zip"}]),
        ("sources", [{"file": "a.zip", "url": "https://example.org", "sha1": "0"}]),
        ("exclude", ["a"]),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, key, value):
    refuse(write(tmp_path, **{key: value}), f"SPECIFICATION key '{key}")


def test_infinite_windows_are_refused(tmp_path):
    text = f"SPECIFICATION = {LITERAL | {'intensity': {'window': [0, 'END']}}!r}\n".replace("'END'", "1e999")
    refuse(write(tmp_path, text), r"key 'intensity\.window': \[0\.0, inf\] is not a window")


@pytest.mark.parametrize("name", [WHOLE_CASE, MEAN, "background"])
def test_reserved_class_names_are_refused(tmp_path, name):
    refuse(write(tmp_path, classes=["disc", name]), f"key 'classes': '{name}' is reserved for another use in records; ")


def test_the_name_must_be_that_of_the_file(tmp_path):
    refuse(write(tmp_path, stem="other"), "has name 'toy'")


def test_all_dataset_files_of_a_folder_are_read(tmp_path):
    write(tmp_path)
    (tmp_path / "b.smk").write_text(f"SPECIFICATION = { {**LITERAL, 'name': 'b'}!r}\n")
    (tmp_path / "notes.md").write_text("no dataset")
    assert list(read_specifications(tmp_path)) == ["b", "toy"]


def test_a_specification_cannot_be_changed(toy_specification):
    with pytest.raises(ValueError, match="frozen"):
        toy_specification().name = "other"


def test_descriptive_keys_do_not_shape_the_dataset(toy_specification):
    before = toy_specification().shaping()
    assert toy_specification(title="Other", licence="none", citation="none", homepage="none").shaping() == before
    for change in ({"reader_options": {"threshold": 3}}, {"classes": ["ring"]}, {"exclude": {"1": "blurred"}}):
        assert toy_specification(**change).shaping() != before


def test_lesions_shape_the_dataset_only_where_they_are_given(toy_specification):
    plain = toy_specification()
    assert plain.lesions is None
    assert "lesions" not in plain.shaping()
    assert toy_specification(lesions={}).shaping()["lesions"] == {"connectivity": None, "agatston": False}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lesions": {"connectivity": 26}}, r"key 'lesions': connectivity 26 is not one of 2-D; choose from 4, 8"),
        ({"lesions": {"connectivity": 5}}, r"key 'lesions\.connectivity'"),
        ({"lesions": {"agatston": True}}, r"key 'lesions': 'agatston' needs volumes with an intensity window"),
        (
            {"dimensions": 3, "channels": 1, "intensity": {"window": [-200, 399]}, "lesions": {"agatston": True}},
            r"window from below 130 to at least 400 Hounsfield units; give that window, or remove 'agatston'",
        ),
        (
            {"dimensions": 3, "channels": 1, "intensity": {"percentiles": [0, 99]}, "lesions": {"agatston": True}},
            r"key 'lesions': 'agatston' needs volumes",
        ),
    ],
)
def test_lesion_metrics_that_cannot_be_computed_are_refused(tmp_path, keys, message):
    refuse(write(tmp_path, **keys), message)


def test_agatston_scores_of_volumes_with_a_wide_window_are_accepted(toy_specification):
    keys = {"dimensions": 3, "channels": 1, "intensity": {"window": [-200, 1000]}}
    assert toy_specification(**keys, lesions={"connectivity": 6, "agatston": True}).lesions.agatston


def test_defaults_of_later_keys_do_not_shape_the_dataset(toy_specification):
    """Datasets prepared before these keys existed must stay valid."""
    before = toy_specification(intensity={"percentiles": [0, 100]}).shaping()
    assert before["intensity"] == {"window": None, "percentiles": [0.0, 100.0]}
    assert "fit" not in before
    assert toy_specification(intensity={"percentiles": [0, 100]}, fit="resize").shaping() == before
    cropped = toy_specification(intensity={"nonzero_percentiles": [0, 100]}, fit="crop").shaping()
    assert (cropped["fit"], cropped["intensity"]["nonzero_percentiles"]) == ("crop", [0.0, 100.0])
