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
_DIRECTORY_END = b"PK\x05\x06"
_MOST_END_BYTES = 22 + 0xFFFF  # the record that ends an archive, with the longest comment

# An archive is unpacked in pieces: so many bytes go into zlib at once, and at most so many come out.
_PIECE_BYTES = 64 * 1024
_MOST_UNPACKED_PIECE = 1024 * 1024
_UNPACKED_BYTES_A_STEP = 512
_STEPS_AN_ENTRY = 4

_CHECKED_PIECE = 1024 * 1024
_CHECKED_BYTES_A_STEP = 1024

_MOST_16_BITS = 0xFFFF  # the format tells the length of a path, and how many files there are, in so many bits


class ArchiveError(ValueError):
    """The bytes are no archive, or one that unpacks to more than is allowed; or files that no archive can hold."""


class _Entry(typing.NamedTuple):
    """What the directory says of a file: where its bytes begin, how many they are, and how they are packed."""

    path: str
    method: int
    begin: int
    packed: int


def read_archive(
    data: bytes,
    most_bytes: int,
    *,
    most_files: int = _MOST_16_BITS,
    wanted: typing.Callable[[str], object] | None = None,
    spend: typing.Callable[[int], None] | None = None,
) -> list[tuple[str, bytes]]:
    """Return the files of an archive with their paths, or those for whose path `wanted` returns something true.

    The work is in proportion to the archive's bytes and to those that it unpacks to. `spend` is told of it as it goes
    on, in microseconds or so.

    Raises ArchiveError for bytes that are no archive, for more than `most_files` files, for files of more than
    `most_bytes` in all, and for entries that have more bytes than the archive: then many name the same ones.
    """
    spend = spend or _spend_nothing
    files: list[tuple[str, bytes]] = []
    try:
        left = len(data)
        for entry in _directory(data, spend):
            if entry.path.endswith("/") or (wanted is not None and not wanted(entry.path)):
                continue
            left -= entry.packed
            if left < 0 or entry.begin + entry.packed > len(data):
                raise ArchiveError("its entries have more bytes than the archive")
            if len(files) == most_files:
                raise ArchiveError(f"it has more than {most_files} files")
            content = _unpacked(data, entry, most_bytes, spend)
            most_bytes -= len(content)
            files.append((entry.path, content))
    except (ValueError, struct.error, zlib.error) as exc:
        raise ArchiveError(f"This is no ZIP archive that can be read: {exc}.") from exc
    return files


def _spend_nothing(steps: int) -> None:
    """Take no notice of steps."""


def _directory(data: bytes, spend: typing.Callable[[int], None]) -> typing.Iterator[_Entry]:
    end = data.rindex(_DIRECTORY_END, max(0, len(data) - _MOST_END_BYTES))
    count, at = struct.unpack_from("<10xHxxxxI", data, end)
    for _ in range(count):
        spend(_STEPS_AN_ENTRY)
        if data[at : at + 4] != _DIRECTORY_ENTRY:
            raise ArchiveError("its directory is broken")
        method, packed, *sizes, begin = struct.unpack_from("<10xH8xI4xHHH8xI", data, at)
        path = data[at + 46 : at + 46 + sizes[0]].decode("utf-8", "replace")
        at += 46 + sum(sizes)  # of the name, an extra field and a comment
        yield _Entry(path, method, begin + 30 + sum(struct.unpack_from("<26xHH", data, begin)), packed)


def _unpacked(data: bytes, entry: _Entry, most_bytes: int, spend: typing.Callable[[int], None]) -> bytes:
    if entry.method == _STORED:
        if entry.packed > most_bytes:
            raise ArchiveError("it unpacks to too many bytes")
        spend(entry.packed // _UNPACKED_BYTES_A_STEP)
        return data[entry.begin : entry.begin + entry.packed]
    if entry.method != _DEFLATED:
        raise ArchiveError(f"compression method {entry.method} is not known")
    pieces = []
    for piece in _inflated(data, entry):
        most_bytes -= len(piece)
        if most_bytes < 0:
            raise ArchiveError("it unpacks to too many bytes")
        pieces.append(piece)
        spend(len(piece) // _UNPACKED_BYTES_A_STEP + _PIECE_BYTES // _UNPACKED_BYTES_A_STEP)
    return b"".join(pieces)


def _inflated(data: bytes, entry: _Entry) -> typing.Iterator[bytes]:
    """Yield the bytes of a deflated entry; its last piece may be followed by bytes that are not its own."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    end = entry.begin + entry.packed
    for begin in range(entry.begin, end, _PIECE_BYTES):
        packed = data[begin : min(end, begin + _PIECE_BYTES)]
        while True:
            piece = unpacker.decompress(packed, _MOST_UNPACKED_PIECE)
            yield piece
            packed = unpacker.unconsumed_tail
            # A piece as long as it may be: there may be more of it within zlib, though all bytes have gone in.
            if not packed and len(piece) < _MOST_UNPACKED_PIECE:
                break
        if unpacker.eof:
            return
    if entry.packed:
        raise ArchiveError("a packed file in it is cut short")


def write_archive(
    files: typing.Iterable[tuple[str, bytes]], start: int = 0, *, spend: typing.Callable[[int], None] | None = None
) -> bytes:
    """Return an archive of these paths and contents, uncompressed; the same files give the same bytes.

    `start` is how many bytes stand before the archive in its file; `spend` is as in `read_archive`. Raises ArchiveError
    for a path of more than 65,535 bytes and for more than 65,535 files.
    """
    spend = spend or _spend_nothing
    parts: list[bytes] = []
    directory = bytearray()
    count, at = 0, start
    for path, data in files:
        name = path.encode("utf-8", "replace")
        if len(name) > _MOST_16_BITS:
            raise ArchiveError(f"A path in an archive has at most {_MOST_16_BITS} bytes, but this one has {len(name)}.")
        # Version 2.0, names in UTF-8 (bit 11), stored, 1980-01-01 00:00: the first moment that the format knows.
        sizes = (_checksum(data, spend), len(data), len(data), len(name), 0)
        common = struct.pack("<HHHHHIIIHH", 20, 0x800, _STORED, 0, 0x21, *sizes)
        # Made by version 2.0 on Unix: a regular file that everyone may read.
        directory += _DIRECTORY_ENTRY + struct.pack("<H", 3 << 8 | 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, at) + name
        head = b"PK\x03\x04" + common + name
        parts += (head, data)
        at += len(head) + len(data)
        count += 1
    if count > _MOST_16_BITS:
        raise ArchiveError(f"An archive holds at most {_MOST_16_BITS} files, but these are {count}.")
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), at, 0)
    return b"".join((*parts, directory, _DIRECTORY_END, end))


def _checksum(data: bytes, spend: typing.Callable[[int], None]) -> int:
    rest = 0
    for begin in range(0, len(data), _CHECKED_PIECE):
        spend(_STEPS_AN_ENTRY + min(len(data) - begin, _CHECKED_PIECE) // _CHECKED_BYTES_A_STEP)
        rest = binascii.crc32(data[begin : begin + _CHECKED_PIECE], rest)
    return rest
