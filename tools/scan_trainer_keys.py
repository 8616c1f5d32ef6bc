"""Lists the keys that trainers and quantizers take, from their wheels by syntax tree; nothing is imported.

    python tools/scan_trainer_keys.py FOLDER            write src/fitserve/emit/trainers/keys.json
    python tools/scan_trainer_keys.py FOLDER --check    exit 1 when the file differs

FOLDER holds the wheels named in WHEELS. Keys are names of annotated fields of the classes that read a configuration, or
parameters of the functions that a script calls.
"""

import argparse
import ast
import json
import sys
import zipfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/fitserve/emit/trainers/keys.json"
WHEELS = {
    # name: (wheel, files with classes whose fields are keys, {function: file} whose parameters are keys)
    "axolotl": ("axolotl-0.21.0", ("axolotl/utils/schemas/", "axolotl/integrations/liger/"), {}),
    "llama-factory": ("llamafactory-0.9.5", ("llamafactory/hparams/",), {}),
    "unsloth": ("unsloth-2026.10.9", (), {"from_pretrained": "unsloth/models/", "get_peft_model": "unsloth/models/"}),
    "llm-compressor": (
        "llmcompressor-0.14.0.1",
        ("llmcompressor/args/", "llmcompressor/modifiers/"),
        {"oneshot": "llmcompressor/entrypoints/oneshot.py"},
    ),
    "trl": ("trl-1.16.0", ("trl/trainer/sft_config.py", "trl/trainer/base_config.py"), {}),
    "peft": ("peft-0.21.2", ("peft/tuners/lora/config.py", "peft/config.py"), {}),
    "transformers": ("transformers-5.23.0", ("transformers/training_args.py",), {}),
    "exllamav3": ("exllamav3-1.6.5", (), {"add_argument": "exllamav3/conversion/"}),
    "mlx": ("mlx_lm-0.32.2", (), {"add_argument": "mlx_lm/convert.py"}),
}


def keys_of(path: Path, folders: tuple[str, ...], functions: dict[str, str]) -> list[str]:
    """Sorted keys of a wheel."""
    found: set[str] = set()
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if not name.endswith(".py"):
                continue
            is_fields = any(name.startswith(folder) for folder in folders)
            wanted = {function for function, place in functions.items() if name.startswith(place)}
            if is_fields or wanted:
                tree = ast.parse(wheel.read(name))
                found |= fields(tree) if is_fields else set()
                found |= parameters(tree, wanted)
    return sorted(found)


def fields(tree: ast.Module) -> set[str]:
    """Annotated fields of all classes."""
    return {
        item.target.id
        for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }  # fmt: skip


def parameters(tree: ast.Module, functions: set[str]) -> set[str]:
    """Parameters of functions of these names; for `add_argument`, the options that are added."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in functions:
            found |= {item.arg for item in (*node.args.args, *node.args.kwonlyargs)}
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "add_argument"
            and "add_argument" in functions
        ):
            found |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return found


def main() -> int:
    """Scans, checks or writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    content = {}
    for name, (wheel, folders, functions) in WHEELS.items():
        path = next(arguments.folder.glob(f"{wheel}-*.whl"))
        content[name] = {"version": wheel.rpartition("-")[2], "keys": keys_of(path, folders, functions)}
    text = json.dumps(content, indent=0) + "\n"
    if arguments.check:
        return 0 if TARGET.read_text() == text else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
