import os

import pytest
import requests
from tests.standins._server import cut, status
from tests.standins.drive import Drive

from spectralseg.data.downloads import gdrive
from spectralseg.errors import InputError

CONTENT = os.urandom(2 << 20)
PIECE = 512 << 10  # chunk size of gdown
FILE = "1ZgqFJomqQGNnsx7w7QBzQQMVA16lbVCA"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Stand-in of Google Drive, without delays and without cookies of the user."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    with Drive({FILE: CONTENT}).running() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    """Target file in a folder of its own."""
    (tmp_path / "partial").mkdir()
    return tmp_path / "partial" / "MoNuSeg Training Data.zip"


def content(folder):
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("large", [False, True])
def test_one_copy_of_the_file_arrives_under_the_official_name(server, target, tmp_path, large):
    server.scanned = {FILE} if large else set()
    gdrive.download(FILE, target)
    assert content(tmp_path) == {f"partial/{target.name}": CONTENT}


def test_an_older_file_is_replaced(server, target):
    target.write_bytes(b"old")
    gdrive.download(FILE, target)
    assert content(target.parent) == {target.name: CONTENT}


def test_output_is_the_progress_bar_only(server, target, capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    gdrive.download(FILE, target)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.split("\r")[-1].startswith(f"{target.name}: 100%")
    assert all(line.startswith(f"{target.name}: ") for line in err.split("\r") if line.strip())


def test_imported_cookies_are_sent_and_no_others_are_kept(server, target, tmp_path):
    gdrive.download(FILE, target)
    assert not (tmp_path / "home").exists()
    cookies = tmp_path / "home" / ".cache" / "gdown" / "cookies.txt"
    cookies.parent.mkdir(parents=True)
    cookies.write_text("# Netscape HTTP Cookie File\n.google.com\tTRUE\t/\tTRUE\t0\tSID\tmine\n", encoding="utf-8")
    gdrive.download(FILE, target)
    assert "cookie" not in server.asked("/uc")[0].headers
    assert server.asked("/uc")[1].headers["cookie"] == "SID=mine"


class TestInterruption:
    def test_a_dropped_connection_is_resumed_immediately(self, server, target):
        server.scanned = {FILE}
        server.fail("/download", lambda reply: reply, cut(PIECE + 1000))
        gdrive.download(FILE, target)
        assert [request.headers.get("range") for request in server.asked("/download")] == [
            None,
            None,
            f"bytes={PIECE}-",
        ]
        assert content(target.parent) == {target.name: CONTENT}

    def test_the_next_call_resumes_a_dropped_download(self, server, target, monkeypatch):
        monkeypatch.setattr(gdrive, "RETRIES", 0)
        server.fail("/download", cut(3 * PIECE + 1000))
        with pytest.raises(ConnectionError, match="broke off"):
            gdrive.download(FILE, target)
        (partial,) = content(target.parent).values()
        assert partial == CONTENT[: 3 * PIECE]
        assert not target.exists()
        gdrive.download(FILE, target)
        assert server.asked("/download")[-1].headers["range"] == f"bytes={3 * PIECE}-"
        assert content(target.parent) == {target.name: CONTENT}

    def test_server_errors_keep_the_partial_file(self, server, target):
        broken = status(503, b"<html>We're sorry</html>", Content_Type="text/html")
        server.fail("/download", lambda reply: reply, cut(PIECE + 1000), broken, broken)
        server.scanned = {FILE}
        with pytest.raises(ConnectionError, match="broke off"):
            gdrive.download(FILE, target)
        assert list(content(target.parent).values()) == [CONTENT[:PIECE]]

    def test_a_changed_file_restarts_the_download(self, server, target, monkeypatch):
        monkeypatch.setattr(gdrive, "RETRIES", 0)
        server.fail("/download", cut(PIECE + 1000))
        with pytest.raises(ConnectionError):
            gdrive.download(FILE, target)
        server.files[FILE] = CONTENT[:PIECE]
        with pytest.raises(ConnectionError):
            gdrive.download(FILE, target)
        assert content(target.parent) == {}
        gdrive.download(FILE, target)
        assert content(target.parent) == {target.name: CONTENT[:PIECE]}

    def test_network_errors_are_connection_errors(self, server, target, monkeypatch):
        def fail(*arguments, **options):
            raise requests.ConnectionError("no route to drive.google.com")

        monkeypatch.setattr(requests.Session, "send", fail)
        with pytest.raises(ConnectionError):
            gdrive.download(FILE, target)
        assert content(target.parent) == {}


@pytest.mark.parametrize("code", [429, 500, 503])
@pytest.mark.parametrize("headers", [{"Content_Type": "text/html"}, {}])
def test_server_errors_are_connection_errors(server, target, code, headers):
    page = status(code, b"<html>We're sorry</html>", **headers)
    server.fail("/uc", page, page)
    with pytest.raises(ConnectionError, match=rf"^Google Drive is overloaded or broken \(status {code}\)"):
        gdrive.download(FILE, target)
    assert content(target.parent) == {}
    gdrive.download(FILE, target)
    assert content(target.parent) == {target.name: CONTENT}


def test_exceeded_quota_is_an_input_error(server, target):
    server.quota = {FILE}
    with pytest.raises(
        InputError, match=rf"^the download quota of .*/file/d/{FILE}/view is used up; wait a day, .*cookies"
    ):
        gdrive.download(FILE, target)
    assert content(target.parent) == {}


def test_exceeded_quota_keeps_the_partial_file(server, target, monkeypatch):
    monkeypatch.setattr(gdrive, "RETRIES", 0)
    server.fail("/download", cut(PIECE + 1000))
    with pytest.raises(ConnectionError):
        gdrive.download(FILE, target)
    server.quota = {FILE}
    with pytest.raises(InputError):
        gdrive.download(FILE, target)
    assert list(content(target.parent).values()) == [CONTENT[:PIECE]]


@pytest.mark.parametrize("private", [False, True])
def test_a_file_that_is_gone_or_not_shared_is_an_input_error(server, target, private):
    server.files = {}
    server.private = {FILE} if private else set()
    with pytest.raises(InputError, match=f"^Google Drive gives no file {FILE}; see whether .*by hand$"):
        gdrive.download(FILE, target)
    assert content(target.parent) == {}
