"""The help of each command, and completion by shells."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import oaiserve
from protocol.program.command_line import COMMANDS
from protocol.program.kinds import KINDS
from protocol.program.options import OPTIONS, SAID

SHELLS = ("bash", "zsh", "fish")


def said(capsys, *arguments):
    try:
        status = oaiserve.main(arguments)
    except SystemExit as exc:
        status = exc.code
    assert status == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", SAID)
def test_each_command_has_a_help_of_its_own(capsys, command):
    text = said(capsys, "help", command)
    assert text.startswith(f"usage: python oaiserve.py {command}")
    assert said(capsys, command, "--help") == said(capsys, command, "-h") == text
    for option in OPTIONS:
        assert (option.flags[-1] in text.split()) == (command in option.commands)


@pytest.mark.parametrize("options", [0, 1, 2], ids=["before", "between", "behind"])
def test_options_stand_where_one_likes(capsys, options):
    words = ["usage", "nothing.db"]
    words[options:options] = ["--by", "day"]
    assert oaiserve.main(words) == 2
    assert "nothing.db" in capsys.readouterr().err


def test_help_alone_tells_everything(capsys):
    text = said(capsys, "help")
    assert text == said(capsys, "--help") == said(capsys, "-h")
    assert all(f"{option.flags[-1]} " in text for option in OPTIONS)
    assert all(command in text for command in SAID)


@pytest.mark.parametrize("arguments", [["help", "nope"], ["completion"], ["completion", "tcsh"]])
def test_what_is_not_there_is_a_mistake(capsys, arguments):
    assert oaiserve.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_command_is_described():
    assert list(SAID) == [*KINDS, *COMMANDS]
    taken = {command for option in OPTIONS for command in option.commands}
    assert taken <= {"", *SAID}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_understands_its_script(capsys, shell):
    script = said(capsys, "completion", shell)
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    checked = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["us"], {"usage"}),
        (["usage", "--b"], {"--by"}),
        (["usage", "--by", ""], {"key", "team", "model", "backend", "day"}),
        (["try", "--"], {"--help", "--key", "--model", "--timeout"}),
        (["key", "l"], {"list"}),
        (["--set", "server.max_b"], {"server.max_body="}),
        (["relay", "--set", "mock.te"], {"mock.text="}),
        (["--config", "on"], {"only.ini"}),
        (["completion", ""], {"bash", "zsh", "fish", "-h", "--help"}),
        (["--port", ""], set()),
    ],
)
def test_bash_completes(capsys, tmp_path, words, offered):
    (tmp_path / "only.ini").write_text("")
    script = said(capsys, "completion", "bash").replace("compopt", ": compopt")  # it works while one types alone
    line = " ".join(f"'{word}'" for word in ("oaiserve", *words))
    asked = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _oaiserve; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash"], input=f"{script}{asked}", capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (set(done.stdout.split()), done.stderr) == (offered, "")


def test_zsh_and_fish_offer_the_same(capsys):
    for shell in ("zsh", "fish"):
        script = said(capsys, "completion", shell)
        for word in (*SAID, "server.max_body=", "backend"):
            assert word in script
        for option in OPTIONS:
            flag = option.flags[-1]
            assert (f"-l {flag[2:]}" if shell == "fish" else flag) in script
