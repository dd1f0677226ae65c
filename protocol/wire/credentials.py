"""Where requests carry secrets: the fields and the parameters that hold a key, by their names."""

from __future__ import annotations

import typing
import urllib.parse

#: Where clients put keys; the first is OpenAI's. Azure's, Anthropic's and Google's follow, then those of other vendors
#: and gateways. A key beside ours would be billed or believed in its place.
KEY_FIELDS = frozenset(
    "authorization api-key x-api-key x-goog-api-key ocp-apim-subscription-key apikey x-apikey x-auth-key x-auth-token"
    " x-access-token x-openai-api-key openai-api-key x-openai-key x-dashscope-api-key anthropic-api-key xi-api-key"
    " x-functions-key x-rapidapi-key x-subscription-key x-subscription-token x-litellm-api-key x-litellm-key"
    " private-token x-portkey-api-key x-portkey-virtual-key helicone-auth".split()
)

#: How the names of fields end that hold somebody's secret, whoever made them up. They are meant for the host that is
#: asked first: another one, which is asked in its stead, gets none.
SECRET_NAME_ENDS = (
    "authorization", "api-key", "apikey", "access-key", "auth-key", "-token", "-secret", "-auth", "credential",
    "password",
)  # fmt: skip

# Parameters of a query that hold a key: Google's, Azure's, and what others have made up (RFC 6750 §2.3).
_KEY_PARAMETERS = frozenset(("key", "api_key", "api-key", "apikey", "access_token", "subscription-key"))

# Fields whose name does not tell: a session, and the subprotocols among which a browser hands over its key.
_OTHER_SECRET_FIELDS = frozenset(("cookie", "cookie2", "sec-websocket-protocol"))


def is_secret_field(name: str) -> bool:
    """Tell whether a field of this name, in lower case, holds a secret, as far as its name tells."""
    return name in KEY_FIELDS or name.endswith(SECRET_NAME_ENDS)


def masked_fields(fields: typing.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return fields as they may be shown: the value of each that may hold a secret is three stars."""
    return [(name, "***" if is_secret_field(name) or name in _OTHER_SECRET_FIELDS else value) for name, value in fields]


def query_without_key(query: str) -> str:
    """Return a query without the parameters that hold a key; all else stays byte for byte."""
    if not query:
        return query
    parameters = query.split("&")
    return "&".join(parameter for parameter in parameters if not _names_key(parameter.partition("=")[0]))


def _names_key(name: str) -> bool:
    return urllib.parse.unquote_plus(name).lower() in _KEY_PARAMETERS
