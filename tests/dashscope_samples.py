"""Native answers and streams of DashScope, made up in the shapes that its API sends; no test is in here."""

from __future__ import annotations

import json
import typing

from protocol.dashscope.mapping.aggregator import ChatAggregator
from protocol.dashscope.mapping.answer import CompletionFacts
from protocol.dashscope.mapping.stream import ChatStreamTranslator

CREATED = 1700000000

MESSAGE_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"A lease is a contract."}}'
    b']},"usage":{"total_tokens":31,"output_tokens":6,"input_tokens":25,"prompt_tokens_details":{"cached_tokens":0}}'
    b',"request_id":"0f5e1c9a-0001-9c11-8e01-aa0000000001"}'
)
TEXT_ANSWER = (
    b'{"output":{"finish_reason":"stop","text":"A lease is a contract."},"usage":{"total_tokens":31,"output_tokens":6'
    b',"input_tokens":25},"request_id":"0f5e1c9a-0001-9c11-8e01-aa0000000002"}'
)
THINKING_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"stop","message":{"content":"4","reasoning_content":"2+2 is 4."'
    b',"role":"assistant"}}]},"usage":{"input_tokens":12,"output_tokens":9,"output_tokens_details"'
    b':{"reasoning_tokens":7},"prompt_tokens_details":{"cached_tokens":0},"total_tokens":21}'
    b',"request_id":"0f5e1c9a-0001-9c11-8e01-aa0000000003"}'
)
LOGPROBS_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"4"},"logprobs":{"content"'
    b':[{"top_logprobs":[{"logprob":-0.01,"bytes":[52],"token":"4"},{"logprob":-4.6,"bytes":[102,111,117,114],"token"'
    b':"four"}],"logprob":-0.01,"bytes":[52],"token":"4"}]}}]},"usage":{"total_tokens":13,"output_tokens":1'
    b',"input_tokens":12},"request_id":"r-04"}'
)
TWO_CHOICES_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":"Hi"}}'
    b',{"finish_reason":"length","index":1,"message":{"role":"assistant","content":"Hello the"}}]},"usage"'
    b':{"input_tokens":9,"output_tokens":4,"total_tokens":13},"request_id":"r-05"}'
)
TOOLS_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"tool_calls","message":{"role":"assistant","content":"","tool_calls"'
    b':[{"index":0,"id":"call_5c1d","type":"function","function":{"name":"get_weather","arguments"'
    b':"{\\"city\\": \\"Hangzhou\\"}"}}]}}]},"usage":{"total_tokens":219,"output_tokens":18,"input_tokens":201}'
    b',"request_id":"r-06"}'
)
VISION_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"stop","message":{"content":[{"text":"A beach."}],"role":"assistant"}}]}'
    b',"usage":{"input_tokens":1283,"output_tokens":5,"image_tokens":1247},"request_id":"r-18"}'
)
OCR_ANSWER = (
    b'{"output":{"choices":[{"finish_reason":"stop","message":{"content":[{"ocr_result":{"kv_result":{"total":"9.90"}}'
    b',"text":"```json\\n{\\"total\\": \\"9.90\\"}\\n```"}],"role":"assistant"}}]},"usage":{"input_tokens":524'
    b',"output_tokens":20,"total_tokens":544,"image_tokens":310},"request_id":"r-19"}'
)

