"""Causes of failures: the vocabulary that measured cases use, to the package's `diagnose`."""

import json
from pathlib import Path
from typing import Any


def convert(shared: Path) -> tuple[dict[str, Any], list[str]]:
    """The vocabulary as a file of the package, and categories that stand in it twice."""
    source = json.loads((shared / "facts/failure_categories.json").read_text())
    names = [row["category"] for row in source["rows"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    content = {"checked": source["checked"], "what": source["what"], "rows": source["rows"]}
    return {"diagnose/categories.json": content}, [f"failure category {name} stands there twice" for name in twice]
