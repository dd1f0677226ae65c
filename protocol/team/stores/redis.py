"""The store of servers on several hosts: Redis or Valkey, and what becomes of requests while it cannot be reached.

Theory of operation
-------------------
There is one connection, and what is asked of it within a turn of the loop is sent at once. A task keeps it up:

    opening     greets the server, gives it the scripts, and has it write something: one that is loading, a replica
                or full is as good as none. Those who come meanwhile for the first time wait, as long as for an answer.
    up          everybody asks the server. Whoever waits for an answer too long takes the connection down for all: they
                wait for that one, and nobody after them does.
    down        nobody waits. Each is refused (closed), let in (open), or counted in this process alone (local). The
                task opens it again after a pause, which doubles up to some seconds.

What is settled while it is down is sent when it is up again, of at most so many requests; also what those used whom it
knows nothing of. What was sent when the connection broke is not sent again: it may have been done.

A place is a lease. The task renews those of the requests that are under way; those of an instance that died end soon.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import ssl
import typing

from protocol.errors import ApiError
from protocol.limiter import Claim, Window
from protocol.team.stores.memory import MemoryStore
from protocol.team.stores.redis_address import RedisAddress
from protocol.team.stores.redis_connection import RedisConnection, greeting, open_connection
from protocol.team.stores.redis_scripts import (
    SCRIPTS,
    Call,
    read_taken,
    settle_command,
    stay_command,
    take_command,
)
from protocol.team.stores.resp import RespError, Value, encode_command
from protocol.team.stores.store import Crowded, Place, Taken

#: What becomes of requests while the server cannot be reached.
WhenDown = typing.Literal["closed", "open", "local"]

# Nobody waits longer for an answer.
_ANSWER_SECONDS = 1.0
# TLS and a name that is looked up may take longer than an answer; nobody waits for them, but at the start.
_OPENING_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_MOST_UNSETTLED = 10_000

_LEASE_MILLISECONDS = 15_000
_RENEWAL_SECONDS = 4.0

_SAID = {
    "closed": "requests are refused",
    "open": "requests are let in without limits",
    "local": "this process counts by itself",
}


class RedisStore:
    """Keeps in Redis what was taken; it is made where the loop runs, and connects by itself.

    `say` takes a line for the log when the server cannot be reached, and when it can again. `clock` gives the time in
    seconds since 1970, for what is counted here while it cannot.
    """

    def __init__(
        self,
        address: RedisAddress,
        when_down: WhenDown,
        clock: typing.Callable[[], float],
        say: typing.Callable[[str], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._when_down = when_down
        self._say = say
        self._local = MemoryStore(clock)
        self._up: RedisConnection | None = None
        self._is_missed = False  # whether it has been said that the server cannot be reached
        self._tried: asyncio.Future[None] = self._loop.create_future()  # done when it is known whether it can
        self._lost = asyncio.Event()
        self._unsettled: collections.deque[Call] = collections.deque(maxlen=_MOST_UNSETTLED)
        self._name = os.urandom(6).hex()
        self._count = 0
        self._held: dict[str, list[str]] = {}  # by subject, the leases
        self._task = self._loop.create_task(self._keep_up())

    # ---- what a store does ------------------------------------------------------------------------------------------

    async def take(self, claims: typing.Sequence[Claim], places: typing.Sequence[Place] = ()) -> Taken:
        """Take all that is claimed, and occupy the places, as Store has it.

        ApiError 503 where the server cannot be reached and requests are refused then.
        """
        self._count += 1
        who = f"{self._name}:{self._count}"

        def unwanted(value: Value) -> None:
            with contextlib.suppress(Crowded):
                is_in, _, at = read_taken(claims, places, value)
                if is_in:
                    self._settle(claims, [0] * len(claims), at, [(place.subject, who) for place in places])

        value = await self._ask(take_command(claims, places, who, _LEASE_MILLISECONDS), unwanted)
        if value is not None:
            taken = read_taken(claims, places, value)
            if taken[0]:
                for place in places:
                    self._held.setdefault(place.subject, []).append(who)
            return taken
        if self._when_down == "closed":
            message = "The limits of this key cannot be looked up right now. Please try again."
            raise ApiError(503, message, code="limits_unavailable", fields=[("retry-after", "1")])
        if self._when_down == "open":
            return True, [], 0
        is_in, told, at = self._local.take(claims, places)
        return is_in, told, -at

    def settle(
        self,
        claims: typing.Sequence[Claim],
        units: typing.Sequence[int],
        at: int,
        places: typing.Sequence[Place] = (),
    ) -> None:
        """Let so many units have been taken, and free the places, here or there.

        What was taken here alone is now taken there too. Of one subject, any place is as good as another.
        """
        left, left_here = [], []
        for place in places:
            held = self._held.get(place.subject)
            if held:
                left.append((place.subject, held.pop()))
                if not held:
                    del self._held[place.subject]
            else:
                left_here.append(place)
        if at < 0 or left_here:
            self._local.settle(claims if at < 0 else (), units, -at, left_here)
        self._settle(claims, units, at, left)

    def _settle(
        self,
        claims: typing.Sequence[Claim],
        units: typing.Sequence[int],
        at: int,
        left: typing.Sequence[tuple[str, str]],
    ) -> None:
        # While the server cannot be reached leases end by themselves.
        call = settle_command(claims, units, abs(at), left if self._up else (), is_taken=at > 0)
        if call.keys:
            if self._up is None:
                self._unsettled.append(call)
            else:
                self._send(self._up, call, _ignore)

    async def close(self) -> None:
        """Send what is left to say, and close the connection."""
        self._task.cancel()
        self._settle((), (), 0, [(subject, who) for subject, held in self._held.items() for who in held])
        self._held.clear()
        if self._up is not None:
            said: asyncio.Future[None] = self._loop.create_future()
            self._up.send(encode_command("PING"), lambda *_: said.set_result(None))
            await said  # or it is lost, within the time of an answer
        await asyncio.wait([self._task])
        if self._up is not None:
            self._up.give_up("")

    # ---- asking -----------------------------------------------------------------------------------------------------

    async def _ask(self, call: Call, unwanted: typing.Callable[[Value], object]) -> Value | None:
        """Return what the server answers, None where it cannot be reached.

        `unwanted` is called with an answer that comes when whoever asked has gone.
        """
        if self._up is None and not self._tried.done():
            await asyncio.wait([self._tried], timeout=_ANSWER_SECONDS)
        if self._up is None:
            return None
        answer: asyncio.Future[Value | None] = self._loop.create_future()

        def answered(value: Value | None) -> None:
            if not answer.cancelled():
                answer.set_result(value)
            elif value is not None:
                unwanted(value)

        self._send(self._up, call, answered)
        return await answer

    def _send(self, connection: RedisConnection, call: Call, answered: typing.Callable[[Value | None], object]) -> None:
        """Have a script run; an error takes the connection down, for the next call would come to the same."""

        def on_answer(value: Value | None, _: bool) -> None:
            if type(value) is RespError:
                if value.code == "NOSCRIPT":
                    connection.send(call.in_full(), on_last_answer)
                    return
                connection.give_up(f"it answers {value.code}")
                value = None
            answered(value)

        def on_last_answer(value: Value | None, is_answer: bool) -> None:
            on_answer(RespError("NOTHING") if value == RespError("NOSCRIPT") else value, is_answer)

        connection.send(call.by_name(), on_answer)

    # ---- the connection ---------------------------------------------------------------------------------------------

    async def _keep_up(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._lost.clear()
            why = await self._open()
            if why:
                self._tell_that_it_is_missed(why)
            else:
                began = self._loop.time()
                await self._renew_leases()
                if self._loop.time() - began > _LONGEST_PAUSE_SECONDS:
                    pause = _FIRST_PAUSE_SECONDS
            if not self._tried.done():
                self._tried.set_result(None)
            # Instances that lost it at the same moment do not all come back at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _open(self) -> str:
        """Open a connection; return "" or why that cannot be done, in words without what is secret."""
        opening = self._loop.create_task(open_connection(self._address, _ANSWER_SECONDS, self._on_lost))
        try:
            await asyncio.wait([opening], timeout=_OPENING_SECONDS)
            if not opening.done():
                return "no connection came about"
            connection = opening.result()
            why = await self._greet(connection)
            if why:
                return why
            self._up = connection
        except OSError as exc:
            return _why(exc)
        finally:
            if self._up is None:
                opening.cancel()
                opening.add_done_callback(_close_unwanted)
        if self._is_missed:
            self._is_missed = False
            self._say(f"The store of limits, {self._address}, is back")
        if not self._tried.done():
            self._tried.set_result(None)
        while self._unsettled:
            self._send(connection, self._unsettled.popleft(), _ignore)
        return ""

    async def _greet(self, connection: RedisConnection) -> str:
        """Say what has to be said first; return "" or why the server is of no use."""
        greeted: asyncio.Future[str] = self._loop.create_future()

        def on_answer(value: Value | None, is_answer: bool) -> None:
            if not greeted.done() and (not is_answer or type(value) is RespError):
                greeted.set_result(f"it answers {value.code}" if type(value) is RespError else "it does not answer")

        def on_last_answer(value: Value | None, is_answer: bool) -> None:
            on_answer(value, is_answer)
            if not greeted.done():
                greeted.set_result("")

        for command in [*greeting(self._address), *(script.load() for script in SCRIPTS)]:
            connection.send(command, on_answer)
        writing = settle_command([Claim("greeting", Window(1, 1000), 0)], [1], 0)
        connection.send(writing.by_name(), on_last_answer)
        return await greeted

    async def _renew_leases(self) -> None:
        """Return when the connection is lost; until then renew the leases of those who are under way."""
        while self._up is not None:
            for subject, held in self._held.items():
                self._send(self._up, stay_command(subject, held, _LEASE_MILLISECONDS), _ignore)
            waiting = self._loop.create_task(self._lost.wait())
            try:
                await asyncio.wait([waiting], timeout=_RENEWAL_SECONDS)
            finally:
                waiting.cancel()

    def _on_lost(self, why: str) -> None:
        if self._up is not None:
            self._up = None
            self._lost.set()
            if why:
                self._tell_that_it_is_missed(why)

    def _tell_that_it_is_missed(self, why: str) -> None:
        if not self._is_missed:
            self._is_missed = True
            self._say(f"The store of limits, {self._address}, cannot be reached: {why}; {_SAID[self._when_down]}")


def _close_unwanted(opening: asyncio.Task[RedisConnection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().give_up("")


def _ignore(*_: object) -> None:
    """What is settled or left is not waited for."""


def _why(exc: OSError) -> str:
    """Say why in words without addresses."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({exc.verify_message})"
    if isinstance(exc, ssl.SSLError):
        return "it speaks no TLS that we do"
    if isinstance(exc, ConnectionError) or "Connect call failed" in str(exc):
        return "the connection was refused"
    return os.strerror(exc.errno).lower() if exc.errno and exc.errno > 0 else "it has no address that answers"