TEXT_FRAMES = [
    '{"output":{"choices":[{"message":{"content":"A lease","role":"assistant"},"finish_reason":"null"}]}'
    ',"usage":{"total_tokens":27,"output_tokens":2,"input_tokens":25},"request_id":"r-07"}',
    '{"output":{"choices":[{"message":{"content":" is a contract.","role":"assistant"},"finish_reason":"null"}]}'
    ',"usage":{"total_tokens":31,"output_tokens":6,"input_tokens":25},"request_id":"r-07"}',
    '{"output":{"choices":[{"message":{"content":"","role":"assistant"},"finish_reason":"stop"}]}'
    ',"usage":{"total_tokens":31,"output_tokens":6,"input_tokens":25},"request_id":"r-07"}',
]
THINKING_FRAMES = [
    '{"output":{"choices":[{"message":{"content":"","reasoning_content":"2+2","role":"assistant"}'
    ',"finish_reason":"null"}]},"usage":{"total_tokens":15,"output_tokens":3,"input_tokens":12'
    ',"output_tokens_details":{"reasoning_tokens":3}},"request_id":"r-08"}',
    '{"output":{"choices":[{"message":{"content":"4","reasoning_content":" is 4.","role":"assistant"}'
    ',"finish_reason":"null"}]},"usage":{"total_tokens":21,"output_tokens":9,"input_tokens":12'
    ',"output_tokens_details":{"reasoning_tokens":7}},"request_id":"r-08"}',
    '{"output":{"choices":[{"message":{"content":"","reasoning_content":"","role":"assistant"}'
    ',"finish_reason":"stop"}]},"usage":{"total_tokens":21,"output_tokens":9,"input_tokens":12'
    ',"output_tokens_details":{"reasoning_tokens":7}},"request_id":"r-08"}',
]
TOOL_FRAMES = [
    r'{"output":{"choices":[{"message":{"content":"","tool_calls":[{"index":0,"id":"call_a1","type":"function"'
    r',"function":{"name":"get_weather","arguments":"{\"city\": \""}}],"role":"assistant"},"index":0'
    r',"finish_reason":"null"}]},"usage":{"total_tokens":216,"output_tokens":16,"input_tokens":200},"request_id":"r-09"}',
    r'{"output":{"choices":[{"message":{"content":"","tool_calls":[{"index":0,"id":"","type":"function","function"'
    r':{"arguments":"Paris\"}"}}],"role":"assistant"},"index":0,"finish_reason":"null"}]}'
    r',"usage":{"total_tokens":220,"output_tokens":20,"input_tokens":200},"request_id":"r-09"}',
    r'{"output":{"choices":[{"message":{"content":"","tool_calls":[{"index":1,"id":"call_b2","type":"function"'
    r',"function":{"name":"get_weather","arguments":"{\"city\":"}}],"role":"assistant"},"index":0'
    r',"finish_reason":"null"}]},"usage":{"total_tokens":232,"output_tokens":32,"input_tokens":200},"request_id":"r-09"}',
    r'{"output":{"choices":[{"message":{"content":"","tool_calls":[{"index":1,"id":"","type":"function","function"'
    r':{"arguments":" \"Rome\"}"}}],"role":"assistant"},"index":0,"finish_reason":"tool_calls"}]}'
    r',"usage":{"total_tokens":236,"output_tokens":36,"input_tokens":200},"request_id":"r-09"}',
]
SEARCH_FRAMES = [
    '{"output":{"choices":[{"message":{"content":"","role":"assistant"},"finish_reason":"null"}],"search_info"'
    ':{"search_results":[{"icon":"","site_name":"Example","index":1,"title":"Weather"'
    ',"url":"https://example.invalid/w"}]}},"usage":{},"request_id":"r-10"}',
    '{"output":{"choices":[{"message":{"content":"Sunny [1].","role":"assistant"},"finish_reason":"stop"}]'
    ',"search_info":{"search_results":[]}},"usage":{"total_tokens":8,"output_tokens":3,"input_tokens":5}'
    ',"request_id":"r-10"}',
]
MULTIMODAL_FRAMES = [
    '{"output":{"choices":[{"message":{"content":[],"reasoning_content":"The user","role":"assistant"}'
    ',"finish_reason":"null"}]},"usage":{"input_tokens_details":{"image_tokens":1247,"text_tokens":36}'
    ',"prompt_tokens_details":{},"total_tokens":1286,"output_tokens":3,"input_tokens":1283'
    ',"output_tokens_details":{"reasoning_tokens":3,"text_tokens":0},"image_tokens":1247},"request_id":"r-11"}',
    '{"output":{"choices":[{"message":{"content":[{"text":"A beach."}],"role":"assistant"},"finish_reason":"stop"}]}'
    ',"usage":{"input_tokens":1283,"output_tokens":5,"image_tokens":1247},"request_id":"r-11"}',
]
CODE_FRAMES = [
    '{"output":{"choices":[{"message":{"content":"","reasoning_content":"","role":"assistant"},"finish_reason":"stop"}]'
    ',"tool_info":[{"code_interpreter":{"code":"123**21"},"type":"code_interpreter"}]},"usage":{"total_tokens":977'
    ',"output_tokens":254,"input_tokens":723,"plugins":{"code_interpreter":{"count":1}}},"request_id":"r-12"}',
]
CHINESE_FRAMES = [
    '{"output":{"choices":[{"message":{"content":"租约是","role":"assistant"},"finish_reason":"null"}]},"usage":{}}',
    '{"output":{"choices":[{"message":{"content":"合同。🙂","role":"assistant"},"finish_reason":"stop"}]},"usage":{}}',
]

