"""The text of a keys.ini: who may ask, by the hash of his key, what he may take, and what models cost.

    [team web]
    budget = 300 USD/month
    [key alice]
    hash = sha256:…                 ; of the key, which stands nowhere; two of them while one takes the other's place
    team = web
    models = gpt-*, qwen-*
    requests = 60/min, 5000/day
    tokens = 200k/min
    at_once = 8
    budget = 30 USD/month
    expires = 2027-01-31
    [prices]
    gpt-4o-mini = 0.15 in, 0.075 cached, 0.60 out

All mistakes are told at once. No message repeats a value that should be a hash: somebody may have put his key there.
"""

from __future__ import annotations

import calendar
import datetime
import functools
import hashlib
import re
import typing

from protocol.config import parse_integer, parse_list, parse_text
from protocol.config_file import Entry, read_entries
from protocol.errors import UsageError, evidence, without_secrets
from protocol.limiter import Window, read_windows
from protocol.nearest import nearest
from protocol.team.money import Budget, Price, parse_budget, parse_price

_SECTION = re.compile(r"(key|team)[ \t]+(\S.*)")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DAY_SECONDS = 86_400
# How keys and teams may be called, since names stand in logs, metrics and tables: not as keys and hashes are.
_NAME = re.compile(r"(?!(?:sk|pk|rk|gsk|xai)[-_])(?!.*[a-z0-9]{32})[a-z0-9][a-z0-9_.@+-]{0,63}", re.IGNORECASE)
# Nor do patterns of models hold those, which stand in tables, too.
_SECRET = re.compile(r"\b(?:sk|pk|rk|gsk|xai)[-_][!-~]{16}|sk-oai-|sha256", re.IGNORECASE)


#: What is said of anything else.
NAME_EXPECTED = "expected a name of at most 64 letters, digits and _ . @ + -, which is not the key itself"


class Rates(typing.NamedTuple):
    """What a key, or a team, may take: `at_once` is how many requests may be under way, 0 for any number."""

    requests: tuple[Window, ...] = ()
    tokens: tuple[Window, ...] = ()
    at_once: int = 0
    budget: Budget | None = None


class Key(typing.NamedTuple):
    """What a name may do, and its key by the SHA-256 of its bytes, 32 bytes. A name with two keys has two of these.

    `team` is "" for none; `models` are patterns (`*` and `?`) of what it may ask for, none for all; it works before
    `expires`, in seconds since the epoch.
    """

    name: str
    digest: bytes
    team: str
    models: tuple[str, ...]
    rates: Rates
    expires: float | None


class Team(typing.NamedTuple):
    """What the keys of a team may ask for, as a key's own `models`, and what they may take together."""

    name: str
    models: tuple[str, ...]
    rates: Rates


class KeysFile(typing.NamedTuple):
    """Keys by their digests, in the file's order, teams by name, and prices, of which the first that fits counts."""

    keys: typing.Mapping[bytes, Key]
    teams: typing.Mapping[str, Team]
    prices: tuple[Price, ...]


def find_key(keys: KeysFile, key: str) -> Key | None:
    """Return whose a key is, None for nobody's; `key` as fields of HTTP have it, a character a byte.

    How long it takes tells nothing of other keys: only digests are compared, and nobody can choose those.
    """
    return keys.keys.get(hashlib.sha256(key.encode("latin-1", "replace")).digest())


def is_name(text: str) -> bool:
    """Tell whether a key or a team may be called so."""
    return _NAME.fullmatch(text) is not None


def read_keys_file(text: str, path: str) -> KeysFile:
    """Return what the text of a keys.ini says; `path` names the file in messages.

    UsageError with all mistakes, a line each: where, what came, what is expected.
    """
    reader = _Reader()
    keys = reader.read(text)
    if reader.mistakes:
        raise UsageError("\n".join(f"{path} {mistake}" for _, mistake in sorted(reader.mistakes)))
    return keys


