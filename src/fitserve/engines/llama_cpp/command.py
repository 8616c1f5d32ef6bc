"""The llama-server command of a deployment, in the spelling of its build."""

from fitserve.engines.contract import Deployment, LaunchCommand
from fitserve.engines.llama_cpp.memory import lay_out
from fitserve.engines.llama_cpp.rules import PACKAGE, build_number, facts, feature, options_version
from fitserve.engines.option_lists import option_names, option_row, port_of, switch_words
from fitserve.foundation.errors import FactMissing

_FLASH_TAKES_VALUE_FROM = 6325  # -fa needs on, off or auto; between b4747 and v0.5.0 the change is not dated exactly


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the build lacks an option that is needed."""
    version = deployment.engine_version
    laid = lay_out(deployment)
    argv = ["llama-server", *_option(version, "--model", file_name(deployment))]
    argv += _option(version, "--ctx-size", str(laid.settings.context_tokens))
    argv += _option(version, "--parallel", str(laid.settings.slots))
    argv += _placement(deployment)
    if laid.settings.flash_attention and "flash-attn" not in deployment.options:
        argv += _option(version, "--flash-attn", "on" if _flash_takes_value(version) else None)
    if deployment.kv_format != "auto":
        argv += _option(version, "--cache-type-k", laid.settings.key_format)
        argv += _option(version, "--cache-type-v", laid.settings.value_format)
    if "host" not in deployment.options:
        argv += _option(version, "--host", "127.0.0.1")
    if "port" not in deployment.options:
        argv += _option(version, "--port", str(facts()["identity"]["default_port"]))
    argv += _given(deployment)
    return LaunchCommand(
        argv=tuple(argv), image=_image(deployment), entrypoint="/app/llama-server", device_vendor=_vendor(deployment),
        model_file=file_name(deployment), port=port_of(deployment.options, facts()["identity"]["default_port"]),
    )  # fmt: skip


def file_name(deployment: Deployment) -> str:
    """The file to serve: the one that was read, else the usual name of this mix."""
    if deployment.repository is not None:
        return deployment.repository
    return f"{deployment.model.id.split('/')[-1]}-{deployment.weight_format.gguf_mix}.gguf"


def _flash_takes_value(version: str) -> bool:
    # by build, not by option list: the list that stands for a build between two scanned ones is the older one's
    return build_number(version) >= _FLASH_TAKES_VALUE_FROM


def _placement(deployment: Deployment) -> list[str]:
    version, laid = deployment.engine_version, lay_out(deployment)
    if {"gpu-layers", "n-gpu-layers"} & set(deployment.options):
        return []
    count = len(deployment.model.layers)
    layers = laid.placement.gpu_layers
    row = option_row(PACKAGE, options_version(version), "--gpu-layers") or {}
    whole = "all" if "all" in str(row.get("value_type", "")) else str(count + 1)
    argv = _option(version, "--gpu-layers", whole if layers == count + 1 else str(layers))
    if laid.placement.host_expert_layers and "n-cpu-moe" not in deployment.options:
        argv += _option(version, "--n-cpu-moe", str(laid.placement.host_expert_layers))
    if 1 <= deployment.device_count < len(deployment.machine.devices):
        argv += _option(
            version,
            "--tensor-split",
            ",".join("1" if i < deployment.device_count else "0" for i in range(len(deployment.machine.devices))),
        )
    return argv


def _option(version: str, name: str, value: str | None = None) -> list[str]:
    if name not in option_names(PACKAGE, options_version(version)):
        raise FactMissing(
            f"option {name} in llama.cpp {version}", f"engines/llama_cpp/options/{options_version(version)}.json"
        )
    return [name] if value is None else [name, value]


def _given(deployment: Deployment) -> list[str]:
    argv: list[str] = []
    version = deployment.engine_version
    names = option_names(PACKAGE, options_version(version))
    for name, value in deployment.options.items():
        spelling = f"--{name}" if f"--{name}" in names else f"-{name}"
        row = option_row(PACKAGE, options_version(version), spelling) or {}
        is_flash = row.get("name") == "--flash-attn"
        if _flash_takes_value(version) if is_flash else str(row.get("arity", "1")) != "0":
            argv += _option(version, spelling, value)
        else:
            argv += switch_words(row, spelling, value)
    return argv


def _vendor(deployment: Deployment) -> str:
    return deployment.machine.devices[0].vendor if deployment.machine.devices else "none"


def _image(deployment: Deployment) -> str | None:
    """The server image of this build: by vendor, for NVIDIA by the CUDA release that still knows the oldest device."""
    version, vendor = deployment.engine_version, _vendor(deployment)
    variants = feature("image_variants")
    if vendor not in variants:
        return None
    variant = variants[vendor]
    if vendor == "nvidia" and build_number(version) >= feature("cuda_images_by_release_from"):
        oldest = min(device.capability_number or 0 for device in deployment.machine.devices)
        variant += "13" if oldest >= feature("cuda_13_capability_floor") else "12"
    image: str = facts()["identity"]["image"].format(variant=variant, version=version)
    return image
