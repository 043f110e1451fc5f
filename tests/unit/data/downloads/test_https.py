import email.utils
import http.server
import io
import shutil
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.standins.faults import Fault, serving

from spectralseg.data import disk
from spectralseg.data.downloads import _common, download, https
from spectralseg.errors import InputError

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """No pauses between attempts, and small chunks."""
    monkeypatch.setattr(https, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(https, "CHUNK", 2**12)


@pytest.fixture
def slept(monkeypatch):
    """Seconds slept, instead of sleeping."""
    pauses = []
    monkeypatch.setattr(https.time, "sleep", pauses.append)
    monkeypatch.setattr(https.random, "uniform", lambda low, high: 1)
    return pauses


def fetched(url, folder):
    target = folder / "file.zip"
    download(url, target)
    assert [path.name for path in folder.iterdir()] == ["file.zip"]
    return target.read_bytes()


def test_one_request_without_errors(tmp_path):
    with serving(CONTENT) as server:
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0]
    assert server.headers_seen[0]["User-Agent"].startswith("spectralseg/")
    assert server.headers_seen[0]["Accept-Encoding"] == "identity"


def test_a_dropped_connection_is_resumed(tmp_path):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(drop_after=100_000), Fault(drop_after=50_000)])
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0, 100_000, 150_000]
    assert server.headers_seen[1]["If-Range"] == '"one"'


def test_progress_resets_the_number_of_attempts(tmp_path):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(drop_after=20_000)] * 12)
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.sent == len(CONTENT)


@pytest.mark.slow
@settings(max_examples=25)
@given(drops=st.lists(st.integers(0, 60_000), max_size=8), parts=st.sampled_from(["etag", "date", "length"]))
def test_any_sequence_of_drops_gives_the_complete_file(tmp_path_factory, drops, parts):
    validators = {
        "etag": {"date": None},
        "date": {"etag": None, "date": "Fri, 20 Nov 2026 10:00:00 GMT"},
        "length": {"etag": None},
    }
    with serving(CONTENT, **validators[parts]) as server:
        server.faults.extend(Fault(drop_after=max(1, drop)) for drop in drops)
        assert fetched(server.url, tmp_path_factory.mktemp("any")) == CONTENT
    assert server.sent == len(CONTENT)


def test_a_later_process_resumes(tmp_path):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(drop_after=100_000), *[Fault(status=503)] * 4])
        with pytest.raises(ConnectionError, match="503 Service Unavailable, 4 times without progress"):
            download(server.url, tmp_path / "file.zip")
        assert not (tmp_path / "file.zip").exists()
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0, *[100_000] * 5]


def test_another_address_restarts(tmp_path):
    with serving(OTHER) as first, serving(CONTENT) as second:
        first.faults.extend([Fault(drop_after=100_000), *[Fault(status=503)] * 4])
        with pytest.raises(ConnectionError):
            download(first.url, tmp_path / "file.zip")
        assert fetched(second.url, tmp_path) == CONTENT
    assert second.ranges_asked == [0]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_bytes_of_two_versions_are_never_joined(tmp_path, monkeypatch, heeds_if_range):
    with serving(OTHER, heeds_if_range=heeds_if_range) as server:
        server.faults.append(Fault(drop_after=100_000))

        def replace_file(seconds):
            server.content, server.etag = CONTENT, '"two"'

        monkeypatch.setattr(https.time, "sleep", replace_file)
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == ([0, 100_000] if heeds_if_range else [0, 100_000, 0])


def test_a_server_that_ignores_ranges_restarts_the_download(tmp_path):
    with serving(CONTENT, ranges=False) as server:
        server.faults.append(Fault(drop_after=100_000))
        assert fetched(server.url, tmp_path) == CONTENT


def test_without_length_and_validator_the_download_restarts(tmp_path, monkeypatch):
    """Files that a server builds on request may differ between requests."""
    monkeypatch.setattr(https, "TIMEOUT", (60.0, 1.0))
    with serving(CONTENT, etag=None, length=False) as server:
        server.faults.append(Fault(stall_after=100_000))
        assert fetched(server.url, tmp_path) == CONTENT
    assert set(server.ranges_asked) == {0}


def test_repeated_drops_at_one_position_fail(tmp_path):
    with serving(CONTENT, ranges=False) as server:
        server.faults.extend([Fault(drop_after=100_000)] * 9)
        with pytest.raises(ConnectionError, match="without progress"):
            download(server.url, tmp_path / "file.zip")
    assert len(server.ranges_asked) == 5
    assert not (tmp_path / "file.zip").exists()


def test_too_short_responses_fail(tmp_path):
    with serving(CONTENT) as server:
        server.faults.append(Fault(longer=1000))
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0, len(CONTENT)]
    assert server.sent == len(CONTENT)


