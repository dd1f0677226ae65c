"""Sessions: what hangs on one name. The server's own session has the name ""."""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Follower
from protocol.instrument.clock import SettableClock
from protocol.instrument.counts import Counts
from protocol.instrument.faults.sources import Patterns, SessionFaults
from protocol.instrument.journal import Journal, JournalRoom
from protocol.instrument.limits import LimitRule, Limits
from protocol.instrument.script.script import Script, ScriptState
from protocol.limiter import LimiterRoom

#: Sessions at once, besides the server's own; the one that has not been used for the longest time goes.
MOST_SESSIONS = 256

_ROOT = "/s/"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class SessionsRoom:
    """What all sessions of a server share, so that however many there are, together they take bounded memory.

    `most_bytes` bounds what scripts, faults and limits say.
    """

    def __init__(self, most_bytes: int = 64 << 20) -> None:
        self.journals = JournalRoom()
        self.counts = Counts()
        self.limits = LimiterRoom()
        self._most = most_bytes
        self._bytes = 0

    def change(self, size: int) -> None:
        """Let what is said take so many bytes more, or, below 0, less; ApiError 503 where there is no room."""
        if size > 0 and self._bytes + size > self._most:
            raise ApiError(
                503, f"The scripts, faults and limits of all sessions may take {self._most} bytes of memory, which are "
                "in use: end a session (DELETE session), or make them shorter.", code="memory_full",
            )  # fmt: skip
        self._bytes += size


class Session:
    """A session: its clock, its journal, and what a tester has switched on in it.

    `script` is the one that it begins with.
    `seed` makes all that is drawn in it repeat; "" is ever new. `on_switch` is called whenever something is switched
    on or off, because endpoints may have changed that somebody remembers. `faults` are those of [faults].
    """

    #: What can be reset by itself, besides the state of the backends.
    parts = ("calls", "faults", "limits", "script")

    def __init__(
        self,
        name: str,
        seconds: typing.Callable[[], float],
        room: SessionsRoom,
        on_switch: typing.Callable[[], object],
        *,
        keeps_journal: bool,
        seed: str = "",
        faults: Patterns = (),
        script: Script | None = None,
    ) -> None:
        self.name = name
        self.seed = seed
        self.has_ended = False
        self.clock = SettableClock(seconds)
        self._room = room
        # By part, how many bytes what it says takes.
        self._sizes: dict[str, int] = {}
        self.journal = Journal(room.journals)
        self.faults = SessionFaults(name, faults, self.now, room.counts)
        #: What limits its keys and models, None for nothing.
        self.limits: Limits | None = None
        #: What is said, None for no script; and what counts of it.
        self.script: Script | None = None
        self.script_state = ScriptState()
        self._first_script = script
        self._keeps_journal = keeps_journal
        self._on_switch: typing.Callable[[], object] = _nobody
        self.use_script(script)
        self._on_switch = on_switch

    @property
    def is_on(self) -> bool:
        """Whether anything is switched on, so that requests must be looked at."""
        return self._keeps_journal or self.faults.is_on or self.limits is not None or self.script is not None

    @property
    def looks_into_bodies(self) -> bool:
        """Whether a request's body must be there before it is answered."""
        return self.faults.is_on or self.limits is not None

    def limit(self, rules: typing.Sequence[LimitRule]) -> None:
        """Let these limits hold from now on, and nothing be used of them; none for no limits."""
        if self.limits is not None:
            self.limits.reset()
        self.limits = Limits(rules, self.now, self._room.limits) if rules else None
        self._on_switch()

    def hold(self, part: str, size: int, *, more: bool = False) -> None:
        """Count how much memory a part takes by what it says, or how much more; ApiError 503 where there is no room."""
        before = self._sizes.get(part, 0)
        self._room.change(size if more else size - before)
        self._sizes[part] = before + size if more else size

    def end(self) -> None:
        """Give back what it has of what all sessions share, and forget it, for which the collector would come late."""
        self.has_ended = True
        self.journal.clear()
        self.limit(())
        self.put_faults({})
        self.use_script(None)
        self._room.change(-sum(self._sizes.values()))
        self._sizes.clear()

    def reset(self, parts: typing.Iterable[str]) -> None:
        """Put parts back to how they were at first."""
        for part in parts:
            if part in ("faults", "script"):
                self.hold(part, 0)
            if part == "calls":
                self.journal.clear()
            elif part == "faults":
                self.faults.reset()
            elif part == "limits" and self.limits is not None:
                self.limits.reset()
            elif part == "script":
                self.script_state = ScriptState()
                self.use_script(self._first_script)
        self._on_switch()

    def put_faults(self, texts: typing.Mapping[str, typing.Any]) -> None:
        """Put faults, by the pattern of the model, in the place of the session's own; ValueError says what is wrong."""
        self.faults.put(texts)
        self._on_switch()

    def use_script(self, script: Script | None) -> None:
        """Say what this script says from now on. Rules that stay keep their counts, and limits stay if it has none."""
        if script is None:
            self.script_state = ScriptState()
        self.script = script
        if script is not None and script.seed:
            self.seed = script.seed
        if script is not None and script.limits is not None:
            self.limit(script.limits)
        self._on_switch()

    def now(self) -> float:
        """Return the session's time, in seconds since the epoch."""
        return self.clock.now()

    def follow(self, follower: Follower) -> None:
        """Let a follower know by how much the session's time goes ahead, for as long as somebody else holds it."""
        self.clock.follow(follower)

    def sleep(self, seconds: float) -> typing.Awaitable[object]:
        """Wait for so many seconds of the session's time."""
        return self.clock.sleep(seconds)


def _nobody() -> None:
    """Hear of nothing: nobody remembers the endpoints of a session that begins."""


class Sessions:
    """The sessions of a server by name.

    `on_end` is called with each that goes, so that whoever keeps something for it can let it go, too.
    """

    def __init__(self, make: typing.Callable[[str], Session], on_end: typing.Callable[[Session], object]) -> None:
        self._make = make
        self._on_end = on_end
        self.own = make("")
        self._named: dict[str, Session] = {}

    def get(self, name: str) -> Session:
        """Return the session of a name, which begins when it is first used."""
        if not name:
            return self.own
        session = self._named.pop(name, None) or self._make(name)
        self._named[name] = session  # the one used last is the last
        if len(self._named) > MOST_SESSIONS:
            self.end(next(iter(self._named)))
        return session

    def all(self) -> list[Session]:
        """Return all sessions, the server's own first."""
        return [self.own, *self._named.values()]

    def end(self, name: str) -> bool:
        """End a session and forget all that hangs on it; return whether there was one."""
        session = self._named.pop(name, None)
        if session is None:
            return False
        session.end()
        self._on_end(session)
        return True


def split_session(path: str) -> tuple[str, str]:
    """Return the name of the session that a path begins with, "" for the server's own, and the path within it.

    ApiError 404 for a name that none can have.
    """
    if not path.startswith(_ROOT):
        return "", path
    name, slash, rest = path[len(_ROOT) :].partition("/")
    if not _NAME.fullmatch(name):
        message = "A session's name has 1 to 100 letters, digits, dots, hyphens and underscores: /s/NAME/v1/..."
        raise ApiError(404, message, code="session_not_found")
    return name, slash + rest
