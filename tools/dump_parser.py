"""Writes the option list of a server program from its own source: one JSON file per release, as engines/*/options holds.

usage: dump_parser.py KIND FILE --engine ID --version V --program TEXT --source TEXT
KIND: argparse (`add_argument` calls), typer (annotated parameters of `__init__`), dataclass (fields read by Hugging
Face's HfArgumentParser), clap-help (the options of a Rust program as its documentation prints them).
The source is read by syntax tree; nothing of it is imported.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def literal(node: ast.expr | None) -> Any:
    """The value of a literal; None for anything computed."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def from_argparse(tree: ast.Module) -> Iterator[dict[str, Any]]:
    """Options of every `add_argument` call."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"):
            continue
        names = [value for value in map(literal, node.args) if isinstance(value, str)]
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        if not names or not names[0].startswith("-"):
            continue
        switch = literal(given.get("action")) in {"store_true", "store_false"}
        kind = getattr(given.get("type"), "id", None)
        row = {"name": max(names, key=len), "aliases": sorted(set(names) - {max(names, key=len)})}
        row |= {"kind": "flag" if switch else "value", "arity": "0" if switch else "1"}
        row |= {"value_type": {"int": "integer", "float": "number"}.get(kind or "", "string")}
        row |= {"choices": literal(given.get("choices")), "default": literal(given.get("default"))}
        yield row


def _annotation(node: ast.expr) -> str:
    return (
        ast.unparse(node.slice.elts[0]) if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) else ""
    )


def _enums(tree: ast.Module) -> dict[str, list[str]]:
    return {
        item.name: [literal(part.value) for part in item.body if isinstance(part, ast.Assign)]
        for item in tree.body
        if isinstance(item, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in item.bases)
    }


def from_typer(tree: ast.Module) -> Iterator[dict[str, Any]]:
    """Options of the first class whose `__init__` takes typer parameters; a positional argument is listed by its name."""
    enums = _enums(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.FunctionDef) and node.name == "__init__" and "typer" in ast.unparse(node.args)):
            continue
        padding: list[ast.expr | None] = [None] * (len(node.args.args) - len(node.args.defaults))
        for argument, default in zip(node.args.args, [*padding, *node.args.defaults], strict=True):
            if argument.annotation is None or "typer." not in ast.unparse(argument.annotation):
                continue
            kind, text = _annotation(argument.annotation), ast.unparse(argument.annotation)
            positional, switch = "typer.Argument" in text, kind in {"bool", "bool | None"}
            dashed = argument.arg.replace("_", "-")
            row: dict[str, Any] = {"name": argument.arg if positional else f"--{dashed}"}
            row |= {"negations": [f"--no-{dashed}"] if switch else [], "arity": "0" if switch else "1"}
            row |= {"kind": "positional" if positional else "flag" if switch else "value"}
            row |= {
                "value_type": {"int": "integer", "float": "number", "bool": "boolean"}.get(kind.split(" ")[0], "string")
            }
            row |= {"choices": enums.get(kind), "default": literal(default), "hidden": "hidden=True" in text or None}
            yield row
        return


def from_dataclass(tree: ast.Module) -> Iterator[dict[str, Any]]:
    """Fields of the class `ServeArguments`; HfArgumentParser takes both spellings and gives switches an optional value."""
    holder = next(item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == "ServeArguments")
    for item in holder.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
            continue
        keywords = {k.arg: k.value for k in item.value.keywords} if isinstance(item.value, ast.Call) else {}
        kind, name = ast.unparse(item.annotation), item.target.id
        metadata = keywords.get("metadata")
        choices = next(
            (literal(v) for k, v in zip(metadata.keys, metadata.values, strict=True) if k and literal(k) == "choices")
            if isinstance(metadata, ast.Dict) else iter(()), None,
        )  # fmt: skip
        dashed = name.replace("_", "-")
        row: dict[str, Any] = {"name": f"--{dashed}", "aliases": [f"--{name}"] if dashed != name else []}
        row |= {"kind": "flag" if kind == "bool" else "value", "arity": "?" if kind == "bool" else "1"}
        row |= {"value_type": {"int": "integer", "float": "number", "bool": "boolean"}.get(kind, "string")}
        row |= {"choices": choices, "default": literal(keywords.get("default"))}
        yield row


_HEAD = re.compile(r"^ +(?:(-\w), )?(--[\w-]+)(?: <(\w+)>)?$", re.MULTILINE)


def from_clap_help(text: str) -> Iterator[dict[str, Any]]:
    """Options as `--help` of a clap program prints them."""
    heads = list(_HEAD.finditer(text))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        body = text[head.end() : following.start() if following else None]
        listed = re.search(r"\[possible values: ([^\]]+)\]", body)
        choices = listed[1].split(", ") if listed else re.findall(r"^ +- ([\w.-]+):", body, re.MULTILINE)
        default = re.search(r"\[default: ([^\]]+)\]", body)
        yield {
            "name": head[2], "aliases": [head[1]] if head[1] else [], "kind": "value" if head[3] else "flag",
            "arity": "1" if head[3] else "0", "value_type": "string", "choices": choices or None,
            "default": default[1] if default else None,
            "env": (found := re.search(r"\[env: (\w+)=", body)) and found[1],
        }  # fmt: skip


def listing(kind: str, text: str) -> list[dict[str, Any]]:
    """Rows in the order of names, without empty fields."""
    readers = {"argparse": from_argparse, "typer": from_typer, "dataclass": from_dataclass}
    found = from_clap_help(text) if kind == "clap-help" else readers[kind](ast.parse(text))
    rows = [{key: value for key, value in row.items() if value not in (None, [], "")} for row in found]
    return sorted(rows, key=lambda row: row["name"])


def main() -> None:
    """Prints the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["argparse", "typer", "dataclass", "clap-help"])
    parser.add_argument("file", type=Path)
    for name in ("--engine", "--version", "--program", "--source", "--checked"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    rows = listing(given.kind, given.file.read_text(encoding="utf-8"))
    if not rows:
        sys.exit(f"{given.file}: no options found")
    head = {key: getattr(given, key) for key in ("engine", "version", "checked", "source", "program")}
    lines = [f"{json.dumps(key)}:{json.dumps(value)}," for key, value in head.items()]
    body = ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    print("{\n" + "\n".join(lines) + f'\n"rows":[\n{body}\n]\n}}')


if __name__ == "__main__":
    main()
