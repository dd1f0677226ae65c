"""Puts stars in the place of secrets: an upstream that repeats its key must not hand it to whoever calls.

What is masked, wherever it stands in bytes that are passed on:

    the secret            as a whole token: `sk-abc12345` neither in `sk-abc123456` nor in `my-sk-abc12345`
    how it is written     plain, percent-encoded, as in JSON (`\\u0073`, `\\/`) and in HTML (`&#x2f;`), each character
                          by itself: encoders differ in what they escape
    its beginning         as a whole token, from half of it on and at most 16 characters: others cut what they quote

There are as many stars as bytes, so that lengths that have been told stay true, and an answer without the secret is the
same object as before. What is too short, or a word that ordinary answers hold, cannot be told from them: it is never
masked (`can_be_masked`).

Theory of operation of a stream
-------------------------------
A token may begin in one piece and end in another. What is left of a piece that may be its beginning waits for the next
piece, at most as many bytes as the secret can take. That is never the case for events and JSON, whose pieces end with
something that is no part of a token. Where nobody can say when the text ends, as in a tunnel, nothing waits that has
less than four characters of a secret: they tell nothing, and the rest of it is still found, since the last bytes that
have gone out are looked at again.

    gone out ─────────────┬───────── the piece ────────────────┬──────────
    … the last 64 bytes   │  passes, with stars                │  waits: may be the beginning of a secret
"""

from __future__ import annotations

import re
import typing

_FEWEST_CHARACTERS = 8

# A beginning of this many characters is masked even if it is less than half of the secret: the rest is guessed no more
# easily than a key of today is, but the account can be told from it.
_LONGEST_NEEDED = 16

# In a text without an end, what begins like a secret waits from this many characters on.
_WAITING_CHARACTERS = 4

_CONTEXT_BYTES = 64

_TOKEN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-")
# What tokens, escapes and their beginnings may end with.
_OPEN_END = _TOKEN | frozenset(b"%\\&#;")

# An escape right before a token is not a part of it, although it ends with a letter or digit.
_ESCAPE_BEFORE = re.compile(rb"(?:%[0-9A-Fa-f]{2}|\\[abfnrtv0]|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2})\Z")
_CUT_ESCAPE = re.compile(
    rb"(?:%[0-9A-Fa-f]?|\\{1,4}(?:u(?:0(?:0[0-9A-Fa-f]?)?)?)?|&(?:#(?:[0-9]{0,7}|[xX][0-9A-Fa-f]{0,6})|[a-z]{1,4})?)\Z"
)
# To look for a number takes a fifth of the time that looking for bytes of length 1 does.
_PERCENT, _BACKSLASH = b"%\\"

_HTML_NAMES = {"&": b"amp", "<": b"lt", ">": b"gt", '"': b"quot", "'": b"apos"}

# The words of ordinary answers: media types, members' values and names, OpenAI's types and codes.
_ORDINARY = (
    b"text/event-stream application/json multipart/form-data audio/mpeg charset=utf-8 keep-alive no-cache no-store"
    b" identity text/plain max-age must-revalidate bytes nosniff chat.completion chat.completion.chunk text_completion"
    b" assistant developer function function_call tool_calls content_filter finish_reason logprobs refusal annotations"
    b" completion completions prompt_tokens completion_tokens total_tokens input_tokens output_tokens cached_tokens"
    b" reasoning_tokens prompt_tokens_details completion_tokens_details system_fingerprint service_tier default object"
    b" created_at embedding embeddings response response.created response.completed response.output_text.delta"
    b" in_progress completed incomplete cancelled succeeded input_text output_text reasoning reasoning_content"
    b" transcription moderation arguments parameters properties description additionalProperties temperature"
    b" invalid_request_error authentication_error permission_error rate_limit_error server_error invalid_api_key"
    b" model_not_found insufficient_quota rate_limit_exceeded context_length_exceeded request_id organization"
    b" openai-organization openai-processing-ms openai-version"
)


