"""Chat completions and legacy completions: their choices, as a whole object or as the chunks of a stream.

A Choice has what it says cut into the pieces that a stream sends. Functions make choices into an object, or into
frames: the events of a stream, grouped by what is sent at one moment. Source: OpenAI API reference, "Chat",
"Completions (legacy)".
"""

from __future__ import annotations

import binascii
import typing

from protocol.budget import spend_turn
from protocol.openai.scripted_usage import ScriptedUsage, with_scripted
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import DONE_EVENT, EVENT_END, EVENT_START

# It tells which software made an answer, as OpenAI's does. Clients log it; nothing depends on it.
_SYSTEM_FINGERPRINT = "fp_6f61697365"

_REMEMBERED_MODELS = 64

# The chunk with the usage, which follows the beginning that all chunks share. The usage is an object, or (prepared) the
# parts of one between which the two counts that change are put.
_USAGE_CHUNK = b'%b[],"usage":%b}' + EVENT_END
_PREPARED_USAGE_CHUNK = b'%b[],"usage":%b"prompt_tokens":%d%b"total_tokens":%d%b}' + EVENT_END


class ChoiceCall(typing.NamedTuple):
    """A call that a choice makes: of a "function", of a "custom" tool, or a "legacy" `function_call`, which has no id.

    `pieces` are those of its arguments, or of a custom tool's input.
    """

    kind: str
    id: str
    name: str
    pieces: typing.Sequence[str]


class ChoiceAudio(typing.NamedTuple):
    """How a choice sounds: the bytes of each of its pieces, or those of silence where it has none.

    `expires_at` is the time from which on a request can no longer refer to the sound, in seconds since the epoch.
    """

    id: str
    expires_at: int
    sounds: typing.Sequence[bytes]


class Mixture(typing.NamedTuple):
    """What a choice says that says more than a text or calls: pieces of its thoughts, and of why it refuses.

    `parts` are pieces of texts, and calls, in the order in which a stream has them.
    """

    parts: typing.Sequence[typing.Sequence[str] | ChoiceCall]
    reasoning: typing.Sequence[str] = ()
    refusal: typing.Sequence[str] = ()


class Choice:
    """One choice: the `pieces` of its text, or `calls`; `finish_reason` is as in the API reference.

    `logprobs` has an entry for each piece where the request asks for them. With `audio` the pieces are spoken. The
    first `echoed` pieces are the prompt's. One with a `mixture` says all that is in there.
    """

    __slots__ = ("audio", "calls", "echoed", "finish_reason", "logprobs", "mixture", "pieces")

    def __init__(
        self,
        pieces: typing.Sequence[str],
        finish_reason: str,
        *,
        calls: typing.Sequence[ChoiceCall] = (),
        logprobs: typing.Sequence[JsonObject] = (),
        audio: ChoiceAudio | None = None,
        echoed: int = 0,
        mixture: Mixture | None = None,
    ) -> None:
        self.mixture = mixture
        self.audio = audio
        self.echoed = echoed
        self.pieces = pieces
        self.finish_reason = finish_reason
        self.calls = calls
        self.logprobs = logprobs

    @property
    def tokens(self) -> int:
        """How many tokens it counts for: one a piece that is no echo."""
        said = len(self.pieces) - self.echoed + sum(len(call.pieces) for call in self.calls)
        return said if self.mixture is None else said + len(self.mixture.reasoning) + len(self.mixture.refusal)


class CompletionHead(typing.NamedTuple):
    """What an object, or all chunks of a stream, begin with; and the prompt's tokens, all and cached, for the usage.

    `usage` is what is told of it in place of what is counted.
    """

    id: str
    created: int
    model: str
    prompt_tokens: int
    cached_tokens: int = 0
    usage: ScriptedUsage | None = None


