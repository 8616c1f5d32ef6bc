"""The `mlx_lm.server` command of a deployment, in the options of its release."""

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.mlx.memory import budget, prompt_cache_bytes, slots
from fitserve.engines.mlx.rules import PACKAGE, RELEASES, facts, feature
from fitserve.engines.option_lists import option_names, option_row
from fitserve.foundation.errors import FactMissing
from fitserve.models.catalog.lookup import rows


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the release lacks an option that is needed."""
    identity, model = facts()["identity"], model_path(deployment)
    argv = ["mlx_lm.server", *_option(deployment, "--model", model)]
    if "host" not in deployment.options:
        argv += _option(deployment, "--host", "127.0.0.1")
    if "port" not in deployment.options:
        argv += _option(deployment, "--port", str(identity["default_port"]))
    count = slots(deployment)
    if count > 1 and "decode-concurrency" not in deployment.options:
        argv += _option(deployment, "--decode-concurrency", str(count))
    if deployment.kv_format in {"int8", "int4"}:
        argv += _option(deployment, "--kv-bits", str(feature("quantized_cache")[deployment.kv_format]))
    argv += _prompt_cache(deployment)
    argv += _given(deployment)
    device = deployment.machine.devices[0]
    return LaunchCommand(
        argv=tuple(argv), device_vendor=device.vendor, port=identity["default_port"], served_name=model,
        needs_token=bool(rows().get(model, {}).get("gated")),
    )  # fmt: skip


def model_path(deployment: Deployment) -> str:
    """The repository or folder to load: the folder that `mlx_lm.convert --mlx-path` fills when it must be made first."""
    if deployment.repository is not None:
        return deployment.repository
    model = deployment.model
    if deployment.weight_format.family == "mlx" and model.checkpoint is None:
        return "mlx_model"  # where mlx_lm.convert writes without --mlx-path
    return model.id


def _prompt_cache(deployment: Deployment) -> list[str]:
    """Bounds what earlier conversations keep: without it ten of them stay, however long."""
    known = option_names(PACKAGE, RELEASES.nearest(deployment.engine_version))
    if "--prompt-cache-bytes" not in known or "prompt-cache-bytes" in deployment.options:
        return []
    return ["--prompt-cache-bytes", str(prompt_cache_bytes(budget(deployment)))]


def _option(deployment: Deployment, name: str, value: str | None = None) -> list[str]:
    listed = RELEASES.nearest(deployment.engine_version)
    if name not in option_names(PACKAGE, listed):
        raise FactMissing(f"option {name} in mlx-lm {deployment.engine_version}", f"engines/mlx/options/{listed}.json")
    return [name] if value is None else [name, value]


def _given(deployment: Deployment) -> list[str]:
    argv: list[str] = []
    for name, value in deployment.options.items():
        row = option_row(PACKAGE, RELEASES.nearest(deployment.engine_version), f"--{name}")
        argv += _option(deployment, f"--{name}", None if row is not None and row["arity"] == "0" else value)
    return argv
