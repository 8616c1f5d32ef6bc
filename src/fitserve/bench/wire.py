"""HTTP/1.1 with the time of every piece that arrives. asyncio alone: what stands between the socket and the clock counts.

A general client costs half a millisecond a request and wakes a task a piece, which at 64 streams adds more to the time to
the first token than a small model takes. Here a request is stamped as it is written, a piece as it is read; everything
else is done after all sockets that were ready have been read.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

CONNECT_S: Final = 30.0
_KEPT_OPEN_S: Final = 4.0
"""Shorter than servers keep idle connections (uvicorn: 5 s), so that none is closed under a request."""
_MOST_HEAD_BYTES: Final = 1 << 16
_MOST_LINE_BYTES: Final = 1 << 12

OnPiece = Callable[[bytes, float], None]


class Dropped(ConnectionError):
    """The connection ended before the answer did."""


class NotHttp(ValueError):
    """What came back is no HTTP answer."""


class Exchange:
    """One request and its answer. `on_piece` gets the body as it comes, with the time of `perf_counter`."""

    __slots__ = ("done", "headers", "on_piece", "start_s", "status")

    def __init__(self, on_piece: OnPiece) -> None:
        self.on_piece = on_piece
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: Mapping[bytes, bytes] = {}
        self.start_s = 0.0

    def begin_again(self) -> None:
        """Makes it ready for another connection."""
        self.done = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Ends the exchange with an error."""
        if not self.done.done():
            self.done.set_exception(error)

    def succeed(self) -> None:
        """Ends it in order."""
        if not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since_s = 0.0
        self.has_answered = False
        """Whether a byte of the answer to the last request has come."""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._arrived: list[tuple[bytes, float]] = []
        self._body: _Body | None = None
        self._rest = b""
        self._end: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether another request can go out."""
        is_idle = self._exchange is None
        return is_idle and self._transport is not None and not self._transport.is_closing() and self._end is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way out."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, data: bytes, exchange: Exchange) -> None:
        """Writes a request; the time starts here."""
        assert self._transport is not None
        self._exchange, self._body, self._rest, self.has_answered = exchange, None, b"", False
        exchange.start_s = perf_counter()
        self._transport.write(data)

    def close(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Only the time is taken here; see the head of the file."""
        self._arrived.append((data, perf_counter()))
        self.has_answered = True
        if len(self._arrived) == 1:
            self._loop.call_soon(self._work)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or `close`."""
        self._end = exc or Dropped("the connection was closed")
        self._loop.call_soon(self._work)

    def _work(self) -> None:
        arrived, self._arrived = self._arrived, []
        exchange = self._exchange
        if exchange is None:
            if arrived:
                self.close()  # nobody asked
            return
        try:
            for data, at_s in arrived:
                if self._take(data, at_s, exchange):
                    self._finish(exchange)
                    return
            if self._end is not None:
                self._ended(exchange, self._end)
        except NotHttp as error:
            self._exchange = None
            exchange.fail(error)
            self.close()

    def _ended(self, exchange: Exchange, error: Exception) -> None:
        self._exchange = None
        if self._body is not None and self._body.is_until_close and isinstance(error, Dropped):
            exchange.succeed()
        else:
            exchange.fail(error if isinstance(error, OSError) else Dropped(str(error)))

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        if exchange.headers.get(b"connection", b"").lower() == b"close" or not self.is_open:
            self.close()
        exchange.succeed()

    def _take(self, data: bytes, at_s: float, exchange: Exchange) -> bool:
        """One piece; whether the answer is complete."""
        if self._body is None:
            data = self._head(self._rest + data, exchange)
            if self._body is None:
                self._rest = data
                return False
        return self._body.take(data, at_s, exchange.on_piece)

    def _head(self, data: bytes, exchange: Exchange) -> bytes:
        """Reads status and headers where they are complete; gives back what follows them."""
        while True:
            head, separator, rest = data.partition(b"\r\n\r\n")
            if not separator:
                if len(data) > _MOST_HEAD_BYTES or not data.startswith(b"HTTP/1."[: len(data)]):
                    raise NotHttp(data[:80].decode(errors="replace"))
                return data
            first, *lines = head.split(b"\r\n")
            words = first.split(b" ", 2)
            if not first.startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
                raise NotHttp(first[:80].decode(errors="replace"))
            data = rest
            if not words[1].startswith(b"1"):  # 100 Continue and the like stand before the answer
                break
        pairs = (line.partition(b":") for line in lines)
        exchange.status = int(words[1])
        exchange.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._body = _Body(exchange.headers, exchange.status)
        return rest


class _Body:
    """How long the body is: chunks, a length, or until the connection closes."""

    __slots__ = ("_is_chunked", "_left", "_rest", "is_until_close")

    def __init__(self, headers: Mapping[bytes, bytes], status: int) -> None:
        self._rest = b""
        self._is_chunked = headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        length = headers.get(b"content-length")
        if length is not None and not length.isdigit():
            raise NotHttp(f"content-length {length[:40].decode(errors='replace')}")
        self._left = 0 if length is None or self._is_chunked else int(length)
        has_none = status in {204, 304}
        self.is_until_close = not self._is_chunked and length is None and not has_none

    def take(self, data: bytes, at_s: float, on_piece: OnPiece) -> bool:
        """A piece of the body; whether it is complete."""
        if self._is_chunked:
            return self._chunks(self._rest + data if self._rest else data, at_s, on_piece)
        if self.is_until_close:
            if data:
                on_piece(data, at_s)
            return False
        taken = data[: self._left]
        self._left -= len(taken)
        if taken:
            on_piece(taken, at_s)
        return self._left == 0

    def _chunks(self, data: bytes, at_s: float, on_piece: OnPiece) -> bool:
        place, is_end = 0, False
        while not is_end:
            line_end = data.find(b"\r\n", place)
            if line_end < 0:
                if len(data) - place > _MOST_LINE_BYTES:
                    raise NotHttp("a chunk without its size")
                break
            size = _size(data[place:line_end])
            if size == 0:
                is_end = data.find(b"\r\n\r\n", line_end) >= 0  # trailers, if any, end with an empty line
                break
            end = line_end + 2 + size
            if len(data) < end + 2:
                break
            on_piece(data[line_end + 2 : end], at_s)
            place = end + 2
        self._rest = data[place:]
        return is_end


def _size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError as error:
        raise NotHttp(f"chunk size {line[:40].decode(errors='replace')}") from error


class Wire:
    """Connections to one server, kept for the next request. To be closed."""

    def __init__(self, base: str, api_key: str | None = None) -> None:
        parts = urlsplit(base)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        key = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
        self._headers = (
            f"Host: {parts.netloc.rpartition('@')[2]}\r\n{key}Accept: */*\r\nUser-Agent: fitserve\r\n"
            "Content-Type: application/json\r\n"
        )
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    def close(self) -> None:
        """Closes every connection."""
        for connection in self._all:
            connection.close()

    async def aclose(self) -> None:
        """As `close`, and lets the loop see it."""
        self.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def request(
        self, method: str, path: str, body: bytes, on_piece: OnPiece, timeout_s: float, exchange: Exchange | None = None
    ) -> Exchange:
        """Sends a request; returns when the answer is complete. Raises TimeoutError, OSError, NotHttp.

        A kept connection that turns out to be closed before any byte of an answer is replaced by a new one: servers
        close idle connections, and those that have carried many requests, when they like.
        """
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        exchange = exchange or Exchange(on_piece)
        while True:
            connection, is_kept = await self._connection(min(CONNECT_S, timeout_s))
            try:
                await self._exchange(connection, head.encode() + body, exchange, timeout_s)
            except ConnectionError:
                if not is_kept or connection.has_answered:
                    raise
                exchange.begin_again()
            else:
                return exchange

    async def _exchange(self, connection: _Connection, data: bytes, exchange: Exchange, timeout_s: float) -> None:
        timer = asyncio.get_running_loop().call_later(timeout_s, exchange.fail, TimeoutError())
        try:
            connection.send(data, exchange)
            await exchange.done
        except BaseException:
            connection.close()
            raise
        finally:
            timer.cancel()
            if connection.is_open:
                connection.idle_since_s = perf_counter()
                self._idle.append(connection)
            else:  # closed by the server, or given up in the middle of an answer
                connection.close()
                self._all.discard(connection)

    async def _connection(self, timeout_s: float) -> tuple[_Connection, bool]:
        """A connection, and whether it has served before."""
        while self._idle:
            found = self._idle.pop()
            if found.is_open and perf_counter() - found.idle_since_s < _KEPT_OPEN_S:
                return found, True
            found.close()
            self._all.discard(found)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            _, made = await loop.create_connection(
                lambda: _Connection(loop), self._host, self._port, ssl=self._tls,
            )  # fmt: skip
        self._all.add(made)
        return made, False