def _usage_object(head: CompletionHead, completion_tokens: int, audio_tokens: int = 0) -> JsonObject:
    """Return the usage of a completion; `audio_tokens` of its tokens are spoken."""
    return {
        "prompt_tokens": head.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": head.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": head.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _usage_of(head: CompletionHead, choices: typing.Sequence[Choice]) -> JsonObject:
    spoken = sum(choice.tokens for choice in choices if choice.audio is not None)
    usage = _usage_object(head, sum(choice.tokens for choice in choices), spoken)
    thought = sum(len(choice.mixture.reasoning) for choice in choices if choice.mixture is not None)
    if thought:
        usage["completion_tokens_details"]["reasoning_tokens"] = thought
    return with_scripted(usage, head.usage)


# ---- chat completions -------------------------------------------------------------------------------------------


def chat_completion(head: CompletionHead, choices: typing.Sequence[Choice]) -> JsonObject:
    """Return the chat completion object."""
    return {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": _logprobs(choice.logprobs),
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ],
        "usage": _usage_of(head, choices),
        "service_tier": "default",
        "system_fingerprint": _SYSTEM_FINGERPRINT,
    }


def _message(choice: Choice) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    if choice.audio is not None:
        message["audio"] = _audio(choice.audio, "".join(choice.pieces))
        return message
    mixture = choice.mixture
    if mixture is not None:
        message["content"] = "".join(choice.pieces) if choice.pieces else None
        if mixture.refusal:
            message["refusal"] = "".join(mixture.refusal)
        if mixture.reasoning:
            message["reasoning_content"] = "".join(mixture.reasoning)
    elif not choice.calls:
        message["content"] = "".join(choice.pieces)
        return message
    for call in choice.calls:
        said = _called(call, "".join(call.pieces))
        if call.kind == "legacy":
            message["function_call"] = said["function"]
        else:
            message.setdefault("tool_calls", []).append({"id": call.id, "type": call.kind, **said})
    return message


def _audio(audio: ChoiceAudio, transcript: str) -> JsonObject:
    data = _base64_text(b"".join(audio.sounds))
    return {"id": audio.id, "data": data, "expires_at": audio.expires_at, "transcript": transcript}


def _base64_text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _called(call: ChoiceCall, said: str) -> JsonObject:
    if call.kind == "custom":
        return {"custom": {"name": call.name, "input": said}}
    return {"function": {"name": call.name, "arguments": said}}


def _logprobs(entries: typing.Sequence[JsonObject]) -> JsonObject | None:
    return {"content": list(entries), "refusal": None} if entries else None


def chat_frames(
    head: CompletionHead,
    choices: typing.Sequence[Choice],
    *,
    include_usage: bool = False,
    is_continuous: bool = False,
) -> list[bytes]:
    """Return the stream's frames: one for each word, or a single one where no choice has words.

    The first frame begins with the role chunks. The last one ends with the chunks that carry the finish reasons, the
    usage chunk if it is asked for, and [DONE]. With `is_continuous` all chunks tell the usage so far.
    """
    usage = encode_json(_usage_of(head, choices)) if include_usage else b""
    tails = _chunk_tails(choices, with_usage=include_usage)
    return _join_frames(
        _chunk_prefix(head), _with_usage_so_far(head, choices, tails) if is_continuous else tails, usage
    )


def _chunk_prefix(head: CompletionHead) -> bytes:
    encoded = encode_json(
        {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "service_tier": "default",
            "system_fingerprint": _SYSTEM_FINGERPRINT,
        }
    )
    return b'%b%b,"choices":' % (EVENT_START, encoded[:-1])


def _chunk_ending(with_usage: bool) -> bytes:
    """Return what follows a chunk's choices. In a stream with usage that is null in all chunks but the usage chunk."""
    return (b',"usage":null}' if with_usage else b"}") + EVENT_END


