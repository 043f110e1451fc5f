"""Stands for figshare: it refuses clients that do not say who they are, and sends others to a signed address."""

from tests.standins._server import Reply, Request, Server, ranged

SIGNATURE = "SECRET-signature-that-nobody-may-see"
REFUSED = ("python-requests/", "Python-urllib/", "python-urllib3/")


class Figshare(Server):
    """Files by id: their name and content."""

    def __init__(self, files: dict[str, tuple[str, bytes]]) -> None:
        super().__init__()
        self.files = files

    def address(self, key: str) -> str:
        return f"{self.url}/files/{key}"

    def answer(self, request: Request) -> Reply:
        match request.path.split("/")[1:]:
            case ["files", _] if request.headers.get("user-agent", REFUSED[0]).startswith(REFUSED):
                return Reply(403, b"Forbidden")
            case ["files", key] if key in self.files:
                return Reply(302, b"", {"Location": f"/storage/{key}/{self.files[key][0]}?X-Amz-Signature={SIGNATURE}"})
            case ["storage", key, _] if request.query.get("X-Amz-Signature") == SIGNATURE:
                return ranged(request, self.files[key][1])
            case ["storage", *_]:
                return Reply(403, b"AccessDenied")
        return Reply(404, b"Not found")
