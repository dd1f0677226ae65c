"""The path of a request: whether it may be asked for, and what an upstream may take it for.

A relay puts a path behind its base URL and sends the owner's key with it. Servers do not agree on what a path means.
nginx decodes %2f before it removes dot segments, so `/v1/..%2fadmin` leaves /v1 there. Two servers in a row decode
twice. Windows takes a backslash for a slash, Java takes away what follows a `;`, PHP and Go merge slashes. So a path is
refused that any of them could take for a place above the one that it names: an API has no such path.
"""

from __future__ import annotations

import re
import urllib.parse

from protocol.errors import ApiError

# How often a path may be encoded: model names with slashes are once, and some clients encode them again.
_MOST_LAYERS = 4

# RFC 3986 §2.1. IIS also reads %u002e.
_BROKEN_ESCAPE = r"%(?![0-9A-Fa-f]{2})"
_WIDE_ESCAPE = r"(?i)%u[0-9a-f]{4}"

# RFC 3986 §2.3: letters, digits, "-", ".", "_" and "~" are unreserved.
_NEEDLESS_ESCAPE = r"%(4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9Aa]|3[0-9]|2[DdEe]|5[Ff]|7[Ee])"

_CONTROL = r"[\x00-\x1f\x7f]"
_DOUBLED_SLASH = r"//+"

# Windows drops points and spaces at the end of a name, so that a segment of nothing else is a dot segment too.
_DOT_SEGMENT = r"(?:^|[/;]) *\.[. ]*(?:$|[/;?#])"

# Characters that Windows and Unicode normalization turn into the ones that matter in a path.
_LOOK_ALIKES = str.maketrans(
    {
        "\uff0e": ".",
        "\u2024": ".",
        "\ufe52": ".",
        "\u2025": "..",
        "\u2026": "...",
        "\uff0f": "/",
        "\u2044": "/",
        "\u2215": "/",
        "\uff3c": "\\",
        "\ufe68": "\\",
        "\u2216": "\\",
        "\uff1b": ";",
    }
)


# A path like nearly all: nothing encoded, no segment that is empty or begins with a point.
_is_harmless = re.compile(r"(?!/v1/v1)(?:/[A-Za-z0-9_~:@=+,-][A-Za-z0-9_~:@=+,.-]*)*/?").fullmatch


def check_path(path: str) -> None:
    """Refuse a path, percent-encoded as it came, that a server behind us could take for another place.

    ApiError 400 for a dot segment, a doubled slash or a backslash, however often encoded, for a control character, and
    for an escape that is none; 404 for /v1/v1, and for a doubled slash that is not encoded.
    """
    if _is_harmless(path):
        return
    if path.startswith("/v1/v1/") or path == "/v1/v1":
        raise ApiError(
            404, f"The path has /v1 twice: {path[:100]!r}. Leave it out of the client's base URL, or out of the path.",
            code="unknown_url",
        )  # fmt: skip
    if "//" in path and _is_harmless(re.sub(_DOUBLED_SLASH, "/", path)):
        raise ApiError(
            404, f"The path has two slashes in a row: {path[:100]!r}. The client's base URL should not end with one:"
            f" {re.sub(_DOUBLED_SLASH, '/', path)[:100]!r} is meant.", code="unknown_url",
        )  # fmt: skip
    if re.search(_BROKEN_ESCAPE, path):
        raise _refusal(path, "a % without two hexadecimal digits behind it")
    text = path
    for _ in range(_MOST_LAYERS + 1):
        _check_layer(path, text.translate(_LOOK_ALIKES))
        decoded = _decode(path, text)
        if decoded == text:
            return
        text = decoded
    raise _refusal(path, f"anything that is encoded more than {_MOST_LAYERS} times over")


def plain_path(path: str) -> str:
    """Return a path without the escapes that need not be there: `/%63hat` is /chat (RFC 3986 §6.2.2.2).

    Those of all other characters stay as they came.
    """
    return re.sub(_NEEDLESS_ESCAPE, _unescaped, path) if "%" in path else path


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def meant_path(path: str) -> str:
    """Return what the most lenient server makes of a path that was checked: decoded, in lower case, no parameters.

    By this it is decided whether a request takes a model; sent on is the path as it came.
    """
    if "%" in path:
        for _ in range(_MOST_LAYERS):
            path = urllib.parse.unquote(path)
    return re.split("[;?#]", path, maxsplit=1)[0].rstrip("/ ").lower()


def _check_layer(path: str, text: str) -> None:
    if re.search(_DOT_SEGMENT, text):
        raise _refusal(path, "'.' or '..' segments")
    if re.search(_DOUBLED_SLASH, text):
        raise _refusal(path, "two slashes in a row")
    if "\\" in text:
        raise _refusal(path, "a backslash")
    if re.search(_CONTROL, text):
        raise _refusal(path, "control characters")
    if re.search(_WIDE_ESCAPE, text):
        raise _refusal(path, "escapes as %u002e")


def _decode(path: str, text: str) -> str:
    try:
        return urllib.parse.unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as exc:
        # Lenient decoders read C0 AE as a point (RFC 3629 §10).
        raise _refusal(path, "escapes that are no UTF-8") from exc


def _refusal(path: str, what: str) -> ApiError:
    return ApiError(400, f"The path must not hold {what}, but is {path[:100]!r}.")
