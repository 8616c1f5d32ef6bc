"""The REST interface: the same JSON as the command line, its description, entity tags, limits, and what it refuses."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from conftest import Ran

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from fitserve.api.app import Settings, create_app
from fitserve.api.desk import Busy, Desk
from fitserve.api.schemas.examples import EXAMPLES
from fitserve.api.security import Limits
from fitserve.api.verbs import VERBS

BASE = "http://127.0.0.1:8600"
V1 = "/api/v1"
PLAN = {"model": "Qwen/Qwen3-8B", "gpu": ["rtx-4090"]}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(create_app(), base_url=BASE)


@pytest.fixture(scope="module")
def described(client: TestClient) -> Any:
    return client.get(f"{V1}/openapi.json").json()


def _flags(fields: dict[str, Any], positional: str | None) -> list[str]:
    """The command line of a body."""
    words: list[str] = []
    given = fields.get(positional or "", ())
    words += [given] if isinstance(given, str) else list(given)
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            words += [] if name == positional else [f"--{name.replace('_', '-')}", str(one)]
    return words


POSITIONAL = {"compare": "variants", "check": "command", "ask": "question", "clients": "client", "plan": "model",
              "estimate": "model", "hardware": "model", "finetune": "model", "quantize": "model"}  # fmt: skip
SAME = [(verb, name, body) for verb, rows in EXAMPLES.items() if verb != "diagnose" for name, (_, body) in rows.items()]


@pytest.mark.parametrize(("verb", "name", "body"), SAME, ids=lambda value: value if isinstance(value, str) else "")
def test_an_answer_is_the_json_of_the_command_line_and_of_its_schema(
    client: TestClient, described: Any, cli: Callable[..., Ran], verb: str, name: str, body: dict[str, Any]
) -> None:
    language = "ko" if name == "korean" else "en"
    answer = client.post(f"{V1}/{verb}", json=body, params={"lang": language})
    assert answer.status_code == 200, answer.text
    ran = cli(verb, *_flags(body, POSITIONAL.get(verb)), "--json", "--lang", language)
    assert answer.json() == ran.json()
    content = described["paths"][f"{V1}/{verb}"]["post"]["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(answer.json(), content["schema"])


def test_a_log_is_diagnosed_like_on_the_command_line(
    client: TestClient, cli: Callable[..., Ran], tmp_path: Any, described: Any
) -> None:
    body = EXAMPLES["diagnose"]["out-of-memory"][1]
    file = tmp_path / "engine.log"
    file.write_text(body["log"], encoding="utf-8")
    ran = cli("diagnose", str(file), "--gpu", "rtx-4090", "--engine", "vllm", "--json")
    answer = client.post(f"{V1}/diagnose", json=body)
    as_text = client.post(
        f"{V1}/diagnose?gpu=rtx-4090&engine=vllm", content=body["log"], headers={"content-type": "text/plain"}
    )
    assert answer.json() == as_text.json() == ran.json()
    assert answer.json()["causes"][0]["code"].startswith("memory.")


@pytest.mark.parametrize(("path", "argv"), [
    ("models?search=qwen3", ["models", "qwen3"]), ("gpus?search=4090", ["gpus", "4090"]), ("engines", ["engines"]),
    ("gpus", ["gpus"]), ("questions", ["ask", "--list"]),
])  # fmt: skip
def test_catalogues_are_those_of_the_command_line_and_have_entity_tags(
    client: TestClient, cli: Callable[..., Ran], path: str, argv: list[str]
) -> None:
    answer = client.get(f"{V1}/{path}")
    assert answer.json() == cli(*argv, "--json").json()
    tag = answer.headers["etag"]
    again = client.get(f"{V1}/{path}", headers={"if-none-match": f'"other", {tag}'})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == tag
    assert client.get(f"{V1}/{path}", headers={"if-none-match": '"other"'}).status_code == 200
    korean = client.get(f"{V1}/{path}", headers={"accept-language": "ko-KR, en;q=0.5"})
    assert korean.headers["content-language"] == "ko" and "Accept-Language" in korean.headers["vary"]


def test_every_verb_is_described_with_examples(described: Any) -> None:
    for verb in VERBS:
        post = described["paths"][f"{V1}/{verb}"]["post"]
        body = post["requestBody"]["content"]["application/json"]
        jsonschema.Draft202012Validator.check_schema(body["schema"])
        assert post["summary"] and body["examples"]
        assert all(field["description"] for field in body["schema"]["properties"].values())
        for example in body["examples"].values():
            jsonschema.validate(example["value"], body["schema"])
        assert {"200", "400", "413", "422", "503"} <= set(post["responses"])


BROKEN = [b"{", b"[]", b'"text"', b'{"model": NaN}', b'{"model": "\\ud800"}', b"[" * 100_000, b"\xff\xfe{",
          b'{"model": "Qwen/Qwen3-8B", "tp": ' + b"9" * 5000 + b"}"]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:12]))
def test_a_body_that_is_no_object_is_a_bad_request(client: TestClient, body: bytes) -> None:
    answer = client.post(f"{V1}/plan", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["kind"] == "input"


def test_wrong_input_has_the_texts_of_the_command_line(client: TestClient, cli: Callable[..., Ran]) -> None:
    body = {"model": "Qwen/Qwen3-8B", "gpu": "rtx-4090", "context": "many", "cls": 1, "self": 2}
    answer = client.post(f"{V1}/plan?lang=ko", json=body)
    ran = cli("plan", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--context", "many", "--json", "--lang", "ko")
    error = answer.json()["error"]
    assert answer.status_code == 422 and error["kind"] == "input"
    assert error["text"].splitlines()[0] == ran.json()["error"]["text"]
    assert [problem["code"] for problem in error["problems"]] == ["tokens_wrong", "flag_unknown", "flag_unknown"]
    assert client.post(f"{V1}/plan?lang=fr", json=PLAN).status_code == 422


REACHING: list[tuple[str, dict[str, Any]]] = [
    *[("plan", {"model": name, "gpu": "rtx-4090"}) for name in (
        "/etc/passwd", "../../etc/passwd", "C:\\Windows\\win.ini", "\\\\host\\share", "~/.ssh/id_rsa", "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data", "hf:owner/name", "config.json", "model.gguf", "./here",
    )],
    ("plan", {**PLAN, "hardware": "/etc/passwd"}),
    ("compare", {"variants": ["model=/etc/passwd", "hardware=/etc/passwd"], **PLAN}),
    ("cost", {"prices": "/etc/passwd", "hours": 1}),
    ("check", {"command": "vllm serve Qwen/Qwen3-8B", "engine_version": "installed"}),
    ("diagnose", {"log": "Traceback", "model": "/etc/passwd", "gpu": "rtx-4090"}),
    ("diagnose", {"log": "Traceback", "run": "1"}),
    ("ask", {"question": "Does Qwen3-8B run on an RTX 4090?", "llm_url": "http://169.254.169.254"}),
    ("clients", {"client": "../../etc/passwd"}),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "body"), REACHING, ids=lambda value: str(value)[:60])
def test_no_request_reaches_a_file_or_an_address(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, verb: str, body: dict[str, Any]
) -> None:
    import socket
    import subprocess

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("reached out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    answer = client.post(f"{V1}/{verb}", json=body)
    assert answer.status_code in {200, 422}, answer.text
    assert answer.status_code == 422 or verb == "diagnose"
    assert "root:" not in answer.text


def test_a_command_with_local_paths_reads_nothing(client: TestClient, tmp_path: Any) -> None:
    secret = tmp_path / "config.yaml"
    secret.write_text("secret-word: 1", encoding="utf-8")
    answer = client.post(f"{V1}/check", json={"command": f"vllm serve {tmp_path} --config {secret}", "gpu": "rtx-4090"})
    assert answer.status_code == 200 and "secret-word" not in answer.text


def test_bodies_are_limited_also_when_they_stream(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 16)

    for body in (b" " * (2 << 20), pieces()):
        answer = client.post(f"{V1}/plan", content=body)
        assert answer.status_code == 413 and answer.json()["error"]["kind"] == "refused"
    log = client.post(f"{V1}/diagnose", content=b"x\n" * (1 << 20), headers={"content-type": "text/plain"})
    assert log.status_code == 200


def test_errors_under_the_path_are_json_and_pages_stay_pages(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/nope", 404),
        ("GET", "/plan", 405),
        ("GET", "/runs/99999999999999999999", 404),
    ):
        answer = client.request(method, V1 + path)
        assert answer.status_code == status and answer.json()["error"]["kind"] == "refused"
    assert client.get("/nope").headers["content-type"].startswith("text/html")
    assert client.post(f"{V1}/plan", json=PLAN, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get(V1, headers={"host": "evil.example"}).status_code == 421


def test_runs_are_served_on_this_machine_only(client: TestClient) -> None:
    assert client.get(f"{V1}/runs").json()["schema_version"] == 1
    other = TestClient(create_app(Settings(host="0.0.0.0", token="t" * 20)), base_url=BASE)
    other.headers["authorization"] = "Bearer " + "t" * 20
    assert other.get(f"{V1}/engines").status_code == 200
    assert other.get(f"{V1}/runs").status_code == 404
    assert f"{V1}/runs" not in other.get(f"{V1}/openapi.json").json()["paths"]
    del other.headers["authorization"]
    assert other.post(f"{V1}/plan", json=PLAN).status_code == 401


def test_what_takes_too_long_ends() -> None:
    slow = TestClient(create_app(Settings(limits=Limits(seconds=0.001))), base_url=BASE)
    answer = slow.post(f"{V1}/guide", json={"gpu": "rtx-3090"})
    assert answer.status_code == 503 and answer.json()["error"]["kind"] == "refused"


def test_a_full_queue_says_when_to_come_back() -> None:
    full = TestClient(create_app(), base_url=BASE)
    full.app.state.desk = Desk(most_waiting=0)  # type: ignore[attr-defined]
    answer = full.post(f"{V1}/plan", json=PLAN)
    assert answer.status_code == 503 and answer.json()["error"]["kind"] == "busy"
    assert int(answer.headers["retry-after"]) >= 1


def test_the_same_question_is_computed_once_and_kept() -> None:
    import asyncio
    import threading

    calls: list[int] = []
    gate = threading.Event()

    def work() -> bytes:
        calls.append(1)
        gate.wait(10)
        return b"answer"

    async def ask() -> list[bytes]:
        desk = Desk(workers=2, most_waiting=1)
        first = [asyncio.ensure_future(desk.answer("same", work)) for _ in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await desk.answer("another", work)
        first[0].cancel()
        gate.set()
        return [*await asyncio.gather(*first[1:]), await desk.answer("same", work)]

    assert [gzip.decompress(body) for body in asyncio.run(ask())] == [b"answer"] * 5
    assert len(calls) == 1


def test_replies_are_packed_for_those_who_take_it(client: TestClient) -> None:
    with client.stream("POST", f"{V1}/plan", json=PLAN, headers={"accept-encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    plain = client.post(f"{V1}/plan", json=PLAN, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed) == plain.content and len(packed) * 5 < len(plain.content)
    assert json.loads(plain.content)["plans"]


def test_nothing_is_run_for_a_request(client: TestClient) -> None:
    body = {"model": "Qwen/Qwen3-8B", "format": "w4a16", "gpu": ["rtx-4090"], "run": True}
    answer = client.post(f"{V1}/quantize", json=body)
    assert answer.status_code == 422
    assert "--run" in answer.text
