"""What may change a ratio beside the program that is measured: how that was done, and with whose versions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from load import generator
from report import Row
from throughput import Options

# How a command that others are measured by tells its version; vllm-router and aimock tell none.
_ASKED = {
    "nginx": "-v",
    "envoy": "--version",
    "caddy": "version",
    "smg": "--version",
    "granian": "--version",
    "robyn": "--version",
}
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def circumstances(options: Options, rows: Sequence[Row]) -> dict[str, str]:
    """Return them by name; versions are those of the peers that are in the rows."""
    against = {row.against for row in rows}
    versions = {name: _version(name) for name in _ASKED if any(peer.startswith(name) for peer in against)}
    return {
        "Python": ".".join(map(str, sys.version_info[:3])),
        "load by": generator(),
        "connections": str(options.connections),
        "seconds of a load": str(options.seconds),
        "cores": "not chosen" if options.cores.server is None else "one for the server, one for the load",
        **versions,
    }


def in_words(found: dict[str, str]) -> str:
    told = "; ".join(f"{name}: {value}" for name, value in found.items())
    return f"{told}. Settings as they are by default, but that the log goes to a file."


def _version(name: str) -> str:
    if not shutil.which(name):
        return "unknown"
    run = subprocess.run([name, _ASKED[name]], capture_output=True, text=True, timeout=20, check=False)
    found = _VERSION.search(run.stdout + run.stderr)
    return found[0] if found else "unknown"
