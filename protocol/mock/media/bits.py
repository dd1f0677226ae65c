"""Bits that are written as text, "0" and "1", become bytes: piece by piece, so that no long text has to be kept."""

from __future__ import annotations


class BitWriter:
    """Gathers bits. `lowest_first` says that a byte's first bit is its lowest one, as in WebP; else its highest one."""

    def __init__(self, *, lowest_first: bool) -> None:
        self._lowest_first = lowest_first
        self._written = bytearray()
        self._rest = ""

    def write(self, bits: str) -> None:
        """Add bits: some thousands at a time are the cheapest."""
        bits = self._rest + bits
        whole = len(bits) - len(bits) % 8
        self._rest = bits[whole:]
        self._written += self._packed(bits[:whole])

    def finish(self, padding: str) -> bytes:
        """Return all bytes; the last one is filled up with "0" or "1"."""
        self.write(padding * (-len(self._rest) % 8))
        return bytes(self._written)

    def _packed(self, bits: str) -> bytes:
        if not bits:
            return b""
        if self._lowest_first:
            return int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")
        return int(bits, 2).to_bytes(len(bits) // 8, "big")
