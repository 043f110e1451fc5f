import hashlib
from pathlib import Path

import pooch
import pytest
import requests

from spectralseg.data.fetch import fetch
from spectralseg.errors import InputError

CONTENT = b"archive"
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
OPEN = {"file": "a.zip", "url": "https://example.org/a.zip", "sha256": SHA256}


@pytest.fixture
def server(monkeypatch):
    """Stands for the network: what is asked for, and what it answers."""

    class Server(list):
        answer = CONTENT

    asked = Server()

    def download(self, url, output_file, downloader, **options):
        asked.append((url, self.kwargs))
        if isinstance(asked.answer, Exception):
            raise asked.answer
        Path(output_file).write_bytes(asked.answer)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return asked


def test_a_file_is_downloaded_once_and_checked(tmp_path, toy_specification, server):
    specification = toy_specification(sources=[OPEN])
    fetch(specification, tmp_path / "new" / "folder")
    fetch(specification, tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "a.zip").read_bytes() == CONTENT
    assert len(server) == 1
    assert server[0][0] == OPEN["url"]
    assert server[0][1]["headers"]["User-Agent"].startswith("spectralseg/")


def test_one_file_or_all_are_fetched(tmp_path, toy_specification, server):
    specification = toy_specification(sources=[OPEN, {**OPEN, "file": "b.zip", "url": "https://example.org/b.zip"}])
    fetch(specification, tmp_path, "b.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
    fetch(specification, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_an_unknown_file_is_refused_with_the_nearest_one(tmp_path, toy_specification, server):
    with pytest.raises(InputError, match=r"'a\.zpi' is no file of Toy; did you mean 'a\.zip'"):
        fetch(toy_specification(sources=[OPEN]), tmp_path, "a.zpi")
    assert not server


@pytest.mark.parametrize("checksum", [{"sha256": SHA256}, {"sha256": None, "md5": MD5}])
def test_a_download_that_does_not_match_is_refused_and_not_kept(tmp_path, toy_specification, server, checksum):
    server.answer = b"<html>quota exceeded</html>"
    with pytest.raises(InputError, match=r"a\.zip: download of https://example\.org/a\.zip failed .*by hand"):
        fetch(toy_specification(sources=[{**OPEN, **checksum}]), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "answer", [requests.ConnectionError("down"), requests.HTTPError("404"), TimeoutError("slow"), OSError("disk full")]
)
def test_a_failing_server_is_an_input_error_that_names_file_and_address(tmp_path, toy_specification, server, answer):
    server.answer = answer
    with pytest.raises(InputError, match=r"a\.zip: download of https://example\.org/a\.zip failed \(.*\); try again"):
        fetch(toy_specification(sources=[OPEN]), tmp_path)
    assert not (tmp_path / "a.zip").exists()


def test_a_file_put_in_place_by_hand_is_kept_if_it_matches(tmp_path, toy_specification, server):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    fetch(toy_specification(sources=[OPEN]), tmp_path)
    assert not server


def test_a_file_in_place_that_does_not_match_is_downloaded_again(tmp_path, toy_specification, server):
    (tmp_path / "a.zip").write_bytes(b"old")
    fetch(toy_specification(sources=[OPEN]), tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["synapse:syn123", "gdrive:abc", "girder"])
class TestFilesBehindALogin:
    def test_a_missing_file_is_asked_for_with_its_homepage(self, tmp_path, toy_specification, server, url):
        with pytest.raises(InputError, match=r"a\.zip: cannot be downloaded .*https://example\.org.*source: path"):
            fetch(toy_specification(sources=[{**OPEN, "url": url}]), tmp_path)
        assert not server

    def test_a_file_in_place_that_matches_is_accepted(self, tmp_path, toy_specification, server, url):
        (tmp_path / "a.zip").write_bytes(CONTENT)
        fetch(toy_specification(sources=[{**OPEN, "url": url}]), tmp_path)
        fetch(toy_specification(sources=[{"file": "a.zip", "url": url}]), tmp_path)
        assert not server

    @pytest.mark.parametrize("checksum", [{"sha256": SHA256}, {"sha256": None, "md5": MD5}])
    def test_a_file_in_place_that_does_not_match_is_refused_and_kept(
        self, tmp_path, toy_specification, server, url, checksum
    ):
        (tmp_path / "a.zip").write_bytes(b"truncated")
        with pytest.raises(InputError, match=r"a\.zip: its checksum is not the published one"):
            fetch(toy_specification(sources=[{**OPEN, "url": url, **checksum}]), tmp_path)
        assert (tmp_path / "a.zip").read_bytes() == b"truncated"


def test_a_plain_http_address_is_never_used(tmp_path, toy_specification, server):
    with pytest.raises(InputError):
        fetch(toy_specification(sources=[{**OPEN, "url": "http://example.org/a.zip"}]), tmp_path)
    assert not server
