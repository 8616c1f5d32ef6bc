"""One streamed request, with the time of every chunk. Nothing that a server does raises here: it becomes a failure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from fitserve.bench.records import Failure, Prompt, RequestRecord
from fitserve.bench.sse import EventParser, StreamTooLong
from fitserve.bench.wire import Exchange, NotHttp, Wire

PATHS: Final = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_DETAIL: Final = 300
_DONE: Final = b"[DONE]"
_OK: Final = 200
_TEXT_KEYS: Final = ("content", "text", "reasoning_content", "reasoning", "tool_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What every request of a load has in common."""

    endpoint: str
    model: str
    ignore_eos: bool = False
    timeout_s: float = 600.0
    extra: Mapping[str, Any] = field(default_factory=dict)


def payload(target: Target, prompt: Prompt) -> bytes:
    """The body of a request."""
    body: dict[str, Any] = {"model": target.model, "stream": True, "stream_options": {"include_usage": True}}
    if target.endpoint == "chat":
        body["messages"] = list(prompt.messages or ({"role": "user", "content": prompt.text or ""},))
    else:
        body["prompt"] = prompt.text if prompt.text is not None else _as_text(prompt.messages or ())
    body["max_tokens"] = prompt.output_tokens  # taken on both endpoints by more servers than max_completion_tokens
    if target.ignore_eos:
        body["ignore_eos"] = True
    return json.dumps(body | dict(target.extra), ensure_ascii=False).encode()


def _as_text(messages: tuple[Mapping[str, Any], ...]) -> str:
    return "\n\n".join(str(message.get("content", "")) for message in messages)


class _Reading:
    """What an answer has said so far. Times are those of `perf_counter`."""

    __slots__ = (
        "chunk_s", "completion", "exchange", "failure", "first_text_s", "has_finish", "head", "is_done", "parser", "prompt",
    )  # fmt: skip

    def __init__(self) -> None:
        self.exchange = Exchange(self.piece)
        self.parser = EventParser()
        self.chunk_s: list[float] = []
        self.first_text_s: float | None = None
        self.prompt: int | None = None
        self.completion: int | None = None
        self.is_done = False
        self.has_finish = False
        self.head = b""
        self.failure: Failure | None = None

    def piece(self, data: bytes, at_s: float) -> None:
        """Part of the body; the first thing that is wrong ends the exchange."""
        if self.exchange.status != _OK:
            self.head = (self.head + data)[: 4 * _DETAIL]
            return
        if self.failure is not None:
            return
        try:
            events = self.parser.feed(data)
        except StreamTooLong:
            events = []
            self._fail("malformed", "an event of more than 16 MiB")
        for event in events:
            self.event(event, at_s)

    def _fail(self, kind: str, detail: object) -> None:
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        self.failure = self.failure or Failure(kind, text[:_DETAIL])
        self.exchange.succeed()

    def event(self, data: bytes, at_s: float) -> None:
        """One event of the stream."""
        if data == _DONE:
            self.is_done = True
            return None
        try:
            event = json.loads(data)
        except ValueError:
            return self._fail("malformed", data)
        if not isinstance(event, dict):
            return self._fail("malformed", data)
        if event.get("error"):
            return self._fail("stream_error", event["error"])
        usage, choices = event.get("usage"), event.get("choices")
        if isinstance(usage, dict):
            prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
            self.prompt = prompt if isinstance(prompt, int) else self.prompt
            self.completion = completion if isinstance(completion, int) else self.completion
        if choices:
            if not isinstance(choices, list) or not isinstance(choices[0], dict):
                return self._fail("malformed", data)
            self.chunk_s.append(at_s)
            self._choice(choices[0], at_s)
        return None

    def _choice(self, choice: Mapping[str, Any], at_s: float) -> None:
        if choice.get("finish_reason"):
            self.has_finish = True
        if self.first_text_s is None:
            delta = choice.get("delta")
            said = delta if isinstance(delta, dict) else choice
            if any(said.get(key) for key in _TEXT_KEYS):
                self.first_text_s = at_s

    def verdict(self) -> Failure | None:
        """What is wrong with an answer that came to its end."""
        status = self.exchange.status
        if status != _OK:
            return Failure(f"http_{status}", self.head[:_DETAIL].decode(errors="replace"))
        for event in self.parser.end() if self.failure is None else ():
            self.event(event, perf_counter())
        if self.failure is not None:
            return self.failure
        if not self.chunk_s:
            return Failure("no_tokens", "the stream ended without a chunk that has a choice")
        if not (self.is_done or self.has_finish or self.completion is not None):
            return Failure(
                "cut_short", f"the stream ended after {len(self.chunk_s)} chunks, without a reason to finish"
            )
        return None


async def send(
    wire: Wire, target: Target, prompt: Prompt, index: int, began_s: float, queue_s: float = 0.0
) -> RequestRecord:
    """Sends a request and reads its answer to the end; `began_s` is when the load began, on the clock of `perf_counter`."""
    reading = _Reading()
    body = payload(target, prompt)
    asked_s = perf_counter()
    failure: Failure | None
    try:
        await wire.request("POST", PATHS[target.endpoint], body, reading.piece, target.timeout_s, reading.exchange)
        failure = reading.verdict()
    except TimeoutError:
        kind = "timeout" if reading.exchange.start_s else "connect"
        failure = Failure(kind, f"no {'end of the answer' if reading.exchange.start_s else 'connection'} in time")
    except NotHttp as error:
        failure = Failure("malformed", str(error)[:_DETAIL])
    except OSError as error:
        failure = Failure("dropped" if reading.exchange.start_s else "connect", str(error)[:_DETAIL])
    start = reading.exchange.start_s or asked_s
    chunks = len(reading.chunk_s)
    return RequestRecord(
        index=index,
        start_s=start - began_s,
        chunk_s=tuple(at - start for at in reading.chunk_s),
        end_s=perf_counter() - start,
        prompt_tokens=prompt.tokens if reading.prompt is None else reading.prompt,
        output_tokens=chunks if reading.completion is None else reading.completion,
        queue_s=queue_s,
        first_text_s=None if reading.first_text_s is None else reading.first_text_s - start,
        has_usage=reading.completion is not None,
        is_done=reading.is_done,
        failure=failure,
    )
