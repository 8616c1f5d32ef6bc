"""How to start Ollama for a deployment: the server with its environment, a Modelfile, and the steps that load it."""

import re

from fitserve.engines.contract import Deployment, LaunchCommand, LaunchFile
from fitserve.engines.mirroring import Parents, plain_name, vendor
from fitserve.engines.ollama.memory import lacks_fit_margin
from fitserve.engines.ollama.modelfile import line
from fitserve.engines.ollama.origin import library_tag, origin
from fitserve.engines.ollama.rules import PACKAGE, RELEASES, facts, feature, runs_llama_server
from fitserve.engines.option_lists import option_names, option_row

_FILE = "Modelfile"


def command(deployment: Deployment, behind: Parents) -> LaunchCommand:
    """`ollama serve`, then `ollama create` and `ollama run`. The weights must be GGUF."""
    name = _name(deployment)
    identity = facts()["identity"]
    source = origin(deployment)
    return LaunchCommand(
        argv=("ollama", "serve"),
        env=_environment(deployment, behind),
        files=(LaunchFile(path=_FILE, text=_modelfile(deployment, behind, source)),),
        image=_image(deployment),
        device_vendor=vendor(deployment),
        model_file=None if source == library_tag(deployment) else source,
        cache_folder=identity["cache_folder"],
        port=identity["default_port"],
        served_name=name,
        then=(("ollama", "create", name, "-f", _FILE), ("ollama", "run", name)),
    )


def _name(deployment: Deployment) -> str:
    """`qwen3-8b:q4_k_m`: letters, digits, dots, dashes and underscores are what a name may hold."""
    base = re.split(r"[/\\]", deployment.model.id)[-1].lower().removesuffix(".gguf")
    mix = (deployment.weight_format.gguf_mix or "").lower()
    clean = [re.sub(r"[^a-z0-9._-]+", "-", part)[:60].strip("-._") for part in (base, mix)]
    return f"{clean[0] or 'model'}:{clean[1] or 'latest'}"


def _environment(deployment: Deployment, behind: Parents) -> dict[str, str]:
    asked = behind.needed(deployment)
    inside = behind.translate(deployment, asked)
    slots = asked.budget(inside).max_num_seqs
    env = {"OLLAMA_CONTEXT_LENGTH": str(inside.context_tokens), "OLLAMA_NUM_PARALLEL": str(slots)}
    quantized = inside.kv_format.lower() not in {"auto", "f16"}
    if quantized or not runs_llama_server(deployment.engine_version):
        env["OLLAMA_FLASH_ATTENTION"] = "1"
    if inside.kv_format != "auto":
        env["OLLAMA_KV_CACHE_TYPE"] = inside.kv_format.lower()
    if vendor(deployment) in feature("vulkan_vendors"):
        env["OLLAMA_VULKAN"] = "1"
    if _leaves_a_gpu_idle(deployment):
        env[_VISIBLE[vendor(deployment)]] = ",".join(map(str, range(deployment.device_count)))
    given = _given(deployment, "env")
    return env | given


_VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES"}


def _leaves_a_gpu_idle(deployment: Deployment) -> bool:
    has_variable = vendor(deployment) == "nvidia" or deployment.machine.host.os == "linux"
    return has_variable and vendor(deployment) in _VISIBLE and deployment.device_count < len(deployment.machine.devices)


def _given(deployment: Deployment, *kinds: str) -> dict[str, str]:
    """Options of the request that are of these kinds, in Ollama's own spelling."""
    spelled = {plain_name(name): name for name in option_names(PACKAGE, RELEASES.newest)}
    found: dict[str, str] = {}
    for option, value in deployment.options.items():
        name = spelled.get(plain_name(option), "")
        row = option_row(PACKAGE, RELEASES.newest, name)
        if row is not None and row["kind"] in kinds:
            found[name] = value
    return found


def _modelfile(deployment: Deployment, behind: Parents, source: str) -> str:
    inside = behind.translate(deployment, behind.needed(deployment))
    parameters = {"num_ctx": str(inside.context_tokens)}
    layers = _gpu_layers(deployment, behind)
    if layers is not None:
        parameters["num_gpu"] = str(layers)
    parameters |= _given(deployment, "modelfile_parameter", "option")
    lines = [line("FROM", source), *(line("PARAMETER", name, value) for name, value in parameters.items())]
    return "\n".join(lines) + "\n"


def _gpu_layers(deployment: Deployment, behind: Parents) -> int | None:
    """num_gpu: where layers stay in RAM, and where the fit's margin would send some there although all have room.

    Experts go to RAM by that fit itself, which an explicit count turns off.
    """
    left = deployment.offload_layers or 0
    count = len(deployment.model.layers) + 1
    if not deployment.machine.devices:
        return None
    if not left:
        return count if lacks_fit_margin(deployment, behind.budget(deployment)) else None
    by_fit = any(layer.experts for layer in deployment.model.layers) and runs_llama_server(deployment.engine_version)
    return None if by_fit and left < count else max(0, count - left)


def _image(deployment: Deployment) -> str | None:
    """The image of this release; None where containers do not reach the device."""
    variants = feature("image_variants")
    who = vendor(deployment)
    if who not in variants:
        return None
    image: str = facts()["identity"]["image"].format(version=deployment.engine_version, variant=variants[who])
    return image
