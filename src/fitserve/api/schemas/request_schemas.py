"""JSON schemas of request bodies, with the help of the command line as descriptions."""

from typing import Any

from fitserve.plan.request import Request
from fitserve.render.texts import Texts

_FILES = ("hardware", "prices")
"""Fields that name a file: the command line reads it, a server does not."""


def request_schema(model: type[Request], words: Texts, *, without: tuple[str, ...] = _FILES) -> dict[str, Any]:
    """The schema of a request's JSON object, without the fields that name files."""
    made = model.model_json_schema()
    fields = {
        name: _field(schema, words.text("help", schema.get("description") or name))
        for name, schema in made["properties"].items()
        if name not in without
    }
    required = [name for name in made.get("required", ()) if name not in without]
    schema: dict[str, Any] = {"type": "object", "properties": fields, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _field(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """A field with its description; null stands for a field that is not given."""
    kept = {key: value for key, value in schema.items() if key not in {"title", "description", "default"}}
    default = schema.get("default")
    return {"description": description, **kept, **({} if default in (None, []) else {"default": default})}
