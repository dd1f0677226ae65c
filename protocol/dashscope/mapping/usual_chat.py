"""Usual chats of one form, whose native call is the same but for the text that is asked.

Whoever asks one thing of many texts sends chats that differ in the last message's text alone (openai/chat_form.py). So
do their native calls, which say that text as it is. One of them is read, planned and written in the ordinary way, and
so is another one with a longer text, to be sure. For the others the text is put between what stands around it: 1 µs,
instead of 10 (CPython 3.11).
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.chat import ChatPlan, plan_chat, says_texts_alone
from protocol.dashscope.mapping.native import OSS_URL
from protocol.openai.chat_form import ChatForm, around_last_text
from protocol.wire.json_text import JsonObject, parse_json

_OSS_URL = OSS_URL.encode()


class UsualChat:
    """Chats of one form. `plan` is that of one of them: those of the others have other messages and nothing else."""

    __slots__ = ("_after", "_before", "_form", "plan")

    def __init__(self, form: ChatForm, before: bytes, after: bytes, plan: ChatPlan) -> None:
        self._form = form
        self._before = before
        self._after = after
        self.plan = plan

    def native_body(self, data: bytes) -> bytes:
        """Return the body of the native call for a chat's body, b"" where that has another form."""
        text = self._form.text(data)
        # DashScope refuses an empty message, and resolves a URL of its store only on request.
        if not text or text.startswith(_OSS_URL):
            return b""
        return b"%b%b%b" % (self._before, text, self._after)


def usual_chat(
    data: bytes, body: JsonObject, plan: ChatPlan, routes: typing.Mapping[str, str] | None = None
) -> UsualChat | None:
    """Return the form of a chat, None where it has none; `body` is what `data` says, with its model renamed.

    `routes` are those with which the plan was made.
    """
    if not says_texts_alone(body) or len(plan.calls) != 1:
        return None
    around = around_last_text(data, parse_json(data))
    if around is None:
        return None
    *others, last = body["messages"]
    text: bytes = last["content"].encode()
    written = plan.calls[0].encode()
    at = written.rfind(b'"%b"' % text) + 1
    before, after = written[:at], written[at + len(text) :]
    longer = {**body, "messages": [*others, {**last, "content": f"x{last['content']}"}]}
    tried = plan_chat(longer, routes=routes, learned=plan.learned).calls[0].encode()
    if not at or tried != b"%bx%b%b" % (before, text, after) or b'"%b' % _OSS_URL in written:
        return None
    return UsualChat(ChatForm(*around), before, after, plan)
