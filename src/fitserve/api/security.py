"""What stands before every request: who may ask, from which page, how much, for how long, and what a browser may do with
the answer. Plain ASGI, so that bodies are counted while they stream."""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "fitserve_session"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self';"
        " manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long. `bodies`: paths that take more than the rest, with their bytes."""

    body_bytes: int = 1 << 20
    bodies: tuple[tuple[str, int], ...] = ()
    seconds: float = 60.0

    def of(self, path: str) -> int:
        """Bytes that a body sent to a path may have."""
        return next((most for start, most in self.bodies if path.startswith(start)), self.body_bytes)


class Guard:
    """Checks host, origin, token and size, sets the headers of the answer, and ends what takes too long."""

    def __init__(self, app: ASGIApp, *, host: str, token: str | None, limits: Limits) -> None:
        self.app, self.token, self.limits = app, token, limits
        self.hosts = {*LOOPBACK, host.strip("[]").lower()}
        if token is not None:
            self.hosts |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no page speaks over a socket
        sender = _Sender(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, sender)
            return
        counted = _Counted(receive, self.limits.of(scope["path"]))
        try:
            await asyncio.wait_for(self.app(scope, counted, sender), self.limits.seconds)
        except TimeoutError:
            if not sender.has_started:
                await _plain(HTTPStatus.SERVICE_UNAVAILABLE, scope)(scope, receive, sender)
        except _BodyTooLarge:
            if not sender.has_started:
                await _plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, scope)(scope, receive, sender)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._is_our_host(headers.get("host", "")):
            return _plain(HTTPStatus.MISDIRECTED_REQUEST, scope)
        if scope["method"] not in _SAFE_METHODS and not _is_same_origin(headers):
            return _plain(HTTPStatus.FORBIDDEN, scope)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.of(scope["path"]):
            return _plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, scope)
        return None if self.token is None else self._without_token(scope, headers, self.token)

    def _is_our_host(self, given: str) -> bool:
        """Whether the name in the address bar is one of this server: a foreign name that resolves here is refused."""
        name = (urlsplit(f"//{given}").hostname or "").lower()
        return name in self.hosts or (self.token is not None and _is_address(name))

    def _without_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """None with the token in header or cookie. In the query it opens a session, once, and leaves the address."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        asked = next((value for name, value in query if name == "token"), None)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        session = _cookie(headers.get("cookie", ""))
        if scheme.lower() == "bearer" and _is_equal(bearer.strip(), token):
            return None
        if session is not None and _is_equal(session, session_of(token)):
            return None
        if asked is not None and scope["method"] == "GET" and _is_equal(asked, token):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            path = "/" + scope["path"].lstrip("/")  # never `//host`
            answer = RedirectResponse(f"{path}?{rest}" if rest else path, HTTPStatus.SEE_OTHER)
            answer.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", path="/")
            return answer
        refused = _plain(HTTPStatus.UNAUTHORIZED, scope)
        refused.headers["www-authenticate"] = "Bearer"
        return refused


def session_of(token: str) -> str:
    """What a browser keeps in place of the token."""
    return hmac.new(token.encode(), b"fitserve session", hashlib.sha256).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _cookie(header: str) -> str | None:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def _is_same_origin(headers: Headers) -> bool:
    """A browser says where a form comes from; programs say nothing and hold no cookie of a user."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    return site in {None, "same-origin", "none"}


def _plain(status: HTTPStatus, scope: Scope) -> Response:
    text = f"{status.value} {status.phrase}"
    if scope["path"].startswith("/api/"):
        body = {"schema_version": 1, "error": {"kind": "refused", "text": text}}
        return JSONResponse(body, status)
    return PlainTextResponse(text + "\n", status)


class _BodyTooLarge(HTTPException):
    """More bytes came than the path takes. The application may answer it by itself, as it is one of its own errors."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class _Counted:
    """`receive` that stops a body which grows beyond its limit, whatever its header promised."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self.receive, self.left_bytes = receive, most_bytes

    async def __call__(self) -> Message:
        message = await self.receive()
        self.left_bytes -= len(message.get("body", b""))
        if self.left_bytes < 0:
            raise _BodyTooLarge
        return message


class _Sender:
    """`send` that adds the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self.send, self.has_started = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            for name, value in _missing(headers, _HEADERS.items()):
                headers[name] = value
        await self.send(message)


def _missing(headers: MutableHeaders, wanted: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in wanted if name not in headers]