@pytest.mark.slow
@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 403])
def test_a_busy_server_is_retried(tmp_path, code):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(status=code)] * 2)
        assert fetched(server.url, tmp_path) == CONTENT
    assert len(server.ranges_asked) == 3


@pytest.mark.slow
@pytest.mark.parametrize("code", [400, 401, 404, 405, 410, 451, 501])
def test_a_refusal_is_not_retried(tmp_path, code):
    with serving(CONTENT) as server:
        server.faults.append(Fault(status=code))
        with pytest.raises(InputError, match=f"the server answers {code} "):
            download(server.url, tmp_path / "file.zip")
    assert len(server.ranges_asked) == 1


def test_repeated_refusals_fail_early(tmp_path):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(status=403)] * 9)
        with pytest.raises(ConnectionError, match="403 Forbidden"):
            download(server.url, tmp_path / "file.zip")
    assert len(server.ranges_asked) == 3


def test_pauses_increase_and_progress_resets_them(tmp_path, slept, monkeypatch):
    monkeypatch.setattr(https, "PAUSES", (1.0, 2.0, 4.0))
    with serving(CONTENT) as server:
        server.faults.extend([Fault(status=500)] * 3 + [Fault(drop_after=10_000)] + [Fault(status=500)] * 2)
        assert fetched(server.url, tmp_path) == CONTENT
    assert slept == [1, 2, 4, 1, 1, 2]


def test_retry_after_is_respected(tmp_path, slept, monkeypatch):
    monkeypatch.setattr(https.time, "time", lambda: 1_000_000.0)
    date = email.utils.formatdate(1_000_050, usegmt=True)
    with serving(CONTENT) as server:
        waits = ("7", "99999", date, "soon")
        server.faults.extend(Fault(status=429, headers={"Retry-After": wait}) for wait in waits)
        monkeypatch.setattr(https, "PAUSES", (0.0, 0.0, 0.0, 3.0))
        assert fetched(server.url, tmp_path) == CONTENT
    assert slept[:2] == [7, https.LONGEST_WAIT]
    assert slept[2:4] == [50, 3]


def test_a_stalled_connection_is_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(https, "TIMEOUT", (60.0, 1.0))
    with serving(CONTENT) as server:
        server.faults.append(Fault(stall_after=100_000))
        assert fetched(server.url, tmp_path) == CONTENT
    assert (server.ranges_asked[0], server.ranges_asked[-1]) == (0, 100_000)


def test_web_pages_are_refused(tmp_path):
    with serving(CONTENT) as server:
        server.faults.append(
            Fault(content=b"<html>sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
        )
        with pytest.raises(InputError, match="sends a web page instead of the file"):
            download(server.url, tmp_path / "file.zip")


def test_empty_files_are_downloaded(tmp_path):
    with serving(b"") as server:
        assert fetched(server.url, tmp_path) == b""


def test_unreachable_server(tmp_path):
    with serving(CONTENT) as server:
        pass
    with pytest.raises(ConnectionError, match="cannot be reached"):
        download(server.url, tmp_path / "file.zip")


def test_a_full_disk_is_noticed_before_and_during(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = [disk.RESERVE + len(CONTENT) - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, free.pop(0) if len(free) > 1 else free[0]))
    with serving(CONTENT) as server:
        with pytest.raises(InputError, match=r"has 0\.27 GB free, but 0\.27 GB are needed; free some space"):
            download(server.url, tmp_path / "file.zip")
        assert not (tmp_path / "file.zip.part").exists()
        monkeypatch.setattr(_common, "CHECK_EVERY", 50_000)
        free[:] = [2**40, 2**40, 0]
        with pytest.raises(InputError, match="free some space"):
            download(server.url, tmp_path / "file.zip")
        free[:] = [2**40]
        assert fetched(server.url, tmp_path) == CONTENT
    assert 0 < server.ranges_asked[-1] < len(CONTENT)


@pytest.mark.slow
@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"url": 1}', b"\xff"])
def test_a_partial_file_of_unknown_origin_is_discarded(tmp_path, state):
    (tmp_path / "file.zip.part").write_bytes(b"something")
    (tmp_path / "file.zip.state").write_bytes(state)
    with serving(CONTENT) as server:
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0]


def test_an_unknown_scheme_is_named(tmp_path):
    with pytest.raises(InputError, match="download scheme 'ftp' is unknown"):
        download("ftp://example.org/file.zip", tmp_path / "file.zip")


def test_a_too_slow_server_fails(tmp_path, slept, monkeypatch):
    """The clock advances by ten minutes with every reading."""
    now = iter(range(0, 10**9, 600))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    with serving(CONTENT) as server, pytest.raises(ConnectionError, match=r"less than 1024 bytes per second, \d times"):
        download(server.url, tmp_path / "file.zip")
    assert len(server.ranges_asked) == len(https.PAUSES) + 1


