"""The kinds of backends, and the sections of a configuration. No backend is loaded here."""

from __future__ import annotations

import typing

from protocol.config import Configuration
from protocol.dashscope.settings import DashScopeSettings
from protocol.mock.settings import MockSettings, PaceSettings
from protocol.on_demand import load
from protocol.relay.settings import RelaySettings
from protocol.server.settings import ServerSettings
from protocol.team.ledger.settings import LedgerSettings
from protocol.team.settings import LimitsSettings


class Kind(typing.NamedTuple):
    """A kind of backend: its section's settings, which every start reads.

    `descriptors` is how many a client's connection takes: its own, and one to an upstream.
    """

    settings: type
    descriptors: int = 1


#: A new kind needs its rooms, a line here, a maker in protocol/program/making.py, and a line in protocol/on_demand.py.
KINDS = {
    "mock": Kind(MockSettings),
    "relay": Kind(RelaySettings, descriptors=2),
    "dashscope": Kind(DashScopeSettings, descriptors=2),
}

#: Sections that a backend's settings name.
PARTS = {"pace": PaceSettings}

#: Sections that stand once, beside [server].
SINGLE = {"limits": LimitsSettings, "ledger": LedgerSettings}


def new_configuration() -> Configuration:
    """Return a configuration that knows all sections, and has nothing but defaults."""
    kinds = {name: kind.settings for name, kind in KINDS.items()}
    return Configuration(ServerSettings, kinds, PARTS, _check_fault, SINGLE)


def _check_fault(text: str) -> None:
    (parse_fault,) = load("fault")
    parse_fault(text)
