"""Option list of a command-line program written with commander (TypeScript): flags read from its source as text.

    python tools/commander_options.py SUBCOMMAND=SOURCE.ts ... --engine ID --version V --checked DATE --source TEXT > OUT.json

Reads `new Option("-c, --context-length <length>"` and `.option("--exact"`. Used for LM Studio's `lms`.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from argparse_options import print_list

_FLAG = re.compile(r'(?:new Option|\.option)\(\s*"((?:-\w, )?--[\w-]+)((?: [<\[][\w./-]+[>\]])?)"')


def rows_of(texts: dict[str, str]) -> list[dict[str, Any]]:
    """One row for each flag; `subcommands` says which ones know it, and a `--no-` form belongs to its plain form."""
    rows: dict[str, dict[str, Any]] = {}
    for subcommand, text in texts.items():
        for names, value in _FLAG.findall(text):
            *aliases, name = names.split(", ")
            row = rows.setdefault(name, {"name": name, "subcommands": []})
            row |= {"aliases": aliases} if aliases else {}
            row |= {"kind": "value" if value else "switch", "arity": 1 if value else 0}
            row["subcommands"].append(subcommand)
    for name in [name for name in rows if name.startswith("--no-") and f"--{name[5:]}" in rows]:
        rows[f"--{name[5:]}"]["negations"] = [rows.pop(name)["name"]]
    return list(rows.values())


def main() -> None:
    """Writes the list to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="SUBCOMMAND=FILE")
    parser.add_argument("--incomplete", action="store_true")
    for name in ("engine", "version", "checked", "source"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    texts = {key: Path(path).read_text(encoding="utf-8") for key, path in (item.split("=", 1) for item in given.files)}
    head = {"engine": given.engine, "version": given.version, "checked": given.checked, "source": given.source}
    print_list(head | {"complete": not given.incomplete}, rows_of(texts))


if __name__ == "__main__":
    main()