def _chunk_tails(choices: typing.Sequence[Choice], *, with_usage: bool) -> list[list[bytes]]:
    """Return what follows the common beginning in each chunk, grouped by frame. The choices alone decide it."""
    ending = _chunk_ending(with_usage)

    def tail(index: int, delta: JsonObject, logprobs: JsonObject | None, finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        spend_turn(5)
        return encode_json([choice]) + ending

    steps = [_delta_steps(choice) for choice in choices]
    frames: list[list[bytes]] = [
        [tail(index, *delta) for index, ones in enumerate(steps) if step < len(ones) for delta in ones[step]]
        for step in range(max(map(len, steps)))
    ]
    frames[-1] += [tail(index, {}, None, choice.finish_reason) for index, choice in enumerate(choices)]
    return frames


def _with_usage_so_far(
    head: CompletionHead, choices: typing.Sequence[Choice], tails: typing.Sequence[typing.Sequence[bytes]]
) -> list[list[bytes]]:
    """Return what ends the chunks, where each tells the usage up to its frame (vLLM, `continuous_usage_stats`)."""
    null, told = _chunk_ending(with_usage=True), []
    counts = [choice.tokens for choice in choices]
    for number, group in enumerate(tails, 1):
        said = sum(min(count, number) for count in counts)
        ending = b',"usage":%b}' % encode_json(_usage_object(head, said)) + EVENT_END
        told.append([tail[: -len(null)] + ending for tail in group])
    return told


_DeltaSteps = typing.List[typing.List[typing.Tuple[JsonObject, typing.Optional[JsonObject]]]]


def _delta_steps(choice: Choice) -> _DeltaSteps:
    """Return a choice's deltas with their logprobs, grouped by word. The first one carries the role."""
    if choice.mixture is not None:
        return _mixture_steps(choice.mixture, choice.logprobs)
    is_text = not choice.calls and choice.audio is None
    opening: JsonObject = {"role": "assistant", "content": "" if is_text else None, "refusal": None}
    steps: _DeltaSteps = [[(opening, None)]]
    if choice.audio is not None:
        return _audio_steps(steps, choice.audio, choice)
    for number, piece in enumerate(choice.pieces):
        if number:
            steps.append([])
        steps[-1].append(({"content": piece}, _logprobs(choice.logprobs[number : number + 1])))
    for index, call in enumerate(choice.calls):
        first = _call_opening(index, call)
        if index == 0:
            steps[0] = [({**opening, **first}, None)]
        else:
            steps.append([(first, None)])
        for number, piece in enumerate(call.pieces):
            if number:
                steps.append([])
            steps[-1].append((_call_delta(index, call, piece), None))
    return steps


def _mixture_steps(mixture: Mixture, logprobs: typing.Sequence[JsonObject]) -> _DeltaSteps:
    """Return the deltas of thoughts, then of a refusal, then of texts and calls in their order.

    OpenAI's chats do not tell thoughts; `reasoning_content` is what DeepSeek, Qwen and vLLM call them.
    """
    steps: _DeltaSteps = [[({"role": "assistant", "content": None, "refusal": None}, None)]]

    def add(*deltas: tuple[JsonObject, JsonObject | None]) -> None:
        if len(steps) == 1 and len(steps[0]) == 1:
            steps[0] += deltas
        else:
            steps.append(list(deltas))

    for member, pieces in (("reasoning_content", mixture.reasoning), ("refusal", mixture.refusal)):
        for piece in pieces:
            add(({member: piece}, None))
    texts = calls = 0
    for part in mixture.parts:
        if isinstance(part, ChoiceCall):
            opening = (_call_opening(calls, part), None)
            first, *others = part.pieces or [""]
            add(opening, (_call_delta(calls, part, first), None))
            for piece in others:
                add((_call_delta(calls, part, piece), None))
            calls += 1
            continue
        for piece in part:
            add(({"content": piece}, _logprobs(logprobs[texts : texts + 1])))
            texts += 1
    return steps


def _audio_steps(steps: _DeltaSteps, audio: ChoiceAudio, choice: Choice) -> _DeltaSteps:
    """Add the deltas of spoken words: for each its transcript, then its sound; at last the time when these expire."""
    for number, (piece, sound) in enumerate(zip(choice.pieces or [""], audio.sounds)):
        if number:
            steps.append([])
        logprobs = _logprobs(choice.logprobs[number : number + 1])
        steps[-1].append(({"audio": {"id": audio.id, "transcript": piece}}, logprobs))
        steps[-1].append(({"audio": {"id": audio.id, "data": _base64_text(sound)}}, None))
    steps[-1].append(({"audio": {"expires_at": audio.expires_at}}, None))
    return steps


def _call_opening(index: int, call: ChoiceCall) -> JsonObject:
    if call.kind == "legacy":
        return {"function_call": {"name": call.name, "arguments": ""}}
    return {"tool_calls": [{"index": index, "id": call.id, "type": call.kind, **_called(call, "")}]}


def _call_delta(index: int, call: ChoiceCall, piece: str) -> JsonObject:
    if call.kind == "legacy":
        return {"function_call": {"arguments": piece}}
    member = {"custom": {"input": piece}} if call.kind == "custom" else {"function": {"arguments": piece}}
    return {"tool_calls": [{"index": index, **member}]}


def _join_frames(prefix: bytes, tails: typing.Sequence[typing.Sequence[bytes]], usage: bytes) -> list[bytes]:
    frames = [prefix + prefix.join(group) for group in tails]
    if usage:
        frames[-1] += _USAGE_CHUNK % (prefix, usage)
    frames[-1] += DONE_EVENT
    return frames


class FixedChat:
    """Answers of one choice that always say the same, prepared: what the mock says when nothing special is asked.

    It gives the bytes that `chat_completion` and `chat_frames` give, by putting the parts that change between those
    that do not. What all answers of one second to requests for one model share is joined once. An object then takes
    0.4 µs instead of 12, a stream of three words 0.5 instead of 25 (CPython 3.11).
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.tokens = choice.tokens
        self._created = -1
        self._by_model: dict[str, tuple[bytes, bytes]] = {}
        self._tails = [(b"", *tails) for tails in _chunk_tails([choice], with_usage=False)]
        *all_tails, last = (tail for tails in self._tails for tail in tails[1:])
        self._all_tails = (b"", *all_tails, last + DONE_EVENT)
        self._usage_tails = [(b"", *tails) for tails in _chunk_tails([choice], with_usage=True)]
        usage = encode_json(_usage_of(CompletionHead("", 0, "", 0), [choice]))
        self._usage = _cut(usage, [b'"prompt_tokens":0', b'"total_tokens":%d' % self.tokens])

    def completion(self, id: str, created: int, model: str, prompt_tokens: int) -> bytes:
        """Return the chat completion object as JSON."""
        if created != self._created or model not in self._by_model:
            self.make_known(created, model)
        return self._by_model[model][0] % (id.encode(), prompt_tokens, prompt_tokens + self.tokens)

    def stream(self, id: str, created: int, model: str) -> bytes:
        """Return the frames of a stream without a usage chunk, joined."""
        return self._prefix(id, created, model).join(self._all_tails)

    def frames(
        self, id: str, created: int, model: str, prompt_tokens: int, *, include_usage: bool
    ) -> typing.Sequence[bytes]:
        """Return the stream's frames; `include_usage` asks for a chunk with the usage."""
        prefix = self._prefix(id, created, model)
        ending = DONE_EVENT
        if include_usage:
            before, between, after = self._usage
            usage = _PREPARED_USAGE_CHUNK % (
                prefix, before, prompt_tokens, between, prompt_tokens + self.tokens, after,
            )  # fmt: skip
            ending = usage + DONE_EVENT
        return _FixedFrames(prefix, self._usage_tails if include_usage else self._tails, ending)

    def _prefix(self, id: str, created: int, model: str) -> bytes:
        if created != self._created or model not in self._by_model:
            self.make_known(created, model)
        return self._by_model[model][1] % id.encode()

    def make_known(self, created: int, model: str) -> None:
        """Make templates of an object and of a chunk's beginning, without the parts that only one answer has."""
        if created != self._created or len(self._by_model) > _REMEMBERED_MODELS:
            self._created = created
            self._by_model.clear()
        marked = CompletionHead("\0id", created, model, 0)
        # The usage can be found by its key: within a text the quotation marks would be escaped.
        said, usage = encode_json(chat_completion(marked, [self.choice])).replace(b"%", b"%%").split(b'"usage":')
        before, after = _cut(said, [b"\\u0000id"])
        start, between, end = _cut(usage, [b'"prompt_tokens":0', b'"total_tokens":%d' % self.tokens])
        completion = b'%b%%b%b"usage":%b"prompt_tokens":%%d%b"total_tokens":%%d%b' % (
            before, after, start, between, end,
        )  # fmt: skip
        before, after = _cut(_chunk_prefix(marked).replace(b"%", b"%%"), [b"\\u0000id"])
        self._by_model[model] = completion, b"%b%%b%b" % (before, after)


class _FixedFrames(typing.Sequence[bytes]):
    """The frames of a FixedChat's stream, each made when it is asked for.

    At a pace that is when it leaves: a stream of 200 words then begins in a third of the time, and takes a word's room.
    """

    def __init__(self, prefix: bytes, tails: typing.Sequence[tuple[bytes, ...]], ending: bytes) -> None:
        self._prefix = prefix
        self._tails = tails
        self._ending = ending

    def __len__(self) -> int:
        return len(self._tails)

    @typing.overload
    def __getitem__(self, index: int) -> bytes: ...
    @typing.overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        tails = self._tails
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(tails)))]
        frame = self._prefix.join(tails[index])
        return frame if index + 1 < len(tails) and index != -1 else frame + self._ending


