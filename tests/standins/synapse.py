"""Stands for Synapse and for the storage that its signed addresses point to."""

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from tests.standins._server import Reply, Request, Server, ranged

TOKEN = "standin-token-that-nobody-may-see"
SIGNATURE = "standin-signature-that-nobody-may-see"


@dataclasses.dataclass
class Entity:
    """A file if it has content, else a folder."""

    name: str
    content: bytes | None = None
    parent: str | None = None
    open: bool = True
    md5: str | None = None


class Synapse(Server):
    """Repository and file service of Synapse for one user; ``entities`` by id, e.g. ``syn1``."""

    def __init__(self, entities: dict[str, Entity]) -> None:
        super().__init__()
        self.entities = entities

    def write_config(self, home: Path, token: str | None = None) -> None:
        """Write the ``.synapseConfig`` with which the client comes here."""
        login = f"[authentication]\nauthtoken = {token}\n" if token else ""
        points = {"repoEndpoint": "repo", "authEndpoint": "auth", "fileHandleEndpoint": "file"}
        lines = [f"{point} = {self.url}/{service}/v1" for point, service in points.items()]
        (home / ".synapseConfig").write_text("\n".join([login, "[endpoints]", *lines, ""]), encoding="utf-8")

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/storage/"):
            return ranged(request, self.entities[f"syn{request.path.removeprefix('/storage/')}"].content)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refuse(401, "invalid access token")
        match request.path.split("/")[3:]:
            case ["userProfile"]:
                return _json({"ownerId": "1", "userName": "standin"})
            case ["entity", "child"]:
                wanted = json.loads(request.body)
                for key, entity in self.entities.items():
                    if (entity.parent, entity.name) == (wanted["parentId"], wanted["entityName"]):
                        return _json({"id": key})
            case ["entity", key, "bundle2"] if key in self.entities:
                return _json(self._bundle(key))
            case ["fileHandle", "batch"]:
                return _json(
                    {"requestedFiles": [self._handle(one) for one in json.loads(request.body)["requestedFiles"]]}
                )
        return refuse(404, "not found")

    def _bundle(self, key: str) -> dict:
        entity = self.entities[key]
        kind = "Folder" if entity.content is None else "FileEntity"
        handle = {} if entity.content is None else {"dataFileHandleId": key.removeprefix("syn")}
        return {
            "entity": {
                "id": key,
                "name": entity.name,
                "concreteType": f"org.sagebionetworks.repo.model.{kind}",
                **handle,
            },
            "restrictionInformation": {"hasUnmetAccessRequirement": not entity.open},
        }

    def _handle(self, wanted: dict) -> dict:
        number, key = wanted["fileHandleId"], wanted["associateObjectId"]
        entity = self.entities[key]
        if key != f"syn{number}":
            return {"fileHandleId": number, "failureCode": "UNAUTHORIZED"}
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return {
            "fileHandleId": number,
            "fileHandle": {
                "id": number,
                "concreteType": "org.sagebionetworks.repo.model.file.S3FileHandle",
                "fileName": entity.name,
                "contentSize": len(entity.content),
                "contentMd5": entity.md5 or hashlib.md5(entity.content).hexdigest(),
            },
            # another host than Synapse's own, so that a token sent there is a token given away
            "preSignedURL": f"http://localhost:{self.port}/storage/{number}"
            f"?X-Amz-Date={now}&X-Amz-Expires=900&X-Amz-Signature={SIGNATURE}",
        }


def refuse(code: int, reason: str) -> Reply:
    """A refusal as Synapse words it."""
    return _json({"concreteType": "org.sagebionetworks.repo.model.ErrorResponse", "reason": reason}, code)


def _json(value: dict, code: int = 200) -> Reply:
    return Reply(code, json.dumps(value).encode(), {"Content-Type": "application/json"})
