"""Servers for tests of the load test: each request is answered by a coroutine, with whatever faults that has."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNFRAMED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server sees it; `number` counts the requests of this path."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    number: int


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def framed(data: bytes) -> bytes:
    """A chunk of chunked encoding."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(index: int, finish: str | None = None, text: str | None = None) -> bytes:
    """A completion chunk as an event."""
    choice = {"index": 0, "text": f" t{index}" if text is None else text, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def usage(prompt: int, completion: int) -> bytes:
    """The usage chunk as an event."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return b"data: " + json.dumps({"choices": [], "usage": counts}).encode() + b"\n\n"


def stream(asked: Asked) -> bytes:
    """A whole good answer, without its framing."""
    count = asked.body["max_tokens"]
    tokens = b"".join(event(index, "length" if index == count - 1 else None) for index in range(count))
    return tokens + usage(len(str(asked.body.get("prompt", "")).split()), count) + b"data: [DONE]\n\n"


async def good(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answers at once and completely."""
    writer.write(HEAD + framed(stream(asked)) + b"0\r\n\r\n")


def whole(status: str, body: Any) -> bytes:
    """An answer with a length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )


class Served:
    """What a test can ask of its server."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.asked: list[Asked] = []


@contextlib.contextmanager
def server(answer: Answer, models: tuple[str, ...] = ("m",), tokenizes: bool = False) -> Iterator[Served]:
    """A server on a free port whose completions are answered by `answer`; it lives in a thread."""
    started, served, loop = threading.Event(), Served(""), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                asked = await _request(reader, served.asked)
                served.asked.append(asked)
                if asked.path == "/v1/models" and models:
                    writer.write(whole("200 OK", {"data": [{"id": name} for name in models]}))
                elif asked.path == "/tokenize" and tokenizes:
                    writer.write(whole("200 OK", {"count": 1 + len(asked.body["prompt"].split())}))
                elif "completions" in asked.path:
                    await answer(asked, writer)
                else:
                    writer.write(whole("404 Not Found", {}))
                await writer.drain()
        writer.close()

    async def serve() -> None:
        listening = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
        served.base = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        listening.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(5)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


async def _request(reader: asyncio.StreamReader, seen: list[Asked]) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    number = sum(asked.path == path for asked in seen)
    return Asked(method, path, headers, json.loads(body) if body else None, number)
