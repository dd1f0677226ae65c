"""Why a message is refused: what of it breaks the grammar, in words. Only a broken message ever gets here.

The readers check a head with one regular expression, which is fast but does not say what is wrong. These functions look
at the same bytes again and find it, so that whoever sent them can mend it.
"""

from __future__ import annotations

import re

from protocol.wire.http1.grammar import BARE_CONTROL, FIELD_LINE, FIELD_NAME


def bare_control_shown(data: bytes, at: int) -> str:
    """Return the name of the control character at `at`, one that BARE_CONTROL finds, and the bytes around it."""
    name = {b"\n": "a bare LF", b"\r": "a bare CR", b"\0": "a NUL"}[data[at : at + 1]]
    return f"{name} in {data[max(0, at - 40) : at + 20]!r}"


def not_a_request_reason(start: bytes) -> str:
    """Return why no request can begin with `start`."""
    if start[:1] == b"\x16":
        return "A TLS handshake came, but this port speaks plain HTTP: use http:// or set [server] certfile."
    return f"A request must begin with a method, but {start!r} came."


def long_request_line_reason(start: bytes) -> tuple[int, str]:
    """Return status and reason for a request line that has no end in as many bytes as it may have, `start`."""
    bare = BARE_CONTROL.search(start)
    if bare:
        return 400, f"The request line holds {bare_control_shown(start, bare.start())}."
    return 414, f"The request line has more than {len(start)} bytes."


def bad_request_line_reason(line: bytes) -> str:
    """Return why REQUEST_LINE does not match the line, which comes without its CR LF."""
    bare = BARE_CONTROL.search(line)
    if bare:
        return f"The request line holds {bare_control_shown(line, bare.start())}."
    return f"The request line must be 'METHOD target HTTP/1.1' with single spaces, but {line[:100]!r} came."


def bad_status_line_reason(line: bytes) -> str:
    """Return why STATUS_LINE does not match the line, which comes without its CR LF."""
    bare = BARE_CONTROL.search(line)
    if bare:
        return f"The status line holds {bare_control_shown(line, bare.start())}."
    return f"The status line must be like 'HTTP/1.1 200 OK', but {line[:100]!r} came."


def bad_field_reason(block: bytes) -> str:
    """Return why FIELD_LINES does not match the whole of these lines: what is wrong with the first bad one."""
    bare = BARE_CONTROL.search(block)
    if bare:
        return f"A field holds {bare_control_shown(block, bare.start())}."
    for line in block.split(b"\r\n"):
        if re.fullmatch(FIELD_LINE, line + b"\r\n") or not line:
            continue
        if line[:1] in b" \t":
            return f"A field is continued on another line, which HTTP/1.1 no longer allows: {line[:40]!r}."
        name, colon, _ = line.partition(b":")
        if not colon:
            return f"A field must be 'name: value', but {name[:40]!r} has no colon."
        if name != name.rstrip(b" \t"):
            return f"White space stands between the field name {name[:40]!r} and its colon."
        if not FIELD_NAME.fullmatch(name):
            return f"A field name holds characters that are not allowed: {name[:40]!r}."
        return f"The value of the field {name[:40]!r} holds a control character."
    return "The fields of the head are malformed."
