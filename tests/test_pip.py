"""Installing without any network: what the wheel and the source archive hold, and what pip makes of the source tree."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tarfile
import types
import venv
import zipfile
from email.parser import BytesParser

import pytest
from bundles import ROOT

import oaiserve

WHEEL = f"oaiserve-{oaiserve.__version__}-py3-none-any.whl"
INFO = f"oaiserve-{oaiserve.__version__}.dist-info"

needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")


def load_backend(tree: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("pip_backend", tree / "deploy" / "pip_backend.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Build wheel and source archive, and return their folder."""
    folder = tmp_path_factory.mktemp("distributions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        backend = load_backend(ROOT)
        assert backend.get_requires_for_build_wheel() == backend.get_requires_for_build_sdist() == []
        assert backend.build_wheel(str(folder)) == WHEEL
        assert backend.build_sdist(str(folder)) == f"oaiserve-{oaiserve.__version__}.tar.gz"
    return folder


def test_wheel_holds_one_module_and_its_metadata(built: pathlib.Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as wheel:
        assert wheel.testzip() is None
        names = ["METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD"]
        assert wheel.namelist() == ["oaiserve.py", *(f"{INFO}/{name}" for name in names)]
        assert b"# ==================== begin protocol/errors.py after " in wheel.read("oaiserve.py")
        metadata = BytesParser().parsebytes(wheel.read(f"{INFO}/METADATA"))
        assert wheel.read(f"{INFO}/entry_points.txt") == b"[console_scripts]\noaiserve = oaiserve:main\n"
        assert wheel.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Metadata-Version"], metadata["Name"]) == ("2.4", "oaiserve")
    assert (metadata["Version"], metadata["Requires-Python"]) == (oaiserve.__version__, ">=3.9")
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Requires-Dist"] is None
    readme = metadata.get_payload(decode=True)
    assert readme == (ROOT / "README.md").read_bytes()


def test_record_of_the_wheel_is_true(built: pathlib.Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as wheel:
        rows = [row.split(",") for row in wheel.read(f"{INFO}/RECORD").decode().splitlines()]
        assert [row[0] for row in rows] == wheel.namelist()
        assert rows.pop() == [f"{INFO}/RECORD", "", ""]
        for path, digest, size in rows:
            data = wheel.read(path)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={expected}", len(data))


@pytest.mark.limit(120)
def test_source_archive_builds_the_same_wheel_and_itself(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    archive = built / f"oaiserve-{oaiserve.__version__}.tar.gz"
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            path = tmp_path / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = packed.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())
    tree = tmp_path / f"oaiserve-{oaiserve.__version__}"
    assert (tree / "PKG-INFO").read_text("utf-8").startswith("Metadata-Version: 2.4\nName: oaiserve\n")
    assert (tree / "tests" / "test_pip.py").read_bytes() == pathlib.Path(__file__).read_bytes()
    code = "import pip_backend; pip_backend.build_wheel('..'); pip_backend.build_sdist('..')"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree / "deploy")}, check=True
    )
    for path in built.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@needs_pip
@pytest.mark.limit(120)
def test_pip_installs_one_module_and_a_command_and_takes_them_away(tmp_path: pathlib.Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / ("python.exe" if os.name == "nt" else "python"))

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=100, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--no-index", "--no-build-isolation", str(ROOT))
    for command in ([str(scripts / "oaiserve")], [python, "-m", "oaiserve"], [python, "-I", "-m", "oaiserve"]):
        assert run(*command, "--version") == f"{oaiserve.__version__}\n"
    folder = pathlib.Path(run(python, "-c", "import oaiserve, os; print(os.path.dirname(oaiserve.__file__))").strip())
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == [INFO, "oaiserve.py"]
    run(*pip, "check")
    run(*pip, "uninstall", "--yes", "oaiserve")
    assert not list(scripts.glob("oaiserve*"))
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == []
