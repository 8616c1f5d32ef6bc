"""The embedded llama.cpp served from the command line: OpenAI's client, curl, a tool loop, embeddings, memory as predicted."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("xllamacpp")


@dataclass(frozen=True, slots=True)
class Served:
    """What `serve --json` printed, and the home of its ledger."""

    told: dict[str, Any]
    home: Path


def fitserve(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FITSERVE_HOME": str(home), "HF_HUB_OFFLINE": "1", "LANG": "en_US.UTF-8"}
    argv = [sys.executable, "-m", "fitserve", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=180, check=False)


def serve(home: Path, extra: Sequence[str] = ()) -> Served:
    words = ("serve", "demo", "--detach", "--json", "--context", "4096", "--concurrency", "2", *extra)
    ran = fitserve(home, *words)
    assert ran.returncode == 0, ran.stderr
    return Served(json.loads(ran.stdout), home)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    try:
        yield serve(home)
    finally:
        assert fitserve(home, "stop", "all").returncode == 0
        assert json.loads(fitserve(home, "ps", "--json").stdout)["servers"] == []


def client(served: Served, key: str = "none") -> Any:
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=served.told["url"], api_key=key, timeout=150)


def test_memory_is_as_predicted(served: Served) -> None:
    memory = served.told["memory"]
    assert memory["predicted_bytes"] == pytest.approx(memory["grown_bytes"], rel=0.05)
    assert served.told["smoke"]["passed"]
    assert served.told["context_tokens"] == 4096


def test_the_openai_client(served: Served) -> None:
    api = client(served)
    assert served.told["model"] in [model.id for model in api.models.list()]
    messages = [{"role": "user", "content": "hello"}]
    whole = api.chat.completions.create(model=served.told["model"], messages=messages, max_tokens=8)
    assert 0 < whole.usage.completion_tokens <= 8
    pieces = api.chat.completions.create(
        model=served.told["model"], messages=messages, max_tokens=24, stream=True, extra_body={"ignore_eos": True}
    )
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    completed = api.completions.create(model=served.told["model"], prompt="a", max_tokens=4)
    assert completed.usage.prompt_tokens == 1


def test_a_loop_of_tools_as_cline_makes_it(served: Served) -> None:
    """Cline writes its tools into the text of the answer; a grammar stands in for a model that has learned to."""
    api = client(served)
    messages: list[Any] = [
        {"role": "system", "content": "<read_file><path>"},
        {"role": "user", "content": "<task>read a.txt</task>"},
    ]
    forced = {"grammar": 'root ::= "<read_file><path>" [a-c] ".txt</path></read_file>"'}
    pieces = api.chat.completions.create(
        model=served.told["model"], messages=messages, max_tokens=60, stream=True, extra_body=forced
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    found = re.fullmatch(r"<read_file><path>(.\.txt)</path></read_file>", text)
    assert found, text
    messages += [
        {"role": "assistant", "content": text},
        {"role": "user", "content": f"[read_file for '{found[1]}'] Result:\ntext"},
    ]
    last = api.chat.completions.create(
        model=served.told["model"], messages=messages, max_tokens=60,
        extra_body={"grammar": 'root ::= "<attempt_completion>" [a-z]{1,3} "</attempt_completion>"'},
    )  # fmt: skip
    assert last.choices[0].message.content.startswith("<attempt_completion>")
    assert last.choices[0].finish_reason == "stop"


@pytest.mark.skipif(which("curl") is None, reason="curl is not installed")
def test_curl_health_and_metrics(served: Served) -> None:
    base = served.told["url"].removesuffix("/v1")
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": True})
    words = ["curl", "-sN", f"{base}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    streamed = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "data: [DONE]" in streamed
    assert (
        "llamacpp:"
        in subprocess.run(["curl", "-s", f"{base}/metrics"], capture_output=True, text=True, check=True).stdout
    )


def test_embeddings_and_a_key(tmp_path: Path, served: Served) -> None:
    (tmp_path / "cache").symlink_to(served.home / "cache")
    other = serve(tmp_path, ("--set", "embeddings=on", "--set", "pooling=mean", "--api-key", "sk-test-key"))
    try:
        import openai

        with pytest.raises(openai.AuthenticationError):
            client(other, "wrong").embeddings.create(model=other.told["model"], input="a")
        vector = client(other, "sk-test-key").embeddings.create(model=other.told["model"], input="hello")
        assert len(vector.data[0].embedding) == 768
        assert "sk-test-key" not in (tmp_path / "ledger.sqlite").read_bytes().decode("latin-1")
    finally:
        assert fitserve(tmp_path, "stop", str(other.told["run"])).returncode == 0
