"""Option list of a Python program that builds an argparse parser: its source read by syntax tree, nothing imported.

    python tools/argparse_options.py SOURCE.py --engine ID --version V --checked DATE --source TEXT > OUT.json

Names, arity, value types, choices and literal defaults are taken, no help text. Used for text-generation-webui
(modules/shared.py), whose parser cannot be run without the program's own settings.
"""

import argparse
import ast
import json
from pathlib import Path
from typing import Any

_TYPES = {"int": "integer", "float": "number", "str": "string"}


def rows_of(text: str) -> list[dict[str, Any]]:
    """One row for each `add_argument` call, in the order of the source."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    return [_row(call) for call in sorted(made, key=lambda call: call.lineno)]


def _row(call: ast.Call) -> dict[str, Any]:
    names = [word.value for word in call.args if isinstance(word, ast.Constant)]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    action = ast.unparse(given["action"]).strip("'\"") if "action" in given else ""
    row: dict[str, Any] = {"name": names[0]}
    if names[1:]:
        row["aliases"] = names[1:]
    if action.endswith("BooleanOptionalAction"):
        row["negations"] = ["--no-" + name.removeprefix("--") for name in names]
    is_switch = action in {"store_true", "store_false"} or "negations" in row
    row |= {"kind": "switch" if is_switch else "value", "arity": 0 if is_switch else _literal(given.get("nargs"), 1)}
    row["value_type"] = (
        "boolean" if is_switch else _TYPES.get(ast.unparse(given["type"]) if "type" in given else "", "string")
    )
    for key in ("choices", "default"):
        value = _literal(given.get(key), None)
        if value not in (None, ""):
            row[key] = value
    return row


def _literal(node: ast.expr | None, otherwise: Any) -> Any:
    try:
        return otherwise if node is None else ast.literal_eval(node)
    except ValueError:
        return otherwise


def main() -> None:
    """Writes the list to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    for name in ("engine", "version", "checked", "source"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    head = {"engine": given.engine, "version": given.version, "checked": given.checked, "source": given.source}
    print_list(head | {"complete": True}, rows_of(given.file.read_text(encoding="utf-8")))


def print_list(head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """A header and one row a line, so that a change shows as one line."""
    lines = [f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    body = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    print("{\n" + "\n".join(lines) + f'\n"rows":[\n{body}\n]\n}}')


if __name__ == "__main__":
    main()
