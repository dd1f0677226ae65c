"""The form of usual chats: what a client repeats of one chat in the next, around the text that it asks."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.wire.json_text import JsonObject, parse_json

#: A chat with a longer body is read as any JSON: to look at its text may take long, and others have their turns.
MOST_BYTES = 16384

# A form is found in a chat that is short, because what is worked out of it stays: no long body stays behind.
_MOST_BYTES_THAT_STAY = 2048

# Of so many chats without a form one is looked at.
_FORMLESS_A_LOOK = 64

# What stands for itself in a JSON string (RFC 8259 §7), as far as single bytes can tell; and what of it is ASCII.
_PLAIN = bytes(byte for byte in range(0x20, 0x100) if byte not in b'"\\')
_PLAIN_ASCII = bytes(byte for byte in _PLAIN if byte < 0x80)


class ChatForm:
    """Chats that are, byte for byte, the same but for what their last message says, where no character is escaped.

    Programs that put load on a server send such chats, and so does whoever asks the same of many texts. What all of
    them say is read once.
    """

    __slots__ = ("_end", "_end_size", "_start", "_start_size")

    def __init__(self, start: bytes, end: bytes) -> None:
        self._start, self._start_size = start, len(start)
        self._end, self._end_size = end, len(end)

    def text(self, data: bytes) -> bytes | None:
        """Return what the last message of a chat of this form says, in UTF-8; None for any other body."""
        at, size = self._start_size, len(data)
        to = size - self._end_size
        if at > to or size > MOST_BYTES or not data.startswith(self._start) or not data.endswith(self._end):
            return None
        text = data[at:to]
        odd = text.translate(None, _PLAIN_ASCII)
        if odd:
            if odd.translate(None, _PLAIN):
                return None
            try:
                text.decode()
            except UnicodeDecodeError:
                return None
        return text


def around_last_text(data: bytes, body: JsonObject) -> tuple[bytes, bytes] | None:
    """Return what a ChatForm begins and ends with, None for a chat that has no form; `body` is what `data` says.

    The last message must say a text. Where that stands is found by its bytes, which may stand elsewhere, too. So it is
    tried: with another text at that place, only the last message may say something else. Then every plain text may
    stand there, since what comes before and behind a JSON string does not depend on what is in it.
    """
    if len(data) > _MOST_BYTES_THAT_STAY:
        return None
    *others, last = body["messages"]
    said: str = last["content"]
    try:
        text = said.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which was escaped
        return None
    at = data.rfind(b'"%b"' % text) + 1
    if not at or text.translate(None, _PLAIN):
        return None
    start, end = data[:at], data[at + len(text) :]
    try:
        tried = parse_json(b"%bx%b%b" % (start, text, end))
    except ApiError:
        return None
    if tried != {**body, "messages": [*others, {**last, "content": f"x{said}"}]}:
        return None
    return start, end


class ChatForms:
    """Reads chats for who need not know what their messages say.

    It holds one form, the latest that it has found. Without it, it looks for one in the first chats, in ever fewer of
    them, and then in each 64th: so chats that have nothing in common are read in hardly more time.
    """

    __slots__ = ("_form", "_formless", "body")

    def __init__(self) -> None:
        self._form: ChatForm | None = None
        self._formless = 0
        #: What chats of the form say besides their messages, of which there are none here: one object for all of them.
        #: Nobody may change it.
        self.body: JsonObject = {}

    def read(self, request: Request) -> typing.Any:
        """Return what `request.json` does, perhaps without a chat's messages."""
        form, data = self._form, request.body
        if form is not None and form.text(data) is not None:
            return self.body
        value = request.json()
        self._formless = count = self._formless + 1
        if (not count & (count - 1) or not count % _FORMLESS_A_LOOK) and _says_a_text(value):
            around = around_last_text(data, value)
            if around is not None:
                # Read anew: whoever answers this request may change what was read for it.
                self._form, self.body = ChatForm(*around), {**parse_json(data), "messages": []}
        return value


def _says_a_text(value: typing.Any) -> bool:
    messages = value.get("messages") if type(value) is dict else None
    last = messages[-1] if type(messages) is list and messages else None
    return type(last) is dict and type(last.get("content")) is str