class Mask:
    """Masks `secrets`, at least one, of which each can be masked."""

    def __init__(self, secrets: typing.Iterable[str]) -> None:
        self._secrets = [_Secret(secret) for secret in secrets]
        self._needle, *others = [secret.needle for secret in self._secrets]
        self._other_needles = tuple(others)
        self._has_escapable = any(secret.has_escapable for secret in self._secrets)
        #: With any other byte at its end, a text cannot be the beginning of a secret.
        self.open_end = _OPEN_END.union(*(secret.characters for secret in self._secrets))

    def may_be_in(self, data: bytes) -> bool:
        """Tell quickly whether there may be something to mask that begins in these bytes."""
        return (
            # Nothing found gives the same object, and no copy: a third of the time that `in` takes.
            data.replace(self._needle, b"") is not data
            or _PERCENT in data
            or (_BACKSLASH in data and b"\\u00" in data)
            or self._has_escapable
            or (self._other_needles != () and any(needle in data for needle in self._other_needles))
        )

    def hide(self, data: bytes) -> bytes:
        """Return the bytes of a whole text with its secrets masked."""
        if not self.may_be_in(data):
            return data
        spans = self.search(data, is_whole=True).spans
        return _starred(data, spans) if spans else data

    def hide_text(self, text: str) -> str:
        """Return a text with its secrets masked."""
        data = text.encode("utf-8", "surrogatepass")
        hidden = self.hide(data)
        return text if hidden is data else hidden.decode("utf-8", "surrogatepass")

    def stream(self, *, has_end: bool = True) -> MaskedStream:
        """Return what masks a text that comes in pieces; `has_end`: somebody will say that it is over."""
        return MaskedStream(self, 0 if has_end else _WAITING_CHARACTERS)

    def search(self, text: bytes, *, is_whole: bool, fewest_waiting: int = 0) -> _Found:
        """Return where secrets stand; unless the text is whole, also what of its end may be the beginning of one.

        Of that, nothing waits that has less than `fewest_waiting` characters of it.
        """
        spans: list[tuple[int, int]] = []
        waits_at, is_open = len(text), False
        at_end = not is_whole and text[-1:] != b"" and text[-1] in self.open_end
        for secret in self._secrets:
            for at in secret.candidates(text, at_end=at_end):
                count, end, is_cut = secret.follow(text, at)
                if not secret.may_begin(text, at):
                    continue
                if is_cut and not is_whole:
                    is_open = True
                    if count >= fewest_waiting:
                        waits_at = min(waits_at, at)
                elif count >= secret.fewest and secret.may_end(text, end, count):
                    spans.append((at, end))
        return _Found(spans, waits_at, is_open)


class _Found(typing.NamedTuple):
    """`is_open`: something at the end begins like a secret; from `waits_at` on it is enough to wait for the rest."""

    spans: list[tuple[int, int]]
    waits_at: int
    is_open: bool


class MaskedStream:
    """One text that comes in pieces: `feed` returns what can go out, `close` the last of it."""

    __slots__ = ("_fewest_waiting", "_gone", "_is_open", "_mask", "_waiting")

    def __init__(self, mask: Mask, fewest_waiting: int) -> None:
        self._mask = mask
        self._fewest_waiting = fewest_waiting
        self._waiting = b""
        # The last bytes that have gone out, and whether they begin like a secret.
        self._gone = b""
        self._is_open = False

    def feed(self, data: bytes) -> bytes:
        """Take a piece and return what can go out, which may be b""."""
        if self._is_open or not data or data[-1] in self._mask.open_end or self._mask.may_be_in(data):
            return self._look(data, is_whole=False)
        self._gone = b""
        return data

    def close(self) -> bytes:
        """Return what has waited: there is no more to come."""
        return self._look(b"", is_whole=True) if self._waiting else b""

    def _look(self, data: bytes, *, is_whole: bool) -> bytes:
        gone = self._gone
        text = gone + self._waiting + data if gone or self._waiting else data
        spans, waits_at, self._is_open = self._mask.search(text, is_whole=is_whole, fewest_waiting=self._fewest_waiting)
        end = max(waits_at, len(gone))
        self._waiting = text[end:]
        self._gone = text[max(0, end - _CONTEXT_BYTES) : end]
        if spans:
            text = _starred(text, spans)
        return text if text is data and end == len(text) else text[len(gone) : end]


