"""Memory of text-generation-webui: that of the loader, with this program's own defaults.

modules/llama_cpp_server.py starts llama-server with `--batch-size` and `--ubatch-size` (1024 unless set), flash
attention on, and `--fit off` as soon as `--gpu-layers` is a number.
"""

from dataclasses import replace
from types import MappingProxyType

from fitserve.engines.contract import NO_OPTIONS, Deployment, Engine, MemoryBudget
from fitserve.engines.mirroring import Parents, plain_name
from fitserve.engines.text_generation_webui.rules import feature

_OTHER_NAMES = {"n-gpu-layers": "gpu-layers", "n-ctx": "ctx-size", "max-seq-len": "ctx-size"}


def translate(deployment: Deployment, parent: Engine) -> Deployment:
    """The deployment as the loader is asked for it, at the newest release known."""
    changed = replace(deployment, engine=parent.id, engine_version=parent.versions[-1], options=NO_OPTIONS)
    if deployment.weight_format.family != "gguf":
        return changed
    options = {name: str(value) for name, value in feature("llama_cpp_defaults").items()}
    for option, value in deployment.options.items():
        name = _OTHER_NAMES.get(plain_name(option), plain_name(option))
        if name == "cache-type":
            changed = replace(changed, kv_format="f16" if value == "fp16" else value)
        elif name == "cpu-moe":
            options["n-cpu-moe"] = str(len(deployment.model.layers))
        elif name == "gpu-layers" and value == "-1":
            options[name] = "auto"
        else:
            options[name] = value
    return replace(changed, options=MappingProxyType(options))


def budget(deployment: Deployment, behind: Parents) -> MemoryBudget:
    """The loader's budget. Raises FactMissing for a format that no loader takes."""
    return behind.budget(deployment)
