"""Client settings: they parse, they all carry the same context, no key stands in them, bad input is said."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from conftest import Ran
from fitserve.emit.clients.registry import client_rows, settings_of
from fitserve.emit.clients.types import Endpoint
from test_emit import words

Cli = Callable[..., Ran]
SERVER = ("--url", "http://127.0.0.1:8000", "--model", "Qwen/Qwen3-8B", "--context", "32k")
CONTEXT = 32768


def _clients(cli: Cli, *argv: str) -> dict[str, Any]:
    answer = cli("clients", *argv, "--json").json()
    assert answer["schema_version"] == 1
    return {client["name"]: client for client in answer["clients"]}


def _text(client: dict[str, Any], ending: str = "") -> str:
    return next(str(file["text"]) for file in client["files"] if file["path"].endswith(ending))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_client_carries_the_same_context(cli: Cli, language: str) -> None:
    found = _clients(cli, *SERVER, "--engine", "vllm", "--lang", language)
    assert set(found) == set(client_rows())
    assert (
        json.loads(_text(found["cline"]))["providers"]["fitserve"]["models"]["Qwen/Qwen3-8B"]["contextWindow"]
        == CONTEXT
    )
    model = yaml.safe_load(_text(found["continue"]))["models"][0]
    assert model["defaultCompletionOptions"]["contextLength"] == CONTEXT and model["apiBase"].endswith(":8000/v1")
    opencode = json.loads(_text(found["opencode"]))["provider"]["fitserve"]
    assert opencode["models"]["Qwen/Qwen3-8B"]["limit"]["context"] == CONTEXT
    env = json.loads(_text(found["claude-code"]))["env"]
    assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(CONTEXT) and env == found["claude-code"]["env"]
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8000"
    for name in ("openai-python", "openai-javascript"):
        assert str(CONTEXT) in _text(found[name])
    for name in ("cline", "curl", "open-webui"):
        assert "32,768" in " ".join(found[name]["steps"])
    others = re.compile(r"\b(4096|8193|16384|65536|131072|200000)\b")
    assert not [c["name"] for c in found.values() for file in c["files"] if others.search(file["text"])]


def test_the_answer_fits_the_context() -> None:
    for context in (1, 2, 4096, 1_000_000):
        to = Endpoint(base="http://x", model="m", context_tokens=context)
        assert 1 <= to.answer_tokens <= context


def test_the_key_is_named_never_held(cli: Cli) -> None:
    found = _clients(cli, *SERVER, "--engine", "vllm", "--api-key-env", "MY_KEY")
    assert "${{ secrets.MY_KEY }}" in _text(found["continue"])
    assert json.loads(_text(found["opencode"]))["provider"]["fitserve"]["options"]["apiKey"] == "{env:MY_KEY}"
    assert "os.environ['MY_KEY']" in _text(found["openai-python"])
    assert "process.env.MY_KEY" in _text(found["openai-javascript"])
    assert 'Bearer $MY_KEY"' in _text(found["curl"])
    assert 'OPENAI_API_KEY="$MY_KEY"' in _text(found["open-webui"], ".sh")
    assert "-e OPENAI_API_KEY " in _text(found["open-webui"], ".sh")
    assert "ANTHROPIC_AUTH_TOKEN" not in found["claude-code"]["env"]
    assert 'ANTHROPIC_AUTH_TOKEN="$MY_KEY"' in " ".join(found["claude-code"]["steps"])


def test_a_container_reaches_the_host(cli: Cli) -> None:
    client = _clients(cli, "open-webui", *SERVER)["open-webui"]
    assert "http://127.0.0.1:8000/v1" in _text(client, ".sh") and "--network host" in _text(client, ".sh")
    assert "http://host.docker.internal:8000/v1" in _text(client, ".ps1")
    far = _clients(cli, "open-webui", "--url", "http://10.0.0.5:8000", *SERVER[2:])["open-webui"]
    assert "http://10.0.0.5:8000/v1" in _text(far, ".ps1")


@pytest.mark.parametrize("given_url", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1/"])
def test_the_address_with_or_without_its_ending(cli: Cli, given_url: str) -> None:
    client = _clients(cli, "curl", "--url", given_url, *SERVER[2:])["curl"]
    assert " http://127.0.0.1:8000/v1/chat/completions " in _text(client)


@settings(max_examples=40)
@given(words)
def test_a_model_name_stays_a_name_in_every_file(model: str) -> None:
    to = Endpoint(base="http://127.0.0.1:8000", model=model, context_tokens=CONTEXT)
    texts = {(name, file.path): file.text for name in client_rows() for file in settings_of(name, to).files}
    cline = json.loads(texts["cline", "~/.cline/data/settings/models.json"])
    assert list(cline["providers"]["fitserve"]["models"]) == [model]
    assert yaml.safe_load(texts["continue", "~/.continue/config.yaml"])["models"][0]["model"] == model
    assert list(json.loads(texts["opencode", "opencode.json"])["provider"]["fitserve"]["models"]) == [model]
    assert json.loads(texts["claude-code", ".claude/settings.json"])["env"]["ANTHROPIC_MODEL"] == model
    tree = ast.parse(texts["openai-python", "client.py"])
    values = {k.arg: k.value for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords}
    assert ast.literal_eval(values["model"]) == model
    line = re.search(r"^  model: (.*),$", texts["openai-javascript", "client.mjs"], re.MULTILINE)
    assert line is not None and json.loads(line[1]) == model
    shown = subprocess.run(
        ["bash", "-c", "curl() { printf '%s\\0' \"$@\"; }; " + texts["curl", "request.sh"]],
        capture_output=True,
        timeout=20,
    )
    asked = json.loads(shown.stdout.decode().split("\0")[5])
    assert asked["model"] == model


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_is_javascript(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "client.mjs"
    path.write_text(_text(_clients(cli, "openai-javascript", *SERVER)["openai-javascript"]))
    assert subprocess.run(["node", "--check", str(path)], timeout=60).returncode == 0


def test_the_list_without_a_server(cli: Cli) -> None:
    found = _clients(cli)
    assert set(found) == set(client_rows()) and not any(c["files"] or c["steps"] for c in found.values())
    assert "claude-code" in cli("clients").out
    assert set(_clients(cli, "Open WebUI", "CLAUDE code", *SERVER, "--engine", "llama.cpp")) == {
        "open-webui", "claude-code",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (("vim", *SERVER), "vim"),
        (("cline",), "--url"),
        (("cline", "--url", "http://x", "--model", "m"), "--context"),
        (("cline", "--url", "ftp://x", "--model", "m", "--context", "1k"), "ftp://x"),
        (("cline", "--url", "http://x:99999", "--model", "m", "--context", "1k"), "99999"),
        (("cline", "--url", "http://x y", "--model", "m", "--context", "1k"), "--url"),
        (("cline", "--url", "http://x';rm", "--model", "m", "--context", "1k"), "--url"),
        (("cline", "--url", "http://x", "--model", "m", "--context", "0"), "--context"),
        (("cline", "--url", "http://x", "--model", "m\n", "--context", "1k"), "--model"),
        (("cline", *SERVER, "--api-key-env", "MY KEY"), "MY KEY"),
        (("cline", *SERVER, "--engine", "magic"), "magic"),
        (("claude-code", *SERVER), "--engine"),
        (("cline", "--frob"), "--frob"),
    ],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_bad_input_is_said(cli: Cli, argv: tuple[str, ...], shown: str, language: str) -> None:
    ran = cli("clients", *argv, "--lang", language)
    assert ran.code == 2 and shown in ran.err and ran.out == ""


def test_a_protocol_that_the_engine_lacks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitserve.emit.clients.answer._protocols", lambda name: ("openai",))
    ran = cli("clients", "claude-code", *SERVER, "--engine", "vllm")
    assert ran.code == 2 and "Anthropic" in ran.err and "llama.cpp" in ran.err
    listed = _clients(cli, *SERVER, "--engine", "vllm")["claude-code"]
    assert listed["files"] == [] and "Anthropic" in listed["steps"][0]
    unsaid = _clients(cli, *SERVER)["claude-code"]
    assert unsaid["files"] == [] and "--engine" in unsaid["steps"][0]


def test_a_short_context_is_a_warning_for_claude_code(cli: Cli) -> None:
    short = _clients(cli, "claude-code", *SERVER, "--engine", "vllm")["claude-code"]["steps"]
    long = _clients(cli, "claude-code", *SERVER[:-1], "128k", "--engine", "vllm")["claude-code"]["steps"]
    assert len(short) == len(long) + 1 and "65,536" in short[-1]


def test_clients_as_markdown(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "clients.md"
    assert cli("clients", *SERVER, "--out", str(path), "--lang", "ko").code == 0
    text = path.read_text()
    assert text.count("## ") == len(client_rows()) and "opencode.json" in text
    assert cli("clients", *SERVER, "--out", str(tmp_path / "x.sh")).code == 2
