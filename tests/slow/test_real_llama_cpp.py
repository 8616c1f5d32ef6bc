"""The real llama.cpp allocates what the prediction says: a file is written, read by the reader, predicted and loaded."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import deployment, machine
from fitserve.engines.contract import Deployment
from fitserve.engines.registry import engine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.readers.local import read_local
from gguf_files import write_gguf

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).with_name("llama_cpp_load.py")
_LINES = {
    "model_mib.CPU_Mapped": r"CPU_Mapped model buffer size = *([\d.]+) MiB",
    "kv_mib.CPU": r"CPU KV buffer size = *([\d.]+) MiB",
    "rs_mib.CPU": r"CPU RS buffer size = *([\d.]+) MiB",
    "compute_mib.CPU": r"CPU compute buffer size = *([\d.]+) MiB",
    "output_mib.CPU": r"CPU +output buffer size = *([\d.]+) MiB",
}
_ROUNDING_MIB = 0.006  # the engine prints two decimals
_USUAL = {
    "context_tokens": 8192,
    "slots": 1,
    "unified": False,
    "micro_batch_tokens": 512,
    "kv_format": "f16",
    "flash_attention": True,
}
_MODELS = [
    ("Qwen/Qwen3-0.6B", "Q4_K_M"),
    ("google/gemma-3-270m-it", "Q8_0"),
    ("google/gemma-3-1b-it", "Q4_K_M"),
    ("meta-llama/Llama-3.2-1B-Instruct", "Q6_K"),
    ("Qwen/Qwen2.5-0.5B-Instruct", "F16"),
    ("state-spaces/mamba-2.8b-hf", "Q8_0"),
    ("deepseek-ai/DeepSeek-V2-Lite", "Q4_K_M"),
]
_SETTINGS: list[dict[str, Any]] = [
    {},
    {"context_tokens": 32_768, "slots": 4},
    {"context_tokens": 16_384, "slots": 2, "unified": True, "kv_format": "q8_0"},
    {"flash_attention": False, "micro_batch_tokens": 256},
]


def _printed(path: Path, settings: dict[str, Any]) -> dict[str, float]:
    """Buffers that the engine says it allocated, in MiB; several of a kind are added."""
    ran = subprocess.run(
        [sys.executable, str(_SCRIPT), json.dumps({"path": str(path), **settings})],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "LOADED" in ran.stdout, ran.stderr[-2000:]
    found = {name: [float(size) for size in re.findall(line, ran.stderr)] for name, line in _LINES.items()}
    return {name: sum(sizes) for name, sizes in found.items() if sizes}


def _deployed(path: Path, settings: dict[str, Any]) -> Deployment:
    options = {
        "ctx-size": str(settings["context_tokens"]),
        "parallel": str(settings["slots"]),
        "kv-unified": "on" if settings["unified"] else "off",
        "ubatch-size": str(settings["micro_batch_tokens"]),
        "cache-type-k": settings["kv_format"],
        "cache-type-v": settings["kv_format"],
        "flash-attn": "on" if settings["flash_attention"] else "off",
        "repack": "off",
    }
    mix = path.stem.split("-")[-1]
    return deployment(
        read_local(path),
        f"gguf:{mix}",
        "llama.cpp",
        machine(),
        context_tokens=settings["context_tokens"],
        options=options,
    )


@pytest.mark.parametrize(("name", "mix"), _MODELS)
def test_the_engine_allocates_what_is_predicted(name: str, mix: str, tmp_path: Path) -> None:
    model = catalog_model(name)
    path = write_gguf(tmp_path / f"model-{mix}.gguf", model, mix, tokenizer=True)
    for change in _SETTINGS:
        settings = _USUAL | change
        deployed = _deployed(path, settings)
        chosen = engine("llama.cpp")
        figures = chosen.log_figures(deployed, chosen.budget(deployed))
        printed = _printed(path, settings)
        assert {"model_mib.CPU_Mapped", "compute_mib.CPU", "output_mib.CPU"} <= set(printed)
        assert {"kv_mib.CPU", "rs_mib.CPU"} & set(printed)
        for line, measured in printed.items():
            predicted = figures[line]
            what = f"{name} {change} {line}: printed {measured}, predicted {predicted}"
            if line == "compute_mib.CPU":
                assert predicted.low - _ROUNDING_MIB <= measured <= predicted.high + _ROUNDING_MIB, what
                assert abs(predicted.likely - measured) <= 0.05 * measured, what
            else:
                assert abs(predicted.likely - measured) <= _ROUNDING_MIB * 2 + 0.0005 * measured, what
