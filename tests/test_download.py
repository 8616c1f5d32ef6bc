"""Downloads from a hub of our own: progress, resume, checksum, disk, and names that nobody publishes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import deployment, machine
from fitserve.foundation.errors import InputError, ReadFailed, WorldError
from fitserve.launch import download
from fitserve.launch.download import fetch, fetch_gguf, files_of

_REPOSITORY = "someone/Tiny-GGUF"
_COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """One repository; `cut_after`: bytes after which the first answers break off; `lie`: serves other bytes than it says."""

    def __init__(self, files: dict[str, bytes], cut_after: int | None = None, lie: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.cut_after, self.lie, self.ranges = files, cut_after, lie, []  # type: ignore[var-annotated]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{_REPOSITORY}"):
            rows = [_row(name, data) for name, data in self.server.files.items()]
            self._send(json.dumps({"id": _REPOSITORY, "sha": _COMMIT, "siblings": rows}).encode(), with_body, {})
        elif path.startswith(f"/{_REPOSITORY}/resolve/"):
            self._file(self.server.files[path.split("/", 5)[5]], with_body)
        else:
            self._send(b"{}", with_body, {"X-Error-Code": "RepoNotFound"}, 404)

    def _file(self, data: bytes, with_body: bool) -> None:
        digest = hashlib.sha256(data).hexdigest()
        content = b"\0" * len(data) if self.server.lie else data
        headers = {
            "ETag": f'"{digest}"',
            "X-Repo-Commit": _COMMIT,
            "X-Linked-Size": str(len(data)),
            "Accept-Ranges": "bytes",
        }
        begin = 0
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        cut = self.server.cut_after
        if with_body and cut is not None:
            self.server.cut_after = None
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[:cut])
            self.wfile.flush()
            self.connection.close()
            return
        self._send(content[begin:], with_body, headers, 206 if asked else 200)

    def _send(self, body: bytes, with_body: bool, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _row(name: str, data: bytes) -> dict[str, Any]:
    pointer = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
    return {"rfilename": name, "size": len(data), "lfs": pointer}


@contextmanager
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, **ways: Any) -> Iterator[Hub]:
    server = Hub(files, **ways)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


_DATA = bytes(range(256)) * 40_000
_FILES = {"Tiny-Q4_K_M.gguf": _DATA, "Tiny-Q8_0.gguf": b"other", "mmproj-Q4_K_M.gguf": b"vision", "README.md": b"text"}


def quiet(*_: object) -> None:
    pass


def test_the_file_of_the_format_comes_whole_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    with hub(_FILES, monkeypatch):
        files = files_of(_REPOSITORY, "Q4_K_M")
        assert [file.name for file in files] == ["Tiny-Q4_K_M.gguf"]
        path = fetch(files, lambda *row: told.append(row))
    assert path.read_bytes() == _DATA
    assert told
    assert told[-1][1:] == (len(_DATA), len(_DATA))


def test_a_download_that_broke_off_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(_FILES, monkeypatch, cut_after=3_000_000) as server:
        files = files_of(_REPOSITORY, "Q4_K_M")
        path = fetch(files, quiet)
        assert path.read_bytes() == _DATA
        begun = [int(text.removeprefix("bytes=").partition("-")[0]) for text in server.ranges]
        assert any(begin > 0 for begin in begun), server.ranges


def test_other_bytes_than_stated_are_refused_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(_FILES, monkeypatch, lie=True):
        files = files_of(_REPOSITORY, "Q4_K_M")
        with pytest.raises(ReadFailed, match="checksum"):
            fetch(files, quiet)
    assert not list(Path(download.cache_folder()).rglob("Tiny-Q4_K_M.gguf"))


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(_FILES, monkeypatch) as server:
        files = files_of(_REPOSITORY, "Q4_K_M")
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
        with pytest.raises(WorldError, match="1000 free"):
            fetch(files, quiet)
        assert not server.ranges


def test_a_model_that_nobody_publishes_names_where_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = deployment("Qwen/Qwen3-8B", "gguf:Q4_K_M", "llama.cpp", machine(ram_bytes=1 << 36))
    with hub(_FILES, monkeypatch), pytest.raises(InputError) as wrong:
        fetch_gguf(wanted, "Qwen3-8B-Q4_K_M.gguf", quiet)
    problem = wrong.value.problems[0]
    assert problem.code == "gguf_not_published"
    assert "bartowski/Qwen3-8B-GGUF" in dict(problem.parameters)["asked"]  # type: ignore[operator]


def test_what_an_ended_process_had_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    with hub(_FILES, monkeypatch, cut_after=3_000_000) as server:
        files = files_of(_REPOSITORY, "Q4_K_M")
        with pytest.raises(ReadFailed):
            fetch(files, quiet)
        assert fetch(files, quiet).read_bytes() == _DATA
        begun = [int(text.removeprefix("bytes=").partition("-")[0]) for text in server.ranges]
        assert begun
        assert begun[0] > 1_000_000


def test_no_network_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0.01)
    with hub(_FILES, monkeypatch):
        files = files_of(_REPOSITORY, "Q4_K_M")
    with pytest.raises(ReadFailed):
        fetch(files, quiet)


def test_a_disk_that_fills_up_on_the_way_is_said_and_what_came_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    written: list[int] = []

    class Full:
        name = "part"

        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorldError, match="No space left"):
        download._write(Full(), b"x")  # type: ignore[arg-type]
    real = download._write

    def twice(into: Any, data: bytes) -> None:
        written.append(len(data))
        if len(written) > 3:
            raise WorldError(f"write {into.name}", "No space left on device")
        real(into, data)

    with hub(_FILES, monkeypatch) as server:
        files = files_of(_REPOSITORY, "Q4_K_M")
        monkeypatch.setattr(download, "_write", twice)
        with pytest.raises(WorldError, match="No space left"):
            fetch(files, quiet)
        monkeypatch.setattr(download, "_write", real)
        assert fetch(files, quiet).read_bytes() == _DATA
        assert int(server.ranges[-1].removeprefix("bytes=").partition("-")[0]) == sum(written[:3])
