"""The options that every section with an upstream has, spelled once.

The configuration needs the sections of all kinds at every start, also where only the mock runs. So this module and the
sections that build on it import neither the pool nor a backend; protocol/upstream/access.py makes connections of them.
"""

from __future__ import annotations

import typing

from protocol.config import Section, option, parse_integer, parse_seconds, parse_switch, parse_text
from protocol.upstream.destination import PRINTABLE, Destination, parse_destination, parse_proxy

#: As `api_key`: the environment's key, where it belongs to the upstream, else none.
AUTO = "auto"

_KEY_FILE = "file:"
_MOST_KEY_BYTES = 16384

# ---- values -----------------------------------------------------------------------------------------------------
# Each takes the text of a value and returns what it means; ValueError says what was expected.


def parse_base_url(text: str) -> str:
    """Return a base URL as it came."""
    parse_destination(text)
    return text


def parse_key(text: str) -> str:
    """Return a key, "" for none, or AUTO; `file:PATH` stands for what is in a file. It must fit into a header field.

    Variables and files often end in a newline, so white space around the key is taken off.
    """
    key = text.strip()
    if key.startswith(_KEY_FILE):
        key = _read_key_file(key[len(_KEY_FILE) :].strip())
    if "," in key:
        raise ValueError("expected one key; for several, name a backend for each ([relay second]) and a route with all")
    if key[:7].lower() == "bearer ":
        raise ValueError("expected the key alone, without 'Bearer' before it")
    if key[:1] in ("'", '"') or key[-1:] in ("'", '"'):
        raise ValueError("expected the key without quotation marks around it")
    if key and not PRINTABLE.fullmatch(key):
        raise ValueError("expected a key of printable ASCII characters without spaces")
    return key


def _read_key_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_MOST_KEY_BYTES + 1)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ValueError(f"the file that it names cannot be read: {reason}") from exc
    if len(text.split()) != 1 or len(text) > _MOST_KEY_BYTES:
        raise ValueError("expected one key in the file that it names, and nothing else")
    return text.strip()


#: What `proxy` says where no proxy is wanted, whatever the environment names.
NO_PROXY = "none"


def parse_models(text: str) -> dict[str, str]:
    """Read lines of `asked = sent`, where `asked` may hold `*` and `?`; ValueError says what is expected."""
    models = {}
    for line in text.splitlines():
        asked, equals, sent = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals or not asked or not sent:
            raise ValueError("expected one 'asked = sent' a line, e.g. gpt-4o = qwen-max")
        if "*" in sent or "?" in sent:
            raise ValueError("expected one model to send behind '=', without * and ?, e.g. claude-* = gpt-4o")
        models[asked] = sent
    return models


def parse_proxy_url(text: str) -> str:
    """Return a proxy's URL as it came, NO_PROXY or ""."""
    if text and text != NO_PROXY:
        parse_proxy(text)
    return text


parse_max_connections = parse_integer(1, 10**6)


# ---- the table --------------------------------------------------------------------------------------------------


class ConnectionSettings(Section):
    """What a section says about the connections to its upstream.

    A section derives from this class and lists all of its fields itself, because their order there is the order in
    config.ini and in `--check`: `max_age: float = ConnectionSettings.max_age` puts an option of this table in its
    place. The fields without a value here are worded differently in each section.
    """

    base_url: str
    api_key: str
    timeout: float
    connect_timeout: float = option("30", parse_seconds, "seconds until a connection is there, TLS and proxy included")
    first_byte_timeout: float
    total_timeout: float
    proxy: str = option(
        "", parse_proxy_url,
        "http, socks5 or socks5h://[user:password@]host:port; none; empty: as HTTPS_PROXY and its like say",
        secret=True,
    )  # fmt: skip
    ca_file: str = option("", parse_text, "authorities to trust (PEM) instead of the system's")
    cert_file: str = option("", parse_text, "certificate to show to the upstream (PEM)")
    cert_key: str = option("", parse_text, "its private key (PEM), if that is not in cert_file")
    verify: bool = option("yes", parse_switch, "yes or no; no trusts anybody who answers: dangerous")
    keepalive: float = option(
        "0", parse_seconds, "seconds of silence before a comment is sent in an event stream; 0: never"
    )
    max_connections: int
    max_idle: int = option("100", parse_integer(0, 10**6), "connections kept for later")
    idle_timeout: float = option("30", parse_seconds, "seconds that a kept connection may rest")
    max_age: float = option("600", parse_seconds, "seconds after which a connection is not used again")

    #: Where the key is from, in words, "" where there is none.
    key_source = ""
    #: The environment's variable whose key `api_key = auto` keeps back from this upstream, "" where there is none.
    kept_back = ""
    #: The environment's variable that `api_key = auto` stands for.
    key_variable: str

    @classmethod
    def owns_key(cls, destination: Destination, environ: typing.Mapping[str, str]) -> bool:
        """Tell whether the key in `key_variable` is one that the destination's owner has given out."""
        raise NotImplementedError

    @classmethod
    def completed(cls, values: dict[str, typing.Any], environ: typing.Mapping[str, str]) -> dict[str, typing.Any]:
        """Return the values with the key that `auto` comes to; ValueError for one that cannot be."""
        key, source, kept_back = values["api_key"], "api_key", ""
        if key == AUTO:
            key, source = "", f"the environment's {cls.key_variable}"
            if cls.owns_key(parse_destination(values["base_url"]), environ):
                try:
                    key = parse_key(environ.get(cls.key_variable, ""))
                except ValueError as exc:
                    raise ValueError(f"api_key = {AUTO}: {source}: {exc}") from exc
            elif environ.get(cls.key_variable):
                kept_back = cls.key_variable
        return {**values, "api_key": key, "key_source": source if key else "", "kept_back": kept_back}

    @property
    def holds_key(self) -> bool:
        """Whether the upstream takes every caller for the owner (Backend.holds_key): by a key or a certificate."""
        return bool(self.api_key or self.owners_marks)

    def remark(self) -> str:
        """Return whose key is sent, and what else makes the upstream take a caller for the owner."""
        origin = parse_destination(self.base_url).origin
        shown = f" Whoever calls, it sees {' and '.join(self.owners_marks)}." if self.owners_marks else ""
        if self.api_key:
            return f"{origin} gets the key of {self.key_source}, whoever calls.{shown}"
        return f"{origin} gets the caller's own key, but none behind a backend of another host.{shown}"

    @property
    def owners_marks(self) -> list[str]:
        """By what but a key the upstream knows the owner, as the names of options."""
        return ["cert_file"] if self.cert_file else []