class _Secret:
    """One secret and the ways in which it may be written."""

    def __init__(self, secret: str) -> None:
        self._length = len(secret)
        self.characters = secret.encode("ascii")
        self.fewest = max(_FEWEST_CHARACTERS, min(_LONGEST_NEEDED, len(secret) // 2))
        #: Every occurrence that is not escaped begins with this.
        self.needle = self.characters[: self.fewest]
        #: Whether it has characters that are escaped by other means than `%` and `\\u00`.
        self.has_escapable = any(character in "\\/\"'&<>" for character in secret)
        forms = {character: _forms(character) for character in set(secret)}
        self._matchers = [re.compile(forms[character]).match for character in secret]
        self._begin = re.compile(forms[secret[0]])
        self._begin_two = re.compile(forms[secret[0]] + forms[secret[1]])
        self._most_bytes = 12 * len(secret)

    def candidates(self, text: bytes, *, at_end: bool) -> list[int]:
        """Return where the secret may begin; `at_end`: also where too little of it stands for any other place."""
        found: set[int] = set()
        if self.has_escapable or b"%" in text or b"\\u00" in text:
            found.update(match.start() for match in self._begin_two.finditer(text))
        at = text.find(self.needle)
        while at >= 0:
            found.add(at)
            at = text.find(self.needle, at + 1)
        if at_end:
            last = max(0, len(text) - self._most_bytes)
            found.update(match.start() for match in self._begin.finditer(text, last))
            cut = _CUT_ESCAPE.search(text, last)
            if cut:
                found.add(cut.start())
        return sorted(found)

    def follow(self, text: bytes, at: int) -> tuple[int, int, bool]:
        """Return how many characters of the secret stand there, where they end, and whether the text ended first."""
        count = 0
        before = at
        for match in self._matchers:
            found = match(text, at)
            if found is None:
                break
            count += 1
            before, at = at, found.end()
        if at == len(text):
            return count, at, True
        # A backslash of the secret may be the beginning of an escape as well.
        is_cut = count < self._length and (_CUT_ESCAPE.match(text, at) or _CUT_ESCAPE.match(text, before)) is not None
        return count, at, is_cut

    def may_begin(self, text: bytes, at: int) -> bool:
        """Tell whether no token reaches into the secret from before."""
        if at == 0 or self.characters[0] not in _TOKEN or text[at - 1] not in _TOKEN:
            return True
        return _ESCAPE_BEFORE.search(text, max(0, at - 6), at) is not None

    def may_end(self, text: bytes, end: int, count: int) -> bool:
        """Tell whether the token ends with these characters of the secret."""
        return end == len(text) or self.characters[count - 1] not in _TOKEN or text[end] not in _TOKEN


def mask_of(secrets: typing.Iterable[str]) -> Mask | None:
    """Return what masks those of the secrets that can be masked, None where there is none."""
    maskable = [secret for secret in secrets if can_be_masked(secret)]
    return Mask(maskable) if maskable else None


def can_be_masked(secret: str) -> bool:
    """Tell whether a secret can be told from what ordinary answers hold."""
    if len(secret) < _FEWEST_CHARACTERS:
        return False
    return not Mask([secret]).search(_ORDINARY, is_whole=True).spans


def _forms(character: str) -> bytes:
    """Return a pattern for all the ways in which a character may be written."""
    number = ord(character)
    hexadecimal = b"".join(
        b"[%c%c]" % (digit, digit - 32) if digit >= 97 else b"%c" % digit for digit in b"%02x" % number
    )
    forms = [re.escape(character.encode()), b"%" + hexadecimal, rb"\\{1,4}u00" + hexadecimal]
    if not character.isalnum():
        forms.append(rb"\\{1,4}" + re.escape(character.encode()))
        forms.append(b"&#0{0,4}%d;" % number)
        forms.append(b"&#[xX]0{0,4}" + hexadecimal + b";")
    if character in _HTML_NAMES:
        forms.append(b"&" + _HTML_NAMES[character] + b";")
    # The longest first: the backslash of an escaped character is no character of its own.
    return b"(?:" + b"|".join(reversed(forms)) + b")"


def _starred(text: bytes, spans: typing.Iterable[tuple[int, int]]) -> bytes:
    starred = bytearray(text)
    for begin, end in spans:
        starred[begin:end] = b"*" * (end - begin)
    return bytes(starred)
