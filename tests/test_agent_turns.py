"""What agents send: their own words around the user's, commands to run, tools that only their descriptions speak for.

The forms are those of Qwen Code 0.24 and opencode 1.18 (chat), Codex 0.171 (Responses), Cline and Copilot Chat.
"""

from __future__ import annotations

import json

import pytest
from mocks import ask, make_mock

from protocol.mock.answer.command import told_command
from protocol.mock.answer.own_words import own_words

TEXT = "powered by openai"
STRING = {"type": "string"}


def function(name, says, required, **properties):
    return {
        "name": name, "description": says,
        "parameters": {"type": "object", "properties": properties, "required": required.split()},
    }  # fmt: skip


SHELL = function(
    "run_shell_command",
    "Executes a given shell command. Usage notes: do not use it for reading files. Avoid `find`, `grep` and `cat`.",
    "command", command=STRING, directory=STRING,
)  # fmt: skip
READ = function("read_file", "Reads and returns the content of a specified file.", "file_path", file_path=STRING)
TASK = function(
    "task", "Launch a new agent that reads, searches and tells of the files of a project. Note what it found.",
    "description prompt subagent_type", description=STRING, prompt=STRING, subagent_type=STRING,
)  # fmt: skip
FUNCTIONS = [SHELL, READ, TASK]
SKILLS = """<system-reminder>
The following skills are available. Run `/batch` for many files; read `QWEN.md` to find how.
- "monitor": Starts a long-running shell command and streams its output.
</system-reminder>"""
FOLDER = "<system-reminder>\nI'm currently working in the directory: /home/me\n├───notes.txt\n</system-reminder>"
READING = "Read notes.txt and tell me the secret"
READ_NOTES = [("read_file", {"file_path": "notes.txt"})]


def chat_calls(*messages):
    tools = [{"type": "function", "function": one} for one in FUNCTIONS]
    answer = ask(make_mock(), "POST", "/v1/chat/completions",
                 {"model": "gpt-4o", "messages": list(messages), "tools": tools})  # fmt: skip
    calls = answer["choices"][0]["message"].get("tool_calls") or []
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def response_calls(*items):
    tools = [{"type": "function", "strict": False, **one} for one in FUNCTIONS]
    answer = ask(make_mock(), "POST", "/v1/responses", {"model": "gpt-4o", "input": list(items), "tools": tools})
    calls = [item for item in answer["output"] if item["type"] == "function_call"]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


def user(*texts, kind="text"):
    return {"role": "user", "content": [{"type": kind, "text": text} for text in texts]}


def called_and_answered(name, arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "the secret is 42"},
    ]


def test_what_an_agent_says_of_itself_asks_for_nothing():
    assert chat_calls(user(SKILLS, FOLDER, "What is the capital of France?")) == []
    assert chat_calls(user(SKILLS, FOLDER, READING)) == READ_NOTES
    assert chat_calls(user(f"{READING}\n{SKILLS}")) == READ_NOTES


def test_a_turn_of_an_agents_own_words_is_no_new_turn():
    done = called_and_answered(*READ_NOTES[0])
    assert chat_calls(user(READING), *done, user(SKILLS)) == []
    # What was asked for is still to be done.
    assert chat_calls(user("Run `ls`"), user(SKILLS)) == [("run_shell_command", {"command": "ls"})]


def test_a_picture_alone_is_a_turn():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    assert chat_calls(user(READING), {"role": "user", "content": [picture]}) == []


def test_what_an_agent_says_of_itself_asks_for_nothing_in_a_response():
    around = user(
        "<environment_context>\n  <cwd>/home/me</cwd>\n  Run `ls`.\n</environment_context>", kind="input_text"
    )
    asked = user(READING, kind="input_text")
    assert response_calls(around, asked) == READ_NOTES
    assert response_calls(asked, around) == READ_NOTES
    assert response_calls(around) == []


def test_no_tool_is_called_for_words_of_its_description_alone():
    # "notes" and "tell" are in the descriptions of the shell and of the subagent, which need texts that nobody said.
    assert chat_calls(user(READING)) == READ_NOTES


def test_a_tool_is_asked_for_by_its_one_word_and_what_it_is_for():
    read = function("read", "Read a file or directory from the local filesystem.", "filePath", filePath=STRING)
    fetch = function("webfetch", "Fetches content. Note the format of the file.", "url", url=STRING)
    tools = [{"type": "function", "function": one} for one in (fetch, read, TASK)]
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f'"{READING}"'}], "tools": tools}
    answer = ask(make_mock(), "POST", "/v1/chat/completions", body)
    calls = [call["function"] for call in answer["choices"][0]["message"].get("tool_calls") or []]
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [("read", {"filePath": "notes.txt"})]


