"""An OpenAI-compatible endpoint that reads the fields of a hard question. It names things; it computes nothing."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from fitserve.ask.parsed import FIELDS, Parser
from fitserve.ask.types import KINDS

_SECONDS = 20.0
_MOST_BYTES = 1 << 16
_TASK = (
    "Read a question about running language models. Answer with one JSON object and nothing else. Keys: "
    f"{', '.join(FIELDS)}; kind is one of {', '.join(KINDS)}; leave out what the question does not say."
)


def reader_at(url: str, model: str | None) -> Parser:
    """A parser that asks the endpoint; one that fails says so on standard error and gives nothing."""
    base = url.rstrip("/").removesuffix("/v1")

    def read(question: str) -> Mapping[str, Any] | None:
        try:
            return _asked(base, model, question)
        except (OSError, URLError, ValueError, KeyError, IndexError, TypeError) as error:
            print(f"{base}: {error}", file=sys.stderr)
            return None

    return read


def _asked(base: str, model: str | None, question: str) -> Mapping[str, Any] | None:
    messages = [{"role": "system", "content": _TASK}, {"role": "user", "content": question}]
    body = {"model": model or "default", "temperature": 0, "messages": messages}
    headers = {"Content-Type": "application/json"}
    key = os.environ.get("FITSERVE_LLM_API_KEY")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{base}/v1/chat/completions", json.dumps(body).encode(), headers)  # noqa: S310  http(s) by its type
    if not base.startswith(("http://", "https://")):
        raise ValueError("http")
    with urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
        content = json.loads(response.read(_MOST_BYTES))["choices"][0]["message"]["content"]
    found = json.loads(content[content.index("{") : content.rindex("}") + 1])
    return found if isinstance(found, dict) else None
