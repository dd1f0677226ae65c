"""The formats of JSON Schema strings: what each one admits, and an example of it.

The formats are those of JSON Schema 2020-12 (validation §7.3), and those that OpenAPI, Pydantic and Zod put into
schemas. Any other format allows every string. Where libraries differ, the lenient one is followed: a date-time may lack
its offset or its seconds, because Zod's and Pydantic's local times have this format, too.
"""

from __future__ import annotations

import json
import re
import typing

from protocol.patterns.nodes import PatternError
from protocol.patterns.pattern import Pattern

# Compiled when they are first used, by re's own cache: at import, that would take time from every start.
# None repeats what repeats, but for a number of times that it states: each takes linear time at the most.
_DATE = r"(\d{4})-(\d\d)-(\d\d)"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)(\.\d+)?)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?"
_DURATION = r"P(?=\d|T\d)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = rf"{_LABEL}(\.{_LABEL})*\.?"
_UNRESERVED = r"[^\s<>\"{}|\\^`]"
_UUID = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_POINTER = r"(?:/(?:[^~]|~[01])*)?"
_LONGEST_TEXT = 1_000_000  # characters: no made-up value has as many, and a check cannot be interrupted
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def format_holds(name: str, text: str) -> bool:
    """Say whether `text` is of the format `name`; True for an unknown format. A text of a megabyte is of none."""
    check = _CHECKS.get(name)
    return check is None or (len(text) <= _LONGEST_TEXT and check(text))


def format_is_known(name: str) -> bool:
    """Say whether a format is checked."""
    return name in _CHECKS


def format_examples(name: str, turn: int, low: int) -> tuple[str, ...]:
    """Return texts of a format, the usual one first, of at least `low` characters where the format allows any length.

    Another `turn` (an index from 0) gives other texts, except where a format has only a few. () for an unknown format.
    """
    write = _EXAMPLES.get(name)
    return write(turn, low) if write else ()


# ---- checks


def _matcher(pattern: str) -> typing.Callable[[str], bool]:
    return lambda text: text.isascii() and re.fullmatch(pattern, text) is not None


def _is_date(text: str) -> bool:
    found = re.fullmatch(_DATE, text) if text.isascii() else None
    if found is None:
        return False
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = _MONTH_DAYS[month - 1] if 1 <= month <= 12 else 0
    return 1 <= day <= days - (month == 2 and not leap)


def _is_date_time(text: str) -> bool:
    # RFC 3339 §5.6: a blank may be in the place of "T".
    return _is_date(text[:10]) and text[10:11] in ("T", "t", " ") and _is_time(text[11:])


def _is_time(text: str) -> bool:
    return text.isascii() and re.fullmatch(_TIME, text) is not None


def _is_hostname(text: str) -> bool:
    return len(text) <= 253 and text.isascii() and re.fullmatch(_HOSTNAME, text) is not None


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    # RFC 5321 §4.5.3.1: at most 64 octets. Quoted local parts and address literals are not supported.
    return bool(at) and re.fullmatch(r"[^\s@.][^\s@]{0,63}", local) is not None and _is_hostname(domain)


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(re.fullmatch(r"0|[1-9][0-9]{0,2}", part) and int(part) < 256 for part in parts)


def _is_ipv6(text: str) -> bool:
    head, gap, tail = text.partition("::")
    if gap and "::" in tail:
        return False
    groups = [group for side in (head, tail) if side for group in side.split(":")]
    count = len(groups)
    if groups and "." in groups[-1] and _is_ipv4(groups[-1]):
        groups.pop()
        count += 1
    return (count < 8 if gap else count == 8) and all(re.fullmatch(r"[0-9A-Fa-f]{1,4}", group) for group in groups)


def _is_network(text: str) -> bool:
    address, _, bits = text.partition("/")
    widest = 32 if _is_ipv4(address) else 128 if _is_ipv6(address) else -1
    return re.fullmatch(r"[0-9]{1,3}", bits) is not None and int(bits) <= widest


def _is_iri_reference(text: str) -> bool:
    return re.fullmatch(rf"{_UNRESERVED}*", text) is not None


