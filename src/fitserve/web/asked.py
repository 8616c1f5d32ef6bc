"""From the address of a page to a request, and back: every state of a page is an address that can be shared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from fitserve.engines.contract import Deployment
from fitserve.foundation.errors import InputError
from fitserve.plan.machine import parse_gpu
from fitserve.plan.request import HardwareRequest, PlanRequest

THIS_MACHINE = "this"
_NOT_HERE = ("hardware", "gpu")
"""Fields that no address carries as they are: a file of the server, and the GPUs, which stand apart."""
_HARDWARE = tuple(name for name in HardwareRequest.model_fields if name not in _NOT_HERE)
_PLAN = tuple(name for name in PlanRequest.model_fields if name not in {*_NOT_HERE, *_HARDWARE})
_MANY = frozenset(name for name, field in PlanRequest.model_fields.items() if "tuple" in str(field.annotation))
_LONGEST, _MOST = 400, 64
_PICK_PARTS = 6
_SIZES = ("tp", "pp", "dp", "ep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The state of a page: named values in the order of the address, the GPUs, and the candidate that is looked at."""

    values: Mapping[str, tuple[str, ...]]
    gpus: tuple[str, ...] = ()
    pick: str = ""

    def one(self, name: str, default: str = "") -> str:
        """A value that is given once."""
        return self.values[name][0] if self.values.get(name) else default

    def fields(self, names: Sequence[str] = (*_PLAN, *_HARDWARE)) -> dict[str, object]:
        """Fields of a request; this machine is what a request without GPU means."""
        found: dict[str, object] = {
            name: self.values[name] if name in _MANY else self.values[name][0] for name in names if name in self.values
        }
        named = tuple(text for text in self.gpus if text != THIS_MACHINE)
        return found | ({"gpu": named} if named else {})

    def query(self, change: Mapping[str, object] | None = None) -> str:
        """The address of this state with some values changed; None and empty leave one out."""
        pairs: dict[str, tuple[str, ...]] = {"model": self.values.get("model", ()), "gpu": self.gpus}
        pairs |= {name: given for name, given in self.values.items() if name != "model"} | {"pick": (self.pick,)}
        for name, value in (change or {}).items():
            pairs[name] = (
                tuple(map(str, value)) if isinstance(value, tuple | list) else (() if value is None else (str(value),))
            )
        return urlencode([(name, text) for name, texts in pairs.items() for text in texts if text], safe=":/~=,")


def asked_of(query: QueryParams, defaults: Mapping[str, str] | None = None) -> Asked:
    """The state that an address names. Names that no page knows are left out; texts are cut to a sane length."""
    values: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(key for key, _ in query.multi_items()):
        if name in _PLAN or name in _HARDWARE or name in {"family", "variants"}:
            given = tuple(text.strip()[:_LONGEST] for text in query.getlist(name)[:_MOST] if text.strip())
            if given:
                values[name] = given
    if "ram" in values and values["ram"][0].replace(".", "", 1).isdigit():
        values["ram"] = (f"{values['ram'][0]}GiB",)
    gpus = _gpus(query.getlist("gpu")[:_MOST], query.getlist("n")[:_MOST])
    if defaults and not values and not gpus:
        values = {name: (text,) for name, text in defaults.items() if name != "gpu"}
        gpus = (defaults["gpu"],) if "gpu" in defaults else ()
    return Asked(values=values, gpus=gpus, pick=query.get("pick", "")[:_LONGEST])


def _gpus(names: Sequence[str], counts: Sequence[str]) -> tuple[str, ...]:
    """`a100:2`; a form without scripts sends names and counts side by side."""
    found = []
    for index, name in enumerate(names):
        text = name.strip()[:_LONGEST]
        if not text:
            continue
        count = counts[index].strip() if index < len(counts) else ""
        is_counted = len(counts) == len(names) and count.isdigit() and text not in {THIS_MACHINE, "none"}
        found.append(f"{_bare(text)}:{int(count)}" if is_counted and int(count) > 1 else text)
    return tuple(found)


def _bare(text: str) -> str:
    try:
        return parse_gpu(text)[0]
    except InputError:
        return text


def gpu_fields(gpus: Iterable[str]) -> list[tuple[str, int]]:
    """(name, count) for the fields of a form."""
    found = []
    for text in gpus:
        try:
            found.append(parse_gpu(text))
        except InputError:
            found.append((text, 1))
    return found


def pick_of(deployment: Deployment) -> str:
    """A candidate by what distinguishes it: engine, version, format, sizes, layers in RAM."""
    sizes = f"{deployment.tp}.{deployment.pp}.{deployment.dp}.{deployment.ep}"
    parts = (deployment.engine, deployment.engine_version, deployment.weight_format.name, deployment.kv_format)
    return "~".join((*parts, sizes, str(deployment.offload_layers or 0)))


def fields_of_pick(pick: str) -> dict[str, object]:
    """Fields of a request that fix a candidate; empty for text that is none."""
    parts = pick.split("~")
    if len(parts) != _PICK_PARTS:
        return {}
    engine, version, name, kv_format, sizes, layers = parts
    found: dict[str, object] = {"engine": (engine,), "engine_version": version, "format": name}
    found |= {} if kv_format == "auto" else {"kv_format": kv_format}
    found |= {name: size for name, size in zip(_SIZES, sizes.split("."), strict=False) if name != "ep" or size != "1"}
    return found | ({"offload": layers} if layers not in {"0", ""} else {})
