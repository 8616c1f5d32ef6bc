"""The `transformers serve` command of a deployment, or the script that runs it where the server's options do not suffice."""

from importlib.resources import files

from fitserve.engines.contract import Deployment, LaunchCommand, LaunchFile
from fitserve.engines.option_lists import option_names, option_row
from fitserve.engines.releases import at_least
from fitserve.engines.transformers.memory import split_text
from fitserve.engines.transformers.placement import RAM
from fitserve.engines.transformers.rules import PACKAGE, RELEASES, facts, feature
from fitserve.engines.transformers.settings import is_batched, runs_script, split_of, used_devices
from fitserve.foundation.errors import FactMissing
from fitserve.models.catalog.lookup import rows

SCRIPT = "run_model.py"
_TEMPLATE = "run_model.py.txt"
_MARK = "SETTINGS: dict = {}"
_TORCH_NAMES = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
_OFF = {"false", "no", "off", "0"}


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list, and the script where one is needed. Raises FactMissing when the release lacks an option."""
    repository = deployment.repository or deployment.model.id
    devices = used_devices(deployment)
    written: tuple[LaunchFile, ...] = ()
    if runs_script(deployment):
        argv = ["python" if deployment.machine.host.os == "windows" else "python3", SCRIPT]
        written = (LaunchFile(path=SCRIPT, text=script_text(deployment)),)
    else:
        argv = _serve(deployment, repository)
    return LaunchCommand(
        argv=tuple(argv), files=written, device_vendor=devices[0].vendor if devices else "none", served_name=repository,
        port=facts()["identity"]["default_port"], needs_token=bool(rows().get(repository, {}).get("gated")),
    )  # fmt: skip


def _serve(deployment: Deployment, repository: str) -> list[str]:
    positional = "force_model" in option_names(PACKAGE, RELEASES.nearest(deployment.engine_version))
    argv = [
        "transformers",
        "serve",
        *([repository] if positional else _option(deployment, "--force-model", repository)),
    ]
    for name, value in (
        ("device", device_name(deployment)), ("dtype", dtype_name(deployment)), ("host", "127.0.0.1"),
        ("port", str(facts()["identity"]["default_port"])),
    ):  # fmt: skip
        if name not in deployment.options and (name, value) != ("dtype", "auto"):
            argv += _option(deployment, f"--{name}", value)
    if _quantizes_here(deployment):
        argv += _quantization(deployment)
    if is_batched(deployment):
        argv += _option(deployment, "--continuous-batching")
        if "cb-max-memory-percent" not in deployment.options:
            percent = feature("paged_cache")["memory_percent"]
            argv += _option(deployment, "--cb-max-memory-percent", f"{percent:g}")
    return argv + _given(deployment)


def _quantizes_here(deployment: Deployment) -> bool:
    made = deployment.repository is None and deployment.model.checkpoint is None
    return made and deployment.weight_format.family == "bnb"


def _quantization(deployment: Deployment) -> list[str]:
    name = deployment.weight_format.name
    if "--quantization" in option_names(PACKAGE, RELEASES.nearest(deployment.engine_version)):
        return ["--quantization", name]
    if name == "bnb-8bit":
        return _option(deployment, "--load-in-8bit")
    return [*_option(deployment, "--load-in-4bit"), *_option(deployment, "--use-bnb-nested-quant")]


def device_name(deployment: Deployment) -> str:
    """One device is named, so that nothing spills into RAM unasked; several are left to the device map."""
    devices = used_devices(deployment)
    if not devices:
        return "cpu"
    if len(devices) > 1:
        return "auto"
    return {"apple": "mps", "intel": "xpu"}.get(devices[0].vendor, "cuda:0")


def dtype_name(deployment: Deployment) -> str:
    """The torch type of computation: float16 where a GPU has no bfloat16, else what the checkpoint says."""
    devices = [device for device in used_devices(deployment) if device.vendor == "nvidia"]
    if any((device.capability_number or 0) < feature("bfloat16_capability") for device in devices):
        return "float16"
    plain = _TORCH_NAMES.get(deployment.weight_format.name)
    return plain if plain is not None and plain != "float32" else "auto"


def settings(deployment: Deployment) -> dict[str, object]:
    """What the script is told: plain values, written as a literal."""
    split, options = split_of(deployment), deployment.options
    repository = deployment.repository or deployment.model.id
    max_memory: dict[int | str, int] = dict(enumerate(split.max_memory)) if used_devices(deployment) else {}
    ram = split.bytes_at(RAM)
    named = "dtype" if at_least(deployment.engine_version, feature("dtype_argument_from")) else "torch_dtype"
    return {
        "model": repository,
        "device_map": "auto" if len(split.max_memory) > 1 or (ram and max_memory) else device_name(deployment),
        # a limit, not a need: the RAM's own share, the largest block that the map keeps free, and one to spare
        "max_memory": {**max_memory, "cpu": ram + 2 * split.largest_in_ram} if ram and max_memory else None,
        "dtype_argument": named,
        "dtype": options.get("dtype", dtype_name(deployment)),
        "attn_implementation": options.get("attn-implementation", "sdpa"),
        "quantization": deployment.weight_format.name if _quantizes_here(deployment) else None,
        "trust_remote_code": options.get("trust-remote-code", "false").lower() not in _OFF,
        "context_tokens": deployment.context_tokens,
        "host": options.get("host", "127.0.0.1"),
        "port": int(options.get("port", facts()["identity"]["default_port"])),
        "planned_layers": list(split_text(split)),
    }


def script_text(deployment: Deployment) -> str:
    """The script with its settings; every value is a Python literal, whatever a path holds."""
    template = files(PACKAGE).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    lines = [f"    {key!a}: {value!a},\n" for key, value in settings(deployment).items()]
    return template.replace(_MARK, "SETTINGS: dict = {\n" + "".join(lines) + "}", 1)


def _option(deployment: Deployment, name: str, value: str | None = None) -> list[str]:
    listed = RELEASES.nearest(deployment.engine_version)
    if name not in option_names(PACKAGE, listed):
        where = f"engines/transformers/options/{listed}.json"
        raise FactMissing(f"option {name} in Transformers {deployment.engine_version}", where)
    return [name] if value is None else [name, value]


def _given(deployment: Deployment) -> list[str]:
    argv: list[str] = []
    for name, value in deployment.options.items():
        row = option_row(PACKAGE, RELEASES.nearest(deployment.engine_version), f"--{name}") or {}
        if str(row.get("arity", "1")) == "1":
            argv += _option(deployment, f"--{name}", value)
        elif value.lower() not in _OFF:
            argv += _option(deployment, f"--{name}")
        elif row.get("negations"):
            argv += _option(deployment, f"--no-{name}")
    return argv