def _cut(text: bytes, marks: typing.Sequence[bytes]) -> list[bytes]:
    """Return what stands before, between and behind the marks, which the text has in this order."""
    parts = []
    for mark in marks:
        before, _, text = text.partition(mark)
        parts.append(before)
    return [*parts, text]


# ---- legacy completions -----------------------------------------------------------------------------------------


def text_completion(head: CompletionHead, choices: typing.Sequence[Choice]) -> JsonObject:
    """Return the legacy completion object."""
    return {
        **_text_head(head),
        "choices": [
            _text_choice(index, "".join(choice.pieces), choice.finish_reason, _text_logprobs(choice.logprobs))
            for index, choice in enumerate(choices)
        ],
        "usage": _usage_of(head, choices),
    }


def text_frames(
    head: CompletionHead,
    choices: typing.Sequence[Choice],
    *,
    include_usage: bool = False,
    is_continuous: bool = False,
) -> list[bytes]:
    """Return the frames of a legacy stream: as those of `chat_frames`, but without roles."""
    prefix = b'%b%b,"choices":' % (EVENT_START, encode_json(_text_head(head))[:-1])
    ending = _chunk_ending(include_usage)
    frames: list[list[bytes]] = [[]]
    for step in range(max(len(choice.pieces) for choice in choices)):
        if step:
            frames.append([])
        for index, choice in enumerate(choices):
            if step < len(choice.pieces):
                spend_turn(5)
                logprobs = _text_logprobs(choice.logprobs[step : step + 1])
                frames[-1].append(encode_json([_text_choice(index, choice.pieces[step], None, logprobs)]) + ending)
    frames[-1] += [
        encode_json([_text_choice(index, "", choice.finish_reason, None)]) + ending
        for index, choice in enumerate(choices)
    ]
    usage = encode_json(_usage_of(head, choices)) if include_usage else b""
    return _join_frames(prefix, _with_usage_so_far(head, choices, frames) if is_continuous else frames, usage)


def _text_head(head: CompletionHead) -> JsonObject:
    return {
        "id": head.id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": _SYSTEM_FINGERPRINT,
    }


def _text_choice(index: int, text: str, finish_reason: str | None, logprobs: JsonObject | None) -> JsonObject:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _text_logprobs(entries: typing.Sequence[JsonObject]) -> JsonObject | None:
    """Return the `logprobs` of pieces, each of which has such an object of its own; None for none."""
    if not entries:
        return None
    merged: JsonObject = {name: [] for name in entries[0]}
    for entry in entries:
        spend_turn(1)
        for name, values in entry.items():
            merged[name] += values
    return merged
