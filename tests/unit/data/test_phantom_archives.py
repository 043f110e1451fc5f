import threading

import pytest

from spectralseg.data import phantoms
from spectralseg.data.phantom_archives import deliver


@pytest.mark.slow
@pytest.mark.parametrize("name", ["btseg", "monuseg"])
def test_delivered_phantoms_are_unchanged(tmp_path, name):
    """Including names with spaces, and a file that is not an archive."""
    made = phantoms.generate(name, tmp_path / "made", cases=3, side=64, seed=1)
    arrived = deliver(name, tmp_path / "arrived", cases=3, side=64, seed=1)
    assert [path.name for path in arrived] == [path.name for path in made]
    assert [path.read_bytes() for path in arrived] == [path.read_bytes() for path in made]
    left = sorted(path.name for path in (tmp_path / "arrived").iterdir() if path.name != ".partial")
    assert left == sorted(path.name for path in made)


def test_delivery_uses_the_download_client(tmp_path, monkeypatch):
    urls = []
    monkeypatch.setattr("spectralseg.data.fetch.download", lambda url, target: urls.append(url) or fetched(url, target))
    from spectralseg.data.downloads import download as fetched

    deliver("isic2018", tmp_path, cases=3, side=64)
    assert len(urls) == 2
    assert all(url.startswith("http://127.0.0.1:") for url in urls)


def test_local_addresses_bypass_the_proxy(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert len(deliver("isic2018", tmp_path, cases=3, side=64)) == 2


def test_the_server_does_not_outlive_the_delivery(tmp_path):
    before = set(threading.enumerate())
    deliver("isic2018", tmp_path, cases=3, side=64)
    left = set(threading.enumerate()) - before
    for thread in left:  # the last response may still be in progress
        thread.join()
