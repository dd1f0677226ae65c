"""DashScope's native API as the mock answers it: every path below /api/v1, for its SDK and for our own translator.

Each path has its endpoint, which gives the answer a request id, wants a key, and writes errors as DashScope does.
service_call.py says which keys are good, and how a request asks for an error.

Models speak the mock's text at the mock's pace. A function of the request's is called when `tool_choice` names it, or
when it is "auto" and the user's last message contains the function's name. A task is PENDING for half a second, RUNNING
for one more, then done; the last thousand of all sessions are remembered. What an answer gives as a URL (pictures,
sound, transcripts) is served here. Source: Alibaba Cloud Model Studio, "DashScope API reference".
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.dashscope.mapping.models import dashscope_model_list, paints_from_messages
from protocol.dashscope.mapping.native import (
    IMAGE_TO_IMAGE_PATH,
    MULTIMODAL_EMBEDDING_PATH,
    MULTIMODAL_GENERATION_PATH,
    SPEECH_SYNTHESIS_PATH,
    TEXT_EMBEDDING_PATH,
    TEXT_GENERATION_PATH,
    TEXT_RERANK_PATH,
    TEXT_TO_IMAGE_PATH,
    TRANSCRIPTION_PATH,
    VIDEO_BETWEEN_FRAMES_PATH,
    VIDEO_PATH,
)
from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, ErrorShapes, Request, Response
from protocol.instrument.script.said import RoutedAnswer, WholeAnswer
from protocol.mock.answer.cost import answered
from protocol.mock.answer.spoken import caller_of, speaker_for
from protocol.mock.dashscope.answers import Pace, error_response, output_response
from protocol.mock.dashscope.chat import answer_events, speeches_for, whole_answer
from protocol.mock.dashscope.embeddings import embed_contents, embed_texts, rerank
from protocol.mock.dashscope.files import serve_file
from protocol.mock.dashscope.kept_files import KeptFiles
from protocol.mock.dashscope.newest import Newest
from protocol.mock.dashscope.pictures import PictureEndpoints
from protocol.mock.dashscope.question import read_question
from protocol.mock.dashscope.refusals import URL_ERROR, bad_parameter, refusal
from protocol.mock.dashscope.service_call import ServiceCall, asked_error, page_of, query_of, read_call, read_key
from protocol.mock.dashscope.speech import SpeechEndpoints
from protocol.mock.dashscope.task_endpoints import TaskEndpoints
from protocol.mock.dashscope.tokenizer import tokenize
from protocol.mock.pace.moment import Timing
from protocol.mock.served_files import NATIVE_FILES, NATIVE_ROOT
from protocol.openai.answers import API_ROOTS, JSON_FIELDS, error_event, event_of_answer
from protocol.openai.refusals import unknown_door, unknown_method
from protocol.openai.request_path import plain_path
from protocol.wire.json_text import encode_json

_TOKENIZER_PATH = "/tokenizer"
_IMAGE_TASK_PATH = "/services/aigc/image-generation/generation"

# Whether a service answers at once, with a task, or as the request asks.
_Manner = typing.Literal["at once", "task", "either"]


class NativeMock:
    """Endpoints for DashScope's paths.

    `text`, `delay` and `first_delay` are the mock's settings; `clock` gives seconds since the epoch, `random_bits(n)`
    an integer of n random bits, `sleep` waits for seconds. `timing` keeps to a [pace NAME], where there is one.
    `newest` is what all sessions together remember: of tasks, and of files.
    """

    def __init__(
        self,
        *,
        text: str,
        delay: float,
        first_delay: float,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[object]],
        newest: tuple[Newest, Newest],
        timing: Timing | None = None,
    ) -> None:
        self._text = text
        self._random_bits = random_bits
        self._pace = Pace(delay, first_delay, sleep, timing)
        self._errors = ErrorShapes(lambda error: error_response(error, self._new_id()), error_event, event_of_answer)
        self._tasks = TaskEndpoints(newest[0], clock, self._new_id)
        self._pictures = PictureEndpoints(self._tasks, random_bits)
        self._speech = SpeechEndpoints(self._pace, self._tasks, clock, random_bits)
        self._services = self._service_endpoints()
        self._list_models = self._guarded("native /models", self._models)
        self._list_tasks = self._guarded("native /tasks", self._tasks.list)
        self._show_task = self._guarded("native /tasks/{id}", self._tasks.show)
        self._cancel_task = self._guarded("native /tasks/{id}/cancel", self._tasks.cancel)
        files = KeptFiles(newest[1], clock, self._new_id)
        self._upload_file = self._guarded("native /files", files.upload)
        self._policy = self._guarded("native /uploads", files.policy)
        self._store_file = self._guarded("native store", files.store, wants_key=False)
        self._list_files = self._guarded("native /files", files.list)
        self._show_file = self._guarded("native /files/{id}", files.show)
        self._delete_file = self._guarded("native /files/{id}", files.delete)
        self._unknown = self._guarded("native unknown", self._refuse_path)
        self._file = self._guarded("native file", self._serve_file, wants_key=False)

    def _service_endpoints(self) -> dict[str, Endpoint]:
        services: dict[str, tuple[typing.Callable[[ServiceCall], Answer], _Manner]] = {
            TEXT_GENERATION_PATH: (self._generate_text, "at once"),
            MULTIMODAL_GENERATION_PATH: (self._generate_multimodal, "at once"),
            TEXT_EMBEDDING_PATH: (embed_texts, "at once"),
            MULTIMODAL_EMBEDDING_PATH: (embed_contents, "at once"),
            TEXT_RERANK_PATH: (rerank, "at once"),
            SPEECH_SYNTHESIS_PATH: (self._speech.synthesize, "at once"),
            TEXT_TO_IMAGE_PATH: (self._pictures.paint, "either"),
            IMAGE_TO_IMAGE_PATH: (self._pictures.paint, "either"),
            _IMAGE_TASK_PATH: (self._pictures.paint_messages, "either"),
            VIDEO_PATH: (self._pictures.film, "task"),
            VIDEO_BETWEEN_FRAMES_PATH: (self._pictures.film, "task"),
            TRANSCRIPTION_PATH: (self._speech.transcribe, "task"),
            _TOKENIZER_PATH: (tokenize, "at once"),
        }
        return {
            path: self._guarded(f"native {path.removeprefix('/services')}", self._service(answer, manner))
            for path, (answer, manner) in services.items()
        }

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path below NATIVE_ROOT; where there is none, one that says so.

        ApiError 404 for what only clients of OpenAI's API can mean: their base URL is wrong; 501 for a method that
        nobody has.
        """
        path, method = plain_path(request.path)[len(NATIVE_ROOT) - 1 :], request.method
        refusal_of_method = unknown_method(request)
        if refusal_of_method is not None:
            raise refusal_of_method
        if _is_openais(path) and not (path == "/models" and request.key):
            raise unknown_door(request)
        if method == "POST":
            if path in self._services:
                return self._services[path]
            if path == "/files":
                return self._upload_file
            if path == NATIVE_FILES + "store":
                return self._store_file
            if re.fullmatch("/tasks/[^/]+/cancel", path):
                return self._cancel_task
        elif method == "DELETE":
            return self._delete_file if re.fullmatch("/files/[^/]+", path) else self._unknown
        elif method in ("GET", "HEAD"):
            if path.startswith(NATIVE_FILES):
                return self._file
            if re.fullmatch("/tasks/[^/]+", path):
                return self._show_task
            if re.fullmatch("/files/[^/]+", path):
                return self._show_file
            lists = {
                "/tasks": self._list_tasks,
                "/models": self._list_models,
                "/files": self._list_files,
                "/uploads": self._policy,
            }
            return lists.get(path, self._unknown)
        return self._unknown

    # ---- what all requests share --------------------------------------------------------------------------------

    def _guarded(self, label: str, answer: typing.Callable[[Request], Answer], *, wants_key: bool = True) -> Endpoint:
        """Return an endpoint that gives the answer an id, checks the key, and writes errors as DashScope does."""

        def guarded(request: Request) -> Answer:
            # The id that the body names is the one of the header, as at DashScope.
            named = request.named(self._new_id())
            try:
                error = asked_error(read_key(named)) if wants_key else None
                if error is not None and not error.when:
                    raise error.as_error()
                given = answer(named)
            except (WholeAnswer, RoutedAnswer):
                raise  # no error, and no answer that has an id
            except ApiError as exc:
                return error_response(exc, named.id)
            return given.known_as(named.id) if isinstance(given, Response) else _known_later(given, named.id)

        return Endpoint(guarded, label, errors=self._errors)

    def _service(
        self, answer: typing.Callable[[ServiceCall], Answer], manner: _Manner
    ) -> typing.Callable[[Request], Answer]:
        """Return what answers a service's requests, those for errors among them."""

        def service(request: Request) -> Answer:
            call = read_call(request)
            if (call.task and manner == "at once") or (not call.task and manner == "task"):
                kind = "asynchronous" if call.task else "synchronous"
                raise refusal("AccessDenied", f"current user api does not support {kind} calls.")
            error = call.asked_error
            if error is not None and (not error.when or not (call.task or call.stream)):
                raise error.as_error()
            if error is not None and error.when == "event" and call.stream:
                return self._pace.failing_stream(call, error)
            return answer(call)

        return service

    def _refuse_path(self, request: Request) -> Answer:
        raise bad_parameter(URL_ERROR)

    def _new_id(self) -> str:
        digits = f"{self._random_bits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    # ---- generation ---------------------------------------------------------------------------------------------

    def _generate_text(self, call: ServiceCall) -> Answer:
        return self._generate(call, multimodal=False)

    def _generate_multimodal(self, call: ServiceCall) -> Answer:
        """Answer at the path that models of text, of speech and of pictures share."""
        if "text" in call.input and "messages" not in call.input:
            return self._speech.synthesize(call)
        if paints_from_messages(call.model):
            return self._pictures.paint_messages(call)
        return self._generate(call, multimodal=True)

    def _generate(self, call: ServiceCall, *, multimodal: bool) -> Answer:
        question = read_question(call.body, multimodal=multimodal, stream=call.stream)
        body = {**call.body, "stream": call.stream}
        speaker = speaker_for(caller_of(call.request), "dashscope", body, model=call.model)

        def work(budget: Budget) -> Response | typing.Awaitable[Response]:
            speeches = speeches_for(question, self._text, self._random_bits, budget, speaker)
            if call.stream:
                return self._pace.stream(call, answer_events(question, speeches, call.request.id))
            answer = encode_json(whole_answer(question, speeches, call.request.id))
            return self._pace.after_words(Response(200, JSON_FIELDS, answer), max(speech.steps for speech in speeches))

        return answered(work)

    # ---- models and files ---------------------------------------------------------------------------------------

    def _models(self, request: Request) -> Answer:
        """Answer GET /models; `model` asks for a single one."""
        query = query_of(request)
        models = [
            {"model": row["id"], "name": row["id"], "provider": row["owned_by"]}
            for row in dashscope_model_list()["data"]
        ]
        if "model" in query:
            models = [row for row in models if row["model"] == query["model"]]
        page, size = page_of(query)
        shown = models[(page - 1) * size : page * size]
        return output_response(request.id, {"total": len(models), "page_no": page, "page_size": size, "models": shown})

    def _serve_file(self, request: Request) -> Answer:
        return serve_file(request, self._text)


async def _known_later(answer: typing.Awaitable[Response], request_id: str) -> Response:
    return (await answer).known_as(request_id)


def _is_openais(path: str) -> bool:
    """Tell whether a path below the root is one of OpenAI's; DashScope has files, too."""
    root = path[1:].partition("/")[0]
    return root in API_ROOTS and root != "files" and path != "/uploads"
