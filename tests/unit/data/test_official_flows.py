"""Downloads of the official sources by ``fetch``, from local stand-ins with the real clients."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from tests.standins._server import cut, status
from tests.standins.figshare import SIGNATURE, Figshare
from tests.standins.girder import Girder

from spectralseg.data.downloads import https
from spectralseg.data.fetch import fetch
from spectralseg.data.receipts import read_receipts
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError

CONTENT = np.random.default_rng(0).bytes(200_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(https, "PAUSES", (0.0,) * 3)


@pytest.fixture(scope="module")
def specifications(repository):
    return read_specifications(repository / "workflow" / "rules" / "datasets")


def redirected(specification, **sources):
    """The specification of a dataset with the addresses of some files replaced."""
    changed = [source.model_copy(update=sources.get(source.file, {})) for source in specification.sources]
    return specification.model_copy(update={"sources": tuple(changed)})


def test_figshare_by_signed_address_with_a_drop(tmp_path, specifications, caplog):
    file = specifications["btseg"].sources[4].file
    assert file == "cvind.mat"
    with Figshare({"7005344": (file, CONTENT)}).running() as server:
        server.fail(f"/storage/7005344/{file}", cut(50_000))
        change = {"url": server.address("7005344"), "md5": hashlib.md5(CONTENT).hexdigest()}
        fetch(redirected(specifications["btseg"], **{file: change}), tmp_path, file=file)
        asked = server.asked(f"/storage/7005344/{file}")
    assert (tmp_path / file).read_bytes() == CONTENT
    assert [request.headers.get("range") for request in asked] == [None, "bytes=50000-"]
    assert SIGNATURE not in caplog.text + json.dumps(read_receipts(tmp_path))


def test_figshare_refusals_do_not_contain_the_signature(tmp_path, specifications, caplog):
    file = "cvind.mat"
    with Figshare({"7005344": (file, CONTENT)}).running() as server:
        change = {"url": server.address("7005344"), "md5": hashlib.md5(CONTENT).hexdigest()}
        specification = redirected(specifications["btseg"], **{file: change})
        server.fail(f"/storage/7005344/{file}", *[status(403)] * 3)
        with pytest.raises(InputError, match="403 Forbidden") as caught:
            fetch(specification, tmp_path, file=file)
        assert SIGNATURE not in str(caught.value) + caplog.text
        server.fail("/files/7005344", status(403), status(503))
        fetch(specification, tmp_path, file=file)
    assert (tmp_path / file).read_bytes() == CONTENT


def test_girder_builds_archives_on_request_and_a_drop_restarts(tmp_path, specifications):
    files = {f"ACDC/database/training/patient{n:03}/Info.cfg": CONTENT[n : n + 9000] for n in range(8)}
    with Girder({"637218c173e9f0047faa00fb": files}).running() as server:
        address = server.address("637218c173e9f0047faa00fb")
        server.fail(address.removeprefix(server.url), cut(30_000))
        specification = redirected(specifications["acdc"], **{"ACDC.zip": {"url": address}})
        fetch(specification, tmp_path)
        asked = server.asked(address.removeprefix(server.url))
    assert [request.headers.get("range") for request in asked] == [None, None]
    with zipfile.ZipFile(io.BytesIO((tmp_path / "ACDC.zip").read_bytes())) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
    assert read_receipts(tmp_path)[0]["published_checksum"] is False


def test_each_official_source_has_a_client(specifications):
    schemes = {
        name: {s.url.partition(":")[0] for s in spec.sources} for name, spec in specifications.items() if spec.sources
    }
    assert schemes == {
        "acdc": {"https"},
        "btseg": {"https"},
        "isic2017": {"https"},
        "isic2018": {"https"},
        "kvasir_seg": {"https"},
        "monuseg": {"gdrive"},
        "polypgen": {"synapse"},
        "synapse": {"synapse"},
    }
