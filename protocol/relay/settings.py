"""Section [relay] of the configuration. Every start reads it, so it imports nothing that connects or answers."""

from __future__ import annotations

import re
import typing

from protocol.config import option, parse_choice, parse_integer, parse_seconds, parse_text
from protocol.upstream.destination import Destination
from protocol.upstream.settings import (
    AUTO,
    ConnectionSettings,
    parse_base_url,
    parse_key,
    parse_max_connections,
    parse_models,
)

# What can be neutral in a recorded request (protocol/cassette/asking.py, which a start does not load).
_NEUTRAL = ("ids", "uuids", "dates", "files")

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_FIELD_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")

# What no owner can say for all requests: it speaks of one message or connection (RFC 9110 §7.6.1, §8.6, §10.1.1).
_NOT_OWN = frozenset((
    "connection", "content-encoding", "content-length", "content-type", "date", "expect", "host", "keep-alive",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via",
))  # fmt: skip


def parse_field_name(text: str) -> str:
    """Return the name of a field that may be set, in lower case; ValueError says what is expected."""
    name = text.lower()
    if not _FIELD_NAME.fullmatch(text):
        raise ValueError("expected the name of a header field, e.g. authorization, api-key or x-api-key")
    if name in _NOT_OWN or name.startswith("sec-websocket-"):
        raise ValueError(f"expected another field than {name}, which speaks of one message or one connection")
    return name


def parse_fields(text: str) -> tuple[tuple[str, str], ...]:
    """Read lines of `Name: value`; ValueError says what is expected, without repeating a value: it may be secret."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, _, value = (part.strip() for part in line.partition(":"))
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ValueError("expected one 'Name: value' a line, in printable ASCII characters")
        name = parse_field_name(name)
        if name in fields:
            raise ValueError(f"expected each field once, but {name} stands twice")
        fields[name] = value
    return tuple(fields.items())


def parse_pace(text: str) -> float:
    """Return the factor by which recorded times are shortened, 0 for no waiting at all."""
    if text in ("none", "recorded"):
        return float(text == "recorded")
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", text) or not float(text):
        raise ValueError("expected none, recorded, or a factor such as 2 or 0.5")
    return float(text)


def parse_neutral(text: str) -> tuple[str, ...]:
    """Return names of what is neutral in a request, none for an empty text."""
    words = tuple(word for word in text.replace(",", " ").split())
    unknown = [word for word in words if word not in _NEUTRAL]
    if unknown:
        raise ValueError(f"expected some of {', '.join(_NEUTRAL)}")
    return words


class RelaySettings(ConnectionSettings):
    """Section [relay]."""

    base_url: str = option(
        "https://api.openai.com/v1",
        parse_base_url,
        "the upstream's host (/v1 is meant), or where its API begins; / behind the host: at the root; unix:/path",
    )
    api_key: str = option(
        AUTO, parse_key,
        "auto: OPENAI_API_KEY, to https://api.openai.com alone; a key or file:PATH; empty: the caller's own",
        secret=True,
    )  # fmt: skip
    key_field: str = option(
        "authorization", parse_field_name, "the field that takes the key, e.g. api-key or x-api-key"
    )
    headers: tuple[tuple[str, str], ...] = option(
        "", parse_fields, "fields to send along: one 'Name: value' a line", secret=True
    )
    model: str = option("", parse_text, "send every request to this model")
    models: dict[str, str] = option("", parse_models, "rename: one 'asked = sent' a line; asked may hold * and ?")
    model_in_answer: str = option(
        "upstream",
        parse_choice("upstream", "asked"),
        "which model an answer names: the upstream's, or the one asked for",
    )
    timeout: float = option("120", parse_seconds, "seconds without a byte, however long the whole answer takes")
    connect_timeout: float = ConnectionSettings.connect_timeout
    first_byte_timeout: float = option("0", parse_seconds, "seconds until the answer begins; 0 is as timeout")
    total_timeout: float = option(
        "0", parse_seconds, "seconds for all attempts until an answer is complete; 0 is no limit"
    )
    retries: int = option(
        "2", parse_integer(0, 10), "how often a request is sent again before the next backend is asked"
    )
    cooldown: float = option(
        "30", parse_seconds, "seconds that a backend rests which keeps failing, if there is another; 0: never"
    )
    proxy: str = ConnectionSettings.proxy
    ca_file: str = ConnectionSettings.ca_file
    cert_file: str = ConnectionSettings.cert_file
    cert_key: str = ConnectionSettings.cert_key
    verify: bool = ConnectionSettings.verify
    keepalive: float = ConnectionSettings.keepalive
    cassette: str = option(
        "", parse_text, "file of recorded answers (JSON lines) that stands for the upstream; empty: none"
    )
    cassette_mode: str = option(
        "replay",
        parse_choice("replay", "fill", "record"),
        "replay: nobody is asked | fill: for what is not on it | record: always, into a new file",
    )
    cassette_pace: float = option(
        "none", parse_pace, "how answers are replayed: none (at once), recorded, or so many times faster"
    )
    cassette_ignores: tuple[str, ...] = option(
        "ids, uuids, dates, files", parse_neutral, "what says nothing in a request when its recording is sought"
    )
    on_disconnect: str = option(
        "close", parse_choice("close", "drain"), "close or drain: read an answer on whose client left"
    )
    max_connections: int = option("5000", parse_max_connections, "connections to the upstream at once, a worker")
    max_idle: int = ConnectionSettings.max_idle
    idle_timeout: float = ConnectionSettings.idle_timeout
    max_age: float = ConnectionSettings.max_age

    key_variable = "OPENAI_API_KEY"

    @classmethod
    def owns_key(cls, destination: Destination, environ: typing.Mapping[str, str]) -> bool:
        """Tell whether the destination is OpenAI's own (ConnectionSettings.owns_key)."""
        return destination.origin == "https://api.openai.com"

    @property
    def owners_marks(self) -> list[str]:
        # Further fields may be secret: nobody but the owner knows.
        return [*(["headers"] if self.headers else []), *super().owners_marks]
