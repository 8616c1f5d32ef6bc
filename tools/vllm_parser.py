"""Asks vLLM's own option parser, of any release from 0.10.2 on, what it understands.

`python tools/vllm_parser.py VERSION a/model --max-model-len 8192` prints the values or the refusal; ends with 1 when
refused. The release's source comes from the package index once (kept in .cache/vllm-sources); vllm_stubbed.py builds the
parser from it in an environment of its own (.venv-vllm-parser) with the few libraries that the parser needs.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCES = ROOT / ".cache/vllm-sources"
ENVIRONMENT = ROOT / ".venv-vllm-parser"
LIBRARIES = (
    "cachetools==8.0.0", "cloudpickle==3.1.2", "msgspec==0.22.0", "packaging==26.3", "psutil==7.2.2",
    "pydantic==2.14.3", "PyYAML==6.0.3", "regex==2026.11.15", "typing_extensions==4.16.0",
)  # fmt: skip
OFFLINE = re.compile(
    "NewConnectionError|NameResolution|ConnectTimeout|ProxyError|ConnectionError|Network is unreachable"
)
# Takes the metadata that a source release carries, instead of running its build script, which wants torch and a compiler.
BACKEND = """
import pathlib, shutil
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    made = pathlib.Path(folder) / "vllm.dist-info"
    made.mkdir()
    shutil.copy("PKG-INFO", made / "METADATA")
    return made.name
"""


class Offline(Exception):
    """The package index cannot be reached, and what is needed was not fetched before."""


def judge(version: str, lists: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The answer of vllm_stubbed.py for argument lists of `vllm serve`.

    Raises Offline where something has to be fetched and cannot be.
    """
    with _alone():
        python, tree = _environment(), _source(version)
    ran = subprocess.run(
        [str(python), "-B", str(HERE / "vllm_stubbed.py"), str(tree)],
        input=json.dumps([list(arguments) for arguments in lists]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"vLLM {version}: its parser was not built\n{ran.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time fetches."""
    SOURCES.mkdir(parents=True, exist_ok=True)
    with (SOURCES / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment() -> Path:
    python, made = ENVIRONMENT / "bin/python", ENVIRONMENT / ".ready"
    wanted = "\n".join(LIBRARIES)
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        _pip(python, "install", "--only-binary", ":all:", *LIBRARIES)
        made.write_text(wanted)
    return python


def _source(version: str) -> Path:
    """The Python files of a release."""
    tree = SOURCES / version
    if tree.exists():
        return tree
    with tempfile.TemporaryDirectory(dir=SOURCES) as name:
        folder = Path(name)
        (folder / "setuptools").mkdir()
        (folder / "setuptools/__init__.py").touch()
        (folder / "setuptools/build_meta.py").write_text(BACKEND)
        _pip(
            ENVIRONMENT / "bin/python",
            *(
                "download",
                "--no-deps",
                "--no-build-isolation",
                "--no-binary",
                "vllm",
                "--dest",
                name,
                f"vllm=={version}",
            ),
            PYTHONPATH=name,
        )
        with tarfile.open(next(folder.glob("vllm-*.tar.gz"))) as archive:
            members = [member for member in archive if re.search(r"^[^/]+/vllm/.*\.py$", member.name)]
            archive.extractall(folder / "all", members=members, filter="data")
        shutil.move(next((folder / "all").iterdir()), tree)
    return tree


def _pip(python: Path, *arguments: str, **variables: str) -> None:
    ran = subprocess.run(
        [str(python), "-m", "pip", *arguments, "-q", "--disable-pip-version-check", "--retries", "2"],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=600,
        check=False,
    )
    if ran.returncode and OFFLINE.search(ran.stderr):
        raise Offline(f"the package index cannot be reached for `pip {arguments[0]}`")
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])


def main(arguments: list[str]) -> int:
    """Prints what the parser says; returns the exit code."""
    try:
        (said,) = judge(arguments[0], [arguments[1:]])["results"]
    except Offline as error:
        print(error, file=sys.stderr)
        return 3
    print(json.dumps(said, indent=1))
    return int("refused" in said)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
