"""The `vllm serve` command of a deployment: only options that the release knows, only those that differ from its defaults."""

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.option_lists import option_names, option_row, port_of, switch_words
from fitserve.engines.vllm.constraints import needs_float16
from fitserve.engines.vllm.memory import budget
from fitserve.engines.vllm.rules import PACKAGE, at_least, default_utilization, facts, feature, options_version
from fitserve.foundation.errors import FactMissing
from fitserve.models.catalog.lookup import rows


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the release lacks an option that is needed."""
    model, version = deployment.model, deployment.engine_version
    repository = deployment.repository or model.id
    argv = ["vllm", "serve", repository]
    argv += _option(version, "--max-model-len", str(deployment.context_tokens))
    for name, value in (
        ("--tensor-parallel-size", deployment.tp),
        ("--pipeline-parallel-size", deployment.pp),
        ("--data-parallel-size", deployment.dp),
    ):
        if value > 1:
            argv += _option(version, name, str(value))
    if deployment.ep > 1:
        argv += _option(version, "--enable-expert-parallel")
    argv += _types(deployment)
    argv += _memory_options(deployment)
    argv += _given_options(deployment)
    if "host" not in deployment.options:
        argv += _option(version, "--host", "127.0.0.1")
    identity = facts()["identity"]
    vendor = deployment.machine.devices[0].vendor
    return LaunchCommand(
        argv=tuple(argv),
        image=_image(vendor, version),
        device_vendor=vendor,
        model_file=repository if deployment.model.is_local else None,
        cache_folder="/root/.cache/huggingface",
        port=port_of(deployment.options, identity["default_port"]),
        needs_token=bool(rows().get(repository, {}).get("gated")),
    )


def _image(vendor: str, version: str) -> str | None:
    for row in feature("images"):
        if row["vendor"] == vendor and at_least(version, row["from"]):
            image: str = row["image"].format(version=version)
            return image
    return None


def _option(version: str, name: str, value: str | None = None) -> list[str]:
    if name not in option_names(PACKAGE, options_version(version)):
        raise FactMissing(f"option {name} in vLLM {version}", f"engines/vllm/options/{options_version(version)}.json")
    return [name] if value is None else [name, value]


def _types(deployment: Deployment) -> list[str]:
    version, argv = deployment.engine_version, []
    if needs_float16(deployment):
        argv += _option(version, "--dtype", "half")
    method = _runtime_method(deployment)
    if method is not None:
        argv += _option(version, "--quantization", method)
    if deployment.kv_format not in {"auto", "bf16", "f16"}:
        argv += _option(version, "--kv-cache-dtype", deployment.kv_format)
    return argv


def _runtime_method(deployment: Deployment) -> str | None:
    """Method that quantizes while loading; a published checkpoint names its own in config.json."""
    if deployment.repository is not None or deployment.model.checkpoint is not None:
        return None
    method: str | None = facts()["runtime_quantization"].get(deployment.weight_format.name)
    return method


def _memory_options(deployment: Deployment) -> list[str]:
    version, argv = deployment.engine_version, []
    if "gpu-memory-utilization" not in deployment.options:
        # stated although it is the default: the share differs between releases and the budget rests on it
        argv += _option(version, "--gpu-memory-utilization", f"{default_utilization(version):g}")
    if "max-num-seqs" not in deployment.options:
        planned = budget(deployment)
        default = planned.details["settings"].limits.sequences
        if deployment.max_num_seqs is not None or planned.max_num_seqs != default:
            argv += _option(version, "--max-num-seqs", str(planned.max_num_seqs))
    return argv


def _given_options(deployment: Deployment) -> list[str]:
    argv: list[str] = []
    version = deployment.engine_version
    for name, value in deployment.options.items():
        row = option_row(PACKAGE, options_version(version), f"--{name}")
        if row is not None and str(row.get("arity", "1")) == "0":
            argv += switch_words(row, f"--{name}", value)
        else:
            argv += _option(version, f"--{name}", value)
    return argv
