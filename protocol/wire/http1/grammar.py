"""The grammar of HTTP/1.1 that we accept, each rule beneath the clause it implements.

Whoever applies a rule to every message binds the method that he needs, as `_is_length = LENGTH.fullmatch`. A method of
an imported name is made anew at each call: 0.05 µs (CPython 3.11), and a head needs it forty times.
"""

from __future__ import annotations

import re

# RFC 9110 §5.6.2: token = 1*tchar
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# RFC 9112 §3: request-line = method SP request-target SP HTTP-version. Single spaces only: §3.2 warns of the rest.
REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n" % TOKEN)

# RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]. Servers that leave out the reason often
# leave out its space as well; that cannot be misread, so it is accepted.
STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*))?\r\n")

# RFC 9112 §5: field-line = field-name ":" OWS field-value OWS. RFC 9110 §5.5: field values hold VCHAR, obs-text, SP and
# HTAB, so no CR, LF or NUL. No line may begin with white space (obs-fold, §5.2), no space may stand before the colon
# (§5.1): both have been used to smuggle requests.
FIELD_LINE = rb"%b:[\t -~\x80-\xff]*\r\n" % TOKEN
FIELD_LINES = re.compile(rb"(?:%b)*" % FIELD_LINE)
FIELD_NAME = re.compile(TOKEN)
FIELD_VALUE = re.compile(r"[\t -~\x80-\xff]*")
#: All the bytes of which values are made.
FIELD_VALUE_BYTES = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))

# Faults that show before a head is complete: a LF without its CR, a CR without its LF, a NUL.
BARE_CONTROL = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")

# RFC 9110 §5.6.4: quoted-string
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'

# RFC 9112 §7.1: chunk-size [ chunk-ext ]. Sixteen hex digits are enough for any file. §7.1.1: an extension has a name,
# and perhaps a value; white space behind the last one cannot be misread.
CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)+[ \t]*)?)\r\n" % (TOKEN, TOKEN, _QUOTED)
)

# The same without an extension, as nearly everybody writes it, and of a chunk below 4 GB.
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")

# What the beginning of an unfinished chunk line can be.
CHUNK_LINE_START = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(?:;[\t -~\x80-\xff]*)?\r?")

# RFC 9110 §8.6: Content-Length = 1*DIGIT. int() would take "+5", "1_0" and the digits of other scripts.
LENGTH = re.compile(r"[0-9]{1,18}")

# RFC 3986 §3.2.2: reg-name. A "%" has two hexadecimal digits behind it (§2.1).
_NAME = r"[0-9A-Za-z\-._~!$&'()*+,;=]*(?:%[0-9A-Fa-f]{2}[0-9A-Za-z\-._~!$&'()*+,;=]*)*"

# RFC 3986 §3.2.2 and §3.2.3: an IP literal, which is_ip_literal judges, or a name, perhaps a port. RFC 9112 §3.2: Host
# may be empty, never doubled.
AUTHORITY = re.compile(rf"(?:\[([^\[\]/?#@]+)\]|{_NAME})(?::[0-9]{{0,5}})?")

# RFC 9112 §3.2.2: absolute-form; RFC 9110 §4.2.4 wants user information refused, which AUTHORITY does.
# No two neighbours share a character: else a target that fails would be tried at every split, quadratic in its length.
# The scheme's letters are spelled out in both cases: to compile them regardless of case takes 1.5 ms, at every start.
ABSOLUTE_FORM = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?")

# RFC 9112 §3.2.3: authority-form, of CONNECT only, has both a host and a port.
AUTHORITY_FORM = re.compile(rf"(?!:)(?:\[([^\[\]/?#@]+)\]|{_NAME}):([0-9]{{1,5}})")

# RFC 3986 §3.2.2: what stands between brackets. IPvFuture, the groups of an IPv6 address, and IPv4 in its last place.
_IP_FUTURE = re.compile(r"[vV][0-9A-Fa-f]+\.[0-9A-Za-z\-._~!$&'()*+,;=:]+")
_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_IPV6_GROUPS = 8


def is_ip_literal(text: str) -> bool:
    """Tell whether a text can stand between the brackets of a host (RFC 3986 §3.2.2)."""
    if text[0] in "vV":
        return _IP_FUTURE.fullmatch(text) is not None
    *others, last = text.split(":")
    if _IPV4.fullmatch(last):
        text = ":".join([*others, "0:0"])
    begin, gap, end = text.partition("::")
    groups = [group for part in (begin, end) if part for group in part.split(":")]
    most = _IPV6_GROUPS - 1 if gap else _IPV6_GROUPS
    return all(map(_GROUP.fullmatch, groups)) and (len(groups) <= most if gap else len(groups) == most)
