"""What pip calls to build oaiserve (PEP 517): a wheel with one module, the single file, and a source archive.

A backend of our own, because setuptools would have to be fetched, and a wheel is only a zip with some small texts. It
is no part of the product: `bundle` does not carry it.

The same source gives the same bytes: nothing comes from a clock, members have one time and are in a fixed order.
"""

from __future__ import annotations

import ast
import base64
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import typing
import zipfile

_SOURCES = ("CHANGELOG.md", "LICENSE", "README.md", "config.ini", "oaiserve.py", "pyproject.toml")
_SOURCE_FOLDERS = ("deploy", "protocol", "tests")
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip knows

_WHEEL = """\
Wheel-Version: 1.0
Generator: oaiserve
Root-Is-Purelib: true
Tag: py3-none-any
"""

_ConfigSettings = typing.Optional[typing.Dict[str, typing.Any]]


def get_requires_for_build_wheel(config_settings: _ConfigSettings = None) -> list[str]:
    """Return what has to be installed for building: nothing."""
    return []


def get_requires_for_build_sdist(config_settings: _ConfigSettings = None) -> list[str]:
    """Return what has to be installed for building: nothing."""
    return []


def build_wheel(
    wheel_directory: str, config_settings: _ConfigSettings = None, metadata_directory: str | None = None
) -> str:
    """Write the wheel into the folder and return its name. The working directory is the source tree."""
    project = _read_project()
    stem = f"{project['name']}-{project['version']}"
    files = {
        "oaiserve.py": _single_file(),
        f"{stem}.dist-info/METADATA": _metadata(project).encode(),
        f"{stem}.dist-info/WHEEL": _WHEEL.encode(),
        f"{stem}.dist-info/entry_points.txt": _entry_points(project).encode(),
        f"{stem}.dist-info/licenses/LICENSE": _read("LICENSE"),
    }
    rows = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in files.items()]
    files[f"{stem}.dist-info/RECORD"] = "".join([*rows, f"{stem}.dist-info/RECORD,,\n"]).encode()
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, data)  # stored, because zlib's versions differ in what they emit
    return name


def build_sdist(sdist_directory: str, config_settings: _ConfigSettings = None) -> str:
    """Write the source archive into the folder and return its name; it holds what build_wheel needs, and the tests."""
    project = _read_project()
    stem = f"{project['name']}-{project['version']}"
    files = {path: _read(path) for path in _source_paths()}
    files["PKG-INFO"] = _metadata(project).encode()
    name = f"{stem}.tar.gz"
    with open(os.path.join(sdist_directory, name), "wb") as file:
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for path, data in sorted(files.items()):
                    entry = tarfile.TarInfo(f"{stem}/{path}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    return name


def _single_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that the frontend's modules and ours cannot be taken for each other.
        subprocess.run([sys.executable, "oaiserve.py", "bundle", folder], check=True)
        return _read(os.path.join(folder, "oaiserve.py"))


def _source_paths() -> list[str]:
    paths = [path for path in _SOURCES if os.path.exists(path)]
    for top in _SOURCE_FOLDERS:
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
            paths.extend(os.path.join(folder, name).replace(os.sep, "/") for name in names if not name.startswith("."))
    return paths


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


# What pyproject.toml says


def _read_project() -> dict[str, typing.Any]:
    """Return the [project] table, its scripts as "scripts", and the version that oaiserve.py names.

    Read by hand, because Python has no reader of TOML before 3.11: one key a line, with a value that Python would write
    the same way. What is of another form (the authors) does not go into the metadata.
    """
    project: dict[str, typing.Any] = {"scripts": {}}
    table: dict[str, typing.Any] = {}
    tables = {"[project]": project, "[project.scripts]": project["scripts"]}
    for line in _read("pyproject.toml").decode().splitlines():
        if line.startswith("["):
            table = tables.get(line.strip(), {})
        key, _, value = line.partition(" = ")
        try:
            table[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            continue
    version = re.search(r'^VERSION = "([^"]+)"$', _read("protocol/program/version.py").decode(), re.MULTILINE)
    if version is None:
        raise ValueError('protocol/program/version.py: expected a line `VERSION = "…"`')
    project["version"] = version[1]
    return project


def _metadata(project: dict[str, typing.Any]) -> str:
    readme = _read(project["readme"]).decode()
    return (
        "Metadata-Version: 2.4\n"
        f"Name: {project['name']}\n"
        f"Version: {project['version']}\n"
        f"Summary: {project['description']}\n"
        f"License-Expression: {project['license']}\n"
        "License-File: LICENSE\n"
        f"Requires-Python: {project['requires-python']}\n"
        "Description-Content-Type: text/markdown; charset=UTF-8\n"
        "\n" + readme
    )


def _entry_points(project: dict[str, typing.Any]) -> str:
    return "[console_scripts]\n" + "".join(f"{name} = {target}\n" for name, target in project["scripts"].items())
