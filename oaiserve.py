#!/usr/bin/env python3
"""oaiserve: one file that stands where the OpenAI API stands.

    python oaiserve.py                  the mock on http://127.0.0.1:8080, or what config.ini says
    python oaiserve.py relay            pass requests on to a real upstream
    python oaiserve.py --help           everything else

In a program:

    import oaiserve
    with oaiserve.start(backend="mock") as server:
        client = OpenAI(base_url=server.url + "/v1", api_key="any")
"""

from __future__ import annotations  # Python 3.6 stops here: oaiserve needs Python 3.9 or newer

import importlib.util
import sys
import typing

if sys.version_info < (3, 9):  # noqa: UP036  # whoever has an older one should read why
    sys.exit(f"oaiserve needs Python 3.9 or newer; this is {sys.version.split()[0]} ({sys.executable})")
if __name__ == "__main__" and importlib.util.find_spec("protocol") is None:
    sys.exit(
        "oaiserve: this is one file of a source tree, and protocol/ is not beside it; in the tree, "
        "`python oaiserve.py bundle` writes dist/oaiserve.py, which runs alone"
    )

from protocol.on_demand import load, names_of
from protocol.program.command_line import main
from protocol.program.version import VERSION

__version__ = VERSION

# What a program imports that embeds a server; the command line needs none of it.
_EMBEDDING = names_of("embedding")


def __getattr__(name: str) -> typing.Any:  # PEP 562
    if name not in _EMBEDDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals().update(zip(_EMBEDDING, load("embedding")))
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_EMBEDDING})


def pytest_configure(config: typing.Any) -> None:
    """Give pytest the fixture `oai` (protocol/instrument/pytest_plugin.py), where it was told to load this module."""
    (make_plugin,) = load("pytest plugin")
    start, *_ = load("embedding")
    config.pluginmanager.register(make_plugin(sys.modules["pytest"], start), "oaiserve fixtures")


if __name__ == "__main__":
    sys.exit(main())
