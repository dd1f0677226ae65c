"""The errors that reach a client or the person at the console; imports nothing of ours."""

from __future__ import annotations

import re
import typing
import urllib.parse

# OpenAI API reference, "Error codes": the type that goes with a status where the raiser names none.
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    500: "internal_error",
    502: "upstream_error",
    503: "service_unavailable_error",
    504: "timeout_error",
    508: "upstream_error",
}

_UNTYPED_SERVER_ERROR = "internal_error"
_UNTYPED_CLIENT_ERROR = "invalid_request_error"


_Error = typing.TypeVar("_Error", bound="ApiError")


class ApiError(Exception):
    """An answer other than success, in OpenAI's shape.

    `status` is the HTTP status (400 to 599), `message` a sentence for the caller, `param` the path of the
    parameter at fault (`messages[0].content`), `code` a short word that programs can test for. `type` follows from the
    status where none is given. `fields` are further header fields, such as `("retry-after", "1")`.
    Source: OpenAI API reference, "Error codes".
    """

    #: Host and port where it happened, "" for here. The caller is not told; the log is.
    where = ""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        fields: typing.Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or _ERROR_TYPES.get(status, _UNTYPED_SERVER_ERROR if status >= 500 else _UNTYPED_CLIENT_ERROR)
        self.param = param
        self.code = code
        self.fields = tuple(fields)
        #: Whether a connection that was reset is what it tells of.
        self.by_reset = False

    def anew(self: _Error) -> _Error:
        """Return the same error as if it had never been raised.

        One that was raised holds the frames that it went through, and they hold the request. So one that is kept, to
        be raised again, must not be the one that was raised.
        """
        error = type(self).__new__(type(self), *self.args)
        error.__dict__.update(self.__dict__)
        return error

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """Return the body of the answer: `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class UsageError(Exception):
    """A mistake in the command line or the configuration: one line that names where, what came, what is expected.

    The program prints it and exits with 2.
    """


# What nobody should find in a message, because it is a password or may be a key: user information of a URL, a long word
# of letters and digits, and what is marked as a key by its vendor. Ids are such words, too.
_PASSWORD = r"(?<=//)[^/@\s]+(?=@)"
_SHORTEST_KEY = 8  # a shorter one may be a word
_MARKED_KEY = re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai)[-_][!-.0-~]{4,}")
_VENDORS_KEY = r"(?i)\b(?:(?:sk|pk|rk|gsk|xai)[-_]|bearer )[!-~]{4,}"
# It begins where nothing of it stands before: else each part of `a-a-a-…` would be tried, up to its end each time.
_LONG_WORD = r"(?<![\w-])-*([\w-]{20,})"
_DIGIT = r"[0-9]"
# Of what came, as much is looked at for `evidence`: whatever is behind it is not shown.
_MOST_EVIDENCE = 4_000


def without_secrets(text: str) -> str:
    """Return a text without what may be a key or a password, in time that grows as the text does."""
    return re.sub(_LONG_WORD, _without_key, re.sub(_VENDORS_KEY, "***", re.sub(_PASSWORD, "***", text)))


def _without_key(word: re.Match[str]) -> str:
    return word[0].replace(word[1], "***") if re.search(_DIGIT, word[1]) else word[0]


def without_keys(text: str, key: str) -> str:
    """Return a client's text, such as a path, without that client's key and without what is marked as a key.

    Ids stay. What is percent-encoded is decoded where it hides a key.
    """
    shown = _hide_keys(text, key)
    if "%" in shown:
        decoded = urllib.parse.unquote(shown)
        hidden = _hide_keys(decoded, key)
        return shown if hidden == decoded else hidden
    return shown


def _hide_keys(text: str, key: str) -> str:
    if len(key) >= _SHORTEST_KEY and key in text:
        text = text.replace(key, "***")
    return _MARKED_KEY.sub("***", text)


def evidence(text: str, most: int = 80) -> str:
    """Return what came, quoted and cut, as a message may repeat it: without what may be a key or a password."""
    return repr(without_secrets(text[:_MOST_EVIDENCE])[:most])
