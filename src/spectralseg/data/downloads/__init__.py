"""Download clients, one module per kind of address.

Each has one public function::

    download(address: str, target: Path) -> None

which writes the complete file ``target`` or raises. ``target`` is in a folder of its own that persists between calls,
so that a client can resume an interrupted download. A client raises

* :class:`~spectralseg.errors.InputError` if the user has to act,
* :class:`ConnectionError` if a later attempt may succeed.

Addresses are ``https://...``, ``synapse:<entity id>`` and ``gdrive:<file id>``.
"""

from __future__ import annotations

from pathlib import Path

from spectralseg import registry

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
_WEB = ("http", "https")


def download(url: str, target: Path) -> None:
    """Download ``url`` to ``target`` with the client of its scheme; see the module's docstring."""
    scheme, _, address = url.partition(":")
    client = registry.load(__name__, "https" if scheme in _WEB else scheme, "download scheme")
    client.download(url if scheme in _WEB else address, target)
