"""The text-generation-launcher command of a deployment; its image runs it behind /tgi-entrypoint.sh."""

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.option_lists import option_names, option_row
from fitserve.engines.tgi.rules import PACKAGE, facts, feature, options_version
from fitserve.foundation.errors import FactMissing
from fitserve.models.catalog.lookup import rows


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the release lacks an option that is needed."""
    model, identity = deployment.model, facts()["identity"]
    repository = deployment.repository or model.id
    argv = ["text-generation-launcher", *_option(deployment, "--model-id", repository)]
    if "max-total-tokens" not in deployment.options:
        argv += _option(deployment, "--max-total-tokens", str(deployment.context_tokens))
    if "num-shard" not in deployment.options:
        # without it TGI takes every GPU that it sees
        argv += _option(deployment, "--num-shard", str(deployment.tp))
    argv += _types(deployment)
    if deployment.concurrent_requests > feature("max_concurrent_requests"):
        argv += _option(deployment, "--max-concurrent-requests", str(deployment.concurrent_requests))
    if "hostname" not in deployment.options:
        argv += _option(deployment, "--hostname", "127.0.0.1")
    if "port" not in deployment.options:
        argv += _option(deployment, "--port", str(identity["default_port"]))
    argv += _given(deployment)
    vendor = deployment.machine.devices[0].vendor
    image = feature("images").get(vendor)
    return LaunchCommand(
        argv=tuple(argv), image=image and image.format(version=deployment.engine_version), entrypoint="/tgi-entrypoint.sh",
        device_vendor=vendor, model_file=repository if model.is_local else None, cache_folder="/data",
        port=identity["default_port"], needs_token=bool(rows().get(repository, {}).get("gated")),
    )  # fmt: skip


def _types(deployment: Deployment) -> list[str]:
    argv: list[str] = []
    made_here = deployment.repository is None and deployment.model.checkpoint is None
    method = feature("formats").get(deployment.weight_format.name, "") if made_here else ""
    if method and "quantize" not in deployment.options:
        argv += _option(deployment, "--quantize", method)
    elif not deployment.weight_format.is_quantized and "dtype" not in deployment.options:
        # the launcher refuses --dtype beside --quantize; without it some models are cast to float16
        argv += _option(deployment, "--dtype", "bfloat16" if _has_bfloat16(deployment) else "float16")
    if deployment.kv_format in feature("kv_formats"):
        argv += _option(deployment, "--kv-cache-dtype", feature("kv_formats")[deployment.kv_format])
    return argv


def _has_bfloat16(deployment: Deployment) -> bool:
    devices = [device for device in deployment.machine.devices[: deployment.device_count] if device.vendor == "nvidia"]
    native = all((device.capability_number or 0) >= feature("bfloat16_capability") for device in devices)
    return native and deployment.weight_format.name == "bf16"


def _option(deployment: Deployment, name: str, value: str | None = None) -> list[str]:
    listed = options_version(deployment.engine_version)
    if name not in option_names(PACKAGE, listed):
        raise FactMissing(f"option {name} in TGI {deployment.engine_version}", f"engines/tgi/options/{listed}.json")
    return [name] if value is None else [name, value]


def _given(deployment: Deployment) -> list[str]:
    argv: list[str] = []
    for name, value in deployment.options.items():
        row = option_row(PACKAGE, options_version(deployment.engine_version), f"--{name}")
        argv += _option(deployment, f"--{name}", None if row is not None and row["arity"] == "0" else value)
    return argv
