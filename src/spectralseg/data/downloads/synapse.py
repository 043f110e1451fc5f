"""Download of Synapse files, for registered users who have accepted the conditions for use.

The login of the user is read from ``~/.synapseConfig`` or the environment variable ``SYNAPSE_AUTH_TOKEN``, in this
order. Messages never quote responses of Synapse, which could contain the token or a signed address.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests

from spectralseg.data.disk import require_space
from spectralseg.data.downloads._common import download_bar, failure, refuse_leaving_https
from spectralseg.errors import InputError

if TYPE_CHECKING:
    from synapseclient import Synapse

RETRY = {"retries": 5, "wait": 1}  # seconds, doubled each time; by default, the client retries for half an hour
TIMEOUT = 60.0  # seconds without a byte

_TOKEN = "set SYNAPSE_AUTH_TOKEN to a personal access token with view and download scope, or put it in ~/.synapseConfig"
_REFUSALS: dict[int | None, str] = {
    401: f"Synapse refuses the login; {_TOKEN}",
    403: "Synapse does not let this user download {entity}; accept the conditions for use at {page}, "
    "and check that the access token has view and download scope",
    404: "Synapse has no {entity}, or hides it; see {page} for the current location, and download the file by hand",
}


def download(address: str, target: Path) -> None:
    """Download a Synapse file to ``target``, which is replaced if it exists, and verify its MD5.

    Args:
        address: id of the file (``syn...``), or of a folder or project with a file of the target's name.
        target: final path. An interrupted download leaves ``<name>.synapse_download_<number>`` beside it, which the
            next call resumes.

    Raises:
        InputError: login or download is refused, conditions are not accepted, or the file is missing or damaged.
        ConnectionError: Synapse cannot be reached or the connection broke; another call may succeed.
    """
    from synapseclient.core.download import download_from_url
    from synapseclient.core.exceptions import SynapseError, SynapseMd5MismatchError

    with _Session() as session:
        try:
            client = _log_in(session, target.parent)
            file, handle = _locate(client, address, target.name)
        except (SynapseError, requests.RequestException) as error:
            raise _explained(error, address) from None
        target.unlink(missing_ok=True)
        require_space(target.parent, handle["fileHandle"].get("contentSize") or 0)
        try:
            # Unlike the multipart transfer of the client, this can be resumed and leaves no copy in a cache.
            with download_bar(target) as bar:
                download_from_url(
                    handle["preSignedURL"],
                    str(target),
                    entity_id=file,
                    file_handle_associate_type="FileEntity",
                    file_handle_id=handle["fileHandleId"],
                    expected_md5=handle["fileHandle"].get("contentMd5"),
                    progress_bar=bar,
                    synapse_client=client,
                )
        except SynapseMd5MismatchError:
            raise InputError(f"{file} arrived damaged from Synapse and was removed; download it again") from None
        except (SynapseError, requests.RequestException):
            raise ConnectionError("the download from Synapse broke off") from None
    if not target.is_file():
        raise InputError(f"Synapse only links to {file}; see {_page(file)}, and download it by hand")


class _Session(requests.Session):
    """Adds a timeout, without which the client could wait for ever, and refuses redirects to other schemes."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target:
            refuse_leaving_https(resp.url, urljoin(resp.url, target))
        return target

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        options.setdefault("timeout", TIMEOUT)
        return super().request(*arguments, **options)


def _log_in(session: requests.Session, folder: Path) -> Synapse:
    """A logged-in client that prints nothing, writes to the folder only, and does not check for updates."""
    from synapseclient import Synapse, client
    from synapseclient.core.download import download_functions
    from synapseclient.core.logging_setup import DEFAULT_LOGGER_NAME

    for module in (client, download_functions):
        module.STANDARD_RETRY_PARAMS.update(RETRY)
    logging.getLogger(DEFAULT_LOGGER_NAME).disabled = True  # it quotes the server on retries, even if silent
    config = Path.home() / ".synapseConfig"
    try:
        synapse = Synapse(
            configPath=str(config),
            requests_session=session,
            cache_root_dir=str(folder),
            cache_client=False,
            skip_checks=True,
            silent=True,
            debug=False,
        )
    except ValueError:
        raise InputError(f"{config}: not a valid Synapse configuration; correct or remove it") from None
    try:
        synapse.login(silent=True)
    except ValueError:  # the error would show a token with characters that are invalid in headers
        raise InputError(f"the Synapse access token was not copied well; {_TOKEN}") from None
    return synapse


def _locate(client: Synapse, address: str, name: str) -> tuple[str, dict[str, Any]]:
    """Id of the file, found by name in a container, and its file handle with a signed address."""
    from synapseclient.api import get_file_handle_for_download
    from synapseclient.core.constants.concrete_types import FILE_ENTITY
    from synapseclient.core.exceptions import SynapseHTTPError

    file, bundle = address, _bundle(client, address)
    if bundle["entity"]["concreteType"] != FILE_ENTITY:
        try:
            file = client.restPOST("/entity/child", json.dumps({"parentId": address, "entityName": name}))["id"]
        except SynapseHTTPError as error:
            if error.response.status_code != 404:
                raise
            raise InputError(
                f"{address} on Synapse holds no file '{name}'; see {_page(address)} for its current name"
            ) from None
        bundle = _bundle(client, file)
    if bundle["restrictionInformation"]["hasUnmetAccessRequirement"]:
        raise InputError(
            f"the conditions for use of {file} on Synapse are not accepted yet; accept them at {_page(file)}"
        )
    return file, get_file_handle_for_download(bundle["entity"]["dataFileHandleId"], file, synapse_client=client)


def _bundle(client: Synapse, entity: str) -> dict[str, Any]:
    parts = json.dumps({"includeEntity": True, "includeRestrictionInformation": True})
    bundle: dict[str, Any] = client.restPOST(f"/entity/{entity}/bundle2", parts)
    return bundle


def _explained(error: Exception, address: str) -> Exception:
    from synapseclient.core import exceptions

    if isinstance(error, exceptions.SynapseNoCredentialsError):
        return InputError(f"Synapse requires a login; {_TOKEN}")
    statuses = {
        exceptions.SynapseAuthenticationError: 401,
        exceptions.SynapseAuthorizationError: 403,
        exceptions.SynapseFileNotFoundError: 404,
    }
    response = getattr(error, "response", None)
    status = statuses.get(type(error)) if response is None else response.status_code
    refusal = _REFUSALS.get(status, "Synapse refuses {entity}; see {page}, and download it by hand")
    return failure("Synapse", status, refusal.format(entity=address, page=_page(address)))


def _page(entity: str) -> str:
    return f"https://www.synapse.org/Synapse:{entity}"
