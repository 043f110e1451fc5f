"""Download of publicly shared files from Google Drive."""

from __future__ import annotations

import glob
from pathlib import Path

import requests

from spectralseg.data.downloads._common import download_bar, failure
from spectralseg.errors import InputError

COOKIES = "~/.cache/gdown/cookies.txt"  # written by "gdown --cookies-from-browser"
RETRIES = 5  # gdown waits up to 1, 2, 4, ... seconds in between, at most half a minute
TIMEOUT = 60.0  # seconds without a byte


def download(address: str, target: Path) -> None:
    """Download the file with the Drive id ``address`` to ``target``, which is replaced if it exists.

    An interrupted download leaves ``<name>????????.part`` in the folder, which the next call resumes. Cookies that the
    user has imported with gdown are sent; none are stored.

    Raises:
        InputError: the download quota is exceeded, or the file was removed or is not shared.
        ConnectionError: Drive cannot be reached or the connection broke; another call may succeed.
    """
    import gdown
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    page = f"https://drive.google.com/file/d/{address}/view"
    refusal = f"Google Drive gives no file {address}; see whether {page} is still shared, and download it by hand"
    target.unlink(missing_ok=True)  # gdown would keep it
    try:
        with download_bar(target) as bar:

            def show(received: int, total: int | None) -> None:
                bar.total = total
                bar.update(received - bar.n)

            gdown.download(
                id=address,
                output=str(target),
                quiet=True,
                resume=True,
                use_cookies=Path(COOKIES).expanduser().is_file(),
                cookies_file=COOKIES,
                timeout=TIMEOUT,
                retries=RETRIES,
                progress=show,
            )
    except (FileURLRetrievalError, KeyError) as error:  # KeyError: a page without content type
        if "too many users" in " ".join(str(error).lower().split()):
            raise InputError(
                f"the download quota of {page} is used up; wait a day, or run 'gdown --cookies-from-browser firefox "
                f"{page}' where you are logged in to Google and copy {COOKIES} here, or download it by hand"
            ) from None
        raise failure("Google Drive", _status(address), refusal) from None
    except DownloadError as error:
        if error.__cause__ is None and _status(address) == 200:  # the partial file cannot be resumed
            for partial in target.parent.glob(f"{glob.escape(target.name)}????????.part"):
                partial.unlink()
        raise ConnectionError("the download from Google Drive broke off") from None
    except requests.RequestException as error:
        status = None if error.response is None else error.response.status_code
        raise failure("Google Drive", status, refusal) from None


def _status(address: str) -> int | None:
    """HTTP status of the response of Drive, which gdown hides; None without a response."""
    try:
        with requests.get(f"https://drive.google.com/uc?id={address}", stream=True, timeout=TIMEOUT) as response:
            return response.status_code
    except requests.RequestException:
        return None
