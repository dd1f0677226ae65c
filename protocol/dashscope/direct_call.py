"""A native call that is answered without a task, where nothing goes wrong.

Nearly every chat is one short call, there is an idle connection for it, and its answer is good. So the call is written
at once, and whoever reads the answer is called back when some of it has come. Whatever turns out otherwise goes on in a
coroutine: a refusal that may be mended by another call, an answer that is no success, a connection that breaks.
"""

from __future__ import annotations

import functools
import typing

from protocol.dashscope.calls import MOST_ANSWER_BYTES, Caller, NativeClient, to_dashscope_error, too_large
from protocol.errors import ApiError
from protocol.exchange import Pending, Response, Rest
from protocol.upstream.answer import UpstreamAnswer
from protocol.upstream.connection import UpstreamConnection
from protocol.upstream.failures import UpstreamFailed
from protocol.wire.http1.messages import ResponseHead

#: What may be tried for an answer.
Attempt = typing.Callable[[], typing.Awaitable[Response]]

#: Makes the coroutine that goes on with an attempt: None is to learn from the connection what has become of the call.
GoOn = typing.Callable[[typing.Optional[Attempt]], typing.Coroutine[typing.Any, typing.Any, Response]]


#: Makes our answer of the whole body of a native one, and its head; DashScopeError for what is no good answer.
Finish = typing.Callable[[bytes, ResponseHead], Response]


class Reading(typing.Protocol):
    """Who reads the body of a native answer, piece by piece."""

    def read(self, answer: UpstreamAnswer) -> Response | None:
        """Take what has come, and return ours once there is enough for it.

        DashScopeError for what is no good answer, ApiError 503 where there is no room for it.
        """


class DirectCall(Pending):
    """A call on a connection that has it; `reading` reads its answer, or `finish` has the whole of it."""

    __slots__ = ("_answer", "_caller", "_client", "_connection", "_finish", "_go_on", "_is_over", "_reading")

    def __init__(
        self,
        client: NativeClient,
        connection: UpstreamConnection,
        caller: Caller,
        go_on: GoOn,
        *,
        reading: Reading | None = None,
        finish: Finish | None = None,
    ) -> None:
        self._client = client
        self._connection = connection
        self._caller = caller
        self._reading = reading
        self._finish = finish
        self._go_on = go_on
        self._answer: UpstreamAnswer | None = None
        self._is_over = False
        connection.listen(self._look)

    def _look(self) -> None:
        """Deliver our answer if it has come."""
        if self._is_over:
            return  # delivered, and whoever has the answer does not listen yet
        answer, finish = self._answer, self._finish
        if answer is None:
            whole = None if finish is None else self._client.take_whole(self._connection, self._caller)
            if finish is not None and whole is not None:
                self._is_over = True  # the connection is no longer ours
                self._deliver_finished(finish, *whole)
                return
            try:
                head = self._client.poll(self._connection)
                if head is None:
                    return
                answer = self._answer = self._client.begun_answer(self._connection, head, self._caller)
            except UpstreamFailed:
                pass  # it is raised again to whoever goes on
            if answer is None:
                self._connection.deafen()
                self._hand_over(None)
                return
        reading = self._reading
        if reading is None:
            assert finish is not None
            reading = self._reading = WholeAnswer(self._caller, finish)
        try:
            response = reading.read(answer)
        except (ApiError, RecursionError) as exc:
            answer.discard()
            self._hand_over(functools.partial(_fail, exc))
            return
        if response is not None:
            self._is_over = True
            self.deliver(response)
        else:
            answer.listen(self._look)

    def _deliver_finished(self, finish: Finish, body: bytes, head: ResponseHead) -> None:
        """Deliver our answer for one that has come all at once, as nearly all plain ones do."""
        try:
            response = finish(body, head)
        except (ApiError, RecursionError) as exc:
            self._hand_over(functools.partial(_fail, exc))
        else:
            self.deliver(response)

    def _hand_over(self, attempt: Attempt | None) -> None:
        # `cancel` may come before anybody awaits the rest; what is still open then is the connection.
        self.deliver(Rest(functools.partial(self._begin_rest, attempt)))

    def _begin_rest(self, attempt: Attempt | None) -> typing.Coroutine[typing.Any, typing.Any, Response]:
        self._is_over = True
        return self._go_on(attempt)

    def cancel(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._answer is None:
                self._client.let_go(self._connection)
            else:
                self._answer.discard()


async def _fail(error: Exception) -> Response:
    raise error


class WholeAnswer:
    """Reads a native answer to its end; `finish` makes ours of its body.

    What comes in several pieces is held for the request. What comes in one is gone before anybody else has a turn.
    """

    __slots__ = ("_caller", "_finish", "_pieces", "_size")

    def __init__(self, caller: Caller, finish: Finish) -> None:
        self._caller = caller
        self._finish = finish
        self._pieces: list[bytes] = []
        self._size = 0

    def read(self, answer: UpstreamAnswer) -> Response | None:
        try:
            data = answer.take()
            while data and not answer.complete:
                self._keep(data)
                if not answer.has_more:
                    return None
                data = answer.take()
            if not answer.complete:
                answer.check()
                return None
        except UpstreamFailed as exc:
            raise to_dashscope_error(exc) from exc
        if self._pieces:
            self._keep(data)
            data = b"".join(self._pieces)
        return self._finish(data, answer.head)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST_ANSWER_BYTES:
            raise too_large(MOST_ANSWER_BYTES)
        self._caller.request.hold(len(data))
        self._pieces.append(data)
