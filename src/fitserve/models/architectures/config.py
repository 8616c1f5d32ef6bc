"""Typed, forgiving-about-names, strict-about-values access to a Hugging Face config."""

from collections.abc import Mapping, Sequence
from typing import Any

from fitserve.foundation.errors import InputError

_MAX_LAYERS = 1024  # no published model has more than 200; protects against absurd numbers in a hostile file
_MAX_DIMENSION = 2**31  # dimensions are 32-bit in every engine


class Config:
    """A config.json, or the `text_config` inside it, with the fields of the outer object as fallback."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        inner: Mapping[str, Any] = next(
            (data[key] for key in ("text_config", "llm_config", "language_config") if _is_map(data.get(key))), {}
        )
        self._fields: dict[str, Any] = {**data, **{k: v for k, v in inner.items() if v is not None}}
        self.outer = data
        self.where = where

    def raw(self, *names: str) -> Any:
        """The first of these fields that is present and not null; None when none is."""
        return next((self._fields[name] for name in names if self._fields.get(name) is not None), None)

    def has(self, *names: str) -> bool:
        """Whether one of these fields is present."""
        return self.raw(*names) is not None

    def size(self, *names: str, default: int | None = None) -> int:
        """A positive whole number; `default` when absent. Raises InputError naming the field."""
        value = self.raw(*names)
        if value is None:
            if default is None:
                raise InputError.of("config_field_missing", field=names[0], where=self.where)
            return default
        return self._whole(names[0], value, minimum=1)

    def count(self, *names: str, default: int = 0) -> int:
        """A whole number that may be zero."""
        value = self.raw(*names)
        return default if value is None else self._whole(names[0], value, minimum=0)

    def optional(self, *names: str) -> int | None:
        """A positive whole number, or None when the field is absent or null."""
        return self.size(*names) if self.has(*names) else None

    def flag(self, *names: str, default: bool = False) -> bool:
        """A boolean."""
        value = self.raw(*names)
        if value is None:
            return default
        if not isinstance(value, bool | int):
            raise InputError.of("config_field_wrong", field=names[0], value=str(value)[:60], where=self.where)
        return bool(value)

    def text(self, *names: str, default: str = "") -> str:
        """A string."""
        value = self.raw(*names)
        return value if isinstance(value, str) else default

    def numbers(self, *names: str) -> list[int] | None:
        """A list of whole numbers, or None when absent."""
        value = self.raw(*names)
        if value is None:
            return None
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > _MAX_LAYERS:
            raise InputError.of("config_field_wrong", field=names[0], value=str(value)[:60], where=self.where)
        return [self._whole(names[0], item, minimum=0) for item in value]

    def part(self, name: str) -> "Config":
        """A nested object as a Config of its own; empty when absent."""
        value = self.raw(name)
        return Config(value if _is_map(value) else {}, f"{self.where}: {name}")

    def maps(self, name: str) -> list[Mapping[str, Any]]:
        """A list of nested objects; empty when absent."""
        value = self.raw(name)
        return [item for item in value if _is_map(item)] if isinstance(value, list) else []

    @property
    def layer_count(self) -> int:
        """num_hidden_layers, within reason."""
        count = self.size("num_hidden_layers", "n_layer", "n_layers", "num_layers")
        if count > _MAX_LAYERS:
            raise InputError.of("config_field_wrong", field="num_hidden_layers", value=str(count), where=self.where)
        return count

    @property
    def layer_types(self) -> list[str] | None:
        """`layer_types`, one name per layer, when the config has it."""
        value = self.raw("layer_types")
        if value is None:
            return None
        if not isinstance(value, list) or len(value) < self.layer_count or not all(isinstance(v, str) for v in value):
            raise InputError.of("config_field_wrong", field="layer_types", value=str(value)[:60], where=self.where)
        return value[: self.layer_count]

    def _whole(self, name: str, value: Any, minimum: int) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < _MAX_DIMENSION:
            raise InputError.of("config_field_wrong", field=name, value=str(value)[:60], where=self.where)
        return value


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)
