"""Keys of vLLM's JSON options over its releases, read from the syntax trees of the source archives.

    python tools/scan_vllm_config_keys.py CACHE_FOLDER     writes src/fitserve/engines/vllm/config_keys.json

A key's life is the first and the last scanned release whose class has a field of that name.
"""

import ast
import json
import sys
from pathlib import Path
from typing import Any

from pypi_source import python_files, source_archive

PACKAGE = Path(__file__).parents[1] / "src/fitserve/engines/vllm"
OPTIONS = {
    "--compilation-config": "CompilationConfig",
    "--speculative-config": "SpeculativeConfig",
    "--structured-outputs-config": "StructuredOutputsConfig",
    "--kv-transfer-config": "KVTransferConfig",
    "--kv-events-config": "KVEventsConfig",
    "--eplb-config": "EPLBConfig",
    "--attention-config": "AttentionConfig",
    "--profiler-config": "ProfilerConfig",
}
INSIDE = {"CompilationConfig": {"pass_config": "PassConfig"}}
# Renamed fields (vllm/config/compilation.py: PassConfig and CompilationConfig docstrings and deprecation messages).
RENAMED = {
    "level": "mode",
    "enable_fi_allreduce_fusion": "fuse_allreduce_rms",
    "enable_fusion": "fuse_norm_quant",
    "enable_attn_fusion": "fuse_attn_quant",
    "enable_noop": "eliminate_noops",
    "enable_sequence_parallelism": "enable_sp",
    "enable_async_tp": "fuse_gemm_comms",
}


def fields_of(version: str, cache: Path) -> dict[str, set[str]]:
    """Field names of every class in the configuration modules of a release."""
    found: dict[str, set[str]] = {}
    wanted = {*OPTIONS.values(), *(name for table in INSIDE.values() for name in table.values())}
    for path, text in python_files(source_archive("vllm", version, cache), "vllm/config"):
        del path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name in wanted:
                names = {
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
                found.setdefault(node.name, set()).update(names)
    return found


def lives(versions: list[str], tables: dict[str, dict[str, set[str]]], name: str) -> dict[str, Any]:
    """key -> first and last release; None stands for the ends of what was scanned with the class in it."""
    with_class = [version for version in versions if name in tables[version]]
    keys: dict[str, Any] = {}
    for key in sorted({key for version in with_class for key in tables[version][name]}):
        present = [version for version in with_class if key in tables[version][name]]
        life: dict[str, Any] = {
            "first": None if present[0] == with_class[0] else present[0],
            "last": None if present[-1] == with_class[-1] else present[-1],
        }
        if life["last"] is not None and key in RENAMED:
            life["replacement"] = RENAMED[key]
        keys[key] = life
    inside = {key: lives(versions, tables, inner) for key, inner in INSIDE.get(name, {}).items()}
    return {"keys": keys, **({"inside": inside} if inside else {})}


def main() -> int:
    """Scans, writes, reports what could not be had."""
    cache = Path(sys.argv[1])
    scanned = json.loads((PACKAGE / "option_lifetimes.json").read_text())["scanned"]
    tables: dict[str, dict[str, set[str]]] = {}
    for version in scanned[scanned.index("0.6.6.post1") :]:
        try:
            tables[version] = fields_of(version, cache)
        except (LookupError, SyntaxError) as error:
            print(f"{version}: {error}", file=sys.stderr)
    versions = list(tables)
    rows = [{"option": option, **lives(versions, tables, name)} for option, name in OPTIONS.items()]
    head = {"checked": "2026-11-20", "what": "fields of the classes behind JSON options", "scanned": versions,
            "source": "PyPI package vllm, source archives, vllm/config (Apache-2.0), syntax trees"}  # fmt: skip
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = json.dumps(head)[:-1] + ',\n"rows":[\n' + lines + "\n]}\n"
    (PACKAGE / "config_keys.json").write_text(text, encoding="utf-8")
    print(f"{len(versions)} releases, {sum(len(row['keys']) for row in rows)} keys")
    return 0


if __name__ == "__main__":
    sys.exit(main())
