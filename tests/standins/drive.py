"""Stands for Google Drive: what is asked of its hosts comes here instead."""

import contextlib
from collections.abc import Iterator
from unittest import mock
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from tests.standins._server import Reply, Request, Server, ranged

DOWNLOAD = "https://drive.usercontent.google.com/download"
CONFIRM = "standin-confirmation"
SCAN = (
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<form id="download-form" action="{action}" method="get">'
    '<input type="hidden" name="id" value="{file}"><input type="hidden" name="confirm" value="{confirm}">'
    '<input type="submit" value="Download anyway"></form></body></html>'
)
QUOTA = (
    '<!DOCTYPE html><html><body><p class="uc-error-caption">Sorry, you can&#39;t view or download this file.</p>'
    '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try again '
    "later.</p></body></html>"
)
LOGIN = "<!DOCTYPE html><html><body>Sign in to continue to Google Drive</body></html>"


class Drive(Server):
    """Files by id. Those in ``scanned`` are asked about before, as Drive does with large ones; ``quota`` are used up;
    ``private`` ones ask for a login."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.files = files
        self.scanned: set[str] = set()
        self.quota: set[str] = set()
        self.private: set[str] = set()

    @contextlib.contextmanager
    def running(self) -> Iterator["Drive"]:
        """As for any server; every client that uses requests is led here, whatever address it asks."""
        with super().running(), mock.patch.object(requests.Session, "get_adapter", return_value=_Diversion(self)):
            yield self

    def answer(self, request: Request) -> Reply:
        file = request.query.get("id", "")
        if request.path == "/drive.google.com/uc":
            return Reply(303, b"", {"Location": f"{DOWNLOAD}?id={file}&export=download", "Content-Type": "text/html"})
        if file in self.private or request.path == "/drive.google.com/open":
            return _page(LOGIN)
        if file in self.quota:
            return _page(QUOTA)
        if file not in self.files:
            return _page("<!DOCTYPE html><html><body>The file you have requested does not exist.</body></html>", 404)
        if file in self.scanned and request.query.get("confirm") != CONFIRM:
            return _page(SCAN.format(action=DOWNLOAD, file=file, confirm=CONFIRM))
        name = {"Content-Disposition": f'attachment; filename="{file}.zip"'}
        return ranged(request, self.files[file], {**name, "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})


def _page(text: str, code: int = 200) -> Reply:
    return Reply(code, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


class _Diversion(HTTPAdapter):
    """Sends every request to the stand-in, with the host it was meant for as first part of the path."""

    def __init__(self, drive: Drive) -> None:
        super().__init__()
        self.drive = drive

    def send(self, request, proxies=None, **options):
        address, diverted = urlsplit(request.url), request.copy()
        diverted.url = f"{self.drive.url}/{address.hostname}{address.path}?{address.query}"
        response = super().send(diverted, **options)
        response.url, response.request = request.url, request
        return response
