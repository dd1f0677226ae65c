"""How many bytes are held for requests and answers, of how many that may be: one account for all that one server holds.

Who holds something large says so here, and gives it back when it lets go. Where there is no room for more, whoever
comes now is told to come again (503), and what is held already goes on to its end.

A WebSocket may hold for an hour what a request holds for a second. So all WebSockets together may fill half of the
room, and the other half is left to requests, however many talks there are and whatever they keep.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError

# What is held at once from this many bytes on is large.
_LARGE_BYTES = 256 << 10
# What each WebSocket may hold, room or not: a usual talk goes on beside others that keep much.
_USUAL_BYTES = 256 << 10


class HeldBytes:
    """The account. `most` is in bytes; 0 is no limit. `on_large` is called once, before something large is held."""

    __slots__ = ("_on_large", "_shared", "held", "is_full", "most", "staying")

    def __init__(self, most: int, on_large: typing.Callable[[], object] | None = None) -> None:
        self.most = most
        self._on_large = on_large
        #: Bytes that are held now.
        self.held = 0
        #: Those of them that WebSockets hold.
        self.staying = 0
        #: Whether nothing at all may come any more.
        self.is_full = False
        # By id(), bodies that several answers may send at once: how many do. A file is in memory once.
        self._shared: dict[int, int] = {}

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be held."""
        return not self.most or self.held + size <= self.most

    def take(self, size: int) -> None:
        """Hold so many bytes more; ApiError 503 where there is no room."""
        if not self.has_room(size):
            raise self.refusal()
        self.add(size)

    def add(self, size: int) -> None:
        """Hold so many bytes more, or, where `size` is negative, less: what is in goes on, room or not."""
        if size >= _LARGE_BYTES and self._on_large is not None:
            on_large, self._on_large = self._on_large, None
            on_large()
        self.held += size
        self.is_full = self.held >= self.most > 0

    def share(self, body: bytes) -> None:
        """Hold a body, which counts once however many hold it; ApiError 503 where there is no room."""
        holders = self._shared.get(id(body), 0)
        if not holders:
            self.take(len(body))
        self._shared[id(body)] = holders + 1

    def let_go(self, body: bytes) -> None:
        """Hold a body, which is still there, no more."""
        holders = self._shared.pop(id(body)) - 1
        if holders:
            self._shared[id(body)] = holders
        else:
            self.add(-len(body))

    def may_stay(self, size: int) -> bool:
        """Whether WebSockets may hold so many bytes more."""
        return self.has_room(size) and (not self.most or self.staying + size <= self.most // 2)

    def refusal(self, size: int = 0) -> ApiError:
        """Return the 503 for what comes when there is no room; 413 for what is larger than all of it."""
        if size > self.most:
            return ApiError(
                413,
                f"It takes {size} bytes to read this body, but requests and answers may hold {self.most} in all: "
                "send a smaller one, or let [server] max_memory be more.",
                code="body_too_large",
            )
        return ApiError(
            503, f"The {self.most} bytes that requests and answers may hold are in use; try again soon.",
            code="memory_full", fields=[("retry-after", "1")],
        )  # fmt: skip


class Stay:
    """What one WebSocket holds, which changes for as long as it is open; whoever has it lets it `become` 0 at the end.

    Without an account nobody counts. ApiError 503 where there is no room for another one.
    """

    __slots__ = ("_account", "held")

    def __init__(self, account: HeldBytes | None) -> None:
        if account is not None and not account.may_stay(min(_USUAL_BYTES, account.most // 2)):
            raise account.refusal()
        self._account = account
        self.held = 0

    def may_become(self, size: int) -> bool:
        """Hold so many bytes instead, if there is room for what is more, and tell whether there is."""
        account, more = self._account, size - self.held
        if account is not None and more:
            if more > 0 and size > _USUAL_BYTES and not account.may_stay(more):
                return False
            self.become(size)
        return True

    def become(self, size: int) -> None:
        """Hold so many bytes instead."""
        if self._account is not None:
            self._account.staying += size - self.held
            self._account.add(size - self.held)
        self.held = size

    def refusal(self) -> ApiError:
        """Return what is told where there is no room."""
        assert self._account is not None, "nobody is refused where nobody counts"
        return self._account.refusal()
