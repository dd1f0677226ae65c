"""The instrument as a whole: its sessions, what they go through, and how they are controlled."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Backend, Endpoint, ErrorShapes, Request
from protocol.instrument.control import CONTROL_ROOT, Cassette, Control
from protocol.instrument.faults.sources import read_patterns
from protocol.instrument.layer import Layer
from protocol.instrument.script.script import Script
from protocol.instrument.scripts import script_reader
from protocol.instrument.session import Session, Sessions, SessionsRoom, split_session


class Front:
    """What requests go through that the gate does not let through.

    `route` is the router's way, `backends` are those whose memory a session has a part of. `seconds` tells the time.
    `on_switch` is called whenever endpoints may have changed that somebody remembers. `keeps_journal` says that the
    server's own session keeps a journal from the start. `faults` are those of [faults]: ValueError where one is wrong.
    Each session begins with `script` and `seed`. `named` are the backends that a script may ask by name,
    `paces` the names of its paces. `is_one_of_many` says that other processes answer on the same port.
    """

    def __init__(
        self,
        route: typing.Callable[[Request], Endpoint],
        errors: ErrorShapes,
        backends: typing.Sequence[Backend],
        seconds: typing.Callable[[], float],
        on_switch: typing.Callable[[], object],
        *,
        max_body: int,
        control_key: str = "",
        keeps_journal: bool = False,
        seed: str = "",
        paces: typing.Collection[str] = (),
        faults: typing.Mapping[str, str] | None = None,
        script: Script | None = None,
        cassettes: typing.Mapping[str, Cassette] | None = None,
        named: typing.Mapping[str, Backend] | None = None,
        is_one_of_many: bool = False,
    ) -> None:
        self.cassettes = cassettes or {}
        self._backends = backends
        self._on_switch = on_switch
        self._is_one_of_many = is_one_of_many
        room = SessionsRoom()
        configured = read_patterns(faults or {}, "[faults]")

        def make(name: str) -> Session:
            keeps = bool(name) or keeps_journal
            return Session(
                name, seconds, room, on_switch, keeps_journal=keeps, seed=seed, faults=configured, script=script
            )

        self.sessions = Sessions(make, self._forget)
        self._layer = Layer(route, errors, named or {}, max_body=max_body)
        self._control = Control(self, script_reader(named or {}, paces), control_key)

    @property
    def is_on(self) -> bool:
        """Whether every request has to come through here."""
        return self.sessions.own.is_on

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint of a request's head.

        ApiError 404 for a session's name that none can have, 400 where the request's session may be another process's.
        """
        name, path = split_session(request.path)
        if self._is_one_of_many and (name or path.startswith(CONTROL_ROOT)):
            message = "Sessions and /_oaiserve/ are one process's, and there are several workers here; set workers = 1."
            raise ApiError(400, message, code="needs_one_worker")
        session = self.sessions.get(name)
        if path.startswith(CONTROL_ROOT):
            return self._control.endpoint(request, session, path[len(CONTROL_ROOT) :])
        return self._layer.endpoint(request, session, path)

    # ---- what is controlled besides a session -----------------------------------------------------------------------

    def end(self, session: Session) -> bool:
        """End a session; return whether there was one that can end."""
        return self.sessions.end(session.name)

    def all(self) -> list[Session]:
        """Return all sessions."""
        return self.sessions.all()

    def names(self) -> list[str]:
        """Return the names of all sessions."""
        return [session.name for session in self.sessions.all()]

    def forget(self, session: Session) -> None:
        """Let every backend forget what it remembers for a session."""
        for backend in self._backends:
            backend.forget(session)
        self._on_switch()

    def _forget(self, session: Session) -> None:
        self.forget(session)
