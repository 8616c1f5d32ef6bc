"""A server whose times are known: what a client reports of it is the client's own error.

`python -m fitserve.bench.mock` prints its port and serves until its standard input closes. Each token leaves at a time
fixed when the request came, so that lateness does not add up. The request says its times in `mock`: `ttft_s`, `itl_s`.
"""

import asyncio
import json
import sys
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END: Final = b"\r\n\r\n"
_MOST_TOKENS: Final = 1 << 20


def _framed(event: bytes) -> bytes:
    body = b"data: " + event + b"\n\n"
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


def _chunk(model: str, is_chat: bool) -> bytes:
    """A chunk of the size that vLLM sends."""
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": None, "token_ids": None}
    choice |= {"delta": {"content": " token"}} if is_chat else {"text": " token", "stop_reason": None}
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    event = {"id": "cmpl-" + "0" * 32, "object": kind, "created": 0, "model": model, "choices": [choice], "usage": None}
    return _framed(json.dumps(event).encode())


class MockServer:
    """How late first and last tokens left, in seconds; of all others only the number is kept."""

    def __init__(self) -> None:
        self.sent = 0
        self.first_late_s: list[float] = []
        self.last_late_s: list[float] = []

    def note(self, late_s: float, is_first: bool, is_last: bool) -> None:
        """A chunk left so late."""
        self.sent += 1
        if is_first:
            self.first_late_s.append(late_s)
        if is_last:
            self.last_late_s.append(late_s)

    def read_out(self) -> bytes:
        """Means as JSON; the counts begin anew."""
        form = {"sent": self.sent, "first_late_s": _mean(self.first_late_s), "last_late_s": _mean(self.last_late_s)}
        self.sent, self.first_late_s, self.last_late_s = 0, [], []
        return json.dumps(form).encode()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one after the other."""

    def __init__(self, server: MockServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._bytes = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is sent."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answers when a request is whole."""
        self._bytes += data
        head, separator, rest = self._bytes.partition(_END)
        if not separator:
            return
        length = _length(head)
        if len(rest) < length:
            return
        body, self._bytes = rest[:length], rest[length:]
        path = head.split(b" ", 2)[1]
        if path == b"/stats":
            self._whole(self._server.read_out())
        elif path == b"/v1/models":
            self._whole(b'{"object":"list","data":[{"id":"mock","object":"model"}]}')
        elif path in {b"/v1/completions", b"/v1/chat/completions"}:
            self._stream(json.loads(body), path.endswith(b"/chat/completions"))
        else:
            self._whole(b"{}", "404 Not Found")

    def _whole(self, body: bytes, status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _stream(self, asked: dict[str, Any], is_chat: bool) -> None:
        times = asked.get("mock") or {}
        count = max(1, min(_MOST_TOKENS, int(asked.get("max_tokens") or 1)))
        chunk = _chunk(str(asked.get("model")), is_chat)
        loop = asyncio.get_running_loop()
        first = loop.time() + float(times.get("ttft_s", 0.1))
        gap = float(times.get("itl_s", 0.01))
        usage = {"choices": [], "usage": {"prompt_tokens": _words(asked), "completion_tokens": count}}
        last = _framed(json.dumps(usage).encode()) + _framed(b"[DONE]") + b"0\r\n\r\n"
        self._write(_HEAD)

        def token(index: int) -> None:
            due = first + index * gap
            self._server.note(loop.time() - due, index == 0, index + 1 == count)
            if index + 1 < count:
                self._write(chunk)
                self._timer = loop.call_at(due + gap, token, index + 1)
            else:
                self._write(chunk + last)

        self._timer = loop.call_at(first, token, 0)


def _words(asked: dict[str, Any]) -> int:
    """A word is a token here."""
    messages = asked.get("messages") or [{"content": asked.get("prompt") or ""}]
    return sum(len(str(message.get("content")).split()) for message in messages)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    counts = MockServer()
    server = await loop.create_server(lambda: _Connection(counts), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)  # until whoever started this is gone
    server.close()


if __name__ == "__main__":
    import gc

    gc.disable()
    asyncio.run(_serve())
