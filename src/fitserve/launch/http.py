"""A few requests to a server on its own address: is it up, what does it serve, does it answer and stream."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_MOST_BYTES = 8 << 20
_MOST_LINE = 1 << 20


class NoAnswer(Exception):
    """The server did not answer, or not with what was asked for; the text says what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where it listens; `base` such as http://127.0.0.1:8000."""

    base: str
    api_key: str | None = None

    def get(self, path: str, timeout_s: float = 5.0) -> tuple[int, bytes]:
        """(status, body). Raises NoAnswer when nothing comes in time."""
        return self._ask("GET", path, None, timeout_s)

    def get_json(self, path: str, timeout_s: float = 5.0) -> Any:
        """The document of a 200. Raises NoAnswer for anything else."""
        return _document(path, *self.get(path, timeout_s))

    def post_json(self, path: str, body: Mapping[str, Any], timeout_s: float) -> Any:
        """The document of a 200. Raises NoAnswer for anything else."""
        return _document(path, *self._ask("POST", path, body, timeout_s))

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> tuple[int, bytes]:
        connection, answer = self._send(method, path, body, timeout_s)
        try:
            return answer.status, answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"{method} {path}: {error}") from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(self.base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            connection.request(
                method, parts.path.rstrip("/") + path, None if body is None else json.dumps(body), headers
            )
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoAnswer(f"{method} {path}: {error or type(error).__name__}") from error

    def stream(self, path: str, body: Mapping[str, Any], timeout_s: float) -> Iterator[tuple[float, str]]:
        """The data of server-sent events with the seconds since the request. Raises NoAnswer when it breaks off.

        `timeout_s` is the longest silence.
        """
        begun = time.monotonic()
        connection, answer = self._send("POST", path, body, timeout_s)
        try:
            if answer.status != http.client.OK:
                raise NoAnswer(f"POST {path}: {answer.status} {_short(answer.read(_MOST_BYTES))}")
            while line := answer.readline(_MOST_LINE):
                if line.startswith(b"data:"):
                    yield time.monotonic() - begun, line[5:].decode("utf-8", errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"POST {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _document(path: str, status: int, body: bytes) -> Any:
    if status != http.client.OK:
        raise NoAnswer(f"{path}: {status} {_short(body)}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise NoAnswer(f"{path}: not JSON: {_short(body)}") from error


def _short(body: bytes) -> str:
    return " ".join(body.decode("utf-8", errors="replace").split())[:300]
