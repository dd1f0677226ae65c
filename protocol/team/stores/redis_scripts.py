"""What Redis does for us, each at one go: the scripts in Lua, the commands that call them, and what they answer.

The arithmetic is `taken` of protocol/limiter.py, in doubles, in which all of its numbers are exact. What a state says
is worked out of it here, by `standing`. The time is the server's own, so that the clocks of our hosts do not matter.

A window of a subject is one key with `time level` in it, which is gone when it would have leaked away. All keys have
one hash tag, so that a cluster keeps them in one place. It takes Redis 5, where a script that asks for the time may
write.
"""

from __future__ import annotations

import hashlib
import typing

from protocol.limiter import Claim, Standing, State, Window, standing
from protocol.team.stores.resp import Value, encode_command
from protocol.team.stores.store import Crowded, Place, Taken

_TAG = "oaiserve:{limits}:"
# What is answered instead of whether all was taken, where there is no room at a place; its number follows.
_CROWDED = 2

# `last(period, now)` is last_millisecond. The day of the month is that of a year that begins in March, in which only
# the last month's length changes; 31 days after a month's first day it is the next month.
CALENDAR_LUA = """
local function day_of_month(day)
  local shifted = (day + 719468) % 146097
  local year = math.floor((shifted - math.floor(shifted / 1460) + math.floor(shifted / 36524)
    - math.floor(shifted / 146096)) / 365)
  local of_year = shifted - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  return of_year - math.floor((153 * month + 2) / 5) + 1
end
local function last(period, now)
  local day = math.floor(now / 86400000)
  if period == 'day' then return (day + 1) * 86400000 - 1 end
  local later = day - day_of_month(day) + 32
  return (later - day_of_month(later) + 1) * 86400000 - 1
end
"""

_STATE_LUA = (
    CALENDAR_LUA
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function read(key, period, leak)
  local at, level = string.match(redis.call('GET', key) or '0 0', '^(%d+) (%d+)$')
  at, level = tonumber(at), tonumber(level)
  if now > at then
    level = math.max(0, level - (now - at) * leak)
    at = period == '' and now or last(period, now)
  end
  return at, level
end
local function write(key, at, level, leak)
  if level == 0 then return redis.call('DEL', key) end
  local left = string.format('%.0f', math.max(1, at - now + math.ceil(level / leak)))
  redis.call('SET', key, string.format('%.0f %.0f', at, level), 'PX', left)
end
"""
)

# A subject's places are a sorted set: who is under way, and until when he is believed to be. First how many keys are
# windows, his name, and for how long; then of each claim: its period ('' for a window), its leak, the whole amount, and
# what is taken, in parts; then how many places there are of each subject.
_TAKE_LUA = (
    _STATE_LUA
    + """
local claims, places = tonumber(ARGV[1]), 3 + 3 * tonumber(ARGV[1])
for i = claims + 1, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[places + i]) then return {2, i - claims - 1} end
end
local told = {1, now}
for i = 1, claims do
  local n = 4 * i
  local at, level = read(KEYS[i], ARGV[n], tonumber(ARGV[n + 1]))
  if level + tonumber(ARGV[n + 3]) > tonumber(ARGV[n + 2]) then told[1] = 0 end
  told[2 * i + 1], told[2 * i + 2] = at, level
end
if told[1] == 1 then
  for i = 1, claims do
    local n = 4 * i
    told[2 * i + 2] = told[2 * i + 2] + tonumber(ARGV[n + 3])
    write(KEYS[i], told[2 * i + 1], told[2 * i + 2], tonumber(ARGV[n + 1]))
  end
  for i = claims + 1, #KEYS do
    redis.call('ZADD', KEYS[i], string.format('%.0f', now + ARGV[3]), ARGV[2])
    redis.call('PEXPIRE', KEYS[i], ARGV[3])
  end
end
return told
"""
)

# First how many keys are windows, and when it was taken, 0 for never; then of each claim: its period, its leak, and by
# how much its level changes; then who leaves each of the places.
_SETTLE_LUA = (
    _STATE_LUA
    + """
