"""What was sent and what came back: one record a request, with the time of every chunk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One request before it is sent: `text` for completions, `messages` for chat (either makes the other).

    `tokens` is the length that was asked for; `is_exact`: the server's own tokenizer counted it.
    """

    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None
    tokens: int
    output_tokens: int
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no figures. `kind`: connect, timeout, dropped, cut_short, malformed, no_tokens, stream_error,
    or http_ and a status."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """Times in seconds on one monotonic clock; `start_s` counts from the start of the load.

    `chunk_s` holds, counted from `start_s`, when each chunk with a choice came; `end_s` when the stream was over.
    `queue_s` is the wait of an arrival for a free slot, before `start_s`. Tokens are those of the server's usage where
    `has_usage`, else the length asked for and the number of chunks.
    """

    index: int
    start_s: float
    chunk_s: tuple[float, ...]
    end_s: float
    prompt_tokens: int
    output_tokens: int
    queue_s: float = 0.0
    first_text_s: float | None = None
    has_usage: bool = False
    is_done: bool = True
    """Whether the stream closed with [DONE]."""
    failure: Failure | None = None

    @property
    def ttft_s(self) -> float:
        """From the request to the first chunk with a choice."""
        return self.chunk_s[0]

    @property
    def latency_s(self) -> float:
        """From the request to the last chunk with a choice."""
        return self.chunk_s[-1]

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Between chunks that follow each other."""
        return tuple(b - a for a, b in zip(self.chunk_s, self.chunk_s[1:], strict=False))

    @property
    def tpot_s(self) -> float | None:
        """Time after the first chunk, by the tokens after the first; None for one token."""
        if self.output_tokens <= 1:
            return None
        return (self.latency_s - self.ttft_s) / (self.output_tokens - 1)
