"""ZIP archives, read and written: PKWARE's APPNOTE 6.3, without what is rare (encryption, parts, more than 32 bits).

By hand, because importing zipfile would add 3 to 5 ms to every start of the program.
"""

from __future__ import annotations

import binascii
import struct
import typing
import zlib

_STORED = 0
_DEFLATED = 8
_DIRECTORY_ENTRY = b"PK\x01\x02"


class ArchiveError(ValueError):
    """The bytes are no archive, or one that unpacks to more than is allowed."""


def read_archive(data: bytes, most_bytes: int) -> list[tuple[str, bytes]]:
    """Return the files of an archive with their paths.

    Raises ArchiveError for bytes that are no archive, and for files of more than `most_bytes` in all.
    """
    files = []
    try:
        count, at = struct.unpack_from("<10xHxxxxI", data, data.rindex(b"PK\x05\x06"))
        for _ in range(count):
            if data[at : at + 4] != _DIRECTORY_ENTRY:
                raise ArchiveError("its directory is broken")
            method, packed, *sizes, begin = struct.unpack_from("<10xH8xI4xHHH8xI", data, at)
            name = data[at + 46 : at + 46 + sizes[0]].decode("utf-8", "replace")
            at += 46 + sum(sizes)  # of the name, an extra field and a comment
            begin += 30 + sum(struct.unpack_from("<26xHH", data, begin))
            if not name.endswith("/"):
                content = _unpacked(data[begin : begin + packed], method, most_bytes)
                most_bytes -= len(content)
                files.append((name, content))
    except (ValueError, struct.error, zlib.error) as exc:
        raise ArchiveError(f"This is no ZIP archive that can be read: {exc}.") from exc
    return files


def _unpacked(data: bytes, method: int, most_bytes: int) -> bytes:
    if method == _DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        # One byte more than allowed shows that there is more.
        content = unpacker.decompress(data, max(0, most_bytes) + 1)
    elif method == _STORED:
        content = data
    else:
        raise ArchiveError(f"compression method {method} is not known")
    if len(content) > most_bytes:
        raise ArchiveError("it unpacks to too many bytes")
    return content


def write_archive(files: typing.Iterable[tuple[str, bytes]], start: int = 0) -> bytes:
    """Return an archive of these paths and contents, uncompressed; the same files give the same bytes.

    `start` is how many bytes stand before the archive in its file.
    """
    body, directory = bytearray(), bytearray()
    count = 0
    for path, data in files:
        name = path.encode("utf-8", "replace")
        # Version 2.0, names in UTF-8 (bit 11), stored, 1980-01-01 00:00: the first moment that the format knows.
        sizes = (binascii.crc32(data), len(data), len(data), len(name), 0)
        common = struct.pack("<HHHHHIIIHH", 20, 0x800, _STORED, 0, 0x21, *sizes)
        # Made by version 2.0 on Unix: a regular file that everyone may read.
        directory += _DIRECTORY_ENTRY + struct.pack("<H", 3 << 8 | 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, start + len(body)) + name
        body += b"PK\x03\x04" + common + name + data
        count += 1
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), start + len(body), 0)
    return bytes(body + directory + b"PK\x05\x06" + end)
