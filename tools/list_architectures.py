"""Which release of an engine first knows an architecture, from the unpacked releases themselves.

usage: list_architectures.py transformers|mlx FOLDER... > architectures.json
FOLDER is an unpacked wheel named PACKAGE-VERSION (`pip download --no-deps PACKAGE==VERSION`, then unzip). The sources are
read by syntax tree; nothing of them is imported.
"""

import ast
import json
import sys
from pathlib import Path

from packaging.version import Version

_GENERATING = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
)


def transformers_classes(folder: Path) -> set[str]:
    """Classes that the auto mappings of generating models name."""
    path = folder / "transformers/models/auto/modeling_auto.py"
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in _GENERATING:
            for pair in ast.walk(node.value):
                if isinstance(pair, ast.Tuple) and len(pair.elts) == 2:
                    found |= {e.value for e in ast.walk(pair.elts[1]) if isinstance(e, ast.Constant)}
    return {str(name) for name in found}


def mlx_types(folder: Path) -> set[str]:
    """Model types: a file of mlx_lm/models that makes or imports a class Model, or a name that is mapped to one."""
    found = {path.stem for path in (folder / "mlx_lm/models").glob("*.py") if "Model" in _top_names(path)}
    for node in ast.parse((folder / "mlx_lm/utils.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MODEL_REMAPPING":
            found |= {key for key, value in ast.literal_eval(node.value).items() if value in found}
    return found


def _top_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def mlx_marks(folder: Path, model_type: str) -> dict[str, bool]:
    """Whether the model's files keep a window-sized cache, and a latent one; files that it builds on are read too."""
    remapped: dict[str, str] = {}
    for node in ast.parse((folder / "mlx_lm/utils.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MODEL_REMAPPING":
            remapped = ast.literal_eval(node.value)
    text, waiting, seen = "", [remapped.get(model_type, model_type)], set()
    while waiting:
        name = waiting.pop()
        path = folder / f"mlx_lm/models/{name}.py"
        if name in seen or not path.is_file() or name in {"cache", "base"}:
            continue
        seen.add(name)
        text += path.read_text(encoding="utf-8")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                waiting += [node.module] if node.module else [alias.name for alias in node.names]
    return {
        "window_cache": "RotatingKVCache" in text or "ChunkedKVCache" in text,
        "latent_cache": "kv_latent, k_pe = cache" in text or "kv_latent = cache" in text,
    }


def main() -> None:
    """Prints the table."""
    kind, *folders = sys.argv[1:]
    read = {"transformers": transformers_classes, "mlx": mlx_types}[kind]
    field = {"transformers": "architecture", "mlx": "model_type"}[kind]
    releases = sorted(((Path(f).name.rpartition("-")[2], Path(f)) for f in folders), key=lambda pair: Version(pair[0]))
    known = [(version, read(folder)) for version, folder in releases]
    rows = []
    for name in sorted(set().union(*(names for _, names in known))):
        having = [index for index, (_, names) in enumerate(known) if name in names]
        row: dict[str, object] = {
            field: name,
            "in": known[having[0]][0],
            "not_in": known[having[0] - 1][0] if having[0] else None,
        }
        if kind == "mlx":
            row |= mlx_marks(releases[having[-1]][1], name)
        gone = having[-1] + 1
        rows.append(row | {"gone_in": known[gone][0] if gone < len(known) else None})
    print('{\n"scanned":' + json.dumps([version for version, _ in known]) + ',\n"rows":[')
    print(",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n}")


if __name__ == "__main__":
    main()
