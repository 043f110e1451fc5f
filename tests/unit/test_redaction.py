import pytest

from spectralseg.redaction import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("λ 0.2 · 3 of 4\n\tdone", "λ 0.2 · 3 of 4\n        done"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x9b31m", "a\\rb\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_only_printable_characters_and_lines_reach_a_terminal(text, shown):
    assert printable(text) == shown
