"""The `trtllm-serve` command of a deployment, and the configuration file for what has no option."""

from fitserve.engines.contract import Deployment, LaunchCommand, LaunchFile
from fitserve.engines.releases import at_least
from fitserve.engines.tensorrt_llm.memory import SHARE_OPTIONS, batch_limit, batch_tokens, free_share
from fitserve.engines.tensorrt_llm.rules import (
    FACTS,
    family,
    known_options,
    needs_autodeploy,
    option,
    options_version,
    used,
)
from fitserve.footprint.ranks import rank_state_bytes
from fitserve.foundation.errors import FactMissing
from fitserve.models.catalog.lookup import rows

CONFIG_FILE = "trtllm-config.yml"
_SWITCHES = {"true", "yes", "on", "1", ""}
_PLAIN_KV = {"auto", "bf16", "f16"}
_HOPPER = 90


def command(deployment: Deployment) -> LaunchCommand:
    """The argument list. Raises FactMissing when the release lacks an option that is needed."""
    model, version = deployment.model, deployment.engine_version
    repository = deployment.repository or model.id
    argv = ["trtllm-serve", repository]
    if needs_autodeploy(model.architecture, version):
        argv += _option(version, "--backend", "_autodeploy")
    argv += _option(version, "--max_seq_len", str(deployment.context_tokens))
    for name, size in (("--tp_size", deployment.tp), ("--pp_size", deployment.pp), ("--ep_size", deployment.ep)):
        argv += _option(version, name, str(size)) if size > 1 else []
    argv += _limits(deployment)
    text = config_text(deployment)
    if text:
        newer = at_least(version, FACTS.value("config_option_from"))
        argv += _option(version, "--config" if newer else "--extra_llm_api_options", CONFIG_FILE)
    for name, value in deployment.options.items():
        row = option(version, f"--{name}")
        switch = row is not None and row["arity"] == "0" and value.lower() in _SWITCHES
        argv += _option(version, f"--{name}", None if switch else value)
    port = FACTS.table["identity"]["default_port"]
    argv += [] if "host" in deployment.options else _option(version, "--host", "127.0.0.1")
    argv += [] if "port" in deployment.options else _option(version, "--port", str(port))
    return LaunchCommand(
        argv=tuple(argv),
        files=(LaunchFile(path=CONFIG_FILE, text=text),) if text else (),
        image=str(FACTS.value("image")).format(version=version),
        model_file=repository if model.is_local else None,
        cache_folder="/root/.cache/huggingface",
        port=int(deployment.options.get("port", port)),
        needs_token=bool(rows().get(repository, {}).get("gated")),
    )


def _option(version: str, name: str, value: str | None = None) -> list[str]:
    if name not in known_options(version):
        where = f"engines/tensorrt_llm/options/{options_version(version)}.json"
        raise FactMissing(f"option {name} in TensorRT-LLM {version}", where)
    return [name] if value is None else [name, value]


def _limits(deployment: Deployment) -> list[str]:
    version, argv = deployment.engine_version, []
    asked = deployment.max_num_seqs is not None or bool(rank_state_bytes(deployment.model))
    if asked and "max_batch_size" not in deployment.options:
        argv += _option(version, "--max_batch_size", str(batch_limit(deployment)))
    if deployment.context_tokens > batch_tokens(deployment) and "enable_chunked_prefill" not in deployment.options:
        # otherwise a prompt longer than max_num_tokens is refused
        argv += _option(version, "--enable_chunked_prefill")
    if not set(SHARE_OPTIONS) & set(deployment.options):
        # stated although it is the default: the budget rests on it
        argv += _option(version, f"--{SHARE_OPTIONS[0]}", f"{free_share(deployment):g}")
    if _cache_type(deployment) and at_least(version, FACTS.value("kv_dtype_option_from")):
        argv += _option(version, "--kv_cache_dtype", _cache_type(deployment))
    return argv


def _cache_type(deployment: Deployment) -> str | None:
    asked = deployment.kv_format
    return None if asked in _PLAIN_KV else asked.removesuffix("_e4m3")


def config_text(deployment: Deployment) -> str:
    """The YAML file for settings that this release has no option for; empty when none is needed."""
    version, lines = deployment.engine_version, []
    cache = _cache_type(deployment)
    if cache and not at_least(version, FACTS.value("kv_dtype_option_from")):
        # the section replaces what the options said, so the share stands in it too
        share = f"{free_share(deployment):g}"
        lines.append(f"kv_cache_config: {{dtype: {cache}, free_gpu_memory_fraction: {share}}}")
    hopper = any(family(device) == _HOPPER for device in used(deployment))
    experts = any(layer.experts for layer in deployment.model.layers)
    late = at_least(version, FACTS.value("triton_moe_default_from"))
    if deployment.weight_format.name == "mxfp4" and hopper and experts and not late:
        lines.append("moe_config: {backend: TRITON}")
    return "".join(f"{line}\n" for line in lines)
