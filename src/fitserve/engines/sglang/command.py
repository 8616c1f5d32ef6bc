"""The server command of a deployment: only options of the release, with the static share that the budget rests on."""

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.releases import at_least
from fitserve.engines.sglang.constraints import kv_name, needs_float16, used
from fitserve.engines.sglang.policy import resolve
from fitserve.engines.sglang.rules import FACTS, known_options, option, options_version
from fitserve.foundation.errors import FactMissing
from fitserve.hardware.types import Accelerator
from fitserve.models.catalog.lookup import rows

_SWITCHES = {"true", "yes", "on", "1", ""}
_SERVE_FROM = "0.5.10"
"""`sglang serve` exists since 0.5.5 and is the recommended entry from here (launch_server.py prints so)."""


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the release lacks an option that is needed."""
    model, version = deployment.model, deployment.engine_version
    repository = deployment.repository or model.id
    start = ("sglang", "serve") if at_least(version, _SERVE_FROM) else ("python3", "-m", "sglang.launch_server")
    argv = [*start, *_option(version, "--model-path", repository)]
    argv += _option(version, "--context-length", str(deployment.context_tokens))
    for name, size in (
        ("--tp-size", deployment.tp),
        ("--pp-size", deployment.pp),
        ("--dp-size", deployment.dp),
        ("--ep-size", deployment.ep),
    ):
        argv += _option(version, name, str(size)) if size > 1 else []
    argv += _types(deployment)
    argv += _limits(deployment)
    for name, value in deployment.options.items():
        argv += _given(version, name, value)
    if "host" not in deployment.options:
        argv += _option(version, "--host", "127.0.0.1")
    if "port" not in deployment.options:
        argv += _option(version, "--port", str(FACTS.table["identity"]["default_port"]))
    device = used(deployment)[0]
    return LaunchCommand(
        argv=tuple(argv),
        image=_image(device, version),
        device_vendor=device.vendor,
        model_file=repository if model.is_local else None,
        cache_folder="/root/.cache/huggingface",
        port=int(deployment.options.get("port", FACTS.table["identity"]["default_port"])),
        needs_token=bool(rows().get(repository, {}).get("gated")),
    )


def _option(version: str, name: str, value: str | None = None) -> list[str]:
    if name not in known_options(version):
        raise FactMissing(
            f"option {name} in SGLang {version}", f"engines/sglang/options/{options_version(version)}.json"
        )
    return [name] if value is None else [name, value]


def _types(deployment: Deployment) -> list[str]:
    version, argv = deployment.engine_version, []
    if any(needs_float16(device) for device in used(deployment)):
        argv += _option(version, "--dtype", "half")
    if deployment.repository is None and deployment.model.checkpoint is None:
        words = FACTS.table["runtime_quantization"].get(deployment.weight_format.name, [])
        for name, value in zip(words[::2], words[1::2], strict=True):
            argv += _option(version, name, value)
    cache = kv_name(deployment)
    return argv + (_option(version, "--kv-cache-dtype", cache) if cache else [])


def _limits(deployment: Deployment) -> list[str]:
    version, argv = deployment.engine_version, []
    if "mem-fraction-static" not in deployment.options:
        # stated although SGLang would choose the same: its rule differs between releases and the budget rests on it
        argv += _option(version, "--mem-fraction-static", f"{resolve(deployment).static_share:.3g}")
    if deployment.max_num_seqs is not None and "max-running-requests" not in deployment.options:
        argv += _option(version, "--max-running-requests", str(deployment.max_num_seqs))
    return argv


def _given(version: str, name: str, value: str) -> list[str]:
    row = option(version, f"--{name}")
    switch = row is not None and row["arity"] == "0" and value.lower() in _SWITCHES
    return _option(version, f"--{name}", None if switch else value)


def _image(device: Accelerator, version: str) -> str | None:
    if device.vendor == "amd":
        family = FACTS.value("rocm_families").get(device.gfx)
        known = at_least(version, FACTS.row("rocm_image")["by_version"][0]["from"])
        return (
            str(FACTS.value("rocm_image", version)).format(version=version, family=family) if known and family else None
        )
    for row in FACTS.value("images"):
        if row["vendor"] == device.vendor:
            return str(row["image"]).format(version=version)
    return None
