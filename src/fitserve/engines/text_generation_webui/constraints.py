"""What text-generation-webui refuses, beside what the loader says."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.mirroring import Parents, file_name
from fitserve.engines.option_lists import option_names
from fitserve.engines.text_generation_webui.rules import PACKAGE, RELEASES, facts, feature, source
from fitserve.foundation.reasons import Reason, Source, not_supported, note

_OWN = {"option_unknown", "kv_format_not_supported", "gguf_file_needed", "architecture_build_undated"}


def blockers(deployment: Deployment, behind: Parents) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    inside = behind.blockers(deployment, dropped=_OWN)
    return inside if behind.of(deployment) is None else (*inside, *_own(deployment))


def _own(deployment: Deployment) -> Iterator[Reason]:
    family = deployment.weight_format.family
    names = option_names(PACKAGE, RELEASES.newest)
    for option in deployment.options:
        gone = facts()["command_line"]["gone"].get(f"--{option}")
        if gone is not None:
            yield not_supported(
                "option_gone", Source(**gone["source"]), engine="text-generation-webui", option=f"--{option}",
                since=gone["since"], instead=gone["instead"],
            )  # fmt: skip
        elif not {f"--{option}", f"--{option.replace('-', '_')}"} & names:
            yield not_supported(
                "option_unknown", engine="text-generation-webui", option=f"--{option}",
                version=deployment.engine_version,
            )  # fmt: skip
    if family == "gguf" and deployment.kv_format not in {"auto", *feature("llama_cpp_cache_types")}:
        yield not_supported(
            "kv_format_not_supported", source("llama_cpp_cache_types"), engine="text-generation-webui",
            kv_format=deployment.kv_format, version=deployment.engine_version,
        )  # fmt: skip
    if deployment.repository is None and family == "gguf":
        yield note("gguf_in_models_folder", engine="text-generation-webui", file=file_name(deployment))
    elif family != "gguf":
        yield note(
            "download_into_models_folder", source("download_script"), engine="text-generation-webui",
            repository=deployment.repository or deployment.model.id,
        )  # fmt: skip


def kv_formats(deployment: Deployment, behind: Parents) -> tuple[str, ...]:
    """Cache types of this program that the heads of this model allow."""
    parent = behind.of(deployment)
    if parent is None:
        return ("auto",)
    offered = parent.kv_formats(deployment)
    if deployment.weight_format.family != "gguf":
        return offered
    return tuple(name for name in offered if name in {"auto", *feature("llama_cpp_cache_types")})
