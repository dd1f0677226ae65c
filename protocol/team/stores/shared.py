"""The store of the workers of one host: one file of exact counters that all of them have mapped.

Theory of operation
-------------------
The file is an array of 64-bit words. Whoever reads or changes it holds its lock (flock), which the kernel releases when
a worker dies.

    header      what the file is; the salt of its hashes; how many places of workers have been used; and a note of what
                stood in a record of which two words are being changed
    records     of a subject's window each: two words of hash, the State and the leak (protocol/limiter.py)
    places      of a subject each: two words of hash, then for each worker how many requests of it are under way

Nearly all changes are of one word, which is changed or not when a worker is killed: to take is to add to the level as
it was at the time of the last change, and that time is left alone as long as anything of the level is left. Where time
and level change together, both are noted before; who comes next, and finds a note, takes the change back. A worker that
is killed amid its claims has taken some of them: as if its request had been let in, and never settled.

A record or a place is found by its hash: at the first of a few positions that the hash gives, or at the next. One that
is idle (leaked away; nobody under way) stays until somebody new comes by who finds no empty one, and takes it over. It
is never emptied, so a search ends at the first empty one. When none of a hash's positions is idle there is no room:
that begins to happen when two of three are busy.

A worker who has the file to himself keeps the lock until the end of his loop's turn, in which he may have many
requests: to take and release it for each, twice, was 2.5 of 44 µs (CPython 3.11). Who begins waits for the end of that
turn, and is known from then on: workers who are two take the lock for each of their requests.

A worker's number is a byte of a second file that it has locked as long as it lives (POSIX record locks, which do not
mix with flock on every system). Who is refused a place, and who begins, first frees those of workers that are dead.

What has been taken stays in the file when the server ends, so that a budget goes on where it was. The file has to be on
a disk of this host: over a network nobody shares memory.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import struct
import typing

from protocol.errors import UsageError
from protocol.limiter import (
    FRESH,
    MOST_LEVEL,
    Calendar,
    Claim,
    Full,
    Standing,
    State,
    Stood,
    Window,
    is_over,
    last_millisecond,
    standing,
    taken,
)  # fmt: skip
from protocol.team.stores.store import REQUESTS, Crowded, Drawn, Place, Quota, Taken, claims_of

_WORD_BYTES = 8
# What the file is, and its layout: another one is another word.
_KIND_WORD = b"limits "
_KIND = int.from_bytes(_KIND_WORD + b"1", "little")

# The note: where the record is (0 for no note), and what its time and level were.
_KIND_AT, _SALT_AT, _WORKERS_AT, _NOTE_AT = 0, 1, 3, 4
_HEADER_WORDS = 8

# Twice as many records as there may be busy ones. All is written when the file is made, for a page that the disk has
# no room for when it is touched first kills the process.
_RECORDS = 1 << 17
_RECORD_WORDS = 5
_TIME, _LEVEL, _LEAK = 2, 3, 4  # of a record's words, after the two of its hash
# A level that has become this high since the time beside it is written anew; a word holds eight times as much.
_HIGH_LEVEL = 1 << 60
_PLACES = 1 << 12
_MOST_WORKERS = 126
_PLACE_WORDS = 2 + _MOST_WORKERS
_PLACES_AT = _HEADER_WORDS + _RECORDS * _RECORD_WORDS
_WORDS = _PLACES_AT + _PLACES * _PLACE_WORDS

# At so many positions a hash is looked for.
_PROBES = 32
_HASH = struct.Struct("qq")
_MOST_FOUND = 2 * _RECORDS

_NOWHERE = (_KIND_AT, 0)  # the word there is never 0
_DAY = 86_400_000
_flock, _LOCK, _UNLOCK = fcntl.flock, fcntl.LOCK_EX, fcntl.LOCK_UN

# A subject, and what its window is kept as; "" for its places.
_Key = typing.Tuple[typing.Hashable, str]


CallSoon = typing.Callable[[typing.Callable[[], object]], object]


class SharedStore:
    """Keeps in the file `path` what was taken, and in `path`.workers who is alive; OSError where they cannot be had.

    `clock` gives the time in seconds since 1970, the same for all workers. A process has one store of a file, and makes
    it itself: a lock that was made before a fork is held by both. `call_soon` has a call made when the loop's turn is
    over; without it the lock is never kept. Two stores of a file in one thread would wait for each other then.
    """

    def __init__(self, path: str, clock: typing.Callable[[], float], call_soon: CallSoon | None = None) -> None:
        self._clock = clock
        self._call_soon = call_soon
        self._keeps_lock = False
        self._file = _open_file(path)
        self._workers = -1
        try:
            self._map = mmap.mmap(self._file, _WORDS * _WORD_BYTES)
            self._words = memoryview(self._map).cast("q")
            self._workers = os.open(f"{path}.workers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._salt = _HASH.pack(*self._words[_SALT_AT : _SALT_AT + 2])
            # Where something was found: its first word, and what stands there as long as it is what was found.
            self._found: dict[_Key, tuple[int, int]] = {}
            self._number = self._begin()
        except BaseException:
            os.close(self._file)
            if self._workers >= 0:
                os.close(self._workers)
            raise

    # ---- the lock ---------------------------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        """Take the lock, which may be kept; undo what a worker was killed amid who had it."""
        _flock(self._file, _LOCK)
        if self._words[_NOTE_AT]:
            self._take_back()
        if self._call_soon is not None and self._words[_WORKERS_AT] == 1:
            self._keeps_lock = True
            self._call_soon(self._release_lock)

    def _release_lock(self) -> None:
        if self._keeps_lock:
            self._keeps_lock = False
            _flock(self._file, _UNLOCK)

    # ---- what is taken ----------------------------------------------------------------------------------------------

    def account(self, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> _Account:
        """Bind quotas and places to where they are kept."""
        return _Account(self, quotas, places)

    def take(self, claims: typing.Sequence[Claim], places: typing.Sequence[Place] = ()) -> Taken:
        """Take all that is claimed, and occupy the places; Crowded and limiter.Full as Store has it."""
        account = _Account(self, _quotas_of(claims), places)
        is_in, told, at = account.take(_amounts(claim.units for claim in claims))
        return is_in, [Standing(*one) for one in told], at

    def settle(
        self,
        claims: typing.Sequence[Claim],
        units: typing.Sequence[int],
        at: int,
        places: typing.Sequence[Place] = (),
    ) -> None:
        """Let so many units have been taken, nothing of a subject that there is no room for; and free the places."""
        account = _Account(self, _quotas_of(claims), places)
        account.settle(_amounts(claim.units for claim in claims), _amounts(units), at)

    def _take_or_refuse(self, claims: typing.Sequence[Claim], now: int) -> tuple[bool, list[Standing]]:
        """Take what is claimed in part by those who have not been found yet; or nothing."""
        keys = [(claim.subject, claim.window.kept_as) for claim in claims]
        indexes = [self._find_record(key) for key in keys]
        before = [self._state(index) for index in indexes]
        told = [standing(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
        if any(one.wait != 0 for one in told):
            return False, told
        after = [taken(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
        for number, claim in enumerate(claims):
            if not indexes[number] and after[number][1]:
                indexes[number] = self._new_record(keys[number], claim.window.leak, now, indexes)
                if not indexes[number]:
                    raise Full(self._wait_for_record(keys[number], now))
        for index, state in zip(indexes, after):
            if index:
                self._write(index, state)
        return True, [standing(claim.window, state, now, 0) for claim, state in zip(claims, after)]

    def _state(self, index: int) -> State:
        return (self._words[index + _TIME], self._words[index + _LEVEL]) if index else FRESH

    def _write_anew(self, index: int, window: Window | Calendar, left: int, now: int) -> State:
        """Write what is left of a level at `now`, and return it with the time from which on it leaks."""
        if left > 0:
            state = (now, left)
            self._write(index, state)
            return state
        # A level of 0 is the same at any time, so that no note is needed.
        since = now if window.leak < MOST_LEVEL else last_millisecond(window.period, now)
        self._words[index + _LEVEL] = 0
        self._words[index + _TIME] = since
        return since, 0

    def _write(self, index: int, state: State) -> None:
        words = self._words
        words[_NOTE_AT + 1] = words[index + _TIME]
        words[_NOTE_AT + 2] = words[index + _LEVEL]
        words[_NOTE_AT] = index
        words[index + _TIME], words[index + _LEVEL] = state
        words[_NOTE_AT] = 0

    def _take_back(self) -> None:
        """Take back the change that a worker was killed amid."""
        words = self._words
        index = words[_NOTE_AT]
        words[index + _TIME], words[index + _LEVEL] = words[_NOTE_AT + 1], words[_NOTE_AT + 2]
        words[_NOTE_AT] = 0

    # ---- where it is kept -------------------------------------------------------------------------------------------

    def _find_record(self, key: _Key) -> int:
        """Return where a record is, 0 where there is none."""
        return self._find(key, _HEADER_WORDS, _RECORDS, _RECORD_WORDS)

    def _new_record(self, key: _Key, leak: int, now: int, others: typing.Collection[int]) -> int:
        """Return where a record has been made, in the place of one that has leaked away; 0 where there is no room.

        Whatever becomes of this process, the record has leaked away or is whole: so its level is the first to change.
        """
        words, marks = self._words, self._hash(key)
        positions = list(_positions(marks, _HEADER_WORDS, _RECORDS, _RECORD_WORDS))
        index = self._first_free(positions, lambda at: at not in others and self._clear_at(at) <= now)
        if index:
            words[index + _LEVEL] = 0
            words[index + _TIME] = 0
            words[index + _LEAK] = leak
            words[index + 1] = marks[1]
            words[index] = marks[0]
            self._remember(key, index, marks[0])
        return index

    def _first_free(self, positions: typing.Sequence[int], is_idle: typing.Callable[[int], bool]) -> int:
        """Return the first position where nobody is, else the first one of somebody idle; 0 where there is none.

        Who is idle mostly comes back, and then has to look for a position himself: of 2,000 callers, whose requests
        come one after the other, each fourth was looking for one again and again.
        """
        empty = next((at for at in positions if not self._words[at]), 0)
        return empty or next((at for at in positions if is_idle(at)), 0)

    def _wait_for_record(self, key: _Key, now: int) -> int:
        positions = _positions(self._hash(key), _HEADER_WORDS, _RECORDS, _RECORD_WORDS)
        return max(1, min(self._clear_at(index) for index in positions) - now)

    def _clear_at(self, index: int) -> int:
        at, level, leak = self._words[index + _TIME : index + _RECORD_WORDS]
        return at - (-level // leak) if level else 0

    def _find(self, key: _Key, first: int, count: int, size: int) -> int:
        words = self._words
        index, mark = self._found.get(key, _NOWHERE)
        if words[index] == mark:
            return index
        marks = self._hash(key)
        for index in _positions(marks, first, count, size):
            mark = words[index]
            if not mark:
                break
            if mark == marks[0] and words[index + 1] == marks[1]:
                self._remember(key, index, mark)
                return index
        return 0

    def _remember(self, key: _Key, index: int, mark: int) -> None:
        if len(self._found) >= _MOST_FOUND:
            self._found.clear()
        self._found[key] = index, mark

    def _hash(self, key: _Key) -> tuple[int, int]:
        """Return two words, of which the first is not 0. Nobody who lacks the salt can have them fall together."""
        text = f"{key[0]}\n{key[1]}".encode("utf-8", "surrogatepass")
        first, second = _HASH.unpack(hashlib.blake2b(text, digest_size=_HASH.size, key=self._salt).digest())
        return first or 1, second

    # ---- who is under way -------------------------------------------------------------------------------------------

    def _rooms(self, places: typing.Sequence[Place]) -> list[int]:
        """Return where there is room at all of these; Crowded, and limiter.Full where none can be made."""
        words = self._words
        workers = words[_WORKERS_AT]
        indexes: list[int] = []
        for place in places:
            index = self._place(place.subject, indexes, workers)
            if sum(words[index + 2 : index + 2 + workers]) >= place.most:
                self._free_dead(index, workers)
                if sum(words[index + 2 : index + 2 + workers]) >= place.most:
                    raise Crowded(place)
            indexes.append(index)
        return indexes

    def _find_place(self, subject: str) -> int:
        return self._find((subject, ""), _PLACES_AT, _PLACES, _PLACE_WORDS)

    def _place(self, subject: str, others: typing.Collection[int], workers: int) -> int:
        """Return where a subject's places are, made in those of one that has nobody under way where there are none."""
        words, found = self._words, self._find_place(subject)
        if found:
            return found
        marks = self._hash((subject, ""))
        positions = list(_positions(marks, _PLACES_AT, _PLACES, _PLACE_WORDS))
        index = self._first_free(positions, lambda at: at not in others and not any(words[at + 2 : at + 2 + workers]))
        if not index:
            raise Full(1000)
        words[index + 1] = marks[1]
        words[index] = marks[0]
        self._remember((subject, ""), index, marks[0])
        return index

    def _begin(self) -> int:
        """Return this worker's number, of whose former owner nothing is left."""
        _flock(self._file, _LOCK)
        try:
            number = next((number for number in range(_MOST_WORKERS) if self._lock_number(number)), -1)
            if number < 0:
                raise OSError(f"more than {_MOST_WORKERS} workers share limits")
            for index in range(_PLACES_AT, _WORDS, _PLACE_WORDS):
                self._words[index + 2 + number] = 0
            workers = max(self._words[_WORKERS_AT], number + 1)
            while workers > number + 1 and self._lock_number(workers - 1):  # one who has died, and all behind him
                workers -= 1
                fcntl.lockf(self._workers, fcntl.LOCK_UN, 1, workers)
            self._words[_WORKERS_AT] = workers
            return number
        finally:
            _flock(self._file, _UNLOCK)

    def _free_dead(self, index: int, workers: int) -> None:
        """Free the places that dead workers had of a subject."""
        for number in range(workers):
            if number != self._number and self._words[index + 2 + number] and self._lock_number(number):
                self._words[index + 2 + number] = 0
                fcntl.lockf(self._workers, fcntl.LOCK_UN, 1, number)

    def _lock_number(self, number: int) -> bool:
        try:
            fcntl.lockf(self._workers, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    async def close(self) -> None:
        """Free this worker's places, and let go of the files."""
        self._keeps_lock = False
        _flock(self._file, _LOCK)
        for index in range(_PLACES_AT, _WORDS, _PLACE_WORDS):
            self._words[index + 2 + self._number] = 0
        self._words.release()
        self._map.close()
        os.close(self._workers)
        os.close(self._file)  # and the lock


class _Account:
    """Quotas and places, with where they have been found: requests that are alike need not look for them."""

    __slots__ = ("_desks", "_places", "_quotas", "_rows", "_settled", "_store")

    def __init__(self, store: SharedStore, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> None:
        self._store = store
        self._quotas = quotas
        self._places = places
        # Of each place: where it is, what stands there as long as it is that, how many may be under way, and whose.
        self._desks = [(*store._found.get((subject, ""), _NOWHERE), most, subject) for subject, most in places]
        self._note_records()

    def _note_records(self) -> None:
        """Note where the records are, as far as that is known, and what of their windows is worked with."""
        found = self._store._found
        rows = [
            (*found.get((subject, window.kept_as), _NOWHERE), kind, window.parts, window.leak, window.whole, window)
            for subject, window, kind in self._quotas
        ]
        self._rows = rows
        self._settled = [(row, subject) for row, (subject, _, kind) in zip(rows, self._quotas) if kind != REQUESTS]

    def take(self, amounts: typing.Sequence[int]) -> Drawn:
        """Take of each quota its part of the amounts, and occupy the places; Crowded and Full as Store has it."""
        store = self._store
        words = store._words
        if not store._keeps_lock:
            store._take_lock()
        try:
            workers = words[_WORKERS_AT]
            for index, mark, most, _ in self._desks:
                if words[index] != mark or sum(words[index + 2 : index + 2 + workers]) >= most:
                    rooms = store._rooms(self._places)
                    self._desks = [
                        (room, words[room], most, subject) for room, (subject, most) in zip(rooms, self._places)
                    ]
                    break
            now = int(store._clock() * 1000)  # under the lock, so that it goes on for all of them
            told: list[Stood] = []
            # As in Limiter.take: the arithmetic is written out, and what is less usual goes the plain way.
            for index, mark, kind, parts, leak, whole, window in self._rows:
                if words[index] != mark:
                    break
                since = words[index + 2]
                level = left = words[index + 3]
                if now > since:
                    left -= (now - since) * leak
                    since = now
                    if left <= 0 or level > _HIGH_LEVEL:
                        since, level = store._write_anew(index, window, left, now)
                        left = level
                charge = amounts[kind] * parts
                left += charge
                if left > whole:
                    break
                words[index + 3] = level + charge
                reset = since - now - (-left // leak) if left else 0
                told.append(((whole - left) // parts, reset, 0))
            else:
                for index, _, _, _ in self._desks:
                    words[index + 2 + store._number] += 1
                return True, told, now
            for (index, _, kind, parts, _, _, _), _ in zip(self._rows, told):
                words[index + _LEVEL] -= amounts[kind] * parts
            is_in, standings = store._take_or_refuse(claims_of(self._quotas, amounts), now)
            self._note_records()
            if is_in:
                self._occupy()
            return is_in, standings, now
        finally:
            if not store._keeps_lock:
                _flock(store._file, _UNLOCK)

    def _occupy(self) -> None:
        """Occupy the places. If this process dies before all are, those that are will be freed."""
        words, number = self._store._words, self._store._number
        for index, _, _, _ in self._desks:
            words[index + 2 + number] += 1

    def settle(self, reserved: typing.Sequence[int], used: typing.Sequence[int], at: int) -> None:
        """Let `used` have been taken instead, nothing of a subject that there is no room for; and free the places."""
        if self._desks:
            self.leave()
        if not self._settled:
            return
        store = self._store
        words = store._words
        if not store._keeps_lock:
            store._take_lock()
        try:
            now = int(store._clock() * 1000)
            is_another_day = at and at // _DAY != now // _DAY
            for (index, mark, kind, parts, leak, _, window), subject in self._settled:
                more = used[kind] - reserved[kind] if at else used[kind]
                if not more or (is_another_day and is_over(window, at, now)):
                    continue
                if words[index] != mark:
                    key = (subject, window.kept_as)
                    index = store._find_record(key) or store._new_record(key, leak, now, ())
                    if not index:
                        continue
                since = words[index + 2]
                level = left = words[index + 3]
                if now > since:
                    left -= (now - since) * leak
                    if left <= 0 or level > _HIGH_LEVEL:
                        _, level = store._write_anew(index, window, left, now)
                        left = level
                charge = more * parts
                if left + charge < 0:
                    charge = -left
                elif left + charge > MOST_LEVEL:
                    charge = MOST_LEVEL - left
                words[index + 3] = level + charge
        finally:
            if not store._keeps_lock:
                _flock(store._file, _UNLOCK)

    def leave(self) -> None:
        """Free the places. Nobody else writes these words, or takes them over before they are 0: no lock is needed."""
        store = self._store
        words = store._words
        for index, mark, _, subject in self._desks:
            if words[index] != mark:
                index = store._find_place(subject)
            own = index + 2 + store._number
            if index >= _PLACES_AT and words[own]:
                words[own] -= 1


def _quotas_of(claims: typing.Iterable[Claim]) -> list[Quota]:
    """Return quotas of which each has an amount of its own: all are settled, so none is of REQUESTS."""
    return [Quota(claim.subject, claim.window, kind) for kind, claim in enumerate(claims, REQUESTS + 1)]


def _amounts(units: typing.Iterable[int]) -> list[int]:
    """Return such amounts."""
    return [0, *units]


def _positions(marks: tuple[int, int], first: int, count: int, size: int) -> typing.Iterator[int]:
    """Yield where something with such a hash may be: `count` is a power of two, and an odd step comes by all."""
    position, step = marks[0], marks[1] | 1
    for _ in range(_PROBES):
        yield first + (position & (count - 1)) * size
        position += step


def _open_file(path: str) -> int:
    """Return the file opened and laid out. One of another layout is left to those who still have it, if any."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            status = os.fstat(file)
            if not status.st_size:
                _lay_out(file)
            elif status.st_size != _WORDS * _WORD_BYTES or _HASH.unpack(os.pread(file, _HASH.size, 0))[0] != _KIND:
                os.unlink(path)
            # Somebody else may have put another in its place while this one was waited for.
            if os.path.samestat(status, os.stat(path)):
                fcntl.flock(file, fcntl.LOCK_UN)
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def check_file(path: str) -> None:
    """Raise OSError where `path` cannot be the file of a store, and UsageError where it is another's. Make nothing."""
    try:
        with open(path, "r+b", buffering=0) as file:
            kind = os.pread(file.fileno(), _WORD_BYTES, _KIND_AT)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(folder) and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        if not os.path.isdir(folder):
            raise
    else:
        # One that was begun has zeros there; one of another version of this program begins as ours does.
        if kind.strip(b"\0") and not kind.startswith(_KIND_WORD):
            raise UsageError(f"[limits] file = {path}: this is another's file, and would be lost")


def _lay_out(file: int) -> None:
    """Write an empty file, its first words last: without them it is none."""
    zeros = bytes(1 << 16)
    size = _WORDS * _WORD_BYTES
    for start in range(0, size, len(zeros)):
        os.pwrite(file, zeros[: size - start], start)
    os.pwrite(file, os.urandom(_HASH.size), _SALT_AT * _WORD_BYTES)
    os.pwrite(file, _HASH.pack(_KIND, 0)[:_WORD_BYTES], _KIND_AT)
