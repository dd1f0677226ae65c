"""Qwen-MT for clients that know nothing of its form. Source: alibabacloud.com, "Machine translation (Qwen-MT)": one
message, of a user; languages in translation_options, or in a custom prompt; no system message; domains.
"""

from __future__ import annotations

from typing import Any

import pytest

from protocol.dashscope.mapping.chat import plan_chat
from protocol.errors import ApiError

TO_FRENCH = {"role": "system", "content": "Translate into French."}
HELLO = {"role": "user", "content": "Hello"}


def sent(model: str, messages: list, **fields: Any) -> tuple[list, dict]:
    (call,) = plan_chat({"model": model, "messages": messages, **fields}).calls
    return call.body["input"]["messages"], call.body["parameters"]


@pytest.mark.parametrize("model", ["qwen-mt-plus", "qwen-mt-turbo", "qwen-mt-flash", "qwen-mt-lite"])
def test_an_instruction_goes_before_the_text_in_one_message(model: str) -> None:
    messages, parameters = sent(model, [TO_FRENCH, HELLO])
    assert messages == [{"role": "user", "content": "Translate into French.\n\nHello"}]
    assert "translation_options" not in parameters


@pytest.mark.parametrize(
    "content", ["Hello", [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]], ids=["text", "parts"]
)
def test_earlier_turns_are_left_out(content: Any) -> None:
    history = [TO_FRENCH, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Au revoir"}]
    messages, _ = sent("qwen-mt-plus", [*history, {"role": "user", "content": content}])
    assert messages == [{"role": "user", "content": "Translate into French.\n\nHello"}]


def test_a_message_without_instruction_stays_as_it_is() -> None:
    assert sent("qwen-mt-plus", [HELLO])[0] == [HELLO]


def test_beside_the_special_form_the_message_is_the_text_and_the_system_says_the_style() -> None:
    options = {"source_lang": "auto", "target_lang": "English"}
    style = {"role": "system", "content": "The text is a contract."}
    messages, parameters = sent("qwen-mt-plus", [style, HELLO], translation_options=options)
    assert messages == [HELLO]
    assert parameters["translation_options"] == {**options, "domains": "The text is a contract."}
    assert options == {"source_lang": "auto", "target_lang": "English"}
    own = {**options, "domains": "IT"}
    assert sent("qwen-mt-plus", [style, HELLO], translation_options=own)[1]["translation_options"] == own
    assert sent("qwen-mt-plus", [HELLO], translation_options=options)[1]["translation_options"] == options


@pytest.mark.parametrize("messages", [["hi"], [None, HELLO]])
def test_what_is_no_message_is_still_refused(messages: list) -> None:
    with pytest.raises(ApiError) as caught:
        sent("qwen-mt-plus", messages)
    assert caught.value.status == 400


def test_other_models_keep_their_messages() -> None:
    assert sent("qwen-plus", [TO_FRENCH, HELLO])[0] == [TO_FRENCH, HELLO]
