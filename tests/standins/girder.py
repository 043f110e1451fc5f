"""Stands for a Girder server: it zips a collection while it sends it, so no two downloads are the same bytes."""

import io
import zipfile

from tests.standins._server import Reply, Request, Server

PIECE = 1024


class Girder(Server):
    """Collections by id, each a dictionary of file contents by name. No length, no ranges, no checksum."""

    def __init__(self, collections: dict[str, dict[str, bytes]]) -> None:
        super().__init__()
        self.collections = collections

    def address(self, key: str) -> str:
        return f"{self.url}/database/api/v1/collection/{key}/download"

    def answer(self, request: Request) -> Reply:
        match request.path.split("/"):
            case ["", "database", "api", "v1", "collection", key, "download"] if key in self.collections:
                archive = zipped(self.collections[key], minute=len(self.requests) % 60)
                pieces = (archive[start : start + PIECE] for start in range(0, len(archive), PIECE))
                return Reply(200, pieces, {"Content-Type": "application/zip"})
        return Reply(404, b'{"message": "No such collection."}', {"Content-Type": "application/json"})


def zipped(files: dict[str, bytes], minute: int) -> bytes:
    """A zip archive whose entries have a time of their own."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in files.items():
            writer.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, minute, 0)), content)
    return archive.getvalue()
