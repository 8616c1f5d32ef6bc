"""Folders, config.json, safetensors headers, and everything over HTTP from a local server."""

import contextlib
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fitserve.footprint.weights import weight_bytes
from fitserve.foundation.errors import FactMissing, InputError, ReadFailed
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.formats import parse_format
from fitserve.models.readers.byte_source import FileSource
from fitserve.models.readers.hub import is_reachable, read_repository, read_url
from fitserve.models.readers.local import read_local
from fitserve.models.readers.reference import read_reference
from fitserve.models.readers.safetensors_header import read_safetensors_header
from gguf_files import write_gguf

CONFIG = rows()["Qwen/Qwen3-0.6B"]["config"]


def write_shard(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], int]]) -> None:
    """A safetensors file whose data is a hole."""
    table, offset = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def repository(folder: Path, shards: int = 2) -> Path:
    """A folder with a config and shards that hold as many bytes as the model has."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    total = catalog_model("Qwen/Qwen3-0.6B").params()
    each, names = total // shards, []
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        count = each if shard else total - each * (shards - 1)
        write_shard(folder / name, {f"model.layers.{shard}.w": ("BF16", (count,), 2 * count)})
        names.append(name)
    index = {"weight_map": {f"model.layers.{i}.w": name for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_a_folder_gives_the_catalogue_model_with_the_bytes_of_its_headers(tmp_path: Path) -> None:
    model, known = read_local(repository(tmp_path)), catalog_model("Qwen/Qwen3-0.6B")
    assert model.layers == known.layers and model.is_local
    assert model.stored_weight_bytes == 2 * known.params()
    bf16 = parse_format("bf16")
    assert weight_bytes(model, bf16) == pytest.approx(weight_bytes(known, bf16), rel=1e-6)


def test_stored_bytes_win_over_shapes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_shard(tmp_path / "model.safetensors", {"w": ("BF16", (10**9,), 2 * 10**9)})
    assert weight_bytes(read_local(tmp_path), parse_format("bf16")) == pytest.approx(2e9, rel=1e-6)


def test_a_config_alone_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    assert read_local(path).layers == catalog_model("Qwen/Qwen3-0.6B").layers


def test_vision_of_a_bare_config_is_said_to_be_unknown(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(rows()["google/gemma-3-4b-it"]["config"]))
    assert read_local(path).unaccounted == ("vision",)


def test_vision_and_mtp_bytes_come_from_the_headers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(rows()["google/gemma-3-4b-it"]["config"]))
    write_shard(
        tmp_path / "model.safetensors",
        {
            "vision_tower.a": ("BF16", (500,), 1000),
            "mtp.b": ("BF16", (50,), 100),
            "model.layers.0.c": ("BF16", (5,), 10),
        },
    )
    parts = {group.part: group.stored_bytes for group in read_local(tmp_path).tensors if group.part != "text"}
    assert parts == {"vision": 1000, "mtp": 100}


def test_modelopt_puts_its_format_into_a_file_of_its_own(tmp_path: Path) -> None:
    repository(tmp_path)
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    checkpoint = read_local(tmp_path).checkpoint
    assert checkpoint is not None and checkpoint.weight_format == "nvfp4"


def _problem(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems[0].code


def test_an_unfinished_download_is_named(tmp_path: Path) -> None:
    repository(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert _problem(lambda: read_local(tmp_path)) == "safetensors_broken"


BROKEN_CONFIGS = {
    "no JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "empty": "{}",
    "no architectures": '{"hidden_size": 8}',
    "zero layers": json.dumps({**CONFIG, "num_hidden_layers": 0}),
    "a million layers": json.dumps({**CONFIG, "num_hidden_layers": 10**6}),
    "negative": json.dumps({**CONFIG, "hidden_size": -5}),
    "text for a number": json.dumps({**CONFIG, "hidden_size": "big"}),
    "huge": json.dumps({**CONFIG, "vocab_size": 2**80}),
    "null": json.dumps({**CONFIG, "num_hidden_layers": None}),
    "a long number": '{"architectures": ["LlamaForCausalLM"], "hidden_size": ' + "9" * 10_000 + "}",
    "quantization": json.dumps({**CONFIG, "quantization_config": {"quant_method": "magic"}}),
}


@pytest.mark.parametrize("name", BROKEN_CONFIGS)
def test_broken_configs_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(BROKEN_CONFIGS[name])
    assert _problem(lambda: read_local(path)).startswith("config_")


def test_an_unknown_architecture_is_unknown_and_not_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIG, "architectures": ["BrandNewForCausalLM"]}))
    with pytest.raises(FactMissing, match="BrandNewForCausalLM"):
        read_local(path)


def test_a_large_config_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert _problem(lambda: read_local(path)) == "file_too_large"


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    assert _problem(lambda: read_local(tmp_path)) == "folder_without_config"
    assert _problem(lambda: read_local(tmp_path / "nothing")) == "file_missing"


def test_a_folder_with_one_gguf(tmp_path: Path) -> None:
    model = catalog_model("Qwen/Qwen3-0.6B")
    write_gguf(tmp_path / "a-Q4_K_M.gguf", model, "Q4_K_M")
    (tmp_path / "mmproj-a.gguf").write_bytes(b"GGUF")
    assert read_local(tmp_path).gguf_architecture == "qwen3"
    write_gguf(tmp_path / "a-Q8_0.gguf", model, "Q8_0")
    assert _problem(lambda: read_local(tmp_path)) == "several_gguf_files"


def _shard(header: bytes, data: int = 0) -> bytes:
    return struct.pack("<Q", len(header)) + header + b"\0" * data


HOSTILE_SHARDS = {
    "empty": b"",
    "short": b"\1\0\0",
    "absurd length": struct.pack("<Q", 2**63) + b"{}",
    "length beyond the file": struct.pack("<Q", 10_000) + b"{}",
    "no JSON": _shard(b"{{{{"),
    "deep": _shard(b"[" * 50_000),
    "a list": _shard(b"[1]"),
    "no table": _shard(b'{"a": 1}'),
    "unknown dtype": _shard(b'{"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}', 4),
    "negative": _shard(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', 4),
    "offsets beyond": _shard(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', 0),
    "wrong size": _shard(b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}', 4),
    "text sizes": _shard(b'{"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}', 4),
    "true": _shard(b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', 4),
}


@pytest.mark.parametrize("name", HOSTILE_SHARDS)
def test_hostile_safetensors_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE_SHARDS[name])
    with contextlib.closing(FileSource(path)) as source:
        assert _problem(lambda: read_safetensors_header(source)) == "safetensors_broken"


class Hub(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as the hub does: a listing, files by range; some names misbehave."""

    seen: list[tuple[str, str | None, str | None]]

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if self.path.startswith("/api/models/"):
            self._listing(self.path.removeprefix("/api/models/"))
        elif "gated" in self.path:
            self.send_error(403)
        elif "redirect-to-file" in self.path:
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        else:
            self._file(Path(self.directory) / self.path.replace("/resolve/main", "").lstrip("/"))

    def _listing(self, name: str) -> None:
        folder = Path(self.directory) / name
        if not folder.is_dir():
            self.send_error(404)
            return
        body = json.dumps({"siblings": [{"rfilename": file.name} for file in folder.iterdir()]}).encode()
        self._answer(200, body, {})

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self.send_error(404)
            return
        size, wanted = path.stat().st_size, self.headers.get("Range")
        if wanted is None or "no-range" in self.path:
            self._answer(200, path.read_bytes()[:100_000], {})
            return
        start, end = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(min(end, size - 1) - start + 1)
        self._answer(206, body, {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{size}"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a local server serves as the hub."""
    Hub.seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Hub(*a, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN", "secret")
    yield tmp_path
    server.shutdown()
    server.server_close()


def _url(path: str) -> str:
    import os

    return f"{os.environ['HF_ENDPOINT']}/{path}"


def test_a_repository_is_read_by_ranges(hub: Path) -> None:
    (hub / "org/new-model").mkdir(parents=True)
    repository(hub / "org/new-model")
    model = read_repository("org/new-model")
    assert model.stored_weight_bytes == 2 * catalog_model("Qwen/Qwen3-0.6B").params()
    assert all(wanted for path, wanted, _ in Hub.seen if path.endswith(".safetensors"))
    assert {token for _, _, token in Hub.seen} == {"Bearer secret"}


def test_a_name_that_the_catalogue_lacks_is_looked_up(hub: Path) -> None:
    (hub / "org/zzz").mkdir(parents=True)
    repository(hub / "org/zzz")
    assert is_reachable()
    assert read_reference("org/zzz").model.id == "org/zzz"
    assert read_reference("hf:org/zzz").is_file
    assert _problem(lambda: read_reference("org/not-there")) == "unknown_model"


def test_a_gguf_by_url_and_by_name(hub: Path) -> None:
    (hub / "org/model-GGUF").mkdir(parents=True)
    model = catalog_model("Qwen/Qwen3-0.6B")
    write_gguf(hub / "org/model-GGUF/model-Q4_K_M.gguf", model, "Q4_K_M", vocabulary=151_936)
    write_gguf(hub / "org/model-GGUF/model-Q8_0.gguf", model, "Q8_0")
    by_url = read_url(_url("org/model-GGUF/resolve/main/model-Q4_K_M.gguf"))
    assert by_url.checkpoint is not None and by_url.checkpoint.weight_format == "gguf:Q4_K_M"
    by_name = read_repository("org/model-GGUF:Q8_0")
    assert by_name.checkpoint is not None and by_name.checkpoint.weight_format == "gguf:Q8_0"
    assert _problem(lambda: read_repository("org/model-GGUF")) == "several_gguf_files"
    fetched = sum(1 for path, wanted, _ in Hub.seen if path.endswith("Q4_K_M.gguf") and wanted)
    assert fetched < 12


def test_what_can_go_wrong_over_http(hub: Path) -> None:
    write_gguf(hub / "no-range.gguf", catalog_model("Qwen/Qwen3-0.6B"), "Q8_0")
    with pytest.raises(ReadFailed, match="range"):
        read_url(_url("no-range.gguf"))
    with pytest.raises(ReadFailed, match="HF_TOKEN"):
        read_url(_url("gated.gguf"))
    with pytest.raises(ReadFailed, match="not allowed"):
        read_url(_url("redirect-to-file.gguf"))
    assert _problem(lambda: read_url(_url("missing.gguf"))) == "file_missing"
    assert _problem(lambda: read_url(_url("page.html"))) == "file_missing"
    assert _problem(lambda: read_repository("not a name")) == "file_missing"


def test_an_unreachable_hub_is_the_worlds_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not is_reachable()
    with pytest.raises(ReadFailed):
        read_repository("org/model")
    assert _problem(lambda: read_reference("org/model")) == "unknown_model"
