"""What is written to one client."""

from __future__ import annotations

import asyncio

from protocol.wire.http1.writers import CONTINUE


class Output:
    """The way to one client. `writable` is a future while the client reads too slowly, else None.

    Pieces of one turn can be gathered to leave in one write, which is one system call and, mostly, one segment. While
    `gathered` is a list, and not None, what is written is added to it and waits for `flush`.

    `write_now` is the transport's: for bytes, one at least, while nothing is gathered.

    `continue_due` says that the client waits to be asked for its request's body (RFC 9110 §10.1.1).
    """

    __slots__ = ("_transport", "_untaken_bytes", "continue_due", "gathered", "writable", "write_now")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.write_now = transport.write
        self._untaken_bytes = 0  # when that was last noted
        self.gathered: list[bytes] | None = None
        self.writable: asyncio.Future[None] | None = None
        self.continue_due = False

    def write(self, data: bytes) -> None:
        """Write, or add to what is gathered."""
        if self.gathered is not None:
            self.gathered.append(data)
        elif data:
            self._transport.write(data)

    def send(self, data: bytes) -> None:
        """Write now, behind what has been gathered."""
        if self.gathered is None:
            if data:
                self._transport.write(data)
        else:
            self.gathered.append(data)
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered, and gather no more."""
        gathered, self.gathered = self.gathered, None
        if gathered:
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def ask_for_body(self) -> None:
        """Ask for the request's body where the client waits for that, and only once."""
        if self.continue_due:
            self.continue_due = False
            self.send(CONTINUE)

    def resume(self) -> None:
        """Wake whoever waits to write: the client has taken what was too much."""
        writable, self.writable = self.writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def break_off(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let whoever waits to write, or will wait, be cancelled: the client has gone."""
        self.gathered = None
        if self.writable is None:
            self.writable = loop.create_future()
        self.writable.cancel()

    # ---- how fast the client reads ------------------------------------------------------------------------------

    def note_untaken(self) -> None:
        """Note how much the client has not taken yet, for `has_moved` to compare with."""
        self._untaken_bytes = self._transport.get_write_buffer_size()

    def has_left(self) -> bool:
        """Tell whether the host has taken all that was written."""
        return not self._transport.get_write_buffer_size()

    def has_moved(self) -> bool:
        """Tell whether the client has taken anything since `note_untaken`."""
        return self._transport.get_write_buffer_size() < self._untaken_bytes
