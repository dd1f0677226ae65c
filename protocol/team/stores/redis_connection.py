"""One connection to Redis: commands out, those of a turn of the loop in one write, and their answers back in order."""

from __future__ import annotations

import asyncio
import collections
import ssl
import typing

from protocol.deadline import Deadline
from protocol.team.stores.redis_address import RedisAddress
from protocol.team.stores.resp import NEED_DATA, RespBroke, RespReader, Value, encode_command

_OnAnswer = typing.Callable[[typing.Optional[Value], bool], object]

# What the kernel has not taken of what was sent: a server that takes nothing answers nothing either.
_MOST_UNSENT_BYTES = 1 << 20


class RedisConnection(asyncio.Protocol):
    """A connection; `on_lost(why)` is called once when it is of no use any more.

    That is also the case when an answer takes longer than `answer_seconds`: so nobody waits longer than that.
    """

    _transport: asyncio.Transport

    def __init__(self, answer_seconds: float, on_lost: typing.Callable[[str], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer_seconds = answer_seconds
        self._on_lost: typing.Callable[[str], object] | None = on_lost
        self._reader = RespReader()
        self._unsent: list[tuple[bytes, _OnAnswer]] = []
        # Who waits for an answer, and since when: that our loop was busy before is not the fault of the server.
        self._waiting: collections.deque[tuple[float, _OnAnswer]] = collections.deque()
        self._deadline = Deadline(self._loop, lambda: self.give_up("it does not answer"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = typing.cast(asyncio.Transport, transport)

    def send(self, command: bytes, on_answer: _OnAnswer) -> None:
        """Send a command; `on_answer(value, True)` is called with its answer, or `(None, False)` when none comes."""
        if self._on_lost is None:
            on_answer(None, False)
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append((command, on_answer))

    def _flush(self) -> None:
        if self._on_lost is None:
            return
        unsent, self._unsent = self._unsent, []
        now = self._loop.time()
        if not self._waiting:
            self._deadline.expire_at(now + self._answer_seconds)
        self._waiting.extend((now, on_answer) for _, on_answer in unsent)
        self._transport.write(b"".join(command for command, _ in unsent))
        if self._transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            self.give_up("it takes nothing more")

    def data_received(self, data: bytes) -> None:
        """Hand out what came."""
        self._reader.feed(data)
        try:
            while self._on_lost is not None:
                value = self._reader.next_value()
                if value is NEED_DATA:
                    break
                if not self._waiting:
                    raise RespBroke("an answer that nobody asked for")
                _, on_answer = self._waiting.popleft()
                self._deadline.when = self._waiting[0][0] + self._answer_seconds if self._waiting else 0.0
                on_answer(typing.cast(Value, value), True)
        except RespBroke as exc:
            self.give_up(f"it sends {exc}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        self.give_up("it has closed the connection")

    def give_up(self, why: str) -> None:
        """Close the connection, and tell those who wait."""
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is None:
            return
        self._transport.abort()
        self._deadline.close()
        on_lost(why)
        waiting, self._waiting = self._waiting, collections.deque()
        unsent, self._unsent = self._unsent, []
        for _, on_answer in (*waiting, *unsent):
            on_answer(None, False)


async def open_connection(
    address: RedisAddress, answer_seconds: float, on_lost: typing.Callable[[str], object]
) -> RedisConnection:
    """Return a connection on which nothing has been said yet; OSError."""
    loop = asyncio.get_running_loop()

    def make() -> RedisConnection:
        return RedisConnection(answer_seconds, on_lost)

    if address.path:
        return (await loop.create_unix_connection(make, address.path))[1]
    tls = ssl.create_default_context() if address.tls else None
    return (await loop.create_connection(make, address.host, address.port, ssl=tls))[1]


def greeting(address: RedisAddress) -> list[bytes]:
    """Return what is said first: who we are, and which database is meant."""
    said = []
    if address.password:
        who = (address.user, address.password) if address.user else (address.password,)
        said.append(encode_command("AUTH", *who))
    if address.database:
        said.append(encode_command("SELECT", address.database))
    return said
