"""TabbyAPI's start with ExLlamaV2: `python main.py` in its checkout, and the config.yml that it reads."""

from typing import Any

from fitserve.engines.config_file import yaml_text
from fitserve.engines.contract import Deployment, LaunchCommand, LaunchFile
from fitserve.engines.exllamav2.memory import budget
from fitserve.engines.exllamav2.rules import PACKAGE, facts, options_version
from fitserve.engines.exllamav2.settings import ServerSettings, resolve
from fitserve.engines.option_lists import option_row
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.paths import split_path
from fitserve.models.catalog.lookup import rows

CONFIG = "config.yml"


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list and config.yml. Raises FactMissing when the release lacks a key that is needed."""
    settings = resolve(deployment)
    keys = {**_keys(deployment, settings), **settings.given}
    version = options_version(deployment.engine_version)
    sections: dict[str, dict[str, Any]] = {}
    for name, value in keys.items():
        if option_row(PACKAGE, version, name) is None:
            raise FactMissing(f"key {name} in TabbyAPI", f"engines/exllamav2/options/{version}.json")
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    machine, used = deployment.machine, deployment.device_count
    amd = machine.devices[0].vendor == "amd"
    visible = "HIP_VISIBLE_DEVICES" if amd else "CUDA_VISIBLE_DEVICES"
    return LaunchCommand(
        argv=("python", "main.py", "--config", CONFIG),
        env={visible: ",".join(map(str, range(used)))} if used < len(machine.devices) else {},
        files=(LaunchFile(path=CONFIG, text=yaml_text(sections)),),
        device_vendor=machine.devices[0].vendor,
        port=int(keys["network.port"]),
        needs_token=bool(rows().get(deployment.repository or "", {}).get("gated")),
        served_name=str(keys["model.model_name"]),
    )


def _keys(deployment: Deployment, settings: ServerSettings) -> dict[str, Any]:
    """Keys by full name: what differs from TabbyAPI's defaults, and what a reader looks for first."""
    tokens = budget(deployment).details["cache_tokens"]
    folder, name = model_folder(deployment)
    keys: dict[str, Any] = {
        "network.host": "127.0.0.1",
        "network.port": facts()["identity"]["default_port"],
        "model.model_dir": folder,
        "model.model_name": name,
        "model.backend": "exllamav2",
        "model.max_seq_len": deployment.context_tokens,
        "model.cache_size": tokens,
    }
    if settings.cache_mode != "FP16":
        keys["model.cache_mode"] = settings.cache_mode
    if deployment.tp > 1:
        keys["model.tensor_parallel"] = True
    elif deployment.pp > 1 and not settings.shares_gib:
        keys["model.gpu_split_auto"] = True
    if deployment.max_num_seqs:
        keys["model.max_batch_size"] = settings.slots
    return keys


def model_folder(deployment: Deployment) -> tuple[str, str]:
    """(folder of models, name of this one in it): where a local model lies, else models/ and the repository's last part."""
    model = deployment.model
    if model.is_local:
        folder, name = split_path(model.id)
        return folder or ".", name
    if deployment.repository is not None or not deployment.weight_format.is_quantized or model.base_id is not None:
        return "models", (deployment.repository or model.id).split("/")[-1]
    return "models", f"{model.id.split('/')[-1]}-{deployment.weight_format.name.replace(':', '-')}"
