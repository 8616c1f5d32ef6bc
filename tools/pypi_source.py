"""Source archives of published packages, fetched through the index that pip is set up with and kept in a folder.

Only the archive is read: nothing of it is built, installed or imported.
"""

import re
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

from pip._internal.models.index import PyPI

_LINK = re.compile(r'href="([^"#]+)')


def source_archive(package: str, version: str, folder: Path) -> Path:
    """The .tar.gz of a release. Raises LookupError when the index has none."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{package}-{version}.tar.gz"
    if target.is_file():
        return target
    page = f"{PyPI.simple_url}/{package}/"  # PEP 503
    with urllib.request.urlopen(page, timeout=60) as answer:  # noqa: S310 - pip's own index
        links = _LINK.findall(answer.read().decode())
    wanted = {f"{package}-{version}.tar.gz", f"{package.replace('-', '_')}-{version}.tar.gz"}
    link = next((found for found in links if found.rpartition("/")[2] in wanted), None)
    if link is None:
        raise LookupError(f"{package} {version} has no source archive")
    url = urljoin(page, link)
    part = target.with_suffix(".part")
    with urllib.request.urlopen(url, timeout=300) as answer, part.open("wb") as file:  # noqa: S310 - a link of that index
        while piece := answer.read(1 << 20):
            file.write(piece)
    part.rename(target)
    return target


def python_files(archive: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """(path inside the package, text) of the Python files below `prefix`."""
    with tarfile.open(archive) as opened:
        for member in opened:
            path = member.name.partition("/")[2]
            if member.isfile() and path.startswith(prefix) and path.endswith(".py"):
                stream = opened.extractfile(member)
                if stream is not None:
                    yield path, stream.read().decode("utf-8", "replace")
