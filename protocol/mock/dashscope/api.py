"""DashScope's native API as the mock answers it: every path below /api/v1, for its SDK and for our own translator.

Any key is good that is sent as `Authorization: Bearer …`; none, or one that cannot be a key, is 401. Errors come on
request, by the name of the model, or by a key of the same form where the model cannot be chosen:

    error-429-Throttling.RateQuota     this status and code
    error-Arrearage                    this code, under the status that DashScope sends it with
    error-event-400-InvalidParameter   in a stream: under HTTP 200, as its first event
    error-late-500-InternalError.Algo  in a stream: as its last event, halfway through; a task: it fails in the end

Other models speak the mock's text at the mock's pace. A function of the request's is called when `tool_choice` names
it, or when it is "auto" and the user's last message contains the function's name. A task is PENDING for half a second,
RUNNING for one more, then done; the last thousand are remembered. What an answer gives as a URL (pictures, sound,
transcripts) is served here, made anew from the numbers in its path. Source: Alibaba Cloud Model Studio, "DashScope API
reference".
"""

from __future__ import annotations

import binascii
import re
import typing
import urllib.parse

from protocol.dashscope.mapping.errors import native_error_body
from protocol.dashscope.mapping.models import dashscope_model_list, model_key
from protocol.dashscope.mapping.native import (
    IMAGE_TO_IMAGE_PATH,
    MULTIMODAL_EMBEDDING_PATH,
    MULTIMODAL_GENERATION_PATH,
    SPEECH_SYNTHESIS_PATH,
    TEXT_EMBEDDING_PATH,
    TEXT_GENERATION_PATH,
    TEXT_RERANK_PATH,
    TEXT_TO_IMAGE_PATH,
)
from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Paced, Request, Response
from protocol.mock.dashscope.chat import (
    NATIVE_URL_ERROR,
    NativeGroups,
    encode_native_events,
    native_answer,
    native_events,
    native_object,
    native_refusal,
    native_speeches,
    read_native_question,
)
from protocol.mock.dashscope.tasks import MockTasks
from protocol.mock.media.picture import PICTURE_MOST_SIDE, picture_file
from protocol.mock.media.sound import SpokenSound, spoken_words
from protocol.mock.served_files import NATIVE_FILES, NATIVE_ROOT, mock_file_url
from protocol.mock.text.vectors import lexical_words, relevance, unit_vector
from protocol.openai.answers import JSON_FIELDS, split_words
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