def _is_iri(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", text) is not None and _is_iri_reference(text)


def _is_regex(text: str) -> bool:
    try:
        Pattern(text)
    except PatternError:
        return False
    return True


def _is_json_text(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_base64(text: str) -> bool:
    return len(text) % 4 == 0 and text.isascii() and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) is not None


def _is_uri_template(text: str) -> bool:
    return re.search(r"[\s<>\"|\\^`{}]", re.sub(r"\{[^{}\s]+\}", "", text)) is None


_is_uuid = _matcher(_UUID)

_CHECKS: dict[str, typing.Callable[[str], bool]] = {
    "date-time": _is_date_time,
    "date": _is_date,
    "time": _is_time,
    "duration": _matcher(_DURATION),
    "email": _is_email,
    "idn-email": lambda text: re.fullmatch(r"[^\s@]+@[^\s@]+", text) is not None,
    "name-email": lambda text: "@" in text,
    "hostname": _is_hostname,
    "idn-hostname": lambda text: 0 < len(text) <= 253 and re.search(r"[\s/@:]", text) is None,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "ipvanyaddress": lambda text: _is_ipv4(text) or _is_ipv6(text),
    "ipv4network": _is_network,
    "ipv6network": _is_network,
    "ipvanynetwork": _is_network,
    "ipvanyinterface": _is_network,
    "cidrv4": _is_network,
    "cidrv6": _is_network,
    "uri": lambda text: text.isascii() and _is_iri(text),
    "url": lambda text: text.isascii() and _is_iri(text),
    "multi-host-uri": lambda text: text.isascii() and _is_iri(text),
    "uri-reference": lambda text: text.isascii() and _is_iri_reference(text),
    "uri-template": _is_uri_template,
    "iri": _is_iri,
    "iri-reference": _is_iri_reference,
    "uuid": _is_uuid,
    "uuid1": _is_uuid,
    "uuid3": _is_uuid,
    "uuid4": _is_uuid,
    "uuid5": _is_uuid,
    "uuid6": _is_uuid,
    "uuid7": _is_uuid,
    "uuid8": _is_uuid,
    "json-pointer": lambda text: re.fullmatch(_POINTER, text) is not None,
    "relative-json-pointer": lambda text: re.fullmatch(rf"(0|[1-9][0-9]*)(#|{_POINTER})", text) is not None,
    "regex": _is_regex,
    "json-string": _is_json_text,
    "byte": _is_base64,
    "base64": _is_base64,
    "base64url": _matcher(r"[A-Za-z0-9_-]*={0,2}"),
}


# ---- examples


def _nth_date(turn: int) -> str:
    days = turn + 14
    return f"{2024 + days // 336 % 1000:04d}-{days // 28 % 12 + 1:02d}-{days % 28 + 1:02d}"


def _nth_word(word: str, turn: int) -> str:
    return f"{word}{turn + 1}" if turn else word


def _date_examples(turn: int, low: int) -> tuple[str, ...]:
    return (_nth_date(turn),)


def _time_examples(turn: int, low: int) -> tuple[str, ...]:
    clock = f"{(turn // 60 + 9) % 24:02d}:{(turn + 30) % 60:02d}:00"
    return clock + "Z", clock, clock[:5], clock + ".000Z", clock + "+00:00"


def _date_time_examples(turn: int, low: int) -> tuple[str, ...]:
    return tuple(f"{_nth_date(turn)}T{clock}" for clock in _time_examples(0, low))


def _email_examples(turn: int, low: int) -> tuple[str, ...]:
    local = _nth_word("user", turn)
    stretched = local.ljust(min(64, max(0, low - 12)), "x")
    domain = ".".join(["x" * 60] * (max(0, low - len(stretched) - 12) // 61 + 1))
    short = f"{_nth_word('u', turn)}@ab.co"
    return f"{stretched}@example.com", short, f"{stretched}@{domain[-180:]}.example.com"


def _hostname_examples(turn: int, low: int) -> tuple[str, ...]:
    host = _nth_word("www", turn) + ".example.com"
    labels = "x" * 50 + "."
    return (labels * (max(0, low - len(host)) // 51 + 1) + host)[-max(low, len(host)) :], _nth_word("h", turn)


def _uri_examples(turn: int, low: int) -> tuple[str, ...]:
    page = f"https://example.com/{_nth_word('page', turn)}"
    return page.ljust(low, "x"), f"http://{_nth_word('a', turn)}.co", f"a:{turn}"


def _uri_reference_examples(turn: int, low: int) -> tuple[str, ...]:
    return ("/" + _nth_word("page", turn)).ljust(low, "x"), _nth_word("a", turn)


def _ipv4_examples(turn: int, low: int) -> tuple[str, ...]:
    address = f"192.0.{2 + turn // 256 % 200}.{(turn + 1) % 256}"  # RFC 5737: set apart for examples
    return address, f"10.0.0.{turn % 256}"


def _ipv6_examples(turn: int, low: int) -> tuple[str, ...]:
    return f"2001:db8::{turn % 65535 + 1:x}", f"2001:0db8:0000:0000:0000:0000:0000:{turn % 65535 + 1:04x}", "::1"


def _network_examples(turn: int, low: int) -> tuple[str, ...]:
    return f"10.{turn % 256}.0.0/16", f"2001:db8:{turn % 65535:x}::/48"


def _uuid_writer(version: int) -> typing.Callable[[int, int], tuple[str, ...]]:
    return lambda turn, low: (f"3f2b8c1e-5d47-{version}a90-9e61-{turn + 0x6B0C14D2A7F5:012x}",)


def _duration_examples(turn: int, low: int) -> tuple[str, ...]:
    return f"P{turn + 1}DT2H", f"P{turn + 1}D"


def _base64_examples(turn: int, low: int) -> tuple[str, ...]:
    digits = f"{turn % 1000:03d}"
    return ("ZXhhbXBsZQ==" if not turn else f"ZXhh{digits}A").rjust(-(-low // 4) * 4, "A"), digits + "A", ""


def _text_writer(*patterns: str) -> typing.Callable[[int, int], tuple[str, ...]]:
    """Return a writer of examples, in which the number of the turn stands for `@`."""
    return lambda turn, low: tuple(pattern.replace("@", str(turn + 1) if turn else "") for pattern in patterns)


_EXAMPLES: dict[str, typing.Callable[[int, int], tuple[str, ...]]] = {
    "date-time": _date_time_examples,
    "date": _date_examples,
    "time": _time_examples,
    "duration": _duration_examples,
    "email": _email_examples,
    "idn-email": _email_examples,
    "name-email": lambda turn, low: (f"Ada Lovelace <{_email_examples(turn, 0)[0]}>",),
    "hostname": _hostname_examples,
    "idn-hostname": _hostname_examples,
    "ipv4": _ipv4_examples,
    "ipv6": _ipv6_examples,
    "ipvanyaddress": _ipv4_examples,
    "ipv4network": _network_examples,
    "ipv6network": lambda turn, low: _network_examples(turn, low)[::-1],
    "ipvanynetwork": _network_examples,
    "ipvanyinterface": _network_examples,
    "cidrv4": _network_examples,
    "cidrv6": lambda turn, low: _network_examples(turn, low)[::-1],
    "uri": _uri_examples,
    "url": _uri_examples,
    "multi-host-uri": _uri_examples,
    "uri-reference": _uri_reference_examples,
    "uri-template": _text_writer("/items@/{id}", "a@"),
    "iri": _uri_examples,
    "iri-reference": _uri_reference_examples,
    "uuid": _uuid_writer(4),
    "uuid1": _uuid_writer(1),
    "uuid3": _uuid_writer(3),
    "uuid4": _uuid_writer(4),
    "uuid5": _uuid_writer(5),
    "uuid6": _uuid_writer(6),
    "uuid7": _uuid_writer(7),
    "uuid8": _uuid_writer(8),
    "json-pointer": _text_writer("/items@/0", "/a@", ""),
    "relative-json-pointer": _text_writer("1/items@", "0#"),
    "regex": _text_writer("^[a-z]+@$", "a@"),
    "json-string": _text_writer('{"key@": 1}', "1@"),
    "byte": _base64_examples,
    "base64": _base64_examples,
    "base64url": _base64_examples,
    "phone": _text_writer("+1555010@0"),
}
