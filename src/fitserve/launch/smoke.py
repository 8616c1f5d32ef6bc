"""The first requests to a server that has just come up: what does it serve, with which context, does it answer, does it
stream. Each check is a line of the result; a check that a server does not offer says so and is no failure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.launch.http import NoAnswer, Server

_ANSWER_TOKENS = 16
_SILENCE_S = 120.0  # a first answer may compile kernels
_PROMPT = "Reply with one word: ready"
_MISSING = (" 404 ", " 405 ", " 501 ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question to the server. `state`: passed, failed, not_offered; `detail`: what came, in short."""

    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """What the server said. `context_tokens`: of one request, as the server itself tells; None when it does not."""

    checks: tuple[Check, ...]
    model: str | None
    context_tokens: int | None
    text: str = ""
    first_token_s: float | None = None

    @property
    def is_passed(self) -> bool:
        """Nothing failed, and something was answered."""
        answered = any(check.name in {"completion", "chat_stream"} and check.state == "passed" for check in self.checks)
        return answered and all(check.state != "failed" for check in self.checks)

    @property
    def form(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "passed": self.is_passed,
            "model": self.model,
            "context_tokens": self.context_tokens,
            "text": self.text,
            "first_token_s": self.first_token_s,
            "checks": [{"name": c.name, "state": c.state, "detail": c.detail} for c in self.checks],
        }


def smoke_test(server: Server, model: str | None, expected_context: int | None) -> Smoke:
    """Asks a server that is up; never raises for what the server does. `expected_context`: tokens, as planned."""
    checks: list[Check] = []
    listed = _kept(checks, "models", lambda: _listed(server, model))
    name = model if listed is None else listed[0]
    context = _context_tokens(server, None if listed is None else listed[1])
    checks.append(_context_check(context, expected_context))
    _kept(checks, "completion", lambda: (_completion(server, name),))
    streamed = _kept(checks, "chat_stream", lambda: _chat(server, name))
    text, first = ("", None) if streamed is None else (streamed[0], streamed[1])
    return Smoke(checks=tuple(checks), model=name, context_tokens=context, text=text, first_token_s=first)


def _kept(checks: list[Check], name: str, ask: Callable[[], tuple[Any, ...]]) -> Any:
    """The answer of a question, which is noted; None when there was none."""
    try:
        found = ask()
    except NoAnswer as problem:
        missing = any(code in f"{problem} " for code in _MISSING) or "chat template" in str(problem).lower()
        checks.append(Check(name=name, state="not_offered" if missing else "failed", detail=str(problem)))
        return None
    checks.append(Check(name=name, state="passed", detail=str(found[0])[:200]))
    return found


def _listed(server: Server, wanted: str | None) -> tuple[str, Mapping[str, Any]]:
    """(name, row) of the model in the server's list: the wanted one, else the first."""
    rows = server.get_json("/v1/models").get("data") or []
    if not rows:
        raise NoAnswer("/v1/models: the list is empty")
    row = next((row for row in rows if row.get("id") == wanted), rows[0])
    return str(row["id"]), row


def _context_tokens(server: Server, row: Mapping[str, Any] | None) -> int | None:
    """Of vLLM's list, of llama.cpp's slots, or unknown."""
    if row is not None and isinstance(row.get("max_model_len"), int):
        return int(row["max_model_len"])
    try:
        told = server.get_json("/props").get("default_generation_settings", {}).get("n_ctx")
    except (NoAnswer, AttributeError):
        return None
    return told if isinstance(told, int) else None


def _context_check(found: int | None, expected: int | None) -> Check:
    if found is None or expected is None:
        return Check(name="context", state="not_offered", detail="" if found is None else str(found))
    state = "passed" if found >= expected else "failed"
    return Check(name="context", state=state, detail=f"{found} / {expected}")


def _completion(server: Server, model: str | None) -> str:
    body = {"model": model, "prompt": _PROMPT, "max_tokens": _ANSWER_TOKENS, "temperature": 0}
    answer = server.post_json("/v1/completions", body, _SILENCE_S)
    try:
        return str(answer["choices"][0]["text"])
    except (KeyError, IndexError, TypeError) as error:
        raise NoAnswer(f"/v1/completions: no choice in {json.dumps(answer)[:200]}") from error


def _chat(server: Server, model: str | None) -> tuple[str, float | None]:
    """(text, seconds to its first piece) of a streamed answer, which may be empty. Raises NoAnswer when it broke off."""
    messages = [{"role": "user", "content": _PROMPT}]
    body = {"model": model, "messages": messages, "max_tokens": _ANSWER_TOKENS, "stream": True}
    parts: list[str] = []
    first: float | None = None
    is_over = False
    for since_s, data in server.stream("/v1/chat/completions", body, _SILENCE_S):
        if data == "[DONE]":
            is_over = True
            break
        piece, finished = _piece(data)
        is_over = is_over or finished
        if piece and first is None:
            first = since_s
        parts.append(piece)
    if not is_over:
        raise NoAnswer("/v1/chat/completions: " + ("the stream broke off" if parts else "the stream was empty"))
    return "".join(parts), first


def _piece(data: str) -> tuple[str, bool]:
    """(text, whether it is the last) of one event; thinking counts as text."""
    try:
        event = json.loads(data)
        if "error" in event:
            raise NoAnswer(f"/v1/chat/completions: {json.dumps(event['error'])[:200]}")
        choices = event.get("choices") or []
        if not choices:
            return "", False
        delta = choices[0].get("delta") or {}
        text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or ""
        return str(text), choices[0].get("finish_reason") is not None
    except (ValueError, AttributeError, KeyError) as error:
        raise NoAnswer(f"/v1/chat/completions: not an event: {data[:200]}") from error
