"""Which configuration a command reads: a file, the environment, and `--set`."""

from __future__ import annotations

import argparse
import os
import sys

from protocol.config import Configuration
from protocol.program.kinds import new_configuration


def configuration_from(options: argparse.Namespace) -> tuple[Configuration, str]:
    """Return what file, environment and `--set` say, and which file that was; UsageError for a mistake."""
    configuration = new_configuration()
    path = options.config or _find_config()
    if path:
        configuration.read_file(path)
    configuration.read_environment(os.environ)
    for assignment in options.set:
        configuration.set_option(assignment)
    return configuration, path or "the defaults (no config.ini found)"


def _find_config() -> str | None:
    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))):
        path = os.path.join(folder, "config.ini")
        if os.path.isfile(path):
            return path
    return None