_TRANSCRIPTION_PATH = "/services/audio/asr/transcription"
_IMAGE_TASK_PATH = "/services/aigc/image-generation/generation"
_URL_SECONDS = 86400
_STREAM_FIELDS = encode_fields(
    [("content-type", "text/event-stream;charset=UTF-8"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
)
_FILE_FIELDS = {
    "png": encode_fields([("content-type", "image/png")]),
    "wav": encode_fields([("content-type", "audio/wav")]),
    "pcm": encode_fields([("content-type", "audio/pcm")]),
    "mp3": encode_fields([("content-type", "audio/mpeg")]),
    "json": JSON_FIELDS,
}
_TRIGGER = r"error-(?:(event|late)-)?(?:([45]\d\d)-)?([A-Za-z][A-Za-z0-9_.]{0,99})"
_BEARER = r"(?i:bearer) +([!-~]+)"
_TROUBLES = (
    ("InvalidApiKey", "Invalid API-key provided."),
    ("Arrearage", "Access denied, please make sure your account is in good standing."),
    ("Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit."),
    ("Throttling", "Requests rate limit exceeded, please try again later."),
    ("DataInspectionFailed", "Input data may contain inappropriate content."),
    ("ModelNotFound", "Model can not be found."),
    ("AccessDenied", "Access denied."),
    ("RequestTimeOut", "Request timed out, please try again later."),
    ("InternalError", "An internal error has occured, please try again later or contact service support."),
    ("ModelUnavailable", "Model is unavailable, please try again later."),
)
_IMAGE_MODEL = r"qwen-image.*|wan2\.6.*|z-image.*"
_SIZE = r"([1-9]\d{1,3})\*([1-9]\d{1,3})"
_LEAST_SIDE, _MOST_SIDE = 64, 2048
_MOST_IMAGES = 6
_OLD_EMBEDDING_MODEL = r"text-embedding-v[12].*"
_TEXT_DIMENSIONS = (64, 128, 256, 512, 768, 1024, 1536, 2048)
_MOST_DIMENSIONS = 4096
_EMBEDDING_TYPES = ("dense", "sparse", "dense&sparse")

# A vector of many numbers comes from a few bytes, so their count is bounded too.
_MOST_CONTENTS = 20
_SPEECH_FORMATS = ("wav", "pcm", "mp3")
_MOST_CHARACTERS = 600
_MOST_WORDS = 2000


class _Trouble(typing.NamedTuple):
    """An error that was asked for; `when` is "" (at once), "event" or "late"."""

    when: str
    status: int
    code: str
    message: str

    def body(self, request_id: str) -> JsonObject:
        return {"code": self.code, "message": self.message, "request_id": request_id}

    def as_error(self) -> ApiError:
        fields = [("retry-after", "1")] if self.status == 429 else []
        return ApiError(self.status, self.message, code=self.code, fields=fields)


class _Call(typing.NamedTuple):
    """A request for one of the services, with what its header fields ask for."""

    request: Request
    body: JsonObject
    model: str
    input: JsonObject
    parameters: JsonObject
    stream: bool
    task: bool
    trouble: _Trouble | None


class NativeMock:
    """Endpoints for DashScope's paths.

    `text`, `delay` and `first_delay` are the mock's settings; `clock` gives seconds since the epoch, `random_bits(n)`
    an integer of n random bits, `sleep` waits for seconds.
    """

    def __init__(
        self,
        *,
        text: str,
        delay: float,
        first_delay: float,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[typing.Any]],
    ) -> None:
        self._text = text
        self._delay = delay
        self._first_delay = first_delay
        self._clock = clock
        self._random_bits = random_bits
        self._sleep = sleep
        self._tasks = MockTasks(clock)
        # What answers, and whether it does so at once, as a task, or as either.
        services = {
            TEXT_GENERATION_PATH: (self._generate_text, "at once"),
            MULTIMODAL_GENERATION_PATH: (self._generate_multimodal, "at once"),
            TEXT_EMBEDDING_PATH: (self._embed_texts, "at once"),
            MULTIMODAL_EMBEDDING_PATH: (self._embed_contents, "at once"),
            TEXT_RERANK_PATH: (self._rerank, "at once"),
            SPEECH_SYNTHESIS_PATH: (self._synthesize, "at once"),
            TEXT_TO_IMAGE_PATH: (self._paint, "either"),
            IMAGE_TO_IMAGE_PATH: (self._paint, "either"),
            _IMAGE_TASK_PATH: (self._paint_messages, "either"),
            _TRANSCRIPTION_PATH: (self._transcribe_files, "task"),
        }
        self._services = {
            path: self._guarded(f"native {path[len('/services') :]}", self._service(answer, manner))
            for path, (answer, manner) in services.items()
        }
        self._list_models = self._guarded("native /models", self._models)
        self._list_tasks = self._guarded("native /tasks", self._task_list)
        self._get_task = self._guarded("native /tasks/{id}", self._task)
        self._cancel_task = self._guarded("native /tasks/{id}/cancel", self._cancel)
        self._unknown = self._guarded("native unknown", self._refuse_path)
        self._file = self._guarded("native file", self._serve_file, public=True)

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path below NATIVE_ROOT; where there is none, one that says so."""
        path, method = request.path[len(NATIVE_ROOT) - 1 :], request.method
        if method == "POST":
            if path in self._services:
                return self._services[path]
            if re.fullmatch("/tasks/[^/]+/cancel", path):
                return self._cancel_task
        elif method in ("GET", "HEAD"):
            if path.startswith(NATIVE_FILES):
                return self._file
            if re.fullmatch("/tasks/[^/]+", path):
                return self._get_task
            return {"/tasks": self._list_tasks, "/models": self._list_models}.get(path, self._unknown)
        return self._unknown

    # ---- what all requests share --------------------------------------------------------------------------------

    def _guarded(self, label: str, answer: typing.Callable[[Request], Answer], *, public: bool = False) -> Endpoint:
        """Return an endpoint that gives the answer a request id, wants a key, and says errors as DashScope does."""

        def guarded(request: Request) -> Answer:
            # The id that the body names is the one of the header, as at DashScope.
            request.id = self._new_id()
            try:
                trouble = None if public else _asked_trouble(_read_key(request))
                if trouble is not None and not trouble.when:
                    raise trouble.as_error()
                return answer(request)
            except ApiError as exc:
                return _api_error_response(exc, request.id)

        return Endpoint(guarded, label, error_response=self._error_response)

    def _error_response(self, error: ApiError) -> Response:
        return _api_error_response(error, self._new_id())

    def _service(self, answer: typing.Callable[[_Call], Answer], manner: str) -> typing.Callable[[Request], Answer]:
        def service(request: Request) -> Answer:
            call = _read_call(request)
            if call.task and manner == "at once" or not call.task and manner == "task":
                kind = "asynchronous" if call.task else "synchronous"
                raise native_refusal("AccessDenied", f"current user api does not support {kind} calls.")
            trouble = call.trouble
            if trouble is not None and not (call.task or call.stream) or trouble is not None and not trouble.when:
                raise trouble.as_error()
            if trouble is not None and trouble.when == "event" and call.stream:
                return self._paced(encode_native_events([], (trouble.status, trouble.body(request.id))))
            return answer(call)

        return service

    def _refuse_path(self, request: Request) -> Answer:
        raise native_refusal("InvalidParameter", NATIVE_URL_ERROR)

    def _new_id(self) -> str:
        digits = f"{self._random_bits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _answered(self, request: Request, output: JsonObject, usage: JsonObject | None = None) -> Response:
        body: JsonObject = {"output": output, "request_id": request.id}
        if usage is not None:
            body["usage"] = usage
        return Response(200, JSON_FIELDS, encode_json(body))

    def _paced(self, frames: list[bytes]) -> Response:
        if not (self._delay or self._first_delay):
            frames = [b"".join(frames)]
        return Response(200, _STREAM_FIELDS, Paced(frames, first_delay=self._first_delay, delay=self._delay))

    def _events(self, call: _Call, groups: NativeGroups) -> Response:
        """Answer with a stream, or with half of one and an error where that was asked for."""
        if call.trouble is None:
            return self._paced(encode_native_events(groups))
        error = call.trouble.status, call.trouble.body(call.request.id)
        return self._paced(encode_native_events(groups[: (len(groups) + 1) // 2], error))

    def _after_words(self, response: Response, words: int) -> Answer:
        """Return a plain answer, or one that waits as long as a stream of its words would take."""
        seconds = self._first_delay + self._delay * max(0, words - 1)
        return self._later(response, seconds) if seconds else response

    async def _later(self, response: Response, seconds: float) -> Response:
        await self._sleep(seconds)
        return response

    # ---- generation ---------------------------------------------------------------------------------------------

    def _generate_text(self, call: _Call) -> Answer:
        return self._generate(call, multimodal=False)

    def _generate_multimodal(self, call: _Call) -> Answer:
        if "text" in call.input and "messages" not in call.input:
            return self._synthesize(call)
        if re.fullmatch(_IMAGE_MODEL, model_key(call.model)):
            return self._paint_messages(call)
        return self._generate(call, multimodal=True)

    def _generate(self, call: _Call, *, multimodal: bool) -> Answer:
        question = read_native_question(call.body, multimodal=multimodal, stream=call.stream)
        speeches = native_speeches(question, self._text, self._random_bits)
        if call.stream:
            return self._events(call, native_events(question, speeches, call.request.id))
        answer = native_answer(question, speeches, call.request.id)
        return self._after_words(
            Response(200, JSON_FIELDS, encode_json(answer)), max(speech.steps for speech in speeches)
        )

    # ---- speech -------------------------------------------------------------------------------------------------

    def _synthesize(self, call: _Call) -> Answer:
        """Answer with sound: a stream carries it, a plain answer has the URL where it lies."""
        text, cosy = call.input.get("text"), call.request.path.endswith(SPEECH_SYNTHESIS_PATH)
        if type(text) is not str or not text:
            raise native_refusal("InvalidParameter", "Field required: input.text")
        if not cosy and len(text) > _MOST_CHARACTERS:
            message = f"Range of input length should be [1, {_MOST_CHARACTERS}]"
            raise native_refusal("InvalidParameter", message)
        audio_format = call.input.get("format") or "wav"
        if audio_format not in _SPEECH_FORMATS:
            expected = ", ".join(_SPEECH_FORMATS)
            raise native_refusal("InvalidParameter", f"input.format should be one of {expected}: the mock has no other")
        words, seed = min(_MOST_WORDS, spoken_words(text)), self._random_bits(32)
        url = mock_file_url(call.request, f"{words}-{seed:08x}.{audio_format}")
        audio = {"id": f"audio_{call.request.id}", "expires_at": int(self._clock()) + _URL_SECONDS}
        usage = {"characters": len(text)}
        last = {"finish_reason": "stop", "audio": {"data": "", "url": url, **audio}}
        if not call.stream:
            return self._after_words(self._answered(call.request, last, usage), words)
        groups = []
        # CosyVoice streams the file, Qwen's voices the bare samples.
        for sound in SpokenSound(words, audio_format if cosy else "pcm", seed=seed).pieces():
            data = binascii.b2a_base64(sound, newline=False).decode("ascii")
            frame: JsonObject = {"finish_reason": "null", "audio": {"data": data, "url": "", **audio}}
            if cosy:
                frame.update(type="sentence-synthesis", sentence={"index": 0, "words": []})
            groups.append([frame])
        groups[-1].append(last)
        request_id = call.request.id
        return self._events(
            call,
            [[{"output": output, "usage": usage, "request_id": request_id} for output in group] for group in groups],
        )

    def _transcribe_files(self, call: _Call) -> Answer:
        """Answer with a task that has a transcript for each file."""
        one = call.input.get("file_url")
        urls = [one] if one else call.input.get("file_urls")
        if type(urls) is not list or not urls or not all(type(url) is str for url in urls):
            raise native_refusal("InvalidParameter", "Field required: input.file_urls")
        results = [
            {
                "file_url": url,
                "subtask_status": "SUCCEEDED",
                "transcription_url": mock_file_url(call.request, f"{self._random_bits(32):08x}.json"),
            }
            for url in urls
        ]
        # The model that takes a single file gives a single result.
        output = {"result": {"transcription_url": results[0]["transcription_url"]}} if one else {"results": results}
        return self._create_task(call, len(urls), output, {"duration": len(urls)})

    # ---- pictures -----------------------------------------------------------------------------------------------

    def _paint(self, call: _Call) -> Answer:
        """Answer a prompt with pictures: URLs among the results."""
        prompt = call.input.get("prompt")
        if (type(prompt) is not str or not prompt) and "image2image" not in call.request.path:
            raise native_refusal("InvalidParameter", "Field required: input.prompt")
        urls, usage = self._pictures(call)
        results: list[JsonObject] = [{"url": url} for url in urls]
        for result in results if type(prompt) is str else []:
            result["orig_prompt"] = prompt
            if call.parameters.get("prompt_extend") is not False:
                result["actual_prompt"] = prompt
        return self._create_task(call, len(urls), {"results": results}, usage)

    def _paint_messages(self, call: _Call) -> Answer:
        """Answer messages with pictures: a part of a message each."""
        messages = call.input.get("messages")
        if type(messages) is not list or not messages:
            raise native_refusal("InvalidParameter", "Field required: input.messages")
        urls, usage = self._pictures(call)
        message = {"role": "assistant", "content": [{"image": url} for url in urls]}
        output = {"choices": [{"finish_reason": "stop", "message": message}]}
        return self._create_task(call, len(urls), output, usage)

    def _pictures(self, call: _Call) -> tuple[list[str], JsonObject]:
        count, size = call.parameters.get("n", 1), call.parameters.get("size", "1024*1024")
        if type(count) is not int or not 1 <= count <= _MOST_IMAGES:
            raise native_refusal("InvalidParameter", f"Range of n should be [1, {_MOST_IMAGES}]")
        sides = re.fullmatch(_SIZE, size) if type(size) is str else None
        width, height = (int(sides[1]), int(sides[2])) if sides else (0, 0)
        if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in (width, height)):
            expected = f"width*height, each side from {_LEAST_SIDE} to {_MOST_SIDE}, e.g. 1024*1024"
            raise native_refusal("InvalidParameter", f"size should be {expected}")
        seed = call.parameters.get("seed")
        first = seed if type(seed) is int else self._random_bits(32)
        urls = [
            mock_file_url(call.request, f"{width}x{height}-{(first + number) & 0xFFFFFFFF:08x}.png")
            for number in range(count)
        ]
        return urls, {"image_count": count, "width": width, "height": height}

    # ---- tasks --------------------------------------------------------------------------------------------------

    def _create_task(self, call: _Call, count: int, output: JsonObject, usage: JsonObject) -> Answer:
        """Begin a task with this outcome, or answer with it at once where no task was asked for."""
        if not call.task:
            metrics = {"TOTAL": count, "SUCCEEDED": count, "FAILED": 0}
            return self._answered(call.request, {**output, "task_metric": metrics}, usage)
        failure = None
        if call.trouble is not None:
            failure = {"code": call.trouble.code, "message": call.trouble.message}
        task_id = self._new_id()
        self._tasks.create(task_id, call.model, count, output, usage, failure)
        return self._answered(call.request, {"task_status": "PENDING", "task_id": task_id})

    def _task(self, request: Request) -> Answer:
        """Answer GET /tasks/{id}; a task that nobody knows is UNKNOWN, under HTTP 200."""
        report = self._tasks.report(_last_segment(request.path))
        return Response(200, JSON_FIELDS, encode_json({"request_id": request.id, **report}))

    def _cancel(self, request: Request) -> Answer:
        """Answer POST /tasks/{id}/cancel."""
        if not self._tasks.cancel(_last_segment(request.path[: -len("/cancel")])):
            raise native_refusal(
                "UnsupportedOperation", "Failed to cancel the task, please confirm if the task is in PENDING status."
            )
        return Response(200, JSON_FIELDS, encode_json({"request_id": request.id}))

    def _task_list(self, request: Request) -> Answer:
        """Answer GET /tasks: the newest first."""
        query = _query(request)
        rows = self._tasks.rows(query.get("status", ""), query.get("model_name", ""))
        page, size = _page(query)
        body = {
            "request_id": request.id, "data": rows[(page - 1) * size : page * size], "total": len(rows),
            "total_page": -(-len(rows) // size), "page_no": page, "page_size": size,
        }  # fmt: skip
        return Response(200, JSON_FIELDS, encode_json(body))

    # ---- embeddings and rerank ----------------------------------------------------------------------------------

    def _embed_texts(self, call: _Call) -> Answer:
        texts = call.input.get("texts")
        texts = [texts] if type(texts) is str else texts
        if type(texts) is not list or not all(type(text) is str and text for text in texts) or not texts:
            raise native_refusal("InvalidParameter", "Input should be a list of non-empty strings: input.contents")
        old = re.fullmatch(_OLD_EMBEDDING_MODEL, model_key(call.model)) is not None
        most = 25 if old else 10
        if len(texts) > most:
            message = f"Value error, batch size is invalid, it should not be larger than {most}.: input.contents"
            raise native_refusal("InvalidParameter", message)
        dimension = _dimension(call.parameters, 1536 if old else 1024, (1536,) if old else _TEXT_DIMENSIONS)
        wanted = call.parameters.get("output_type") or "dense"
        if wanted not in _EMBEDDING_TYPES:
            expected = ", ".join(_EMBEDDING_TYPES)
            raise native_refusal("InvalidParameter", f"parameters.output_type should be one of {expected}")
        embeddings: list[JsonObject] = []
        for index, text in enumerate(texts):
            words = lexical_words(text)
            embeddings.append({"text_index": index})
            if "dense" in wanted:
                embeddings[-1]["embedding"] = unit_vector(words, dimension)
            if "sparse" in wanted:
                embeddings[-1]["sparse_embedding"] = [
                    {
                        "index": binascii.crc32(word.encode("utf-8", "surrogatepass")) % 250_002,
                        "value": count,
                        "token": word,
                    }
                    for word, count in words.items()
                ]
        usage = {"total_tokens": sum(map(_count_tokens, texts))}
        return self._answered(call.request, {"embeddings": embeddings}, usage)

    def _embed_contents(self, call: _Call) -> Answer:
        """Embed texts, pictures and films; of the latter their URL is all that is looked at."""
        contents = call.input.get("contents")
        if type(contents) is not list or not contents or not all(type(part) is dict and part for part in contents):
            raise native_refusal("InvalidParameter", "Field required: input.contents")
        if len(contents) > _MOST_CONTENTS:
            message = f"Value error, batch size is invalid, it should not be larger than {_MOST_CONTENTS}."
            raise native_refusal("InvalidParameter", message)
        dimension = _dimension(call.parameters, 1024, range(1, _MOST_DIMENSIONS + 1))
        kinds = [next(iter(part)) for part in contents]
        parts = [str(part[kind]) for part, kind in zip(contents, kinds)]
        words = [lexical_words(part) if kind == "text" else {part: 1} for part, kind in zip(parts, kinds)]
        usage: JsonObject = {
            "input_tokens": sum(_count_tokens(part) for part, kind in zip(parts, kinds) if kind == "text")
        }
        usage["image_count"] = len(kinds) - kinds.count("text")
        if call.parameters.get("enable_fusion"):
            words, kinds = [{word: 1 for each in words for word in each}], ["fusion"]
        embeddings = [
            {"index": index, "embedding": unit_vector(each, dimension), "type": kind}
            for index, (each, kind) in enumerate(zip(words, kinds))
        ]
        return self._answered(call.request, {"embeddings": embeddings}, usage)

    def _rerank(self, call: _Call) -> Answer:
        query, documents = call.input.get("query"), call.input.get("documents")
        if not query or type(documents) is not list or not documents:
            raise native_refusal("InvalidParameter", "Field required: input.query, input.documents")
        given = [document if type(document) is dict else {"text": str(document)} for document in documents]
        texts = [" ".join(str(value) for value in document.values()) for document in given]
        asked = " ".join(str(value) for value in query.values()) if type(query) is dict else str(query)
        words = lexical_words(asked)
        results: list[JsonObject] = [
            {"index": index, "relevance_score": relevance(words, lexical_words(text))}
            for index, text in enumerate(texts)
        ]
        results.sort(key=lambda result: -result["relevance_score"])
        top = call.parameters.get("top_n")
        results = results[:top] if type(top) is int and top > 0 else results
        if call.parameters.get("return_documents"):
            for result in results:
                result["document"] = given[result["index"]]
        usage = {"total_tokens": _count_tokens(asked) * len(texts) + sum(map(_count_tokens, texts))}
        return self._answered(call.request, {"results": results}, usage)

    # ---- models and files ---------------------------------------------------------------------------------------

    def _models(self, request: Request) -> Answer:
        """Answer GET /models; `model` asks for a single one."""
        query = _query(request)
        models = [
            {"model": row["id"], "name": row["id"], "provider": row["owned_by"]}
            for row in dashscope_model_list()["data"]
        ]
        if "model" in query:
            models = [row for row in models if row["model"] == query["model"]]
        page, size = _page(query)
        shown = models[(page - 1) * size : page * size]
        return self._answered(request, {"total": len(models), "page_no": page, "page_size": size, "models": shown})

    def _serve_file(self, request: Request) -> Answer:
        """Answer with a file that an earlier answer named; as at a storage service, the URL alone is enough."""
        name = _last_segment(request.path)
        picture = re.fullmatch(r"(\d{2,4})x(\d{2,4})-([0-9a-f]{8})\.png", name)
        if picture and max(int(picture[1]), int(picture[2])) <= PICTURE_MOST_SIDE:
            text = _query(request).get("text", "")
            file = picture_file(text, int(picture[1]), int(picture[2]), seed=int(picture[3], 16))
            return Response(200, _FILE_FIELDS["png"], file)
        sound = re.fullmatch(r"(\d{1,4})-([0-9a-f]{8})\.(wav|pcm|mp3)", name)
        if sound and int(sound[1]) <= _MOST_WORDS:
            file = SpokenSound(int(sound[1]), sound[3], seed=int(sound[2], 16)).file()
            return Response(200, _FILE_FIELDS[sound[3]], file)
        if re.fullmatch(r"[0-9a-f]{8}\.json", name):
            return Response(200, JSON_FIELDS, encode_json(_transcript(self._text)))
        raise native_refusal("NotFound", "There is no such file.")


def _api_error_response(error: ApiError, request_id: str) -> Response:
    fields = JSON_FIELDS + encode_fields(error.fields) if error.fields else JSON_FIELDS
    code = error.code or "InvalidParameter"
    return Response(
        error.status, fields, encode_json({"code": code, "message": error.message, "request_id": request_id})
    )


def _read_key(request: Request) -> str:
    """Return the caller's key; ApiError 401 where there is none, or not in the form of one."""
    authorization = request.fields.get("authorization").strip()
    if not authorization:
        raise native_refusal("InvalidApiKey", "No API-key provided.")
    bearer = re.fullmatch(_BEARER, authorization)
    if bearer is None:
        raise native_refusal("InvalidApiKey", "Invalid API-key provided.")
    return bearer[1]


def _asked_trouble(name: str) -> _Trouble | None:
    """Return the error that a model's name or a key asks for."""
    match = re.fullmatch(_TRIGGER, name)
    if match is None:
        return None
    when, status, code = match[1] or "", match[2], match[3]
    message = next((text for begin, text in _TROUBLES if code.startswith(begin)), f"The mock was asked for {code}.")
    return _Trouble(when, int(status) if status else native_error_body(code, message, "")[0], code, message)


def _read_call(request: Request) -> _Call:
    try:
        body = request.json_object()
    except ApiError as exc:
        message = "Required body invalid, please check the request body format."
        raise native_refusal("InvalidParameter", message) from exc
    model = body.get("model")
    if type(model) is not str or not model:
        raise native_refusal("InvalidParameter", "Field required: model")
    fields = request.fields
    stream = fields.get("x-dashscope-sse").lower() == "enable" or "text/event-stream" in fields.get("accept").lower()
    task = fields.get("x-dashscope-async").lower() == "enable"
    trouble = _asked_trouble(model) or _asked_trouble(_read_key(request))
    return _Call(
        request, body, model, native_object(body, "input"), native_object(body, "parameters"), stream, task, trouble
    )


def _dimension(parameters: JsonObject, default: int, possible: typing.Container[int]) -> int:
    dimension = parameters.get("dimension", default)
    if type(dimension) is not int or dimension not in possible:
        raise native_refusal(
            "InvalidParameter", f"Value error, dimension is invalid: parameters.dimension {dimension!r:.50}"
        )
    return dimension


def _count_tokens(text: str) -> int:
    return len(split_words(text)) or 1


def _last_segment(path: str) -> str:
    return urllib.parse.unquote(path.rpartition("/")[2])


def _query(request: Request) -> dict[str, str]:
    try:
        return dict(urllib.parse.parse_qsl(request.head.query, max_num_fields=100))
    except ValueError as exc:
        raise native_refusal("InvalidParameter", "The query should have at most 100 fields.") from exc


def _page(query: typing.Mapping[str, str]) -> tuple[int, int]:
    """Return which page is asked for and how long one is: ten rows, at most a hundred."""
    texts = query.get("page_no", "1"), query.get("page_size", "10")
    page, size = (int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else 1 for text in texts)
    return page, min(size, 100)


def _transcript(text: str) -> JsonObject:
    """Return the file that a transcription leads to: one channel, one sentence."""
    words = split_words(text)
    end = 200 * len(words)
    timed = [
        {"begin_time": 200 * at, "end_time": 200 * (at + 1), "text": word.strip(), "punctuation": ""}
        for at, word in enumerate(words)
    ]
    sentence = {"begin_time": 0, "end_time": end, "text": text, "words": timed}
    return {
        "properties": {"audio_format": "pcm_s16le", "channels": [0], "original_duration_in_milliseconds": end},
        "transcripts": [{"channel_id": 0, "text": text, "sentences": [sentence]}],
    }
