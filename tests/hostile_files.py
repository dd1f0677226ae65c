"""Files whose parts say of themselves what costs a careless reader the most: by name, as large as one asks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable


def _filled(begin: bytes, part: bytes) -> Callable[[int], bytes]:
    """Return what makes a file of that beginning and the same part again and again."""
    return lambda size: begin + part * max(1, (size - len(begin)) // len(part))


def ogg_page(serial: int, packet: bytes, *, flags: int = 0, position: int = -1) -> bytes:
    head = b"OggS" + struct.pack("<BBqIII", 0, flags, position, serial, 0, 0)
    return head + bytes((1, len(packet))) + packet


_OPUS = ogg_page(7, b"OpusHead\1\1" + bytes(9), flags=2, position=0)

#: Recordings, by what is in them: the size that is asked for gives the file.
HOSTILE_SOUNDS: dict[str, Callable[[int], bytes]] = {
    "wav of empty chunks": _filled(b"RIFF\0\0\0\0WAVE", b"abcd\0\0\0\0"),
    "mp4 of empty boxes": _filled(b"\0\0\0\x08ftyp", b"\0\0\0\x08free"),
    "mp4 of boxes within one another": _filled(b"\0\0\0\x08ftyp", b"\0\0\0\x00moov"),
    "webm of empty elements": _filled(b"\x1a\x45\xdf\xa3\x80", b"\xec\x80"),
    "webm of segments": _filled(b"\x1a\x45\xdf\xa3\x80", b"\x18\x53\x80\x67\x80"),
    "ogg of streams": _filled(b"", ogg_page(9, b"x", flags=2)),
    "ogg of marks": _filled(_OPUS, b"OggS"),
    "ogg of pages without an end": _filled(_OPUS, ogg_page(7, b"x")),
    "ogg of near marks": _filled(_OPUS, b"OggX"),
    "aac of the shortest frames": _filled(b"", b"\xff\xf1\x50\x80\x00\xe0\x00"),
    "mp3 of the shortest frames": _filled(b"", b"\xff\xf3\x14\xc0".ljust(24, b"\0")),
    "mp3 of rubbish": _filled(b"\xff\xf3\x14\xc0".ljust(24, b"\0"), b"\xff\0"),
}

HOSTILE_PICTURES: dict[str, Callable[[int], bytes]] = {
    "jpeg of fill bytes": _filled(b"\xff\xd8\xff", b"\xff"),
    "jpeg of empty segments": _filled(b"\xff\xd8\xff\xe0\0\2", b"\xff\xe0\0\2"),
    "jpeg of segments without a length": _filled(b"\xff\xd8\xff\xe0\0\2", b"\xff\xe0\0\0"),
    "jpeg of restarts": _filled(b"\xff\xd8\xff\xe0\0\2", b"\xff\xd0"),
    "jpeg of fill bytes between restarts": _filled(b"\xff\xd8\xff\xe0\0\2", b"\xff" * 9 + b"\xd0"),
}


def archive_of(entries: int, packed: bytes, *, method: int = 8, name: bytes = b"SKILL.md", unpacked: int = 0) -> bytes:
    """Return an archive with one file, which its directory names so many times."""
    common = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0x21, 0, len(packed), unpacked, len(name), 0)
    body = b"PK\x03\x04" + common + name + packed
    entry = b"PK\x01\x02\x14\0" + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = struct.pack("<HHHHIIH", 0, 0, entries, entries, len(entry) * entries, len(body), 0)
    return body + entry * entries + b"PK\x05\x06" + end


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


#: Archives, by what is in them: the size that is asked for is that of the packed bytes.
HOSTILE_ARCHIVES: dict[str, Callable[[int], bytes]] = {
    "one file named a thousand times": lambda size: archive_of(1000, bytes(size), method=0),
    "one packed file named a thousand times": lambda size: archive_of(1000, deflated(b"\1" * size)),
    "files that end at once in many bytes": lambda size: archive_of(1000, b"\x03\x00".ljust(size, b"\0")),
    # Blocks that hold nothing (RFC 1951 section 3.2.4), without an end.
    "blocks of nothing": lambda size: archive_of(1, b"\0\0\0\xff\xff" * (size // 5)),
    "a bomb": lambda size: archive_of(1, deflated(bytes(20 * size))),
    "entries of nothing": lambda size: archive_of(min(65535, size // 54), b"", method=0),
    "marks of an end": lambda size: b"PK\x03\x04" + b"PK\x05\x06" * (size // 4),
    "marks of a broken end": lambda size: b"PK\x03\x04" + b"PK\x05\x05" * (size // 4),
}
