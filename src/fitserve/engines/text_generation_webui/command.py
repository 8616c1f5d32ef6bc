"""The `server.py` command of a deployment."""

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.mirroring import file_name, plain_name, vendor
from fitserve.engines.option_lists import option_names, option_row
from fitserve.engines.text_generation_webui.rules import PACKAGE, RELEASES, facts, feature
from fitserve.foundation.errors import FactMissing


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the option list lacks an option that is needed."""
    family = deployment.weight_format.family
    port = facts()["identity"]["default_port"]
    model = _model(deployment)
    argv = ["python", "server.py", *_option("--model", model)]
    argv += _option("--loader", feature("loaders")[family]["loader"])
    argv += _llama_cpp(deployment) if family == "gguf" else _others(deployment)
    argv += [*_given(deployment), *_option("--api"), *_option("--api-port", str(port))]
    return LaunchCommand(
        argv=tuple(argv),
        device_vendor=vendor(deployment),
        model_file=model if deployment.repository is not None and family == "gguf" else None,
        port=port,
    )


def _model(deployment: Deployment) -> str:
    """A file of the models folder, a path, or the folder that the download script makes of a repository."""
    name = file_name(deployment)
    return name if deployment.weight_format.family == "gguf" else name.replace("/", "_")


def _llama_cpp(deployment: Deployment) -> list[str]:
    given = {plain_name(name) for name in deployment.options}
    slots = max(1, deployment.max_num_seqs or deployment.concurrent_requests)
    if "parallel" in given:
        slots = 1  # the option's own number stands on the line; the context is then what --set says or one request
    argv: list[str] = []
    if not {"ctx-size", "n-ctx", "max-seq-len"} & given:
        argv += _option("--ctx-size", str(deployment.context_tokens * slots))
    argv += [] if "parallel" in given else _option("--parallel", str(slots))
    argv += [] if {"gpu-layers", "n-gpu-layers"} & given else _placement(deployment)
    if deployment.kv_format != "auto" and "cache-type" not in given:
        argv += _option("--cache-type", "fp16" if deployment.kv_format == "f16" else deployment.kv_format)
    if 1 <= deployment.device_count < len(deployment.machine.devices) and "tensor-split" not in given:
        shares = ["1" if index < deployment.device_count else "0" for index in range(len(deployment.machine.devices))]
        argv += _option("--tensor-split", ",".join(shares))
    return argv


def _placement(deployment: Deployment) -> list[str]:
    """Layers on the GPU; of expert models the experts leave first."""
    count, left = len(deployment.model.layers), deployment.offload_layers or 0
    if not deployment.machine.devices:
        return _option("--gpu-layers", "0")
    if not any(layer.experts for layer in deployment.model.layers) or left > count:
        return _option("--gpu-layers", str(max(0, count + 1 - left)))
    argv = _option("--gpu-layers", str(count + 1))
    if left == count:
        return argv + _option("--cpu-moe")
    return argv + (_option("--extra-flags", f"n-cpu-moe={left}") if left else [])


def _others(deployment: Deployment) -> list[str]:
    """Transformers and ExLlamaV3."""
    argv = _option("--ctx-size", str(deployment.context_tokens))
    switch = feature("quantize_on_load").get(deployment.weight_format.name)
    argv += _option(switch) if switch is not None and deployment.repository is None else []
    if deployment.kv_format != "auto":
        argv += _option("--cache-type", deployment.kv_format)
    return argv + (_option("--enable-tp") if deployment.tp > 1 else [])


def _given(deployment: Deployment) -> list[str]:
    names = option_names(PACKAGE, RELEASES.newest)
    argv: list[str] = []
    for option, value in deployment.options.items():
        spelling = f"--{option}" if f"--{option}" in names else f"--{option.replace('-', '_')}"
        row = option_row(PACKAGE, RELEASES.newest, spelling)
        argv += _option(spelling, None if row is not None and row["arity"] == 0 else value)
    return argv


def _option(name: str, value: str | None = None) -> list[str]:
    if name not in option_names(PACKAGE, RELEASES.newest):
        raise FactMissing(
            f"option {name} of text-generation-webui", f"engines/text_generation_webui/options/{RELEASES.newest}.json"
        )
    return [name] if value is None else [name, value]
