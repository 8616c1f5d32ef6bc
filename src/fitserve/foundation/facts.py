"""Facts shipped with the package: JSON that programs write, TOML that people write. Each is read once."""

import json
import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import Any


@lru_cache(maxsize=64)
def load_json(package: str, name: str) -> Any:
    """The content of a JSON file that lies in `package`; callers must not change it."""
    return json.loads(files(package).joinpath(name).read_bytes())


@lru_cache(maxsize=64)
def load_toml(package: str, name: str) -> dict[str, Any]:
    """The content of a TOML file that lies in `package`; callers must not change it."""
    return tomllib.loads(files(package).joinpath(name).read_text(encoding="utf-8"))
