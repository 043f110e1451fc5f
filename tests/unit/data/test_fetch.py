import copy
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from tests.conftest import SPECIFICATION
from tests.standins.faults import Fault, serving

from spectralseg import cli
from spectralseg.data import fetch as fetching
from spectralseg.data.downloads import https
from spectralseg.data.fetch import fetch, receipts_of_given
from spectralseg.data.receipts import RECEIPTS, read_receipts
from spectralseg.errors import InputError


def zipped(text):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("file.txt", text)
    return stream.getvalue()


CONTENT, OTHER = zipped("published" * 1000), zipped("something else" * 1000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9/folder"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(https, "PAUSES", (0.0,))


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def specification(toy_specification, server):
    """A dataset of one file on the server, with any keys of its source replaced."""

    def build(**changes):
        source = {"file": "file.zip", "url": server.url, "sha256": SHA256, **changes}
        return toy_specification(sources=[source])

    return build


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_fetched_once_and_recorded(tmp_path, specification, server):
    for _ in range(2):
        fetch(specification(), tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert (folder / "file.zip").read_bytes() == CONTENT
    assert server.ranges_asked == [0]
    assert visible(folder) == ["file.zip", RECEIPTS]
    assert not list((folder / ".partial").glob("*/*"))
    (receipt,) = read_receipts(folder)
    assert {**receipt, "fetched": None} == {
        "file": "file.zip",
        "url": server.url,
        "bytes": len(CONTENT),
        "sha256": SHA256,
        "published_checksum": True,
        "fetched": None,
    }


def test_one_file_or_all_are_fetched(tmp_path, toy_specification, server):
    sources = [{"file": name, "url": server.url, "sha256": SHA256} for name in ("a.zip", "b c.zip")]
    specification = toy_specification(sources=sources)
    fetch(specification, tmp_path, file="b c.zip")
    assert visible(tmp_path) == ["b c.zip", RECEIPTS]
    fetch(specification, tmp_path)
    assert [receipt["file"] for receipt in read_receipts(tmp_path)] == ["a.zip", "b c.zip"]


def test_an_unknown_file_is_refused_with_the_nearest_one(tmp_path, specification, server):
    with pytest.raises(InputError, match=r"'fiel\.zip' is not a file of Toy; did you mean 'file\.zip'"):
        fetch(specification(), tmp_path, file="fiel.zip")
    assert not server.ranges_asked


def test_terms_are_logged_before_the_download(tmp_path, specification, server, caplog):
    caplog.set_level("INFO")
    server.faults.append(Fault(status=404))
    with pytest.raises(InputError):
        fetch(specification(), tmp_path)
    assert "Licence: CC0. Please cite: nobody" in caplog.messages[0]


@pytest.mark.slow
@pytest.mark.parametrize("checksum", [{}, {"sha256": None, "md5": MD5}, {"md5": MD5}])
@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], b""])
def test_files_with_another_checksum_are_removed(tmp_path, specification, server, checksum, content):
    server.content = content
    with pytest.raises(InputError, match=r"file\.zip: could not be fetched \(.*checksum is not the published one\)"):
        fetch(specification(**checksum), tmp_path)
    assert visible(tmp_path) == []
    assert not list((tmp_path / ".partial").glob("*/*"))
    server.content = CONTENT
    fetch(specification(**checksum), tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(tmp_path, specification, server):
    server.faults.append(Fault(content=OTHER))
    fetch(specification(), tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    server.content = OTHER
    (tmp_path / "file.zip").unlink()
    with pytest.raises(InputError):
        fetch(specification(), tmp_path)
    assert len(server.ranges_asked) == 4


def test_a_dataset_without_official_files_raises(tmp_path, toy_specification):
    with pytest.raises(
        InputError, match=r"toy: Toy has no 'sources' to download; register at https://example\.org, and"
    ):
        fetch(toy_specification(), tmp_path)


@pytest.mark.parametrize("name", ["../x.zip", "a/b.zip", "/etc/x", ".partial", "a\\b", ""])
def test_a_file_name_that_is_a_path_is_refused(toy_specification, name):
    with pytest.raises(ValueError, match="file"):
        toy_specification(sources=[{"file": name, "url": "https://example.org/x.zip"}])


def test_without_a_published_checksum_an_archive_must_be_intact(tmp_path, specification, server):
    unknown = specification(sha256=None)
    damaged = bytearray(CONTENT)
    damaged[60] ^= 1
    for content in (CONTENT[:-30], bytes(damaged), b"no archive"):
        server.content = content
        with pytest.raises(InputError, match="archive"):
            fetch(unknown, tmp_path)
        assert visible(tmp_path) == []
    server.content = OTHER
    fetch(unknown, tmp_path)
    assert read_receipts(tmp_path)[0]["published_checksum"] is None


def test_an_archive_built_on_request_must_be_intact(tmp_path, specification, server, caplog):
    rebuilt = specification(built_on_request=True)
    server.content = OTHER[:-10]
    with pytest.raises(InputError, match="not an intact archive"):
        fetch(rebuilt, tmp_path)
    server.content = OTHER
    fetch(rebuilt, tmp_path)
    assert read_receipts(tmp_path)[0]["published_checksum"] is False
    assert "the server builds it on request" in caplog.text


class TestExistingFiles:
    def test_a_file_that_matches_is_used(self, tmp_path, specification, server):
        (tmp_path / "file.zip").write_bytes(CONTENT)
        fetch(specification(), tmp_path)
        assert not server.ranges_asked
        assert read_receipts(tmp_path)[0]["sha256"] == SHA256

    def test_a_file_that_does_not_match_is_refused_and_kept(self, tmp_path, specification, server):
        (tmp_path / "file.zip").write_bytes(OTHER)
        with pytest.raises(InputError, match=r"file\.zip: the checksum is not the published one; remove the file"):
            fetch(specification(), tmp_path)
        assert (tmp_path / "file.zip").read_bytes() == OTHER
        assert read_receipts(tmp_path) == []

    def test_the_error_explains_the_manual_download(self, tmp_path, specification, server):
        server.faults.append(Fault(status=404))
        expected = r"404 Not Found.*get the file by hand from https://example\.org and put it there"
        with pytest.raises(InputError, match=expected):
            fetch(specification(), tmp_path)

    def test_a_file_that_was_complete_when_the_process_was_killed_is_not_fetched_again(
        self, tmp_path, specification, server
    ):
        partial = tmp_path / ".partial" / "file.zip"
        partial.mkdir(parents=True)
        (partial / "file.zip").write_bytes(CONTENT)
        fetch(specification(), tmp_path)
        assert not server.ranges_asked


@pytest.mark.parametrize("given", ["folder", "folder/file.zip"])
def test_files_that_a_user_gives_are_compared_with_the_published_checksum(tmp_path, specification, given, caplog):
    (tmp_path / "folder").mkdir()
    for content, expected in ((CONTENT, True), (OTHER, False)):
        (tmp_path / "folder" / "file.zip").write_bytes(content)
        (receipt,) = receipts_of_given(specification(), tmp_path / given)
        assert receipt["published_checksum"] is expected
        assert ("not the published one" in caplog.text) is not expected
    assert receipts_of_given(specification(file="other.zip"), tmp_path / given) == []


class TestMirrors:
    def test_mirrors_are_tried_first_and_in_order(self, tmp_path, specification, server):
        with serving(OTHER) as wrong, serving(CONTENT) as right:
            mirrors = [NOWHERE, wrong.url.rpartition("/")[0], right.url.rpartition("/")[0] + "/"]
            fetch(specification(), tmp_path, mirrors=mirrors)
        assert (len(wrong.ranges_asked), len(right.ranges_asked), len(server.ranges_asked)) == (2, 1, 0)
        assert (tmp_path / "file.zip").read_bytes() == CONTENT

    def test_the_official_address_is_tried_next_then_its_own_mirrors(self, tmp_path, specification, server):
        with serving(CONTENT) as second:
            server.faults.append(Fault(status=404))
            fetch(specification(mirrors=[second.url]), tmp_path, mirrors=[NOWHERE])
        assert (len(server.ranges_asked), len(second.ranges_asked)) == (1, 1)

    def test_every_failure_is_reported(self, tmp_path, specification, server):
        server.content = OTHER
        with pytest.raises(InputError, match=r"127\.0\.0\.1:9/.*cannot be reached.*; http.*checksum"):
            fetch(specification(), tmp_path, mirrors=[NOWHERE])


class TestSecrets:
    def test_secrets_in_addresses_are_redacted(self, tmp_path, specification, server, caplog, monkeypatch):
        monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", "very-secret-token")
        url = server.url.replace("http://", "http://user:very-secret-token@") + "?X-Amz-Signature=5f3e1b"
        server.faults.append(Fault(status=404))
        with pytest.raises(InputError) as caught:
            fetch(specification(url=url), tmp_path)
        fetch(specification(url=url), tmp_path)
        message = str(caught.value) + caplog.text + json.dumps(read_receipts(tmp_path))
        for secret in ("very-secret-token", "5f3e1b", "user:"):
            assert secret not in message
        assert "file.zip" in message

    def test_the_command_line_redacts_logs_and_errors(self, tmp_path, monkeypatch, capsys):
        token = "very-secret-token"
        environment = {**os.environ, "SYNAPSE_AUTH_TOKEN": token, "SPECTRALSEG_LOG": "DEBUG"}
        command = [sys.executable, "-m", "spectralseg", "fetch", f"{tmp_path}/{token}.smk", "--out", str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "***.smk" in done.stderr
        assert token not in done.stderr + done.stdout


def test_concurrent_processes_wait(tmp_path, specification, server):
    server.content = np.random.default_rng(0).bytes(400_000)
    server.piece_pause = 0.01
    wanted = specification(sha256=hashlib.sha256(server.content).hexdigest())
    failures = []

    def run():
        try:
            fetch(wanted, tmp_path)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert server.ranges_asked == [0]
    assert len(read_receipts(tmp_path)) == 1


@pytest.mark.slow
def test_the_next_process_resumes_after_a_kill(tmp_path, server):
    server.content = np.random.default_rng(0).bytes(2_000_000)
    server.piece_pause = 0.02
    source = {"file": "file.zip", "url": server.url, "sha256": hashlib.sha256(server.content).hexdigest()}
    file = tmp_path / "toy.smk"
    file.write_text(f"SPECIFICATION = { ({**SPECIFICATION, 'sources': [source]})!r}\n")
    command = [sys.executable, "-m", "spectralseg", "fetch", str(file), "--out", str(tmp_path / "raw")]
    for _ in range(2):
        before = server.sent
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.sent < before + 300_000:
            assert process.poll() is None
        process.kill()
        process.wait()
        assert not (tmp_path / "raw" / "file.zip").exists()
    server.piece_pause = 0
    assert cli.main(["fetch", str(file), "--out", str(tmp_path / "raw")]) == 0
    assert (tmp_path / "raw" / "file.zip").read_bytes() == server.content
    assert server.sent < len(server.content) + 2 * 150_000  # in socket buffers when the process died


def test_unwritable_folders_raise(tmp_path, specification, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file\.zip: cannot be written or read: not a directory; choose"):
        fetch(specification(), tmp_path / "file")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "download", full)
    with pytest.raises(InputError, match=r"file\.zip: cannot be written or read: no space left on device; free"):
        fetch(specification(), tmp_path / "new")
    assert visible(tmp_path / "new") == []


@pytest.mark.slow
def test_a_zip_bomb_without_a_published_checksum_is_not_kept(tmp_path, specification, server):
    """All entries refer to one member, which each would extract."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(2**20))
        (entry,) = archive.filelist
        archive.filelist += [copy.copy(entry) for _ in range(1000)]
    server.content = stream.getvalue()
    with pytest.raises(InputError, match="has members that overlap, as a zip bomb does"):
        fetch(specification(sha256=None), tmp_path)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(2**29))
    server.content = stream.getvalue()
    with pytest.raises(InputError, match="expand to more than"):
        fetch(specification(sha256=None), tmp_path)
    assert visible(tmp_path) == []


def test_a_mirror_without_https_needs_a_published_checksum(tmp_path, toy_specification, monkeypatch):
    requests = []
    monkeypatch.setattr(fetching, "download", lambda url, target: requests.append(url) or target.write_bytes(CONTENT))
    source = {"file": "file.zip", "url": "https://example.org/file.zip"}
    fetch(toy_specification(sources=[source]), tmp_path / "a", mirrors=["http://example.net"])
    fetch(toy_specification(sources=[{**source, "sha256": SHA256}]), tmp_path / "b", mirrors=["http://example.net"])
    assert requests == ["https://example.org/file.zip", "http://example.net/file.zip"]


@pytest.mark.parametrize("content", ["[", '{"files": [1, {"a": 2}]}', '{"files": 1}', "[" * 99_999, "9" * 9999])
def test_damaged_receipts_are_ignored(tmp_path, content):
    (tmp_path / RECEIPTS).write_text(content)
    assert read_receipts(tmp_path) == []
