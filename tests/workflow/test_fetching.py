"""Official files through the DAG, from a server on this machine that serves a phantom under the official name."""

import copy
import re
import shutil

import pytest

from spectralseg.data import phantoms
from spectralseg.files import sha256_of
from tests.standins.faults import Fault, serving

from .conftest import TINY, snakemake, write_config
from .test_docs import copy_repository

pytestmark = pytest.mark.workflow

ARCHIVE = "results/downloads/kvasir_seg/kvasir-seg.zip"


@pytest.fixture
def study(tmp_path):
    """A repository whose Kvasir-SEG has its official file on a local server: repository, configuration and server."""
    repository = tmp_path / "repository"
    copy_repository(repository)
    (archive,) = phantoms.generate("kvasir_seg", tmp_path / "phantom", cases=6, side=48)
    config = copy.deepcopy(TINY)
    config["datasets"] = {"kvasir_seg": {"source": "official", "allow_partial": True}}
    with serving(archive.read_bytes()) as server:
        file = repository / "workflow/rules/datasets/kvasir_seg.smk"
        text = re.sub(r'"url": ".*"', f'"url": "{server.url}"', file.read_text())
        text = re.sub(r'"sha256": ".*"', f'"sha256": "{sha256_of(archive)}"', text)
        file.write_text(text.replace('"ood": ["polypgen"],', ""))
        yield tmp_path, write_config(tmp_path, config), repository, server


def test_archives_are_fetched_once_whatever_snakemake_does(study):
    directory, config, repository, server = study

    def run(check=True):
        options = ["--cores", 2, "--configfile", config, "--", "data"]
        return snakemake(directory, *options, check=check, repository=repository, NO_PROXY="127.0.0.1")

    def asked():
        return len(server.ranges_asked)

    server.faults.extend([Fault(status=404)] * 3)  # the rule tries again twice
    refused = run(check=False)
    assert refused.returncode != 0
    assert "kvasir-seg.zip: could not be fetched" in (directory / "results/downloads/logs/kvasir_seg.log").read_text()
    assert "research and education only" in refused.stderr  # the licence, before the first byte

    run()
    written = (directory / ARCHIVE).stat().st_mtime_ns
    assert asked() == 4
    shutil.rmtree(directory / "results/tiny/prepared")
    (repository / "workflow/rules/datasets/kvasir_seg.smk").touch()  # as a checkout does: fetch and prepare run again
    run()
    shutil.rmtree(directory / "results/tiny/prepared")
    (directory / "results/downloads/kvasir_seg/sources.json").unlink()
    run()
    assert (asked(), (directory / ARCHIVE).stat().st_mtime_ns) == (4, written)

    (directory / ARCHIVE).unlink()  # allowed once it is prepared
    assert "Nothing to be done" in run().stderr
    shutil.rmtree(directory / "results/tiny/prepared")
    assert run(check=False).returncode != 0
    log = (directory / "results/tiny/logs/prepare/kvasir_seg.log").read_text()
    assert "kvasir-seg.zip: the official file is missing; put it there, or where there is a network run" in log
