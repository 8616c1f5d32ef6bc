"""The MCP server through the SDK's own client: every tool, over standard input and output and over HTTP."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

import anyio
import mcp_types as types
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from fitserve.mcp.setup import setup_of
from fitserve.mcp.tools import tools

MOST_LETTERS = 14_000
COMMAND = "vllm serve Qwen/Qwen3-8B --max-modle-len 8192"
LOG = "INFO vLLM engine\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
CALLS: dict[str, dict[str, Any]] = {
    "plan": {"model": "Qwen/Qwen3-8B", "gpu": "rtx-4090"},
    "estimate": {"model": "Qwen/Qwen3-8B", "gpu": ["rtx-4090"], "engine": "vllm", "format": "fp8", "context": "16k"},
    "fit": {"gpu": "rtx-4090", "family": "qwen", "use": "coding"},
    "compare": {"model": "Qwen/Qwen3-32B", "gpu": "rtx-4090", "variants": ["format=awq", "format=Q4_K_M"]},
    "hardware": {"model": "Qwen/Qwen3-8B", "gpu": ["rtx-4090", "l40s"], "concurrency": 4},
    "check": {"command": COMMAND, "gpu": "rtx-4090"},
    "diagnose": {"log": LOG, "engine": "vllm", "model": "Qwen/Qwen3-32B", "gpu": "rtx-4090"},
    "ask": {"question": "RTX 3090 두 장에서 Qwen3-32B 돌아가나요?"},
    "guide": {"gpu": "rtx-3060-12gb"},
    "cost": {"usd_per_hour": "8.155", "hours": [10, 50]},
}


def _parameters() -> StdioServerParameters:
    kept = {key: os.environ[key] for key in ("PYTHONPATH", "FITSERVE_HOME", "PATH", "HOME") if key in os.environ}
    return StdioServerParameters(command=sys.executable, args=["-m", "fitserve", "mcp"], env=kept)


def _form(result: types.CallToolResult) -> dict[str, Any]:
    first = result.content[0]
    assert isinstance(first, types.TextContent)
    form: dict[str, Any] = json.loads(first.text)
    assert form == result.structured_content
    assert len(first.text) < MOST_LETTERS, len(first.text)
    return form


def test_the_client_of_the_sdk_calls_each_tool_over_standard_input_and_output() -> None:
    found: dict[str, dict[str, Any]] = {}

    async def run() -> None:
        async with Client(_parameters()) as client:
            listed = (await client.list_tools()).tools
            assert {tool.name for tool in listed} == set(CALLS)
            assert all(tool.description and tool.input_schema["properties"] for tool in listed)
            for name, given in CALLS.items():
                result = await client.call_tool(name, given)
                assert not result.is_error, (name, result.content)
                found[name] = _form(result)
            wrong = await client.call_tool("plan", {"model": "no-such-model-at-all", "gpu": "rtx-4090", "lang": "ko"})
            assert wrong.is_error and "찾을 수 없습니다" in _form(wrong)["error"]
            unknown = await client.call_tool("serve", {})
            assert unknown.is_error and "plan" in _form(unknown)["error"]

    anyio.run(run)
    best = found["plan"]["plans"][0]
    assert found["plan"]["yes"] and best["verdict"] == "fits" and "Qwen3-8B" in best["command"]
    low, likely, high = best["speed"]["per_user_tok_per_s"]
    assert 0 < low < likely < high
    assert best["memory"]["devices"][0]["used_gib"] <= best["memory"]["devices"][0]["usable_gib"] <= 24
    assert found["estimate"]["plan"]["engine"].startswith("vllm==") and found["estimate"]["load_curve"]
    assert all("qwen" in row["model"].lower() for row in found["fit"]["models"])
    assert [row["variant"] for row in found["compare"]["variants"]] == CALLS["compare"]["variants"]
    assert found["hardware"]["choices"][0]["plan"]["verdict"] == "fits"
    assert not found["check"]["yes"] and "--max-model-len 8192" in found["check"]["corrected_command"]
    cause = found["diagnose"]["causes"][0]
    assert cause["code"] == "memory.torch_oom" and cause["evidence"][0]["line"] == 2 and cause["fixes"]
    assert found["ask"]["verdict"] == "fits" and "가능합니다" in found["ask"]["answer"]
    assert {"balanced"} <= {row["purpose"] for row in found["guide"]["setups"]}
    assert [row["usd"] for row in found["cost"]["rows"]] == [81.55, 407.75]


def test_standard_output_carries_the_protocol_only() -> None:
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "cost", "arguments": CALLS["cost"]}},
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "fitserve", "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        for line in lines:
            process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(timeout=30) == 0
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[0]["result"]["protocolVersion"] == "2025-06-18"
    assert answers[1]["result"]["structuredContent"]["yes"] is True


def test_http_answers_and_serves_names_of_this_machine_only(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "fitserve", "mcp", "--http", "--port", str(port)], stderr=subprocess.PIPE
    )
    with process:
        try:
            _wait_for(port)
            anyio.run(_ask_over_http, f"http://127.0.0.1:{port}/mcp", tmp_path)
            assert _status_for_host(port, "evil.example") == 421
        finally:
            process.terminate()


async def _ask_over_http(url: str, folder: Path) -> None:
    secret = folder / "config.json"
    secret.write_text("{}")
    async with Client(url) as client:
        answer = _form(await client.call_tool("cost", CALLS["cost"]))
        assert answer["rows"][0]["usd"] == 81.55
        refused = await client.call_tool("plan", {"model": str(secret), "gpu": "rtx-4090"})
        assert refused.is_error and "not a model name" in _form(refused)["error"]


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server did not start")


def _status_for_host(port: int, host: str) -> int:
    body = b"{}"
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        return int(connection.recv(64).split()[1])


def test_schemas_are_valid_and_name_no_file() -> None:
    import jsonschema

    for tool in tools():
        jsonschema.Draft202012Validator.check_schema(tool.schema)
        assert not {"hardware", "prices"} & set(tool.schema["properties"])
        assert all(field.get("description") for field in tool.schema["properties"].values())
        jsonschema.validate(CALLS[tool.name], tool.schema)


@pytest.mark.parametrize(
    ("client", "path"),
    [
        ("cline", ["mcpServers", "fitserve", "args"]),
        ("cursor", ["mcpServers", "fitserve", "args"]),
        ("claude-code", ["mcpServers", "fitserve", "args"]),
        ("opencode", ["mcp", "servers", "fitserve", "command"]),
        ("opencode-v1", ["mcp", "fitserve", "command"]),
    ],
)
def test_the_set_up_of_a_client_is_json_of_its_shape(client: str, path: list[str]) -> None:
    content = json.loads(setup_of(client, ["/opt/my tools/fitserve", "mcp"]).text)
    for key in path:
        content = content[key]
    assert content[-1] == "mcp"
    assert "http://127.0.0.1:8601/mcp" in setup_of(client, ["x"], "http://127.0.0.1:8601/mcp").text


def test_codex_gets_a_table_and_a_line() -> None:
    import tomllib

    setup = setup_of("Codex", ["fitserve", "mcp"])
    assert tomllib.loads(setup.text) == {"mcp_servers": {"fitserve": {"command": "fitserve", "args": ["mcp"]}}}
    assert setup.line == ("codex", "mcp", "add", "fitserve", "--", "fitserve", "mcp")