local claims, taken_at = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, claims do
  local period, leak, more = ARGV[3 * i], tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  if not (period ~= '' and taken_at > 0 and last(period, taken_at) < now) then
    local at, level = read(KEYS[i], period, leak)
    write(KEYS[i], at, math.min(math.max(0, level + more), 9007199254740992), leak)
  end
end
for i = claims + 1, #KEYS do redis.call('ZREM', KEYS[i], ARGV[2 + 2 * claims + i]) end
return 0
"""
)

# For how long; then those of one subject who are still under way.
_STAY_LUA = """
local time = redis.call('TIME')
local until_then = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], until_then, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
"""


class Script:
    """A script, and what names it once the server has it."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis' own name for it.
        self.name = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def load(self) -> bytes:
        """Return the command that gives the script to the server."""
        return encode_command("SCRIPT", "LOAD", self.text)


class Call(typing.NamedTuple):
    """A script, the keys that it is about, and what it is told."""

    script: Script
    keys: typing.Sequence[str]
    words: typing.Sequence[str | int]

    def by_name(self) -> bytes:
        """Return the command for a server that has the script."""
        return encode_command("EVALSHA", self.script.name, len(self.keys), *self.keys, *self.words)

    def in_full(self) -> bytes:
        """Return the command for a server that has forgotten it."""
        return encode_command("EVAL", self.script.text, len(self.keys), *self.keys, *self.words)


SCRIPTS = TAKE, SETTLE, STAY = tuple(map(Script, (_TAKE_LUA, _SETTLE_LUA, _STAY_LUA)))


def take_command(claims: typing.Sequence[Claim], places: typing.Sequence[Place], who: str, milliseconds: int) -> Call:
    """Return how all that is claimed is taken, and a place of each of these is occupied by somebody for so long."""
    words: list[str | int] = [len(claims), who, milliseconds]
    for _, window, units in claims:
        words += (_period(window), window.leak, window.whole, units * window.parts)
    words += [place.most for place in places]
    keys = [_key(claim) for claim in claims]
    keys += [_place_key(place.subject) for place in places]
    return Call(TAKE, keys, words)


def read_taken(claims: typing.Sequence[Claim], places: typing.Sequence[Place], value: Value) -> Taken:
    """Return what the server answered: whether it was taken, its time, and each State; Crowded for a place."""
    is_in, now, *numbers = typing.cast("list[int]", value)
    if is_in == _CROWDED:
        raise Crowded(places[now])
    states: list[State] = list(zip(numbers[::2], numbers[1::2]))
    told: list[Standing] = [
        standing(window, state, now, 0 if is_in else units) for (_, window, units), state in zip(claims, states)
    ]
    return bool(is_in), told, now


def settle_command(
    claims: typing.Sequence[Claim],
    units: typing.Sequence[int],
    taken_at: int,
    left: typing.Sequence[tuple[str, str]] = (),
    *,
    is_taken: bool = True,
) -> Call:
    """Return how so many units are let to have been taken; all of them where nothing `is_taken` yet.

    `left` says of which subjects who leaves his place.
    """
    keys: list[str] = []
    words: list[str | int] = [0, taken_at]
    for claim, actual in zip(claims, units):
        more = actual - claim.units if is_taken else actual
        if more:
            keys.append(_key(claim))
            words += (_period(claim.window), claim.window.leak, more * claim.window.parts)
    words[0] = len(keys)
    for subject, who in left:
        keys.append(_place_key(subject))
        words.append(who)
    return Call(SETTLE, keys, words)


def stay_command(subject: str, who: typing.Sequence[str], milliseconds: int) -> Call:
    """Return how those who are under way are known to be still."""
    return Call(STAY, [_place_key(subject)], [milliseconds, *who])


def _period(window: typing.Any) -> str:
    return "" if type(window) is Window else window.period


def _key(claim: Claim) -> str:
    return f"{_TAG}{claim.subject}:{claim.window.kept_as}"


def _place_key(subject: str) -> str:
    return f"{_TAG}{subject}:at once"