# ---- values ---------------------------------------------------------------------------------------------------------
# As in protocol/config.py: the ValueError of a parser says what was expected.


def _parse_hashes(text: str) -> list[bytes]:
    matches = [_HASH.fullmatch(part) for part in parse_list(text)]
    digests = [bytes.fromhex(match[1]) for match in matches if match]
    if not digests or len(digests) < len(matches):
        raise ValueError(
            "expected sha256: and 64 hex digits; if this is the key itself, whoever reads the file has it: write its "
            "hash instead, which is what  printf %s KEY | sha256sum  says"
        )
    return digests


def _parse_models(text: str) -> tuple[str, ...]:
    if _SECRET.search(text):
        raise ValueError("expected patterns of models, e.g. gpt-*, qwen-*, not a key or a hash")
    return parse_list(text)


# Thousands of keys say the same few amounts: the same objects for all of them stay in the processor's cache.
@functools.lru_cache(maxsize=1024)
def _parse_windows(text: str) -> tuple[Window, ...]:
    return tuple(read_windows(text)) if text else ()


@functools.lru_cache(maxsize=1024)
def _parse_budget(text: str) -> Budget | None:
    return parse_budget(text) if text else None


def _parse_expires(text: str) -> float | None:
    """Return when the day that a text names is over, in UTC."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    try:
        day = datetime.date(*map(int, match.groups())) if match else None
    except ValueError:
        day = None
    if day is None:
        raise ValueError("expected the last day on which the key works (UTC), e.g. 2027-01-31")
    return float(calendar.timegm(day.timetuple()) + _DAY_SECONDS)


_RATES: dict[str, typing.Callable[[str], typing.Any]] = {
    "requests": _parse_windows,
    "tokens": _parse_windows,
    "at_once": parse_integer(0, 1_000_000),
    "budget": _parse_budget,
}
_TEAM_OPTIONS = {"models": _parse_models, **_RATES}
_KEY_OPTIONS = {"hash": _parse_hashes, "team": parse_text, **_TEAM_OPTIONS, "expires": _parse_expires}


# ---- sections -------------------------------------------------------------------------------------------------------


class _Section(typing.NamedTuple):
    """What a [key NAME] or a [team NAME] says: its values by option, and the line of each."""

    title: str
    name: str
    line: int
    values: dict[str, typing.Any]
    lines: dict[str, int]

    @property
    def rates(self) -> Rates:
        return Rates(**{name: self.values[name] for name in _RATES if name in self.values})


class _Reader:
    """Reads one text; `mistakes` are all that is wrong with it, each with its line."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[int, str]] = []

    def read(self, text: str) -> KeysFile:
        entries, mistakes = read_entries(text)
        self.mistakes += mistakes
        sections: dict[str, list[Entry]] = {}
        for entry in entries:
            sections.setdefault(entry.section, []).append(entry)
        prices = self._prices(sections.pop("prices", []))
        read: dict[str, dict[str, _Section]] = {"team": {}, "key": {}}
        for title, lines in sections.items():
            self._read_section(title, lines, read)
        teams = {name: Team(name, one.values.get("models", ()), one.rates) for name, one in read["team"].items()}
        self._check_budgets([*read["team"].values(), *read["key"].values()], prices)
        return KeysFile(self._keys(read["key"].values(), teams), teams, prices)

    def _say(self, line: int, mistake: str) -> None:
        self.mistakes.append((line, f"line {line}: {mistake}"))

    def _read_section(self, title: str, lines: list[Entry], read: dict[str, dict[str, _Section]]) -> None:
        match = _SECTION.fullmatch(title)
        line = lines[0].line
        if match is None:
            kind = title.split()[0] if title.split() else ""
            there = nearest(kind, ("key", "team", "prices")) or "; there are [key NAME], [team NAME] and [prices]"
            self._say(line, f"there is no section [{without_secrets(title)}]{there}")
            return
        kind, name = match[1], match[2].strip()
        if not is_name(name):
            self._say(line, f"[{kind} …]: {NAME_EXPECTED}")
            return
        if name in read[kind]:
            self._say(line, f"[{kind} {name}]: stands there twice; join the two")
        section = _Section(f"[{kind} {name}]", name, line, {}, {})
        for entry in lines:
            if entry.key:
                self._read_value(section, entry, _KEY_OPTIONS if kind == "key" else _TEAM_OPTIONS)
        read[kind][name] = section

    def _read_value(self, section: _Section, entry: Entry, options: typing.Mapping[str, typing.Any]) -> None:
        if entry.key not in options:
            near = nearest(entry.key, options)
            there = f"there is no {evidence(entry.key)} in {section.title}{near}"
            self._say(entry.line, f"{there}; it has {', '.join(options)}")
            return
        section.lines[entry.key] = entry.line
        if not entry.value and entry.key != "hash":
            return  # as if it did not stand there
        try:
            section.values[entry.key] = options[entry.key](entry.value)
        except ValueError as exc:
            came = "" if entry.key == "hash" else f" = {evidence(entry.value)}"
            self._say(entry.line, f"{section.title} {entry.key}{came}: {exc}")

    def _keys(self, sections: typing.Iterable[_Section], teams: typing.Mapping[str, Team]) -> dict[bytes, Key]:
        keys: dict[bytes, Key] = {}
        for section in sections:
            values, lines = section.values, section.lines
            team = values.get("team", "")
            if team and team not in teams:
                near = nearest(team, teams) or f"; there {_listed(teams)}"
                self._say(lines["team"], f"{section.title} team = {evidence(team)}: there is no such [team NAME]{near}")
            if "hash" not in lines:
                self._say(
                    section.line,
                    f"{section.title}: it has no hash; such a section is written by: python oaiserve.py key new NAME",
                )
            for digest in values.get("hash", ()):
                key = Key(section.name, digest, team, values.get("models", ()), section.rates, values.get("expires"))
                known = keys.setdefault(digest, key)
                if known is not key:
                    told = f"it is that of [key {known.name}]; a key has one name"
                    self._say(lines["hash"], f"{section.title} hash: {told}")
        return keys

    def _prices(self, entries: list[Entry]) -> tuple[Price, ...]:
        prices: list[Price] = []
        wider: list[str] = []  # those that can take others
        for entry in entries:
            if not entry.key:
                continue
            pattern = entry.key
            before = next((one for one in wider if _covers(one, pattern)), None)
            if "*" in pattern or "?" in pattern:
                wider.append(pattern)
            if before is not None and before != pattern:
                self._say(
                    entry.line,
                    f"[prices] {evidence(pattern)}: it is never reached, since {evidence(before)} above takes all of "
                    "it; put it first",
                )
            try:
                prices.append(parse_price(pattern, entry.value))
            except ValueError as exc:
                self._say(entry.line, f"[prices] {evidence(pattern)} = {evidence(entry.value)}: {exc}")
        return tuple(prices)

    def _check_budgets(self, sections: list[_Section], prices: tuple[Price, ...]) -> None:
        budgeted = next((one for one in sections if one.values.get("budget")), None)
        if budgeted is not None and not prices:
            self._say(
                budgeted.lines["budget"],
                f"{budgeted.title} budget: no model has a price, so that nothing would ever count; write [prices], "
                "e.g. gpt-4o-mini = 0.15 in, 0.075 cached, 0.60 out",
            )


def _listed(teams: typing.Iterable[str]) -> str:
    names = ", ".join(teams)
    return f"are {names}" if names else "is none"


def _covers(pattern: str, other: str) -> bool:
    """Tell whether a pattern takes all that another one takes: whether it does so with the other's signs as letters."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "[^*]"), other, re.DOTALL) is not None