@pytest.mark.parametrize(
    ("turn", "own"),
    [
        ("Hello", "Hello"),
        ("a < b </p>", "a < b </p>"),
        (f"{SKILLS}\nHello", "Hello"),
        ("<task>\nHello\n</task>\n<environment_details>\n# Files\na.py\n</environment_details>", "<task>\nHello\n</task>"),
        ("<context>x</context><reminderInstructions>y</reminderInstructions><userRequest>\nHello\n</userRequest>", "Hello"),
        ("<user_query>\nHello\n</user_query>", "Hello"),
        ("<system-reminder>Hello", "<system-reminder>Hello"),
        (SKILLS, ""),
        ('<system-reminder id="x">a</system-reminder>Hello', "Hello"),
    ],
)  # fmt: skip
def test_own_words(turn, own):
    assert own_words(turn) == own


@pytest.mark.parametrize(
    ("prompt", "command"),
    [
        ("Run `ls -la` and tell me", "ls -la"),
        ("Run rm -rf build and tell me what happened", "rm -rf build"),
        ("Run find . -name '*.py' and count them", "find . -name '*.py'"),
        ("run if true; then echo y; fi", "if true; then echo y; fi"),
        ('Run echo "in the beginning and then" please.', 'echo "in the beginning and then"'),
        ("Run cargo build --release to check that it compiles", "cargo build --release"),
        ("Execute cat notes.txt | grep and", "cat notes.txt | grep and"),
        ("Run pytest -q, then report", "pytest -q"),
        ("Run ls in the terminal", "ls"),
        ("Hello", ""),
    ],
)
def test_a_command_ends_where_the_sentence_goes_on(prompt, command):
    assert told_command(prompt) == command


class CountedText(str):
    """A text that counts how often it is searched from some place to its end."""

    __slots__ = ("searches",)

    def find(self, *args):
        self.searches = getattr(self, "searches", 0) + 1
        return super().find(*args)


@pytest.mark.parametrize("part", ["<system-reminder>", "</system-reminder>", "<user_query>", "<environment_details>x"])
def test_tags_that_nothing_closes_are_searched_for_once(part):
    text = CountedText(part * 1000 + "</x>")
    assert own_words(text) == text
    assert getattr(text, "searches", 0) <= 1


CODE_ENDS = "In the end you have to return a final answer using the `final_answer` tool."
CODE_TAGS = "The code sequence must be opened with '<code>', and closed with '</code>'. " + CODE_ENDS


def coded(instructions, **members):
    messages = [
        {"role": "system", "content": instructions},
        {"role": "user", "content": "What is the weather in Oslo?"},
    ]
    body = {"model": "gpt-4o", "messages": messages, "stop": ["Observation:"], **members}
    return ask(make_mock(text='Say "hi"'), "POST", "/v1/chat/completions", body)["choices"][0]["message"]["content"]


def test_an_agent_that_answers_in_code_ends_its_loop():
    said = '\nfinal_answer("Say \\"hi\\"")\n'
    assert coded(CODE_TAGS) == f"<code>{said}</code>"
    assert coded(CODE_TAGS, stop=["</code>"]) == f"<code>{said}"
    assert coded(CODE_TAGS.replace("'<code>'", "'```python'")) == f"```python{said}</code>"
    assert coded(CODE_TAGS.replace(CODE_ENDS, "")) == coded(CODE_ENDS) == 'Say "hi"'


def test_an_agent_that_answers_in_json_ends_its_loop_by_code():
    members = {"thought": STRING, "code": STRING}
    schema = {"type": "object", "properties": members, "required": [*members], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    said = coded(f'{CODE_ENDS} As JSON: {{"thought": "...", "code": "..."}}', response_format=form)
    assert json.loads(said)["code"] == 'final_answer("Say \\"hi\\"")'


@pytest.mark.parametrize(
    "question", ["How many files are there?", "How many files are in this folder?", "Which files are here?"]
)
def test_a_question_about_files_reads_none_by_a_made_up_name(question):
    listing = function("list_files", "Lists the files of a directory.", "", path=STRING)
    tools = [{"type": "function", "function": one} for one in (READ, SHELL, listing)]
    for offered in (tools, tools[:1], tools[:2]):
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": question}], "tools": offered}
        message = ask(make_mock(), "POST", "/v1/chat/completions", body)["choices"][0]["message"]
        for call in message.get("tool_calls") or []:
            assert call["function"]["name"] == "list_files", call
            assert json.loads(call["function"]["arguments"]) == {}
