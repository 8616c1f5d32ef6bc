"""Compare a scanned option list with SGLang's real parser, built with every missing module replaced by a stub.

    python tools/check_sglang_options.py SOURCES/0.5.23 src/fitserve/engines/sglang/options/0.5.23.json

Needs a Python with msgspec and numpy; torch and the compiled modules are not needed. Not every release can be imported
this way; 0.4.6.post5, 0.5.1.post3 and 0.5.23 can.
"""

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

HEAVY = {"sglang.srt.utils.hf_transformers_patches"}
"""Modules of SGLang itself that only patch what is stubbed here."""
ARITIES = {0: "0", None: "1", "+": "1 or more", "*": "0 or more", "?": "0 or 1"}


class Base:
    """Stands for a stubbed base class."""

    def __init_subclass__(cls, **given: Any) -> None:
        del given

    def __class_getitem__(cls, item: Any) -> type["Base"]:
        del item
        return cls


class Stub(MagicMock):
    """Any attribute of a stubbed module."""

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        del bases
        return (Base,)


class StubModule(types.ModuleType):
    """A module in which everything exists."""

    __path__ = ()
    __version__ = "9.9"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = Stub(name=f"{self.__name__}.{name}")
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stub for every module that is not installed, except SGLang's own."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """A stub's spec."""
        del path, target
        if name.split(".")[0] == "sglang" and name not in HEAVY:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The stub."""
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def real_options(root: Path) -> dict[str, dict[str, Any]]:
    """Options of the real parser by every spelling."""
    sys.path.insert(0, str(root))
    for name in HEAVY:
        sys.modules[name] = StubModule(name)
    sys.meta_path.append(Finder())
    server = importlib.import_module("sglang.srt.server_args").ServerArgs
    parser = argparse.ArgumentParser(add_help=False)
    server.add_cli_args(parser)
    found = {}
    for action in parser._actions:
        choices = action.choices if action.choices and not isinstance(action.choices, MagicMock) else ()
        for name in action.option_strings:
            found[name] = {"arity": ARITIES[action.nargs], "choices": sorted(map(str, choices))}  # type: ignore[index]
    return found


def main(root: Path, listed: Path) -> int:
    """Print every difference; the number of them is the exit code."""
    rows = json.loads(listed.read_text(encoding="utf-8"))["rows"]
    mine = {n: row for row in rows for n in (row["name"], *row.get("aliases", ()), *row.get("negations", ()))}
    real = real_options(root)
    differences = [f"only in one: {name}" for name in sorted(set(mine) ^ set(real))]
    for name in sorted(set(mine) & set(real)):
        for key in ("arity", "choices"):
            if (mine[name].get(key) or []) != (real[name][key] or []):
                differences.append(f"{name}: {key} {mine[name].get(key)} against {real[name][key]}")
    print("\n".join(differences) or f"{len(real)} spellings agree")
    return len(differences)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), Path(sys.argv[2])), 100))
