"""The README's chapter on DashScope: its commands run as pasted, and each of its sentences is shown by a test.

SHOWN names the tests for every sentence and every row of a table, by how it begins. A sentence that is new or changed
has to say here by what it is shown.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shlex
import subprocess
import time
from typing import Any

import pytest
from native import form
from programs import Program, ask
from upstreams import closed_port

import oaiserve
from protocol.dashscope.settings import DashScopeSettings, parse_dashscope_url
from protocol.upstream.destination import parse_destination

TESTS = pathlib.Path(__file__).parent
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
CHAPTER = README.partition("## The DashScope translator\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^python oaiserve\.py [^\n]*", CHAPTER, re.MULTILINE)

SHOWN = {
    # ---- what is translated
    "Chat (text and multimodal models": """
        readme::test_the_trial_goes_the_whole_way sdk::test_the_sdk_reads_the_same_natively_and_through_the_translator
        chat::test_maps_each_row_of_the_request_table owner::test_reranks_is_rerank""",
    "`whisper-1` and its like": """
        transcript::test_openais_models_stand_for_one_of_ours owner::test_openais_voices_models_stand_for_qwens
        owner::test_models_are_renamed_wherever_a_request_names_one""",
    "A video (`POST /v1/videos`": """
        videos::test_a_video_is_made_asked_for_and_fetched readme::test_the_trial_goes_the_whole_way""",
    "`wan2.6-t2v`.": "videos::test_a_text_becomes_a_task_with_size_and_duration",
    "What pictures and videos have beyond": """
        newer_images::test_a_models_own_parameters_pass_as_they_are
        videos::test_the_models_own_fields_go_where_they_belong""",
    "A recording of more than five minutes": """
        long_recordings::test_a_recording_by_url_is_a_task_whose_transcript_is_fetched
        long_recordings::test_sentences_are_segments_and_words_have_times
        long_recordings::test_sentences_are_captions""",
    "A file of more than 10 MB": """
        long_recordings::test_a_file_that_no_call_takes_goes_through_the_temporary_store
        long_recordings::test_an_account_that_may_not_upload_is_told_so""",
    # ---- the trial
    "The mock speaks DashScope's native API": "mock_native::test_answer_in_messages",
    "One command starts the translator": "readme::test_the_trial_goes_the_whole_way",
    "Every OpenAI client at": "readme::test_the_trial_goes_the_whole_way",
    "DashScope's own SDK works as well": """
        mock_native_sdk::test_text_plain_and_streamed_both_ways mock_native_sdk::test_image_task_to_its_end""",
    "| `X-DashScope-SSE: enable`": """
        mock_native::test_incremental_stream_tells_each_word_once_and_usage_grows
        mock_native::test_cumulative_stream_repeats_what_was_said
        mock_native::test_delays_are_left_to_the_pacer_and_a_plain_answer_takes_as_long""",
    "| `result_format`, `n`": """
        mock_native::test_result_format_decides_the_shape_and_has_the_model_s_default
        mock_native::test_several_choices_are_told_apart_by_index_and_interleave_in_a_stream
        mock_native::test_length_and_stop_cut_the_answer mock_native::test_json_formats""",
    "| `enable_thinking`, or a model": "mock_native::test_reasoning_comes_before_the_text_and_counts",
    "| `tool_choice` naming a function": """
        mock_native::test_forced_tool_is_called_with_arguments_that_fit
        mock_native::test_tools_that_the_user_names_are_called_and_streamed_in_fragments
        forcing::test_structured_output_works_on_every_family forcing::test_some_function_of_several_is_called
        mock_native::test_functions_offered_in_qwen_s_template_are_called_in_the_text""",
    "| a system message with a JSON Schema": "forcing::test_the_mock_follows_a_schema_that_a_client_tells_in_words",
    "| `X-DashScope-Async: enable`": """
        mock_native::test_image_task_goes_through_its_states_and_ends_with_pictures
        mock_native::test_task_can_be_cancelled_only_while_it_is_pending""",
    "| image, video, speech": """
        mock_native::test_image_task_goes_through_its_states_and_ends_with_pictures
        mock_native::test_a_video_is_a_task_with_a_movie_of_the_asked_size
        mock_native::test_speech_is_a_wav_whose_length_fits_and_the_stream_carries_the_same_samples
        readme::test_an_mp3_is_silent""",
    "| `logprobs`, `top_logprobs`; `/api": """
        native_files::test_each_token_has_its_probability_and_the_likeliest_ones
        native_files::test_a_text_has_tokens_and_an_id_for_each""",
    "| `/api/v1/files`": """
        native_files::test_files_are_taken_listed_shown_and_deleted
        native_files::test_a_thousand_files_are_remembered""",
    "| texts to embed or rank": """
        mock_native::test_embeddings_are_unit_vectors_near_each_other_for_texts_that_share_words
        mock_native::test_rerank_puts_the_document_first_that_has_the_words""",
    "| the model (or the key) `error-429": """
        mock_native::test_model_s_name_asks_for_an_error mock_native::test_key_asks_for_an_error_everywhere""",
    "| `error-event-400": """
        mock_native::test_error_within_a_stream_comes_under_200 mock_native::test_task_that_is_to_fail_fails_at_its_end""",
    "| a mistake |": "mock_native::test_refuses_in_dashscope_s_words",
    "The last thousand tasks": """
        mock_native::test_only_so_many_tasks_are_remembered_and_only_for_a_day
        oaiserve::test_banner_tells_that_each_worker_of_the_mock_remembers_its_own""",
    # ---- region and key
    "`DASHSCOPE_BASE_URL` (or": """
        dashscope::test_base_url_ends_in_api_v1_however_it_is_written
        owner::test_an_endpoints_url_is_understood_as_its_host""",
    "Coding plans have hosts": "owner::test_the_host_of_a_coding_plan_is_refused_and_the_relay_named",
    "A key holds for one region": """
        whose_key::test_the_environments_key_goes_to_its_own_vendor
        whose_key::test_a_host_for_which_the_configuration_names_the_key_gets_it""",
    "| Beijing": "readme::test_every_region_is_dashscopes_own",
    "| Singapore": "readme::test_every_region_is_dashscopes_own",
    "| Virginia": "readme::test_every_region_is_dashscopes_own",
    "| Hong Kong": "readme::test_every_region_is_dashscopes_own",
    "| a workspace": "readme::test_every_region_is_dashscopes_own",
    # ---- parameters
    "| `model` |": """
        chat::test_model_is_forwarded_as_it_came models::test_refuses_models_that_no_native_endpoint_serves
        models::test_passes_any_other_model""",
    "| `messages` | `developer`": """
        messages::test_maps_messages_for_the_text_endpoint history::test_references_to_files_stay_messages_of_their_own
        history::test_other_families_get_one_system_message messages::test_maps_parts_for_the_multimodal_endpoint""",
    "| `messages` to `qwen-mt-*`": """
        translation::test_an_instruction_goes_before_the_text_in_one_message
        translation::test_beside_the_special_form_the_message_is_the_text_and_the_system_says_the_style""",
    "| a function called `search`": """
        owner::test_another_name_stands_for_search owner::test_a_client_meets_its_own_name_in_the_answer""",
    "| `tool_calls` in history": """
        history::test_arguments_in_history_are_json
        history::test_broken_arguments_are_refused_by_the_name_of_their_message""",
    "| `cache_control` on": """
        history::test_a_mark_of_the_cache_is_passed_on history::test_a_mark_on_a_tool_is_passed_on
        history::test_what_the_cache_tells_comes_back""",
    "| `reasoning_content` in history": "history::test_reasoning_is_passed_on_even_where_it_is_empty",
    "| `stream`, `stream_options": """
        stream::test_usage_comes_last_when_asked_for chat::test_plain_calls_of_thinking_models_are_made_as_streams
        cumulative::test_a_client_is_told_each_word_once""",
    "| `temperature`, `top_p`": "chat::test_maps_each_row_of_the_request_table",
    "| `max_tokens`, `max_completion": """
        chat::test_maps_each_row_of_the_request_table chat::test_some_models_have_rules_of_their_own""",
    "| `stop` |": "chat::test_maps_each_row_of_the_request_table chat::test_refuses_and_names_the_parameter",
    "| `n` |": """
        chat::test_n_passes_where_the_model_takes_it
        chat::test_n_is_fanned_out_where_not_with_seeds_that_count_up chat::test_refuses_and_names_the_parameter""",
    "| `seed`, `presence_penalty`": "chat::test_maps_each_row_of_the_request_table",
    "| `tools`, `tool_choice`": """
        tools::test_maps_tools forcing::test_some_call_is_asked_for_in_words
        forcing::test_a_function_is_forced_without_thinking_where_it_can_be_switched_off""",
    "| `response_format` |": """
        chat::test_json_schema_passes_where_the_model_knows_it chat::test_json_schema_is_else_told_in_words""",
    "| JSON or a named tool": """
        forcing::test_json_is_asked_for_without_thinking_where_it_can_be_switched_off
        forcing::test_models_that_always_think_get_the_schema_in_the_prompt
        forcing::test_a_refusal_is_tried_once_more_without_thinking forcing::test_a_refusal_is_paid_for_once
        forcing::test_models_that_answer_json_anyhow_are_left_alone""",
    "| `reasoning_effort`, `thinking": """
        chat::test_maps_reasoning_effort history::test_anthropics_thinking_is_mapped""",
    "| `web_search_options`": "chat::test_maps_each_row_of_the_request_table",
    "| in `extra_body`": """
        chat::test_passes_extensions_from_the_top_level chat::test_maps_each_row_of_the_request_table""",
    "| `logit_bias`": "chat::test_some_models_have_rules_of_their_own chat::test_maps_each_row_of_the_request_table",
    "| `frequency_penalty`": """
        chat::test_maps_each_row_of_the_request_table chat::test_refuses_and_names_the_parameter""",
    "| `user`, `metadata`": "chat::test_drops_what_has_no_native_twin",
    "| `modalities` with audio": "chat::test_refuses_and_names_the_parameter",
    # ---- errors
    '`{"error": {"message"': "errors::test_maps_each_row_of_the_error_table readme::test_errors_have_their_type",
    "`x-request-id` is DashScope's": """
        dashscope::test_request_id_and_retry_hints_are_relayed
        errors::test_relays_retry_hints_and_takes_the_request_id_from_the_head_if_need_be
        final_errors::test_what_has_ended_is_not_tried_again""",
    "| no key; no Bearer": "dashscope::test_bad_keys_are_401_with_their_code",
    "| DashScope refuses the key": "errors::test_maps_each_row_of_the_error_table",
    "| access denied": "errors::test_maps_each_row_of_the_error_table",
    "| the account is in arrears": """
        errors::test_maps_each_row_of_the_error_table final_errors::test_what_has_ended_is_not_tried_again""",
    "| unknown model": """
        errors::test_maps_each_row_of_the_error_table models::test_a_path_refused_everywhere_is_an_unknown_model""",
    "| a parameter; content": """
        errors::test_maps_each_row_of_the_error_table final_errors::test_so_it_is_as_a_failed_task""",
    "| too large": "errors::test_maps_each_row_of_the_error_table",
    "| too many requests": """
        final_errors::test_a_limit_a_minute_is_tried_again_after_the_time_that_dashscope_says""",
    "| a bill is overdue": "final_errors::test_what_has_ended_is_not_tried_again",
    "| an error inside": "errors::test_maps_each_row_of_the_error_table",
    "| not reached": "errors::test_errors_of_our_own_making errors::test_refuses_an_answer_that_is_none",
    "| the model is not available": "errors::test_maps_each_row_of_the_error_table",
    "| DashScope takes too long": "errors::test_maps_each_row_of_the_error_table errors::test_errors_of_our_own_making",
}
# What clients were tried is told, not tested: they are no part of the suite.
TOLD = "| Client |"


def sentences() -> list[str]:
    """Return the chapter's sentences and the rows of its tables, without the one of clients."""
    found: list[str] = []
    for block in re.split(r"\n\n+", re.sub(r"```.*?```", "", CHAPTER, flags=re.DOTALL)):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("|"):
            found += [] if lines[0].startswith(TOLD) else lines[2:]
        elif lines and not lines[0].startswith("#"):
            found += re.split(r"(?<=[.:])\s+(?=[A-Z`])", " ".join(lines))
    return found


