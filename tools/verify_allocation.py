"""Asks the real engines about models of the catalogue and keeps the answers as measured cases of the package.

`python tools/verify_allocation.py` writes src/fitserve/evidence/cases/gguf_memory_verified.json (a second a case);
`--vllm PYTHON` asks a vLLM as well (half a minute a case) and writes vllm_kv_pool_verified.json. Settings differ on
purpose: cache types, slots, unified caches, micro-batches, full window caches, flash attention off.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fitserve.cli.verbs import world
from fitserve.foundation.errors import FitserveError
from fitserve.launch.oracle.answer import VerifyRequest, verify
from fitserve.launch.oracle.types import Verification

HERE = Path(__file__).resolve().parent
CASES = HERE.parent / "src/fitserve/evidence/cases"
GGUF, VLLM = CASES / "gguf_memory_verified.json", CASES / "vllm_kv_pool_verified.json"


def main(arguments: Sequence[str]) -> int:
    """Writes the case files; ends with 1 when a model gave no answer."""
    python = arguments[arguments.index("--vllm") + 1] if "--vllm" in arguments else None
    table = load_toml_beside("verify_allocation.toml")
    if python is None:
        return _write(GGUF, [_request(row, table["settings"][row["settings"]]) for row in table["gguf"]])
    rows = [{"model": row["model"], "context": row["context"]} for row in table["vllm"]]
    return _write(VLLM, [{**row, "gpu": ("none",), "engine": ("vllm",), "python": python} for row in rows])


def load_toml_beside(name: str) -> dict[str, Any]:
    """A table of this folder."""
    import tomllib

    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))


def _request(row: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
    options = tuple(f"{name}={value}" for name, value in settings.get("set", {}).items())
    fields = {key: value for key, value in settings.items() if key != "set"}
    return {
        "model": row["model"], "format": row["format"], "gpu": ("none",), "engine": ("llama.cpp",), "set": options, **fields,
    }  # fmt: skip


def _write(file: Path, requests: list[dict[str, Any]]) -> int:
    found = list(_answers(requests))
    cases = [answer.case for answer in found if answer.case is not None]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    file.write_text(f'{{"schema":"fitserve-evidence/1","cases":[\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{len(cases)} of {len(requests)} in {file.name}; {sum(a.agrees for a in found)} agree")
    return 0 if len(cases) == len(requests) else 1


def _answers(requests: list[dict[str, Any]]) -> Iterator[Verification]:
    for request in requests:
        try:
            answer = verify(VerifyRequest.read(**request), world())
        except FitserveError as error:
            print(f"no answer: {request['model']}: {error}")
            continue
        apart = [f"{line.code} {line.error_pct}" for line in answer.lines if not line.agrees]
        print("agrees " if answer.agrees else "differs", request["model"], *apart, flush=True)
        yield answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
