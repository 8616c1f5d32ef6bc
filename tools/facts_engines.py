"""Engine facts: option lists, architectures, quantisation methods and memory rules of vLLM, llama.cpp and Ollama."""

import json
from pathlib import Path
from typing import Any

OPTION_FIELDS = (
    "name",
    "aliases",
    "negations",
    "also_accepted",
    "kind",
    "arity",
    "value_type",
    "choices",
    "known_values",
    "default",
    "deprecated",
    "removed",
)
HEADER_FIELDS = (
    "engine", "version", "checked", "source", "requires_python", "torch", "transformers", "cuda_arch_lists",
    "quantization_methods", "tool_call_parsers", "reasoning_parsers",
)  # fmt: skip


def _says_something(value: Any) -> bool:
    return value is not None and value != [] and value is not False


def _options(path: Path, program: str | None = None) -> dict[str, Any]:
    source = json.loads(path.read_text())
    rows = []
    for row in source["rows"]:
        if program and not {program, "common"} & set(row.get("programs", [])):
            continue
        rows.append({key: row[key] for key in OPTION_FIELDS if _says_something(row.get(key))})
    header = {key: source[key] for key in HEADER_FIELDS if key in source}
    return {**header, "rows": rows}


def _ollama_options(path: Path) -> dict[str, Any]:
    """Modelfile commands and parameters, request options and environment variables, each with its kind."""
    source = json.loads(path.read_text())
    rows = [
        {key: row[key] for key in ("name", "kind", "value_type", "default") if _says_something(row.get(key))}
        | {"arity": 1}
        for row in source["rows"]
    ]
    header = {key: source[key] for key in ("engine", "version", "checked")}
    return {**header, "source": source["rows"][0]["source"], "rows": rows}


def convert(shared: Path) -> tuple[dict[str, Any], list[str]]:
    """Package files by their path below `engines/`, and a report of what is wrong."""
    facts = shared / "facts"
    files: dict[str, Any] = {}
    report: list[str] = []
    for path in sorted((facts / "engine_options/vllm").glob("*.json")):
        if path.stem != "lifetimes":
            files[f"vllm/options/{path.stem}.json"] = _options(path)
    for path in sorted((facts / "engine_options/llama_cpp").glob("*.json")):
        if path.stem != "lifetimes":
            files[f"llama_cpp/options/{path.stem}.json"] = _options(path, program="server")
    for engine in ("vllm", "llama_cpp"):
        source = json.loads((facts / f"engine_options/{engine}/lifetimes.json").read_text())
        files[f"{engine}/option_lifetimes.json"] = source
    files["ollama/options/0.32.15.json"] = _ollama_options(facts / "engine_options/ollama.json")
    for name, target in (
        ("vllm_architectures", "vllm/architectures"),
        ("vllm_quantization", "vllm/quantization"),
        ("vllm_memory_rules", "vllm/memory_rules"),
        ("llama_cpp_architectures", "llama_cpp/architectures"),
        ("ollama_architectures", "ollama/architectures"),
    ):
        source = json.loads((facts / f"{name}.json").read_text())
        if not source.get("refs"):
            report.append(f"{name}: no refs")
        files[f"{target}.json"] = source
    return files, report
