"""Engine facts: option lists, architectures, quantisation methods and memory rules of vLLM, llama.cpp and Ollama."""

import json
import tomllib
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
# Common options that llama-server leaves out (set_excludes in common/arg.cpp), found by asking its parser: the facts
# have them under "common". Older builds were not asked.
NOT_OF_THE_SERVER = {"v0.5.0": {"--binary-file", "--file", "--prompt", "-bf", "-f", "-p"}}

LLAMA_PROGRAMS = ("server", "cli", "main", "completion", "perplexity")
OLLAMA_FLAGS = Path(__file__).parent / "ollama_flags.toml"
TABBYAPI = Path(__file__).parents[1] / "src/fitserve/engines/exllamav3/options/1.6.5.json"


def _says_something(value: Any) -> bool:
    return value is not None and value != [] and value is not False


def _is_negative_of(name: str, row: dict[str, Any]) -> bool:
    """vLLM 0.33.0 takes --no-enable-x for --enable-x, not --no-disable-x, which the facts have too (its parser was asked)."""
    return name in {f"--no-{spelling.removeprefix('--')}" for spelling in [row["name"], *row.get("aliases", ())]}


def _options(path: Path, programs: tuple[str, ...] = ()) -> dict[str, Any]:
    """Rows of an option list; of a list for several programs those of `programs`, each with the programs that take it."""
    source = json.loads(path.read_text())
    rows = []
    for row in source["rows"]:
        named = row.get("programs", [])
        if "common" in named and row["name"] in NOT_OF_THE_SERVER.get(path.stem, ()):
            named = [name for name in programs if name != "server"]
        taken = [name for name in named if name in programs]
        if programs and not taken and "common" not in named:
            continue
        kept = {key: row[key] for key in OPTION_FIELDS if _says_something(row.get(key))}
        if "also_accepted" in kept:
            kept["also_accepted"] = [name for name in kept["also_accepted"] if _is_negative_of(name, row)]
        rows.append(kept | ({"programs": taken} if programs and "common" not in named else {}))
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
    flags = tomllib.loads(OLLAMA_FLAGS.read_text())
    places = f"{source['rows'][0]['source']}; {flags['source']}"
    return {**header, "source": places, "rows": [*rows, *_ollama_flags(flags["programs"])]}


def _ollama_flags(programs: dict[str, dict[str, list[str]]]) -> list[dict[str, Any]]:
    """One row an option, with the subcommands that take it."""
    rows: dict[str, dict[str, Any]] = {}
    for program, kinds in programs.items():
        for kind, arity in (("values", 1), ("optional", "0 or 1"), ("switches", 0)):
            for text in kinds.get(kind, []):
                name, _, short = text.partition("|")
                row = rows.setdefault(
                    name, {"name": name, "aliases": [short] if short else [], "kind": "flag", "arity": arity}
                )
                row.setdefault("programs", []).append(program)
    return [{key: value for key, value in row.items() if value != []} for row in rows.values()]


def _tabbyapi_differences(facts: Path) -> list[str]:
    """Keys of the pack's (incomplete) list that the full one, written by tools/tabbyapi_options.py, lacks or has otherwise."""
    full = {row["name"]: row for row in json.loads(TABBYAPI.read_text())["rows"]}
    sections = {name.partition(".")[0] for name in full}
    report = []
    for row in json.loads((facts / "engine_options/tabbyapi.json").read_text())["rows"]:
        name = f"{row['section']}.{row['name']}"
        if row["section"] not in sections or (row["name"] and name not in full):
            report.append(f"tabbyapi: {name} is in the pack only")
        elif row["name"] and not set(row["choices"] or ()) <= set(full[name].get("choices", row["choices"] or ())):
            report.append(f"tabbyapi: choices of {name} differ")
    return report


def _of_the_server(row: dict[str, Any]) -> dict[str, Any]:
    return row | {build: False for build, names in NOT_OF_THE_SERVER.items() if row["name"] in names}


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
            files[f"llama_cpp/options/{path.stem}.json"] = _options(path, LLAMA_PROGRAMS)
    for engine in ("vllm", "llama_cpp"):
        source = json.loads((facts / f"engine_options/{engine}/lifetimes.json").read_text())
        if engine == "llama_cpp":
            source["rows"] = [_of_the_server(row) for row in source["rows"]]
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
    return files, report + _tabbyapi_differences(facts)
