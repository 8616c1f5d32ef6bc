"""TensorRT-LLM's facts by release."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.engines.fact_rows import FactRows
from fitserve.engines.option_lists import option_names, option_row, scanned_versions
from fitserve.engines.releases import Releases, at_least
from fitserve.foundation.facts import load_json
from fitserve.foundation.versions import parse_version
from fitserve.hardware.types import Accelerator
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.types import LanguageModel

PACKAGE = "fitserve.engines.tensorrt_llm"
FACTS = FactRows(PACKAGE)


@lru_cache(maxsize=1)
def releases() -> Releases:
    """Releases that were read, without candidates: the newest of them is the default."""
    stable = [version for version in scanned_versions(PACKAGE) if not parse_version(version).is_prerelease]
    return Releases("tensorrt-llm", tuple(sorted(stable, key=parse_version)))


def is_newer(version: str) -> bool:
    """Whether a version is newer than the newest state read, candidates included."""
    return parse_version(version) > parse_version(FACTS.value("newest_read"))


def options_version(version: str) -> str:
    """The state whose option list stands for `version`."""
    return releases().nearest(version, scanned_versions(PACKAGE))


def known_options(version: str) -> frozenset[str]:
    """Every spelling that a release accepts."""
    return option_names(PACKAGE, options_version(version))


def option(version: str, name: str) -> Mapping[str, Any] | None:
    """The row of an option; None when the release does not know it."""
    return option_row(PACKAGE, options_version(version), name)


@lru_cache(maxsize=1)
def _architectures() -> Mapping[str, Mapping[str, Any]]:
    return {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}


def architecture_row(name: str) -> Mapping[str, Any] | None:
    """The row of a documented architecture; None when no table that was read lists it."""
    return _architectures().get(name) or _architectures().get(FACTS.table["architecture_names"].get(name, ""))


def needs_autodeploy(name: str, version: str) -> bool:
    """Whether the architecture runs on the AutoDeploy backend only."""
    row = architecture_row(name)
    return bool(row and row["autodeploy"] and at_least(version, row["autodeploy"]))


def loaded_model(deployment: Deployment) -> LanguageModel:
    """The checkpoint that is loaded: the repository's row of the catalogue, else the model itself."""
    repository = deployment.repository
    return catalog_model(repository) if repository is not None and repository in rows() else deployment.model


def quant_method(deployment: Deployment) -> str | None:
    """`quant_method` of the loaded checkpoint, as the catalogue knows it."""
    found = (
        rows().get(deployment.repository or deployment.model.id, {}).get("config", {}).get("quantization_config") or {}
    )
    method: str | None = found.get("quant_method")
    return method


def family(device: Accelerator) -> int:
    """Family of the hardware matrix: 80, 89, 90, 100 or 120; 0 for what lies below."""
    have = device.capability_number or 0
    return next((floor for floor in (120, 100, 90, 89, 80) if have >= floor), 0)


def used(deployment: Deployment) -> list[Accelerator]:
    """Kinds of devices that the ranks run on."""
    return list({device.id: device for device in deployment.machine.devices[: deployment.device_count]}.values())
