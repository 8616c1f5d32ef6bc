"""Random access to the first bytes of something: a local file, or a URL by range requests."""

import contextlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from fitserve.foundation.errors import InputError, ReadFailed

_TIMEOUT_S = 20.0
_CHUNK = 1 << 18


class ByteSource(Protocol):
    """Something with a name and a size of which ranges can be read."""

    name: str
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer at the end."""
        ...


class FileSource:
    """A local file. Raises InputError when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self.size = path.stat().st_size
            if not path.is_file():
                raise InputError.of("file_missing", where=self.name, detail="not a regular file")
            self._file = path.open("rb")
        except OSError as error:
            raise InputError.of("file_missing", where=self.name, detail=error.strerror or "?") from error

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _SameHostAuthorization(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and sends the token to the first host alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = urllib.parse.urlsplit(newurl)
        if target.scheme not in {"http", "https"}:
            raise urllib.error.HTTPError(newurl, code, "redirect to another protocol", headers, fp)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and target.netloc != urllib.parse.urlsplit(req.full_url).netloc:
            request.headers.pop("Authorization", None)
        return request


def _opener() -> urllib.request.OpenerDirector:
    """Only HTTP and HTTPS: no file:, no ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), _SameHostAuthorization(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def fetch(url: str, headers: Mapping[str, str], limit_bytes: int) -> tuple[bytes, Mapping[str, str]]:
    """Body, at most `limit_bytes`, and headers of a GET. Raises ReadFailed; a 404 raises InputError."""
    with opened(url, headers) as answer:
        return answer.read(limit_bytes), dict(answer.headers.items())


@contextlib.contextmanager
def opened(url: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """The answer of a GET, to be read in parts. Raises ReadFailed, also while it is read; a 404 raises InputError."""
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise InputError.of("file_missing", where=url, detail="only http and https")
    request = urllib.request.Request(url, headers={"User-Agent": "fitserve", **headers})  # noqa: S310 - scheme checked above
    try:
        with contextlib.closing(_opener().open(request, timeout=_TIMEOUT_S)) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        detail = f"HTTP {error.code} {error.reason}"
        error.close()
        if error.code in {404, 416}:
            raise InputError.of("file_missing", where=url, detail=detail) from error
        if error.code in {401, 403}:
            detail += " (gated or private: accept the licence and set HF_TOKEN)"
        raise ReadFailed(f"GET {url}", detail) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ReadFailed(f"GET {url}", str(reason)) from error


class HttpSource:
    """A URL whose server answers range requests."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.name = url
        self._headers = dict(headers)
        self._first, answered = self._range(0, _CHUNK)
        self.size = self._total(answered)

    def _range(self, offset: int, length: int) -> tuple[bytes, Mapping[str, str]]:
        return fetch(self.name, {**self._headers, "Range": f"bytes={offset}-{offset + length - 1}"}, length)

    def _total(self, headers: Mapping[str, str]) -> int:
        lower = {key.lower(): value for key, value in headers.items()}
        match = re.fullmatch(r"bytes \d+-\d+/(\d+)", lower.get("content-range", ""))
        if match is None:
            raise ReadFailed(f"GET {self.name}", "the server does not answer range requests")
        return int(match[1])

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; the first chunk is kept."""
        if offset + length <= len(self._first):
            return self._first[offset : offset + length]
        if offset >= self.size:
            return b""
        return self._range(offset, min(length, self.size - offset))[0]

    def close(self) -> None:
        """Nothing to close: every range is a request of its own."""
