"""What a server says of itself: its models, and how it counts tokens."""

import json
from collections.abc import Callable
from typing import Any, Final

from fitserve.bench.wire import NotHttp, Wire
from fitserve.foundation.errors import BenchFailed

_ASK_S: Final = 30.0
_OK: Final = 200
_REFUSED: Final = frozenset({401, 403})
_MOST_BYTES: Final = 1 << 24


async def ask(wire: Wire, method: str, path: str, body: Any = None, timeout_s: float = _ASK_S) -> tuple[int, Any]:
    """Status and JSON of an answer; None for one that is no JSON. Raises TimeoutError, OSError, NotHttp."""
    pieces: list[bytes] = []

    def keep(data: bytes, _at_s: float) -> None:
        pieces.append(data)
        if sum(map(len, pieces)) > _MOST_BYTES:
            raise NotHttp(f"more than {_MOST_BYTES} bytes")

    content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    exchange = await wire.request(method, path, content, keep, timeout_s)
    try:
        return exchange.status, json.loads(b"".join(pieces))
    except ValueError:
        return exchange.status, None


async def served_models(wire: Wire, base: str, timeout_s: float) -> tuple[str, ...]:
    """Names of the models; empty where the server has no list. Raises BenchFailed where there is no server to measure."""
    limit = min(_ASK_S, timeout_s)
    try:
        status, answer = await ask(wire, "GET", "/v1/models", timeout_s=limit)
    except TimeoutError as error:
        raise BenchFailed.of("bench_no_answer", url=base, seconds=limit) from error
    except NotHttp as error:
        raise BenchFailed.of("bench_not_http", url=base, detail=str(error)) from error
    except OSError as error:
        raise BenchFailed.of("bench_unreachable", url=base, detail=str(error)) from error
    if status in _REFUSED:
        raise BenchFailed.of("bench_key", url=base, status=status)
    rows = answer.get("data") if status == _OK and isinstance(answer, dict) else None
    named = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(name for name in named if isinstance(name, str))


def name_in_requests(url: str, model: str | None, served_model: str | None, listed: tuple[str, ...]) -> str:
    """The model's name in requests: as said, else the one that is served. Raises BenchFailed where that is not clear."""
    if served_model is not None:
        return served_model
    if model is not None and (model in listed or len(listed) != 1):
        return model
    if len(listed) == 1:
        return listed[0]
    if not listed:
        raise BenchFailed.of("bench_model_unnamed", url=url)
    raise BenchFailed.of("bench_model_many", url=url, models=listed[:12])


Counter = Callable[[str], Any]
"""Tokens of a prompt as the server would get it; an awaitable."""


async def token_counter(wire: Wire, model: str, endpoint: str) -> Counter | None:
    """How this server counts the tokens of a prompt, its template and special tokens with it; None where it cannot."""
    for make in (_by_vllm, _by_llama_cpp):
        counter = make(wire, model, endpoint)
        if await counter("one two three") is not None:
            return counter
    return None


def _by_vllm(wire: Wire, model: str, endpoint: str) -> Counter:
    async def count(text: str) -> int | None:
        if endpoint == "chat":
            body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
        else:
            body = {"model": model, "prompt": text}
        found = await _asked(wire, "/tokenize", body)
        number = found.get("count") if found else None
        return number if isinstance(number, int) else None

    return count


def _by_llama_cpp(wire: Wire, model: str, endpoint: str) -> Counter:
    async def count(text: str) -> int | None:
        if endpoint == "chat":
            said = await _asked(wire, "/apply-template", {"messages": [{"role": "user", "content": text}]})
            text = str(said.get("prompt")) if said and said.get("prompt") else ""
            if not text:
                return None
        found = await _asked(wire, "/tokenize", {"content": text, "add_special": True, "parse_special": True})
        tokens = found.get("tokens") if found else None
        return len(tokens) if isinstance(tokens, list) and tokens else None

    return count


async def _asked(wire: Wire, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
    try:
        status, answer = await ask(wire, "POST", path, body)
    except (OSError, NotHttp):  # TimeoutError is an OSError
        return None
    return answer if status == _OK and isinstance(answer, dict) else None
