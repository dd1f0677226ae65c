"""The administration of an organization: who belongs to it, what they may do, and with which keys.

An organization begins with its owner, a project, and the roles that OpenAI gives to everybody. Whatever changes
something also writes the audit log. Source: OpenAI API reference, "Administration".
"""

from __future__ import annotations

from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import World
from protocol.mock.organization.audit import audited
from protocol.mock.organization.certificates import Certificates
from protocol.mock.organization.keys import Keys
from protocol.mock.organization.people import People
from protocol.mock.organization.projects import Projects
from protocol.mock.organization.roles import Roles


class Organization:
    """The family of /organization and /projects, but for usage and the audit log itself."""

    def __init__(self, world: World) -> None:
        people = People(world)
        self._handlers: dict[str, Handler] = {
            **people.operations(),
            **Projects(world).operations(),
            **Roles(world, people).operations(),
            **Keys(world).operations(),
            **Certificates(world).operations(),
        }

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return audited(self._handlers)