def test_every_sentence_is_shown_by_a_test() -> None:
    said = sentences()
    assert [sentence for sentence in said if sum(map(sentence.startswith, SHOWN)) != 1] == []
    assert [start for start in SHOWN if sum(sentence.startswith(start) for sentence in said) != 1] == []


@pytest.mark.parametrize("shown", sorted({one for tests in SHOWN.values() for one in tests.split()}))
def test_the_tests_that_show_it_exist(shown: str) -> None:
    name, _, test = shown.partition("::")
    paths = [TESTS / f"test_dashscope_{name}.py", TESTS / f"test_{name}.py"]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
    assert any(re.search(rf"^def {test}\(", text, re.MULTILINE) for text in texts)


# ---- the commands, as pasted ------------------------------------------------------------------------------------

KEY = "sk-trial-1"  # of ten characters
CHAT = "/v1/chat/completions"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x00\x7d\x00\x00\x02\x00\x10\x00"


@contextlib.contextmanager
def pasted(line: str, command: list[str]):
    """Run a line of the README with the program under test, on a free port in place of 8080."""
    port = str(closed_port())
    options = shlex.split(line.replace("8080", port), comments=True)[2:]
    process = subprocess.Popen(
        [*command, *options, "--port", port],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        banner = [process.stdout.readline()]
        while banner[-1] and "stop it" not in banner[-1]:
            banner.append(process.stdout.readline())
        yield Program(process, "".join(banner))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def trial(command: list[str]):
    (line,) = [line for line in COMMANDS if "dashscope.base_url" in line]
    with pasted(line, command) as program:
        yield program


def asked(program: Program, path: str, body: Any, method: str = "POST", **fields: str) -> tuple[int, bytes]:
    status, _, answer = ask(program.port, method, path, body, authorization=f"Bearer {KEY}", **fields)
    return status, answer


def got(program: Program, path: str, body: Any) -> Any:
    status, answer = asked(program, path, body, content_type="application/json")
    assert status == 200, answer
    return json.loads(answer)


def test_the_trial_goes_the_whole_way(trial: Program) -> None:
    hello = [{"role": "user", "content": "hi"}]
    function = {"name": "clock", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    named = {"type": "function", "function": {"name": "clock"}}
    said = got(trial, CHAT, {"model": "farui-plus", "messages": hello})["choices"][0]["message"]
    assert said["content"] == "powered by openai"
    status, streamed = asked(trial, CHAT, {"model": "farui-plus", "messages": hello, "stream": True})
    assert status == 200 and streamed.endswith(b"data: [DONE]\n\n")
    called = got(trial, CHAT, {"model": "qwen-plus", "messages": hello, "tools": tools, "tool_choice": named})
    assert called["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "clock"
    thought = got(trial, CHAT, {"model": "qwq-plus", "messages": hello})["choices"][0]["message"]
    assert thought["reasoning_content"] and thought["content"] == "powered by openai"
    vectors = got(trial, "/v1/embeddings", {"model": "text-embedding-v4", "input": ["a", "b"]})["data"]
    assert [len(one["embedding"]) for one in vectors] == [1024, 1024]
    picture = got(trial, "/v1/images/generations", {"model": "wan2.2-t2i-flash", "prompt": "a cat"})["data"][0]
    assert "/api/v1/" in picture["url"]
    status, sound = asked(trial, "/v1/audio/speech", {"model": "tts-1", "input": "hi", "voice": "alloy"})
    assert status == 200 and sound.startswith(b"RIFF")
    data, kind = form({"model": "whisper-1"}, ("file", "a.wav", "audio/wav", WAV))
    status, heard = asked(trial, "/v1/audio/transcriptions", data, content_type=kind)
    assert status == 200 and json.loads(heard)["text"] == "powered by openai"
    for path in ("/v1/rerank", "/v1/reranks"):
        ranked = got(trial, path, {"model": "qwen3-rerank", "query": "cat", "documents": ["a dog", "a cat"]})
        assert ranked["results"][0]["index"] == 1


def test_the_trial_makes_a_video(trial: Program) -> None:
    video = got(trial, "/v1/videos", {"model": "wan2.6-t2v", "prompt": "a cat"})
    for _ in range(300):
        status, answer = asked(trial, f"/v1/videos/{video['id']}", None, "GET")
        assert status == 200
        if json.loads(answer)["status"] == "completed":
            break
        time.sleep(0.1)
    status, film = asked(trial, f"/v1/videos/{video['id']}/content", None, "GET")
    assert status == 200 and film[4:8] == b"ftyp"


def test_the_banners_line_works_as_pasted(trial: Program) -> None:
    words = shlex.split(re.search(r"curl .*", trial.banner)[0])
    fields = dict(word.split(": ") for before, word in zip(words, words[1:]) if before == "-H")
    url, data = words[2], words[words.index("-d") + 1]
    assert url == trial.url + CHAT and json.loads(data)["model"] == "farui-plus"
    status, _, answer = ask(trial.port, "POST", CHAT, data, **{key.lower(): value for key, value in fields.items()})
    assert status == 200 and answer.endswith(b"data: [DONE]\n\n")
    status, _, info = ask(trial.port, "GET", "/")
    assert (status, json.loads(info)["usage"]) == (200, re.search(r"curl .*", trial.banner)[0])


def test_try_finds_all_well(trial: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert oaiserve.main(["try", trial.url, "--key", KEY]) == 0
    told = capsys.readouterr().out
    assert "going on with farui-plus" in told and told.endswith("All is well.\n")


def test_try_without_a_key_says_what_is_missing(trial: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert oaiserve.main(["try", trial.url]) == 1
    assert "it wants a key: give --key" in capsys.readouterr().out


def test_a_key_of_nine_characters_is_too_short(trial: Program) -> None:
    body = {"model": "farui-plus", "messages": [{"role": "user", "content": "hi"}]}
    for key, status in ((KEY[:-1], 401), (KEY, 200)):
        assert ask(trial.port, "POST", CHAT, body, authorization=f"Bearer {key}")[0] == status


def test_an_mp3_is_silent(trial: Program) -> None:
    body = {"model": "cosyvoice-v3-flash", "input": "hi", "voice": "longanyang", "response_format": "mp3"}
    status, sound = asked(trial, "/v1/audio/speech", body)
    # A frame of MPEG audio begins with eleven set bits (ISO/IEC 11172-3, 2.4.1.3); a silent one has nothing behind.
    assert status == 200 and sound[0] == 0xFF and sound[1] & 0xE0 == 0xE0
    assert sound.count(0) > len(sound) * 0.9


@pytest.mark.parametrize(
    ("model", "type_", "status"),
    [
        ("error-401-InvalidApiKey", "authentication_error", 401),
        ("error-400-InvalidParameter", "dashscope_error", 400),
        ("", "invalid_request_error", 400),
    ],
)
def test_errors_have_their_type(trial: Program, model: str, type_: str, status: int) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    told, answer = asked(trial, CHAT, body)
    error = json.loads(answer)["error"]
    assert (told, error["type"]) == (status, type_) and {"message", "param", "code"} <= error.keys()


# ---- the table of regions


def test_every_region_is_dashscopes_own() -> None:
    rows = CHAPTER.partition("| Region | `DASHSCOPE_BASE_URL` |\n")[2].partition("\n\n")[0].splitlines()[1:]
    hosts = [re.search(r"`(https://[^`]*)`", row)[1] for row in rows]
    # Alibaba Cloud Model Studio, "DashScope API reference" and "Regions".
    assert hosts == [
        "https://dashscope.aliyuncs.com",
        "https://dashscope-intl.aliyuncs.com",
        "https://dashscope-us.aliyuncs.com",
        "https://cn-hongkong.dashscope.aliyuncs.com",
        "https://WORKSPACE.REGION.maas.aliyuncs.com",
    ]
    regions = re.findall(r"`([a-z]+-[a-z]+(?:-\d)?)`", rows[-1])
    assert len(regions) == 3
    filled = hosts[:-1] + [f"https://llm-ab12.{region}.maas.aliyuncs.com" for region in regions]
    for host in filled:
        url = parse_dashscope_url(host)
        assert url == host + "/api/v1"
        assert DashScopeSettings.owns_key(parse_destination(url), {})
