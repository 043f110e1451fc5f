import logging
from urllib.parse import quote

import pytest

from spectralseg.redaction import RedactingFormatter, printable, redact

SECRET = "s3cr/et+Value&0123456789=="


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("λ 0.2 · 3 of 4\n\tdone", "λ 0.2 · 3 of 4\n        done"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x9b31m", "a\\rb\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_unprintable_characters_are_escaped_and_lines_kept(text, expected):
    assert printable(text) == expected


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        SECRET[:15],
        quote(SECRET),
        quote(SECRET, safe=""),
        f"{SECRET[:10]}\n{SECRET[10:]}",
        f"{SECRET[:4]}\\n  {SECRET[4:20]}\n{SECRET[20:]}",
    ],
)
def test_secrets_of_the_environment_are_removed_completely(monkeypatch, form):
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    assert redact(f"before {form} after") == "before *** after"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:p@ss@host/file", "https://***@host/file"),
        ("https://me:p/a@ss@host/file: gone", "https://***@host/file: gone"),
        ("https://me:p%40ss@host/file", "https://***@host/file"),
        ("ftp://token@host", "ftp://***@host"),
        ("https://host/file?sig=abc", "https://host/file?***"),
        ("https://host/file#access=abc", "https://host/file#***"),
        ("https://host:8080/file, again", "https://host:8080/file, again"),
        ("Authorization: Bearer\n abcdefgh12", "Authorization: Bearer ***"),
        ("password=hunter2 next", "password=*** next"),
        ('{"api_key": "a b c"}', '{"api_key": ***}'),
        ("AWS_SECRET_ACCESS_KEY=abc next", "AWS_SECRET_ACCESS_KEY=*** next"),
        ("x-api-key: abc", "x-api-key: ***"),
        (f"pushed with ghp_{'a1' * 18}, gone", "pushed with ***, gone"),
        ("login eyJ0eXAiOiJK.eyJhY2Nlc3Mi.a-b_c failed", "login *** failed"),
        ("-----BEGIN RSA PRIVATE KEY-----", "***"),
        ("set SYNAPSE_AUTH_TOKEN to a personal access token", "set SYNAPSE_AUTH_TOKEN to a personal access token"),
    ],
)
def test_logins_queries_headers_and_pairs_are_redacted(text, expected):
    assert redact(text) == expected


def test_paths_of_token_files_are_not_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKEN_FILE", str(tmp_path))
    assert redact(f"{tmp_path}/a: gone") == f"{tmp_path}/a: gone"


def test_log_lines_are_printable_and_without_secrets(monkeypatch):
    monkeypatch.setenv("A_PASSWORD", "correcthorse")
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s: \x1b[2J\ncorrect\nhorse, gone", ("name",), None)
    assert RedactingFormatter("%(message)s").format(record) == "name: \\x1b[2J\n***, gone"
