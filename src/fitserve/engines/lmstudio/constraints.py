"""What LM Studio refuses or leaves to its app, beside what the engine inside says."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.lmstudio.rules import PACKAGE, RELEASES, source
from fitserve.engines.mirroring import Parents
from fitserve.engines.option_lists import option_names
from fitserve.foundation.reasons import Reason, not_supported, note, warning

_OWN = {"option_unknown", "gguf_file_needed", "architecture_build_undated"}


def blockers(deployment: Deployment, behind: Parents) -> tuple[Reason, ...]:
    """Every reason, warnings and notes among them."""
    inside = behind.blockers(deployment, dropped=_OWN)
    return inside if behind.of(deployment) is None else (*inside, *_own(deployment))


def _own(deployment: Deployment) -> Iterator[Reason]:
    is_gguf = deployment.weight_format.family == "gguf"
    names = option_names(PACKAGE, RELEASES.newest)
    for option in deployment.options:
        if f"--{option}" not in names and f"-{option}" not in names:
            yield not_supported(
                "option_unknown", engine="lmstudio", option=f"--{option}", version=deployment.engine_version
            )
    if is_gguf and deployment.kv_format not in {"auto", "f16"}:
        yield warning(
            "kv_format_set_in_app", source("kv_types_in_app"), engine="lmstudio", kv_format=deployment.kv_format
        )
    if deployment.machine.host.os == "linux":
        yield note("headless_daemon", source("headless"), engine="lmstudio")
    if deployment.repository is None:
        yield note("search_picks_the_file", source("get_searches"), engine="lmstudio")


def kv_formats(deployment: Deployment) -> tuple[str, ...]:
    """`lms load` sets no cache type."""
    del deployment
    return ("auto",)
