"""How to serve a model with LM Studio's command line: the server, then the model, then its load with these settings."""

import re

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.lmstudio.memory import gpu_layers, loaded_tokens, slots
from fitserve.engines.lmstudio.rules import PACKAGE, RELEASES, facts
from fitserve.engines.mirroring import plain_name, vendor
from fitserve.engines.option_lists import option_row
from fitserve.foundation.errors import FactMissing

_SET_HERE = {"context-length", "c", "parallel", "identifier", "y", "yes"}


def command(deployment: Deployment) -> LaunchCommand:
    """`lms server start`, then `lms get` (or `lms import`) and `lms load`."""
    port = facts()["identity"]["default_port"]
    name = _key(deployment)
    return LaunchCommand(
        argv=("lms", "server", "start", *_given(deployment, "server start"), *_flag("port", str(port))),
        device_vendor=vendor(deployment),
        port=port,
        served_name=name,
        then=(_fetch(deployment, name), _load(deployment, name)),
    )


def _key(deployment: Deployment) -> str:
    """The name that LM Studio lists a model under: the last part of its repository, in lower case."""
    base = re.split(r"[/\\]", deployment.repository or deployment.model.id)[-1].lower().removesuffix(".gguf")
    return re.sub(r"[^a-z0-9._-]+", "-", base).strip("-._") or "model"


def _fetch(deployment: Deployment, name: str) -> tuple[str, ...]:
    mix = deployment.weight_format.gguf_mix
    if deployment.repository is not None and mix is not None:
        return ("lms", "import", deployment.repository, *_flag("copy"), *_flag("yes"))
    if mix is not None:
        return ("lms", "get", f"{name}@{mix.lower()}", *_flag("gguf"), *_flag("yes"))
    return ("lms", "get", name, *_flag("mlx"), *_flag("yes"))


def _load(deployment: Deployment, name: str) -> tuple[str, ...]:
    words = ["lms", "load", name, *_flag("context-length", str(loaded_tokens(deployment)))]
    words += _flag("parallel", str(slots(deployment)))
    if "gpu" not in deployment.options:
        words += _flag("gpu", _ratio(deployment))
    return (*words, *_given(deployment, "load"), *_flag("identifier", name), *_flag("yes"))


def _ratio(deployment: Deployment) -> str:
    """`max`, `off`, or the share of layers on the GPU, rounded down so that none too many goes there."""
    total, layers = len(deployment.model.layers) + 1, gpu_layers(deployment)
    if not deployment.machine.devices or not layers:
        return "off"
    return "max" if layers == total else f"{layers * 100 // total / 100:.2f}"


def _given(deployment: Deployment, subcommand: str) -> list[str]:
    """Options of the request that this subcommand knows and that are not set here."""
    words: list[str] = []
    for option, value in deployment.options.items():
        row = option_row(PACKAGE, RELEASES.newest, f"--{plain_name(option)}")
        if row is not None and subcommand in row["subcommands"] and plain_name(option) not in _SET_HERE | {"port"}:
            words += _flag(plain_name(option), value if row["arity"] else None)
    return words


def _flag(name: str, value: str | None = None) -> list[str]:
    """A flag of the list. Raises FactMissing for one that it lacks."""
    if option_row(PACKAGE, RELEASES.newest, f"--{name}") is None:
        raise FactMissing(f"option --{name} of lms", f"engines/lmstudio/options/{RELEASES.newest}.json")
    return [f"--{name}"] if value is None else [f"--{name}", value]
