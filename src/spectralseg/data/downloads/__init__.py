"""Download clients, one module per kind of address.

Each has one public function::

    download(address: str, target: Path) -> None

which leaves the complete file at ``target`` or raises. ``target`` lies in a folder of its own that outlives the call,
so that a client finds there what an earlier, interrupted call has already fetched. A client raises

* :class:`~spectralseg.errors.InputError` where the user has to do something,
* :class:`ConnectionError` where it gave up, but a later attempt may succeed.

Addresses are ``https://...``, ``synapse:<entity id>`` and ``gdrive:<file id>``.
"""

from __future__ import annotations

from pathlib import Path

from spectralseg import registry

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
_WEB = ("http", "https")


def download(url: str, target: Path) -> None:
    """Fetch ``url`` to ``target`` with the client that knows its scheme; see the module's docstring."""
    scheme, _, address = url.partition(":")
    client = registry.load(__name__, "https" if scheme in _WEB else scheme, "download scheme")
    client.download(url if scheme in _WEB else address, target)
