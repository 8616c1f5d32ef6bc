"""The real Transformers and mlx-lm: their parsers take every command that plans show, the device map is the one
predicted, and the script serves a real model."""

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran, deployment, machine
from fitserve.engines.registry import engine
from fitserve.engines.transformers.placement import RAM, Block, spread
from fitserve.foundation.units import GIB
from fitserve.models.catalog.lookup import rows
from fitserve.models.readers.local import read_local

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_MLX = [
    ["Qwen/Qwen3-8B", "--gpu", "m2-ultra-192gb"],
    ["Qwen/Qwen3-32B", "--gpu", "m2-ultra-192gb", "--concurrency", "4"],
    ["openai/gpt-oss-20b", "--gpu", "apple-m2-pro"],
    ["Qwen/Qwen3-8B", "--gpu", "apple-m2-pro", "--kv-format", "int8", "--set", "max-tokens=2048"],
]
_TRANSFORMERS = [
    ["Qwen/Qwen3-8B", "--gpu", "rtx-3060-12gb"],
    ["Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--concurrency", "4"],
    ["Qwen/Qwen3-32B", "--gpu", "rtx-3090:2"],
    ["Qwen/Qwen3-0.6B", "--gpu", "none", "--ram", "32"],
    ["Qwen/Qwen3-0.6B", "--gpu", "t4", "--set", "attn-implementation=eager", "--set", "compile=true"],
]


@pytest.fixture(scope="session")
def parsers_python() -> Path:
    """The interpreter of an environment with both packages; made on first use."""
    folder = _ROOT / ".venv-parsers"
    try:
        subprocess.run(
            [str(_ROOT / "tools/install_parsers.sh"), str(folder)],
            check=True, timeout=1800, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as failed:
        if re.search(
            r"Temporary failure in name resolution|Network is unreachable|No matching distribution", failed.stderr
        ):
            pytest.skip("the packages cannot be downloaded here")
        raise
    return folder / "bin/python"


@pytest.mark.parametrize(
    ("name", "requests", "skip", "wrong"),
    [
        ("mlx", _MLX, 1, ["--max-kv-size", "8192"]),
        ("transformers", _TRANSFORMERS, 2, ["a/b", "--load-in-4bit"]),
    ],
)
def test_the_parser_takes_every_command_and_means_the_same(
    parsers_python: Path, cli: Callable[..., Ran], name: str, requests: list[list[str]], skip: int, wrong: list[str]
) -> None:
    commands: list[list[str]] = []
    for request in requests:
        plans = cli("plan", *request, "--engine", name, "--json").json()["plans"]
        assert plans, request
        commands += [argv for plan in plans if "run_model.py" not in (argv := plan["command"]["argv"])]
    assert len(commands) >= len(requests)
    ran = subprocess.run(
        [str(parsers_python), "-W", "ignore", str(_HERE / "real_parse.py"), name],
        input=json.dumps([*(argv[skip:] for argv in commands), wrong]), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "PARSED " in ran.stdout, ran.stderr[-2000:]
    understood = json.loads(ran.stdout.partition("PARSED ")[2])
    assert understood[-1] is None, "the parser refuses nothing"
    for argv, values in zip(commands, understood, strict=False):
        assert values is not None, (argv, ran.stderr[-500:])
        _means(argv[skip:], values)


def _means(argv: list[str], values: dict[str, Any]) -> None:
    if not argv[0].startswith("-"):
        assert values["force_model"] == argv[0]
    for option, value in zip(argv, [*argv[1:], "--"], strict=True):
        if option.startswith("--"):
            said = values[option[2:].replace("-", "_")]
            assert said is True if value.startswith("--") else str(said) == value, (option, said, value)


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_the_device_map_is_the_one_predicted(parsers_python: Path, kind: str) -> None:
    limits = [
        [first, *([] if second is None else [second])]
        for first in range(100_000, 1_100_000, 19_973)
        for second in (None, 200_000, 500_000, 10**9)
    ]
    ran = subprocess.run(
        [str(parsers_python), "-W", "ignore", str(_HERE / "real_device_map.py"), kind],
        input=json.dumps(limits), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "MAPS " in ran.stdout, ran.stderr[-2000:]
    embeddings, layer, head = json.loads(ran.stdout.partition("SIZES ")[2].splitlines()[0])
    blocks = (
        Block(name="embeddings", bytes=embeddings),
        *(Block(name=f"layer {index}", bytes=layer, layer=index) for index in range(8)),
        Block(name="head", bytes=head),
    )
    for limit, real in zip(limits, json.loads(ran.stdout.partition("MAPS ")[2]), strict=True):
        mine = spread(blocks, limit)
        places = [place for block, place in zip(blocks, mine.places, strict=True) if block.layer is not None]
        assert ["cpu" if place == RAM else place for place in places] == real, limit


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()


def _get(url: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        url, data=None if body is None else json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_the_script_serves_a_real_model(parsers_python: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny 'quoted' model"
    model.mkdir()
    subprocess.run([str(parsers_python), str(_HERE / "real_tiny_model.py"), str(model)], check=True, timeout=300)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = deployment(
        read_local(model), "bf16", "transformers", machine(ram_bytes=8 * GIB), context_tokens=64, offload_layers=1,
        options={"port": str(port)},
    )  # fmt: skip
    command = engine("transformers").command(made)
    (tmp_path / command.files[0].path).write_text(command.files[0].text)
    url = f"http://127.0.0.1:{port}"
    with _running([str(parsers_python), *command.argv[1:]], tmp_path) as process:
        for _ in range(240):
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                assert _get(f"{url}/health") == {"status": "ok"}
                break
            except OSError:
                time.sleep(0.5)
        assert _get(f"{url}/v1/models")["data"][0]["id"] == str(model)
        message = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 5}
        answer = _get(f"{url}/v1/chat/completions", message)
    assert 1 <= answer["usage"]["completion_tokens"] <= 5
    assert isinstance(answer["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize(
    ("name", "tokens", "kv_format"),
    [
        ("Qwen/Qwen3-0.6B", 700, "auto"),  # full attention, grown in steps
        ("Qwen/Qwen3-0.6B", 700, "int8"),
        ("google/gemma-3-1b-it", 1500, "auto"),  # windows of 512 in five layers of six
    ],
)
def test_mlx_caches_take_the_bytes_predicted(
    parsers_python: Path, tmp_path: Path, name: str, tokens: int, kv_format: str
) -> None:
    # small where the cache does not depend on it; what the catalogue leaves out and mlx-lm asks for
    small = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 12}
    config = {"rms_norm_eps": 1e-6, "rope_theta": 1e6, **rows()[name]["config"], **small}
    (tmp_path / "config.json").write_text(json.dumps(config))
    bits = {"int8": "8"}.get(kv_format, "0")
    ran = subprocess.run(
        [str(parsers_python), str(_HERE / "real_mlx_cache.py"), str(tmp_path), str(tokens - 1), bits],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    printed = re.search(r"^BYTES (\d+)$", ran.stdout, re.MULTILINE)
    assert printed is not None, ran.stderr[-2000:]
    made = deployment(
        read_local(tmp_path), "bf16", "mlx", machine("m2-ultra-192gb"), context_tokens=tokens, kv_format=kv_format
    )
    assert engine("mlx").cache_bytes(made, 1, "kv") == int(printed[1])