def test_too_slow_progress_does_not_reset_attempts(tmp_path, slept, monkeypatch):
    now = iter(range(0, 10**9, 10))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    with serving(CONTENT) as server:
        server.faults.extend([Fault(drop_after=1)] * 100)
        with pytest.raises(ConnectionError, match="times without progress"):
            download(server.url, tmp_path / "file.zip")
    assert len(server.ranges_asked) == len(https.PAUSES) + 1


def test_total_wait_is_limited(tmp_path, slept):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(status=503, headers={"Retry-After": "300"}), Fault(drop_after=10_000)] * 20)
        with pytest.raises(ConnectionError, match="asks for waits of more than 30 minutes"):
            download(server.url, tmp_path / "file.zip")
    assert sum(slept) <= https.LONGEST_WAITS


@pytest.mark.parametrize("name", ["Content-Length", "Retry-After", "Content-Range", "ETag", "Last-Modified"])
@pytest.mark.parametrize("value", ["²", "9" * 5000, "-1", "Mon, 99 Foo 99999 99:99:99 GMT", "\x1b[2J", "bytes 0-1/²"])
def test_invalid_header_fields_are_ignored(name, value):
    response = requests.Response()
    response.status_code = 200
    response.headers[name] = value
    assert https._version("http://a", response).total is None
    assert https._demanded_wait(response) in (None, https.LONGEST_WAIT) or value == "-1"


def test_too_long_responses_are_discarded(tmp_path):
    part = https._Part("http://a", tmp_path / "file.zip")
    part.start(https._Version("", '"one"', None, 1000))
    response = requests.Response()
    response.raw = urllib3.HTTPResponse(io.BytesIO(CONTENT), preload_content=False)
    with _common.download_bar(tmp_path / "file.zip") as bar, pytest.raises(https._Interruption, match="more than"):
        https._receive(response, part, 0, 1000, bar)
    assert part.size == 0


@pytest.mark.parametrize("target", ["http://a/b", "HTTP://a/b", "//b/c", "https://b/c", "/d"])
def test_redirects_must_stay_on_https(target, monkeypatch):
    def answer(session, url, **options):
        response = requests.Response()
        response.status_code, response.url, response.raw = 302 if url == "https://a/" else 200, url, io.BytesIO()
        response.headers["Location"] = target
        return response

    monkeypatch.setattr(requests.Session, "get", answer)
    if target.lower().startswith("http:"):
        with pytest.raises(InputError, match="redirects from https to an address without it"):
            https._get(https._Session(), "https://a/", {})
    else:
        assert https._get(https._Session(), "https://a/", {}).url.startswith("https://")


def test_bodies_of_redirects_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(requests.Response, "content", property(lambda response: pytest.fail("a body was read")))
    with serving(CONTENT) as server:
        server.faults.append(Fault(status=302, headers={"Location": "/again", "Content-Length": 10**12}, body=CONTENT))
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0, 0]


def test_endless_redirects_fail(tmp_path):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(status=302, headers={"Location": "/again"}, body=CONTENT)] * 50)
        with pytest.raises(InputError, match="TooManyRedirects"):
            download(server.url, tmp_path / "file.zip")


def test_control_characters_of_servers_are_removed(tmp_path, slept, capsys, monkeypatch):
    with serving(CONTENT) as server:
        server.faults.append(Fault(status=503))
        answers = {**http.server.BaseHTTPRequestHandler.responses, 503: ("\x1b[2Jgone", "")}
        monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "responses", answers)
        assert fetched(server.url, tmp_path) == CONTENT
    err = capsys.readouterr().err
    assert "\\x1b[2Jgone" in err
    assert "\x1b" not in err


@pytest.fixture
def clock(monkeypatch):
    """The clock advances in pauses only."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(https.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(https.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    return clock


def test_demanded_waits_do_not_count_as_slow(tmp_path, clock):
    with serving(CONTENT) as server:
        server.faults.extend([Fault(status=429, headers={"Retry-After": "200"}), Fault(drop_after=9_000)])
        assert fetched(server.url, tmp_path) == CONTENT
    assert server.ranges_asked == [0, 0, 9_000]
    assert clock.now > 1150


def test_the_rate_is_measured_per_attempt(tmp_path, clock):
    bar = _common.download_bar(tmp_path / "file.zip")
    clock.now += 2 * _common.WINDOW
    with pytest.raises(_common.TooSlowError):
        bar.update(10)
    bar.update(10)
    clock.now += _common.WINDOW
    bar.unpause()
    bar.update(10)
    clock.now += _common.WINDOW
    bar.update(_common.FLOOR * 2 * _common.WINDOW)
