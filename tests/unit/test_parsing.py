"""Untrusted YAML and JSON take bounded time and memory; errors are one sentence."""

import json
import os

import pytest

from spectralseg.errors import InputError
from spectralseg.files import regular_file, sha256_of
from spectralseg.parsing import MAX_BYTES, MAX_DEPTH, read_json, read_yaml, refuse_expanding

LEVELS = 60  # of doubling: 2^60 values once expanded


def written(tmp_path, text):
    file = tmp_path / "file"
    file.write_text(text, encoding="utf-8")
    return file


def doubling(first, line):
    return "\n".join([f"a0: &a0 {first}", *(line.format(n=n, m=n - 1) for n in range(1, LEVELS))])


@pytest.mark.parametrize(
    "text",
    [
        doubling("[x]", "a{n}: &a{n} [*a{m}, *a{m}]"),
        doubling("{x: 1}", "a{n}: &a{n} {{left: *a{m}, right: *a{m}}}"),
        doubling("{x: 1}", "a{n}: &a{n}\n  <<: [*a{m}, *a{m}]"),
        "\n".join(["a: &a", *(f"  k{n}: 1" for n in range(999)), "b: {<<: [" + ", ".join(["*a"] * 999) + "]}"]),
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 2))]),
        "a: " + "[" * 50_000,
        "a: &a [*a]",
        "a: &a\n  <<: *a",
        "a: " + "9" * 20_000,
        "a: 1" + ":1" * 20_000,
        "a: 2001-99-99",
        "? [a, b]\n: 1",
        r'a: "half of a pair: \ud800"',
        "a: 1\na: 2",
        "a: !!python/object/apply:os.getcwd []",
        "a: " + "x" * MAX_BYTES,
    ],
)
def test_yaml_beyond_the_limits_is_rejected(tmp_path, text):
    with pytest.raises(InputError, match=r"^[^\n]*file: [^\n]{1,700}$"):
        read_yaml(written(tmp_path, text))


def test_yaml_with_aliases_and_merged_mappings_within_the_limits_is_read(tmp_path):
    file = written(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\n")
    assert read_yaml(file) == {"a": {"x": 1}, "b": {"x": 1, "y": [{"x": 1}, {"x": 1}]}}


def test_expanded_values_of_another_parser_are_counted():
    value = {"x": 1}
    for _ in range(LEVELS):
        value = {"left": value, "right": value}
    with pytest.raises(InputError, match=r"study\.yaml: contains more than"):
        refuse_expanding({"a": value}, "study.yaml")
    value = []
    value.append(value)
    with pytest.raises(InputError, match=r"study\.yaml: lists or mappings are nested"):
        refuse_expanding(value, "study.yaml")
    refuse_expanding({"a": [{"b": 1}] * 100, "c": "text"}, "study.yaml")


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, "[NaN]", "[-Infinity]", "[1e999]", "[" + "9" * 5000 + "]", '{"a": 1, "a": 2}', "{", "1 2"),
        r'["half of a pair: \ud800"]',
    ],
)
def test_json_beyond_the_limits_is_rejected(tmp_path, text):
    with pytest.raises(InputError, match="file: "):
        read_json(written(tmp_path, text))


def test_json_is_read(tmp_path):
    value = {"a": [1, 2.5, None, "ä"], "b": {}}
    assert read_json(written(tmp_path, json.dumps(value))) == value
    with pytest.raises(InputError, match="more than the limit"):
        read_json(written(tmp_path, json.dumps(value)), most=5)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, target in {"zeros": "/dev/zero", "queue": "pipe", "folder": ".", "nowhere": "gone"}.items():
        (tmp_path / name).symlink_to(target)
    for name in ("pipe", "zeros", "queue", "folder", "nowhere", "missing"):
        for read in (regular_file, read_yaml, read_json, sha256_of):
            with pytest.raises(InputError, match=name):
                read(tmp_path / name)
