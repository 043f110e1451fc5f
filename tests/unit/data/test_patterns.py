"""Patterns capture the same as Python's expressions, in linear time."""

import re

import pytest

from spectralseg.data.patterns import PathPattern, wildcards

PATHS = [
    "images/a_1.png",
    "top/images/a_1.png",
    "images/ä ö_22.PNG",
    "Images/x-y.z_3.png",
    "images/[7]_4.png",
    "images/a_.png",
    "images/sub/a_1.png",
    "other/a_1.txt",
]


@pytest.mark.parametrize(
    "expression",
    [
        r"images/(?P<id>[^/]+?)\.png",
        r"images/(?P<group>\w+)_(?P<id>\d+)\.png",
        r"(?P<folder>images|other)/(?P<id>[\w \-\[\]]*)_(?P<slice>\d)?\.(png|txt)",
        r"images/(?P<id>\w\W\w)_.*",
        r"(?P<id>.*?)(?:_(?P<slice>\d+))?\.png",
        r"images/(?P<id>[]\[7]+)_4\.png",
        r".*",
    ],
)
def test_captures_equal_python(expression):
    reference = re.compile(f"(?:(?s:.*)/)?(?:{expression})", re.IGNORECASE)
    matches = [reference.fullmatch(path) for path in PATHS]
    expected = [match and {name: text for name, text in match.groupdict().items() if text} for match in matches]
    assert PathPattern(expression).captures(PATHS) == expected
    assert any(match is not None for match in expected)


@pytest.mark.parametrize("expression", [r"(?P<id>(a+)+)\.png", r"(?P<id>(a|a)*)b", r"(?P<id>.*.*.*.*.*.*.*.*.*)x"])
def test_patterns_with_exponential_backtracking_terminate(expression):
    assert PathPattern(expression).captures(["a" * 20_000]) == [None]


@pytest.mark.parametrize(
    "expression",
    [
        "(",
        "(?P<a>x)(?P<a>y)",
        r"(?=a)a",
        r"(?P<a>x)(?P=a)",
        "a{2000}",
        "(" * 900,
        "((a{99}){99}){99}",
        "a" * 1001,
        r"[^\W_]",
        "a{,3}b",
    ],
)
def test_invalid_patterns_are_refused(expression):
    with pytest.raises(ValueError, match=r"\w"):
        PathPattern(expression)


def test_undecodable_names_are_captured_unchanged():
    assert PathPattern("(?P<id>.*)").captures(["a\udcffb"]) == [{"id": "a\udcffb"}]


def test_wildcards_match_any_character_of_whole_names():
    pattern = wildcards("Tissue[ _]Images/*.tif")
    paths = ["Tissue Images/a.b.tif", "x/tissue_images/ä.TIF", "Tissue-Images/a.tif", "Tissue Images/a.tiff"]
    assert [result is not None for result in pattern.captures(paths)] == [True, True, False, False]
    assert wildcards("a?.(1)").captures(["ab.(1)", "a.(1)"]) == [{}, None]
