"""A launch command to Kubernetes: Deployment, Service, and the claims and config that they mount."""

import math
from typing import Any

from fitserve.emit.containers import CONTAINER, MODELS, files_folder, inside, plain_files, steps_inside, volume_name
from fitserve.emit.shells import bash_line
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchCommand
from fitserve.foundation.units import GIB

_GPUS = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
_LABELS = {"app": CONTAINER}
_PROBE_S = 10
_START_PROBES = 360
"""An hour for the download and the load."""


def kubernetes(
    command: LaunchCommand, device_count: int, weights_bytes: int, health_path: str | None = None
) -> str | None:
    """Manifests as one YAML text; None when there is no image, or no device plugin for the vendor."""
    if command.image is None or command.device_vendor not in {*_GPUS, "none"}:
        return None
    documents = [_deployment(command, device_count, health_path), _service(command)]
    if command.files:
        data = {file.path: file.text for file in plain_files(command)}
        documents.insert(0, _named("v1", "ConfigMap", f"{CONTAINER}-files") | {"data": data})
    if command.cache_folder is not None:
        documents.insert(0, _claim(volume_name(command.cache_folder), weights_bytes))
    return _comments(command) + "---\n".join(yaml_text(document) for document in documents)


def _comments(command: LaunchCommand) -> str:
    lines = []
    if command.needs_token:
        lines.append(
            "# first, with HF_TOKEN=... in llm.env: kubectl create secret generic huggingface --from-env-file=llm.env"
        )
    if command.model_file is not None:
        lines.append(f"# first: a claim named models that holds {bash_line([command.model_file])}")
    lines += [f"# then: kubectl exec deploy/{CONTAINER} -- {bash_line(step)}" for step in steps_inside(command)]
    return "".join(f"{line}\n" for line in lines)


def _named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": _LABELS}}


def _claim(name: str, weights_bytes: int) -> dict[str, Any]:
    """Room for the weights twice: an update of the repository lies beside the old one."""
    size = f"{max(1, math.ceil(2 * weights_bytes / GIB))}Gi"
    resources = {"requests": {"storage": size}}
    return _named("v1", "PersistentVolumeClaim", name) | {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}
    }


def _deployment(command: LaunchCommand, device_count: int, health_path: str | None) -> dict[str, Any]:
    mounts, volumes = _volumes(command)
    program, arguments = inside(command)
    ask: dict[str, Any] = {"tcpSocket": {"port": command.port}}
    if health_path is not None:
        ask = {"httpGet": {"path": health_path, "port": command.port}}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": command.image,
        "command": [_plain(program)],
        "args": [_plain(word) for word in arguments],
        "ports": [{"containerPort": command.port}],
        "env": _environment(command),
        "resources": _resources(command, device_count),
        "volumeMounts": mounts,
        "startupProbe": ask | {"periodSeconds": _PROBE_S, "failureThreshold": _START_PROBES},
        "readinessProbe": ask | {"periodSeconds": _PROBE_S},
        "livenessProbe": ask | {"periodSeconds": _PROBE_S, "failureThreshold": 6},
    }
    pod = {
        "containers": [{key: value for key, value in container.items() if value not in ([], {})}],
        "volumes": volumes,
    }
    return _named("apps/v1", "Deployment", CONTAINER) | {
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # a second pod would wait for the devices of the first
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        }
    }


def _resources(command: LaunchCommand, device_count: int) -> dict[str, Any]:
    gpu = _GPUS.get(command.device_vendor)
    return {} if gpu is None or device_count < 1 else {"limits": {gpu: str(device_count)}}


def _environment(command: LaunchCommand) -> list[dict[str, Any]]:
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "huggingface", "key": "HF_TOKEN"}}}
    values = [{"name": name, "value": _plain(value)} for name, value in command.env.items()]
    return [token, *values] if command.needs_token else values


def _plain(text: str) -> str:
    """`$(NAME)` would be replaced; a doubled dollar sign stands for one."""
    return text.replace("$", "$$")


def _volumes(command: LaunchCommand) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Mounts of the container and volumes of the pod. Processes of one server share memory through /dev/shm."""
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 the mount point itself
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    if command.cache_folder is not None:
        mounts.append({"name": "cache", "mountPath": command.cache_folder})
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": volume_name(command.cache_folder)}})
    if command.model_file is not None:
        mounts.append({"name": "models", "mountPath": MODELS})
        volumes.append({"name": "models", "persistentVolumeClaim": {"claimName": "models"}})
    for file in command.files:
        path = f"{files_folder(command)}/{file.path}"
        mounts.append({"name": "files", "mountPath": path, "subPath": file.path, "readOnly": True})
    if command.files:
        volumes.append({"name": "files", "configMap": {"name": f"{CONTAINER}-files"}})
    return mounts, volumes


def _service(command: LaunchCommand) -> dict[str, Any]:
    ports = [{"port": command.port, "targetPort": command.port}]
    return _named("v1", "Service", CONTAINER) | {"spec": {"selector": _LABELS, "ports": ports}}
