import logging
import os
import shutil
import time

import pytest
from tests.standins._server import cut, status
from tests.standins.synapse import SIGNATURE, TOKEN, Entity, Synapse, refuse

from spectralseg.data.downloads import synapse
from spectralseg.errors import InputError

CONTENT = os.urandom(5 << 20)
PIECE = 2 << 20  # chunk size of the client
FILE, FOLDER, CHILD = "syn3379050", "syn45200214", "syn45200215"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Stand-in of Synapse, with a login in the environment."""
    for name in [name for name in os.environ if name.startswith("SYNAPSE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)
    monkeypatch.setitem(synapse.RETRY, "wait", 0)
    entities = {
        FILE: Entity("as_uploaded.zip", CONTENT),
        FOLDER: Entity("PolypGen"),
        CHILD: Entity("RawData.zip", CONTENT, parent=FOLDER),
        "syn3": Entity("RawData.zip", b"another", parent="syn4"),
    }
    with Synapse(entities).running() as running:
        running.write_config(tmp_path / "home")
        yield running


@pytest.fixture
def target(tmp_path):
    """Target file in a folder of its own."""
    (tmp_path / "partial").mkdir()
    return tmp_path / "partial" / "RawData.zip"


@pytest.fixture
def said(capfd, caplog):
    """All output and log messages so far, including debug messages."""
    caplog.set_level(logging.DEBUG)
    for logger in ("synapseclient_default", "synapseclient_silent"):
        caplog.set_level(logging.DEBUG, logger=logger)

    def read():
        printed = capfd.readouterr()
        return printed.out + printed.err + caplog.text

    return read


def content(folder):
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("address", [FILE, FOLDER])
def test_one_copy_of_the_file_arrives_under_the_official_name(server, target, address):
    synapse.download(address, target)
    assert content(target.parent) == {"RawData.zip": CONTENT}


def test_an_older_file_is_replaced(server, target):
    target.write_bytes(b"old")
    synapse.download(FILE, target)
    assert content(target.parent) == {"RawData.zip": CONTENT}


def test_nothing_is_left_in_the_home_folder(server, target, tmp_path):
    synapse.download(FILE, target)
    assert [path.name for path in (tmp_path / "home").rglob("*")] == [".synapseConfig"]


def test_the_users_configuration_is_used(server, target, tmp_path, monkeypatch):
    monkeypatch.delenv("SYNAPSE_AUTH_TOKEN")
    server.write_config(tmp_path / "home", TOKEN)
    synapse.download(FILE, target)
    assert target.read_bytes() == CONTENT


def test_the_token_is_not_sent_to_the_storage(server, target):
    synapse.download(FILE, target)
    assert server.asked("/storage/")
    assert not [request for request in server.asked("/storage/") if "authorization" in request.headers]


def test_output_is_the_progress_bar_only(server, target, capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    synapse.download(FILE, target)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.split("\r")[-1].startswith("RawData.zip: 100%")
    assert "B/s]" in err
    assert all(line.startswith("RawData.zip: ") for line in err.split("\r") if line.strip())


class TestInterruption:
    def test_the_next_call_resumes_a_dropped_download(self, server, target):
        server.fail("/storage/", cut(3 << 20))
        with pytest.raises(ConnectionError, match="broke off"):
            synapse.download(FILE, target)
        assert not target.exists()
        (partial,) = content(target.parent).values()
        assert partial == CONTENT[:PIECE]
        synapse.download(FILE, target)
        assert [request.headers.get("range") for request in server.asked("/storage/")] == [None, f"bytes={PIECE}-"]
        assert content(target.parent) == {"RawData.zip": CONTENT}

    def test_a_partial_file_that_is_complete_is_only_checked(self, server, target):
        (target.parent / f"RawData.zip.synapse_download_{FILE.removeprefix('syn')}").write_bytes(CONTENT)
        synapse.download(FILE, target)
        assert content(target.parent) == {"RawData.zip": CONTENT}

    def test_a_partial_file_of_other_bytes_ends_as_damage_not_as_a_file(self, server, target):
        (target.parent / f"RawData.zip.synapse_download_{FILE.removeprefix('syn')}").write_bytes(b"x" * 100)
        with pytest.raises(InputError, match=f"^{FILE} arrived damaged from Synapse and was removed"):
            synapse.download(FILE, target)
        assert content(target.parent) == {}
        synapse.download(FILE, target)
        assert target.read_bytes() == CONTENT

    def test_a_silent_server_times_out(self, server, target, monkeypatch):
        monkeypatch.setattr(synapse, "TIMEOUT", 0.1)
        monkeypatch.setitem(synapse.RETRY, "retries", 0)

        def silence(reply):
            time.sleep(0.5)
            return reply

        server.fail("/storage/", silence)
        with pytest.raises(ConnectionError, match="broke off"):
            synapse.download(FILE, target)


@pytest.mark.parametrize("path", ["/userProfile", "/bundle2", "/fileHandle/batch", "/storage/"])
class TestTrouble:
    @pytest.mark.parametrize("code", [429, 500, 503])
    def test_temporary_errors_are_retried(self, server, target, path, code):
        server.fail(path, status(code), status(code))
        synapse.download(FILE, target)
        assert content(target.parent) == {"RawData.zip": CONTENT}
        assert len(server.asked(path)) == 3

    @pytest.mark.parametrize("code", [429, 503])
    def test_permanent_server_errors_are_connection_errors(self, server, target, path, code):
        server.fail(path, *[status(code)] * 6)
        with pytest.raises(ConnectionError):
            synapse.download(FILE, target)
        assert len(server.asked(path)) == 6
        assert not target.exists()

    def test_errors_do_not_contain_the_token(self, server, target, path, said, tmp_path):
        with (tmp_path / "home" / ".synapseConfig").open("a", encoding="utf-8") as config:
            config.write("[debug]\n")  # it makes the client verbose
        spoken = f"Request with 'Authorization': 'Bearer {TOKEN}' ({TOKEN}) forbidden".encode()
        server.fail(path, *[status(429, spoken)] * 5, status(403, spoken))
        with pytest.raises((InputError, ConnectionError)) as refused:
            synapse.download(FILE, target)
        assert refused.value.__suppress_context__
        assert TOKEN not in str(refused.value) + said()
        assert SIGNATURE not in str(refused.value)
        assert not target.exists()


class TestInputErrors:
    def test_a_missing_login_raises_before_any_request(self, server, target, monkeypatch):
        monkeypatch.delenv("SYNAPSE_AUTH_TOKEN")
        with pytest.raises(InputError, match=r"^Synapse requires a login; set SYNAPSE_AUTH_TOKEN .*~/\.synapseConfig$"):
            synapse.download(FILE, target)
        assert not server.requests

    def test_a_wrong_token(self, server, target, monkeypatch):
        monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", "expired")
        with pytest.raises(InputError, match=r"^Synapse refuses the login; set SYNAPSE_AUTH_TOKEN .*download scope"):
            synapse.download(FILE, target)

    @pytest.mark.parametrize("end", ["\n", "\nsecond line", "…"])
    def test_a_token_that_was_copied_badly(self, server, target, monkeypatch, said, end):
        monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN + end)
        with pytest.raises(InputError, match=r"^the Synapse access token was not copied well; set ") as refused:
            synapse.download(FILE, target)
        assert refused.value.__suppress_context__
        assert TOKEN not in str(refused.value) + said()

    def test_a_token_that_expires_meanwhile(self, server, target):
        server.fail("/fileHandle/batch", lambda _: refuse(401, "token expired"))
        with pytest.raises(InputError, match=r"^Synapse refuses the login"):
            synapse.download(FILE, target)

    def test_a_configuration_that_cannot_be_read(self, server, target, tmp_path):
        shutil.copy(__file__, tmp_path / "home" / ".synapseConfig")
        with pytest.raises(InputError, match=r"/\.synapseConfig: not a valid Synapse configuration; correct or remove"):
            synapse.download(FILE, target)

    @pytest.mark.parametrize(("address", "file"), [(FILE, FILE), (FOLDER, CHILD)])
    def test_conditions_that_are_not_accepted(self, server, target, address, file):
        server.entities[file].open = False
        with pytest.raises(
            InputError, match=rf"conditions for use .* accept them at .*www\.synapse\.org/Synapse:{file}$"
        ):
            synapse.download(address, target)
        assert not server.asked("/fileHandle/")

    def test_a_user_or_token_without_permission(self, server, target):
        server.fail("/fileHandle/batch", lambda _: refuse(403, "insufficient_scope"))
        with pytest.raises(InputError, match=f"not let this user download {FILE}; accept .*Synapse:{FILE}.* scope$"):
            synapse.download(FILE, target)

    def test_a_file_that_may_be_seen_but_not_downloaded(self, server, target):
        denied = b'{"requestedFiles": [{"fileHandleId": "1", "failureCode": "UNAUTHORIZED"}]}'
        server.fail("/fileHandle/batch", status(200, denied, Content_Type="application/json"))
        with pytest.raises(InputError, match=f"does not let this user download {FILE}"):
            synapse.download(FILE, target)

    def test_an_entity_that_does_not_exist(self, server, target):
        with pytest.raises(InputError, match=r"^Synapse has no syn99, .*Synapse:syn99"):
            synapse.download("syn99", target)

    def test_a_folder_without_the_file(self, server, target):
        with pytest.raises(InputError, match=f"^{FOLDER} on Synapse holds no file 'v9.zip'; see .*Synapse:{FOLDER}"):
            synapse.download(FOLDER, target.with_name("v9.zip"))

    def test_damaged_files_raise_and_are_removed(self, server, target):
        server.entities[FILE].md5 = "0" * 32
        with pytest.raises(
            InputError, match=f"^{FILE} arrived damaged from Synapse and was removed; download it again"
        ):
            synapse.download(FILE, target)
        assert content(target.parent) == {}

    def test_a_file_that_synapse_only_links_to(self, server, target):
        link = b'{"requestedFiles": [{"fileHandleId": "1", "fileHandle": {"id": "1"}, "preSignedURL": "s3://there"}]}'
        server.fail("/fileHandle/batch", status(200, link, Content_Type="application/json"))
        target.write_bytes(b"old")
        with pytest.raises(InputError, match=f"^Synapse only links to {FILE}; .*by hand"):
            synapse.download(FILE, target)


def test_network_errors_are_connection_errors(server, target, tmp_path):
    server.port = 1  # not in use
    server.write_config(tmp_path / "home")
    with pytest.raises(ConnectionError, match=r"^Synapse cannot be reached"):
        synapse.download(FILE, target)
