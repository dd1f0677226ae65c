"""What can be set of the server: section [server], for the server itself, its workers and the command line."""

from __future__ import annotations

import ipaddress
import typing

from protocol.config import (
    Section,
    option,
    parse_choice,
    parse_integer,
    parse_seconds,
    parse_size,
    parse_switch,
    parse_text,
)
from protocol.service.forwarded_for import parse_networks
from protocol.service.origins import parse_origins


class ServerSettings(Section):
    """Section [server]."""

    host: str = option("127.0.0.1", parse_text, "address to listen on; 0.0.0.0 is every IPv4 one, :: every one")
    port: int = option("8080", parse_integer(0, 65535), "TCP port; 0 takes any free one, the banner says which")
    workers: int = option("1", parse_integer(0, 256), "processes that share the port; 0 is one a core")
    cors_origins: tuple[str, ...] = option(
        "auto", parse_origins, "pages that may call: auto (any; with a key local ones), * or a list; empty: none"
    )
    certfile: str = option("", parse_text, "certificate chain (PEM); when it is given the server speaks TLS")
    keyfile: str = option("", parse_text, "its private key (PEM), if that is not in certfile")
    max_head: int = option("64k", parse_size, "bytes of a request's line and fields; more is 431")
    max_body: int = option("65M", parse_size, "bytes of a body that has to be held; more is 413")
    max_memory: int = option(
        "512M",
        parse_size,
        "bytes of held bodies, WebSockets and unread answers in all, a worker; else 503; 0: no limit",
    )
    head_timeout: float = option(
        "30", parse_seconds, "seconds for a whole head, and for a new connection to begin one; 0 is no limit"
    )
    body_timeout: float = option("300", parse_seconds, "seconds of silence within a request's body; 0 is no limit")
    idle_timeout: float = option(
        "75", parse_seconds, "seconds a kept connection, or a client that reads nothing, may rest; 0 is no limit"
    )
    drain_timeout: float = option("30", parse_seconds, "seconds that running requests may take when the server stops")
    max_connections: int = option(
        "20000",
        parse_integer(1, 10**6),
        "connections at once, a worker, or as many as open files allow; more are told 503",
    )
    trusted_proxies: tuple[str, ...] = option(
        "", parse_networks, "proxies (addresses, networks) whose X-Forwarded-For names the client, for the log"
    )
    control_key: str = option(
        "",
        parse_text,
        "key with which the control paths below /_oaiserve/ may be called from anywhere; empty: only here",
    )
    keys_file: str = option("", parse_text, "file of the keys that callers need (keys.ini); empty: nobody needs one")
    page: bool = option("no", parse_switch, "yes: the page for people at / is shown beyond this machine, too")
    journal: bool = option("no", parse_switch, "yes: keep a journal of all calls, which /_oaiserve/calls shows")
    log: str = option(
        "text", parse_choice("text", "line", "json", "off"), "text, line (one a request, for people), json or off"
    )
    log_requests: bool = option("yes", parse_switch, "no: the log has what the server itself has to say alone")
    log_file: str = option("", parse_text, "file to append the log to; empty is standard error")
    log_probes: bool = option("no", parse_switch, "yes: requests for /health and /ready stand in the log, too")
    trace: str = option(
        "pass",
        parse_choice("pass", "begin"),
        "traceparent: pass it on as it came, or also begin a trace where none came",
    )

    @classmethod
    def completed(cls, values: dict[str, typing.Any], environ: typing.Mapping[str, str]) -> dict[str, typing.Any]:
        """Return the values; ValueError for a private key without its certificate."""
        if values["keyfile"] and not values["certfile"]:
            raise ValueError("keyfile: a private key needs its certificate; set certfile")
        return values

    @property
    def is_local(self) -> bool:
        """Whether `host` is this machine's own: nobody else on the network can connect."""
        host = self.host.strip("[]").lower()
        try:
            return ipaddress.ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            return host == "localhost"
