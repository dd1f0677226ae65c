"""A canvas as PNG (W3C "Portable Network Graphics Specification", third edition): a palette, eight bits a pixel."""

from __future__ import annotations

import binascii
import struct
import zlib

from protocol.budget import spend_turn
from protocol.mock.media.canvas import Canvas

# Sections 9.2 and 11.2.1: the filter of a row, and the colour type for a palette.
_FILTER_NONE, _FILTER_UP = b"\0", b"\2"
_PALETTE = 3

_PIXELS_A_STEP = 128  # that are compressed in a microsecond


def encode_png(canvas: Canvas) -> bytes:
    """Return the canvas as a PNG file. One of 1024 x 1024 pixels takes some milliseconds and has a few kilobytes."""
    palette = canvas.palette()
    header = struct.pack(">IIBBBBB", canvas.width, canvas.height, 8, _PALETTE, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), _chunk(b"PLTE", b"".join(bytes(colour[:3]) for colour in palette))]
    if canvas.transparent:
        chunks.append(_chunk(b"tRNS", bytes(colour[3] for colour in palette)))
    chunks.append(_chunk(b"IDAT", _pixels(canvas)))
    chunks.append(_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _pixels(canvas: Canvas) -> bytes:
    packer = zlib.compressobj(1)
    again = _FILTER_UP + b"\0" * canvas.width  # each pixel equals the one above it
    ink = bytes((len(canvas.shades),))
    packed = []
    for row, (shade, mask) in enumerate(zip(canvas.rows, canvas.masks)):
        spend_turn(1 + canvas.width // _PIXELS_A_STEP)
        line = again
        if not canvas.repeats(row):
            ground = bytes((shade,))
            pixels = ground * canvas.width if mask is None else mask.translate(ground + ink + bytes(254))
            line = _FILTER_NONE + pixels
        packed.append(packer.compress(line))
    return b"".join(packed) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))