FIRST_FRAME_ERROR = (
    b"id:1\nevent:error\n:HTTP_STATUS/400\n"
    b'data:{"code":"InvalidParameter","message":"Range of top_p should be (0.0, 1.0]","request_id":"r-14"}\n\n'
)
MIDWAY_ERROR = (
    b"id:2\nevent:error\n:HTTP_STATUS/500\n"
    b'data:{"code":"InternalError.Algo","message":"inference internal error","request_id":"r-15"}\n\n'
)


def sse(frames: typing.Sequence[str], line_end: str = "\n", blank_lines: bool = True) -> bytes:
    """Return the frames as DashScope sends them; some gateways leave out the blank lines."""
    lines = []
    for number, frame in enumerate(frames, 1):
        lines += [f"id:{number}", "event:result", ":HTTP_STATUS/200", "data:" + frame]
        lines += [""] if blank_lines else []
    return "".join(line + line_end for line in lines).encode()


STREAMS = {
    "text": sse(TEXT_FRAMES),
    "text without blank lines": sse(TEXT_FRAMES, blank_lines=False),
    "text with CRLF": sse(TEXT_FRAMES, line_end="\r\n"),
    "text after a byte order mark": b"\xef\xbb\xbf" + sse(TEXT_FRAMES),
    "text without the last line end": sse(TEXT_FRAMES).rstrip(b"\n"),
    "text with comments to keep alive": sse(TEXT_FRAMES).replace(b"id:2", b": ping\n\n:\n\nid:2"),
    "text with spaces after the colons": sse(TEXT_FRAMES).replace(b"data:", b"data: ").replace(b"event:", b"event: "),
    "text with done": sse(TEXT_FRAMES) + b"event:done\ndata:[DONE]\n\n",
    "Chinese": sse(CHINESE_FRAMES),
    "thinking": sse(THINKING_FRAMES),
    "tools": sse(TOOL_FRAMES),
    "search": sse(SEARCH_FRAMES),
    "multimodal": sse(MULTIMODAL_FRAMES),
    "code interpreter": sse(CODE_FRAMES),
    "a body of JSON": THINKING_ANSWER,
    "an error first": FIRST_FRAME_ERROR,
    "an error midway": sse(TEXT_FRAMES[:2]) + MIDWAY_ERROR,
    "no JSON midway": sse(TEXT_FRAMES[:1]) + b'data:{"output":\n\n' + sse(TEXT_FRAMES[1:]),
    "cut in the middle of a frame": sse(TEXT_FRAMES[:2])[:-40],
}


class Ids:
    """Counts up where the program takes random digits."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self) -> str:
        self._count += 1
        return f"{self._count:08x}"


def facts(model: str = "m", *, forced_tool: bool = False) -> CompletionFacts:
    return CompletionFacts(model, CREATED, Ids(), forced_tool)


def translator(*, forced_tool: bool = False, **options: typing.Any) -> ChatStreamTranslator:
    return ChatStreamTranslator(facts(forced_tool=forced_tool), **options)


def aggregator(*, forced_tool: bool = False, **options: typing.Any) -> ChatAggregator:
    return ChatAggregator(facts(forced_tool=forced_tool), **options)


def choices(chunks: typing.Iterable[dict[str, typing.Any]]) -> list[tuple[int, dict[str, typing.Any], str | None]]:
    """Return (index, delta, finish reason) of each chunk that has a choice."""
    return [
        (choice["index"], choice["delta"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]
    ]


def frame(message: dict[str, typing.Any], reason: str | None = "null", **output: typing.Any) -> str:
    """Return one frame with one choice."""
    return json.dumps({"output": {"choices": [{"message": message, "finish_reason": reason}], **output}})
