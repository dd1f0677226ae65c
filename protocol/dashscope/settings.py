"""Section [dashscope] of the configuration. Every start reads it, so it imports nothing that connects or answers."""

from __future__ import annotations

import re
import typing

from protocol.config import option, parse_seconds, parse_text
from protocol.upstream.destination import Destination, parse_destination
from protocol.upstream.settings import AUTO, ConnectionSettings, parse_key, parse_max_connections, parse_models

_DEFAULT_BASE = "https://dashscope.aliyuncs.com"
_API_ROOT = "/api/v1"
# Where DashScope's APIs begin on its hosts. What follows in a URL is one of their endpoints.
_ROOTS = r"(?:/api/v1|/compatible-(?:mode|api)(?:/v1)?|/apps/anthropic|/v1)(?:/.*)?"
# The hosts of plans with a quota for coding tools, whose keys begin with sk-sp-.
_PLAN_HOST = r"https?://(?:coding(?:-[a-z]+)?\.dashscope|(?:coding|token)-plan\.[a-z0-9-]+\.maas)\.aliyuncs\.com"
# Alibaba Cloud Model Studio, "DashScope API reference": the hosts of the regions and of workspaces, all of one vendor.
_VENDOR = r"https://(?:(?:[a-z0-9-]+\.)?dashscope(?:-[a-z0-9]+)?|[a-z0-9-]+\.[a-z0-9-]+\.maas)\.aliyuncs\.com"
_URL = r"(?i)https?://[^\s/?#@]+(?:/[^\s?#]*)?"

# The endpoints of chat by their names in protocol/dashscope/mapping/models.py, which is too long to load for two words.
_CHAT_ENDPOINTS = ("text", "multimodal")


def parse_dashscope_url(text: str) -> str:
    """Return the base URL of the native API, ending in `/api/v1`, from any of the spellings in use.

    These are the bare host, the host with `/api/v1` or the root of another of its APIs, such as `/compatible-mode/v1`,
    and the URL of an endpoint below one; each with or without a trailing slash. Empty means the public host in mainland
    China. ValueError for anything but an http(s) URL without query and fragment, for another path on DashScope's own
    hosts, and for the hosts of coding plans, which have no native API.
    """
    url = text.strip().rstrip("/") or _DEFAULT_BASE
    if not re.fullmatch(_URL, url):
        raise ValueError(f"expected an http or https URL, e.g. {_DEFAULT_BASE}")
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    origin = f"{scheme}://{host}".lower()
    if re.fullmatch(_PLAN_HOST, origin):
        raise ValueError(
            "expected a host with DashScope's native API; this one, of a coding plan, has only OpenAI's: "
            "put it under [relay] base_url"
        )
    if re.fullmatch(_VENDOR, origin):
        if not re.fullmatch(_ROOTS, slash + path) and path:
            raise ValueError(f"expected the host alone, or with {_API_ROOT}, e.g. {origin}")
        url = f"{scheme}://{host}{_API_ROOT}"
    elif _API_ROOT + "/" in slash + path + "/":
        url = f"{scheme}://{host}{(slash + path + '/').partition(_API_ROOT + '/')[0]}{_API_ROOT}"
    else:
        url = url.partition("/compatible-mode")[0].rstrip("/") + _API_ROOT
    parse_destination(url)
    return url


def parse_endpoints(text: str) -> dict[str, str]:
    """Read lines of `pattern = text | multimodal`; ValueError says what is expected."""
    endpoints = {}
    for line in text.splitlines():
        pattern, equals, endpoint = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals or not pattern or endpoint not in _CHAT_ENDPOINTS:
            raise ValueError(
                "expected one 'pattern = text' or 'pattern = multimodal' a line, e.g. qwen4-* = multimodal"
            )
        endpoints[pattern] = endpoint
    return endpoints


class DashScopeSettings(ConnectionSettings):
    """Section [dashscope]."""

    base_url: str = option(
        "${DASHSCOPE_BASE_URL:-https://dashscope.aliyuncs.com}", parse_dashscope_url,
        "the region's host, with or without /api/v1; keys hold for one region",
    )  # fmt: skip
    api_key: str = option(
        AUTO, parse_key,
        "auto: DASHSCOPE_API_KEY, to DashScope alone; a key or file:PATH; empty: each caller brings one",
        secret=True,
    )  # fmt: skip
    default_model: str = option("farui-plus", parse_text, "asked where a chat request names no model")
    models: dict[str, str] = option("", parse_models, "rename: one 'asked = sent' a line; asked may hold * and ?")
    endpoints: dict[str, str] = option(
        "", parse_endpoints, "which chat endpoint takes a model: one 'pattern = text' or 'pattern = multimodal' a line"
    )
    timeout: float = option(
        "300", parse_seconds, "seconds without a byte; DashScope itself gives up a plain call after 300"
    )
    connect_timeout: float = ConnectionSettings.connect_timeout
    first_byte_timeout: float = option("0", parse_seconds, "seconds until an answer begins; 0 is as timeout")
    total_timeout: float = option("0", parse_seconds, "seconds until a request's answer is complete; 0 is no limit")
    proxy: str = ConnectionSettings.proxy
    ca_file: str = ConnectionSettings.ca_file
    cert_file: str = ConnectionSettings.cert_file
    cert_key: str = ConnectionSettings.cert_key
    verify: bool = ConnectionSettings.verify
    keepalive: float = ConnectionSettings.keepalive
    max_connections: int = option("5000", parse_max_connections, "connections to DashScope at once, a worker")
    max_idle: int = ConnectionSettings.max_idle
    idle_timeout: float = ConnectionSettings.idle_timeout
    max_age: float = ConnectionSettings.max_age

    key_variable = "DASHSCOPE_API_KEY"

    @classmethod
    def owns_key(cls, destination: Destination, environ: typing.Mapping[str, str]) -> bool:
        """Tell whether the destination is DashScope's, or named by the environment as the key is."""
        if re.fullmatch(_VENDOR, destination.origin):
            return True
        try:
            named = parse_destination(parse_dashscope_url(environ.get("DASHSCOPE_BASE_URL", "")))
        except ValueError:
            return False
        return named.origin == destination.origin
