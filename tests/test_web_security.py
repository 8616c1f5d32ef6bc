"""What stands between the web app and others: hosts, origins, tokens, sizes, times, and what a name may not be."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from conftest import Ran
from fitserve.api.security import Guard, Limits, is_loopback, session_of
from fitserve.api.world import closed_world
from fitserve.foundation.errors import InputError
from web_client import BASE, client

FORM = {"content-type": "application/x-www-form-urlencoded"}
TOKEN = "correct-horse-battery"


def test_headers_of_every_answer() -> None:
    for path in ("/runs", "/static/x/app.css", "/nothing-here", "/part/models?q=a"):
        headers = client().get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin" and headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8600", "", "localhost@evil.example", "192.168.0.7"]
)
def test_a_foreign_name_is_refused(host: str) -> None:
    assert client().get("/runs", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8600", "localhost:8600", "[::1]:8600"])
def test_own_names_are_accepted(host: str) -> None:
    assert client().get("/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": BASE}, 303),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({}, 303),
    ],
)
def test_forms_of_other_pages_are_refused(headers: dict[str, str], status: int) -> None:
    assert client().post("/settings", data={"lang": "ko"}, headers=headers).status_code == status


def test_a_token_guards_everything() -> None:
    browser = client(host="0.0.0.0", token=TOKEN)
    for path in ("/", "/runs", "/static/x/app.css", "/api/v1/openapi.json", "/part/models?q=a"):
        assert browser.get(path).status_code == 401
    assert browser.get("/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", f"Basic {TOKEN}", "Bearer \u00e9"):
        assert browser.get("/runs", headers={"authorization": wrong.encode()}).status_code == 401
    assert browser.get("/runs?token=wrong").status_code == 401
    opened = browser.get(f"/plan?model=qwen3-8b&token={TOKEN}")
    assert opened.status_code == 303 and opened.headers["location"] == "/plan?model=qwen3-8b"
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie and session_of(TOKEN) in cookie
    assert browser.get("/runs").status_code == 200, "the session holds"


def test_the_redirect_of_a_token_stays_here() -> None:
    moved = client(host="0.0.0.0", token=TOKEN).get(f"{BASE}//evil.example/?token={TOKEN}")
    assert moved.status_code == 303 and moved.headers["location"] == "/evil.example/"


def test_the_command_line_wants_a_token_on_other_addresses(cli: Callable[..., Ran]) -> None:
    done = cli("web", "--host", "0.0.0.0")
    assert done.code == 2 and "--token" in done.err
    short = cli("web", "--host", "0.0.0.0", "--token", "short")
    assert short.code == 2 and "16" in short.err
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.168.1.2") and not is_loopback("example.com")


def _forbidden(tmp_path: Path) -> list[str]:
    secret = tmp_path / "config.json"
    secret.write_text('{"architectures": ["LlamaForCausalLM"], "hidden_size": 64}', encoding="utf-8")
    return [
        str(secret), str(tmp_path), f"file://{secret}", "/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa", "./model.gguf",
        "C:\\Windows\\win.ini", "\\\\host\\share\\x.gguf", "http://127.0.0.1:1/x.gguf", "https://example.com/config.json",
        "hf:Qwen/Qwen3-8B", "hf:../../etc", "a/../b", "model.gguf", "config.json", "x" * 500,
    ]  # fmt: skip


def test_no_name_reaches_a_file_or_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that would be paths or addresses are refused before anything is opened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FITSERVE_HOME", str(tmp_path / "home"))
    names = _forbidden(tmp_path)
    opened: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **_: opened.append(a) or pytest.fail("a connection"))
    monkeypatch.setattr(socket.socket, "connect", lambda *a, **_: opened.append(a) or pytest.fail("a connection"))
    world = closed_world()
    assert world.read_hardware is None
    for name in names:
        with pytest.raises(InputError):
            world.read_model(name)
        text = client().get("/plan", params={"model": name, "gpu": "rtx-3090"}).text
        assert 'role="alert"' in text and "LlamaForCausalLM" not in text and "root:" not in text
    assert not opened
    assert client().get("/plan?model=qwen3-8b&hardware=/etc/passwd&gpu=rtx-3090").status_code == 200, (
        "no such field here"
    )


def test_the_hub_is_asked_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(name: str) -> object:
        asked.append(name)
        raise InputError.of("unknown_model", given=name, near=())

    monkeypatch.setattr("fitserve.models.readers.hub.read_repository", read)
    with pytest.raises(InputError):
        closed_world().read_model("hf:Qwen/Qwen3-8B")
    assert asked == []
    for name in (
        "hf:Qwen/Qwen3-8B",
        "hf:http://127.0.0.1/x",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/..",
        "https://huggingface.co/Qwen/Qwen3-8B",
    ):
        with pytest.raises(InputError):
            closed_world(allow_hub=True).read_model(name)
    assert asked == ["Qwen/Qwen3-8B"]


@pytest.mark.parametrize(
    "path",
    ["/static/x/../../api/app.py", "/static/x/%2e%2e%2fapp.py", "/static/..%2f..%2fpyproject.toml/app.py", "/static/x/messages",
     "/static//etc/passwd", "/static/x/__init__.py"],
)  # fmt: skip
def test_only_listed_files_are_served(path: str) -> None:
    assert client().get(path).status_code == 404


def test_bodies_are_bounded() -> None:
    small = client(limits=Limits(body_bytes=1000))
    assert small.post("/check", data={"command": "x" * 5000}).status_code == 413
    assert small.post("/check", content=(b"command=" + b"y" * 400 for _ in range(9)), headers=FORM).status_code == 413
    lying = small.post("/check", content=b"z" * 10, headers={"content-length": "many"})
    assert lying.status_code == 413


def test_what_takes_too_long_is_ended() -> None:
    async def slow(request: Request) -> PlainTextResponse:
        import asyncio

        await asyncio.sleep(30)
        return PlainTextResponse("late")

    app = Guard(Starlette(routes=[Route("/slow", slow)]), host="127.0.0.1", token=None, limits=Limits(seconds=0.05))
    start = time.monotonic()
    assert TestClient(app, base_url=BASE).get("/slow").status_code == 503
    assert time.monotonic() - start < 10


def test_a_bug_shows_nothing_of_the_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("fitserve.web.plan_page.plan_of", broken)
    app = client()
    quiet = TestClient(app.app, base_url=BASE, raise_server_exceptions=False)
    answer = quiet.get("/plan?model=qwen3-8b&gpu=rtx-3090")
    assert answer.status_code == 500 and "secret detail" not in answer.text and "Traceback" not in answer.text
