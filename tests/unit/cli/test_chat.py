"""`tilth chat`: in a terminal of its own, from a pipe, and its commands one by one."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch

from tilth.cli import conversation, main
from tilth.cli.conversation import COMMANDS, Conversation, fit_prompt, visible
from tilth.cli.model_folder import model_in, newest_model
from tilth.errors import DataError
from tilth.export import to_hf
from tilth.inference import Engine, SamplingParams
from tilth.inference.prompts import opening_prompts, read_prompts, write_prompts
from tilth.model import ModelConfig, Transformer, load_model
from tilth.tokenizer import Tokenizer

TEXT = "The cat sat on the mat. They thought it was a good place to sit, and so it was. Größe. " * 20


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/export/abc`, in a folder of its own."""
    tokenizer = Tokenizer.train([TEXT], vocab_size=300)
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=2, context_length=64))
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    with torch.no_grad():
        model.embedding.weight[tokenizer.end_of_text] = 0  # so that answers are long
    folder = tmp_path_factory.mktemp("chat") / "runs" / "export" / "abc"
    to_hf(model, tokenizer, folder)
    write_prompts(folder, ["The cat", "They thought"])
    return folder


@pytest.fixture
def talk(exported: Path) -> Conversation:
    engine = Engine(load_model(exported), Tokenizer.load(exported))
    return Conversation(engine, SamplingParams(max_tokens=8, seed=10), read_prompts(exported))


def answers(talk: Conversation, capsys: pytest.CaptureFixture[str], *lines: str) -> list[str]:
    """What each line writes to standard output."""
    capsys.readouterr()
    written: list[str] = []
    for line in lines:
        assert talk.take(line)
        written.append(capsys.readouterr().out.rstrip("\n"))
    return written


def test_each_answer_has_a_seed_of_its_own(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, again = answers(talk, capsys, "The ", "The ", "/again")
    assert len({first, second, again}) == 3
    assert all(text.startswith("The ") for text in (first, second, again))
    _, first_again = answers(talk, capsys, "/seed 10", "The ")
    assert first_again == first
    assert first == visible("The " + talk.engine.generate("The ", SamplingParams(max_tokens=8, seed=10)).text).rstrip(
        "\n"
    )


def test_commands(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    help_, listed, tried = answers(talk, capsys, "/help", "/try", "/try 2")
    assert all(command in help_ for command in COMMANDS) and not listed
    assert tried.startswith("They thought")
    (more,) = answers(talk, capsys, "/more")
    assert more.startswith(tried.rstrip()[:20]) and len(more) > len(tried)
    answers(talk, capsys, "/max-tokens 3", "/temperature 0")
    assert (talk.params.max_tokens, talk.params.temperature) == (3, 0.0)
    assert answers(talk, capsys, "//usr/bin")[0].startswith("/usr/bin")
    assert answers(talk, capsys, "", "   ") == ["", ""]
    assert not talk.take("/quit")


def test_probabilities_are_of_the_last_answer(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    _, table = answers(talk, capsys, "The", "/probs")
    assert "first choices" in table and len(re.findall(r"\d\.\d%", table)) == 8
    talk.show_probabilities = True
    assert "first choices" in answers(talk, capsys, "The")[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/agian", "Did you mean `/again`?"),
        ("/usr/bin", "begins with /, type two"),
        ("/again", "Nothing was answered yet"),
        ("/probs", "Nothing was answered yet"),
        ("/try 3", "Give 1 to 2"),
        ("/temperature hot", "`hot` is not a number"),
        ("/temperature -1", "temperature is -1.0"),
        ("/max-tokens 0", "at least 1"),
        ("/seed -1", "seed is -1"),
        ("/seed 99999999999999999999", "seed is 99999999999999999999"),
    ],
)
def test_a_mistake_does_not_end_the_chat(
    talk: Conversation, line: str, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = talk.params
    assert talk.take(line)
    printed = capsys.readouterr()
    assert says in printed.err.replace("\n", " ") and not printed.out
    assert talk.params == before


def test_a_long_prompt_is_cut_from_the_left(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "Größe " * 40 + "the end"
    fitted = fit_prompt(talk.engine, prompt, 8)
    assert prompt.endswith(fitted) and fitted.endswith("the end") and 0 < len(fitted) < len(prompt)
    assert len(talk.engine.tokenizer.encode_ordinary(fitted)) <= 64 - 1 - 8
    assert fit_prompt(talk.engine, "the end", 8) == "the end"
    assert talk.take(prompt)
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"first {len(prompt) - len(fitted)} characters are left out" in said and "context of 64" in said


def test_what_a_terminal_would_obey_is_shown_as_signs() -> None:
    assert visible("a\x1b[31m\r\n\tb\x7f\x9b") == "a␛[31m␍\n\tb␡\ufffd"


def test_ctrl_c_ends_the_answer_and_keeps_what_was_written(
    talk: Conversation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, shown = conversation.visible, list[str]()

    def interrupted(text: str) -> str:
        shown.append(text)
        if len(shown) == 4:
            raise KeyboardInterrupt
        return real(text)

    monkeypatch.setattr(conversation, "visible", interrupted)
    assert talk.take("The")
    monkeypatch.undo()
    assert capsys.readouterr().out.rstrip("\n") == "".join(map(visible, shown[:3])).rstrip("\n")
    assert "first choices" in answers(talk, capsys, "/probs")[0]


def test_the_newest_model_is_found(exported: Path, tmp_path: Path) -> None:
    runs = exported.parents[1]
    assert newest_model(runs) == exported
    assert model_in(exported) == exported
    with pytest.raises(DataError, match="There is no model under") as caught:
        newest_model(tmp_path)
    assert caught.value.fix and "tilth run quickstart" in caught.value.fix
    for name, age in (("old", 100), ("new", 50)):
        folder = tmp_path / "export" / name
        folder.mkdir(parents=True)
        for file in ("generation_config.json", "config.json"):
            (folder / file).write_text("{}")
            os.utime(folder / file, (time.time() - age, time.time() - age))
    assert newest_model(tmp_path) == tmp_path / "export" / "new"
    run = tmp_path / "a-run"
    run.mkdir()
    (run / "export").symlink_to(tmp_path / "export" / "old")
    (tmp_path / "latest").symlink_to(run)
    assert newest_model(tmp_path) == tmp_path / "latest" / "export"
    assert model_in(run) == run / "export"


def test_a_folder_without_a_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (([str(tmp_path)], "holds no model"), (["--runs", str(tmp_path)], "There is no model under")):
        with pytest.raises(SystemExit) as exit_:
            main(["chat", *words])
        assert exit_.value.code == 2
        assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_prompts_are_how_documents_begin(tmp_path: Path) -> None:
    texts = [
        "\n\nThe cat sat on the mat and did not see the dog.\nMore",
        "The cat sat elsewhere",
        "---\nx",
        "日本語",
        "",
        "a" * 99,
    ]
    assert opening_prompts(texts) == ["The cat sat on the mat and did not see", "日本語", "a" * 40]
    assert opening_prompts(texts, 1) == ["The cat sat on the mat and did not see"]
    assert read_prompts(tmp_path) == []
    for broken in ("{", "[]", '{"prompts": 3}', '{"prompts": [3, ""]}'):
        (tmp_path / "prompts.json").write_text(broken)
        assert read_prompts(tmp_path) == []


ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}


@pytest.mark.slow
def test_from_a_pipe_each_line_is_a_prompt(exported: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tilth", "chat", "--seed", "3", "--max-tokens", "5"],
        cwd=exported.parents[2],
        input="The \n\n/temperature 0\nThey\n",
        env=os.environ | ENVIRONMENT | {"XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("The ") and "\nThey" in done.stdout
    assert "\x1b" not in done.stdout and "> " not in done.stdout
    assert f"runs/export/{exported.name}" in done.stderr and "temperature 0" in done.stderr
    assert not list(tmp_path.iterdir())


class Terminal:
    """The command line in a terminal of 60 columns."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, "-m", "tilth", *words], os.environ | ENVIRONMENT | environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.shown, self._unread = "", ""

    def until(self, wanted: str, seconds: float = 120, pressing: str = "") -> str:
        """What is shown from the last `until` on, up to `wanted` or to the end; `pressing` is typed every 5 s."""
        end = time.monotonic() + seconds
        pressed = time.monotonic()
        while wanted not in self._unread:
            assert time.monotonic() < end, f"{wanted!r} did not come: {self.shown}"
            if pressing and time.monotonic() > pressed + 5:
                self.type(pressing)
                pressed = time.monotonic()
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    fresh = self._decoder.decode(os.read(self.fd, 4096)).replace("\r", "")
                except OSError:  # it has ended
                    break
                self.shown += fresh
                self._unread += fresh
        found, wanted, self._unread = self._unread.partition(wanted)
        return found + wanted

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self.fd, keys.encode())

    def code(self, pressing: str = "") -> int:
        """The exit code, once it has ended."""
        self.until("\0never shown", pressing=pressing)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


@pytest.mark.slow
def test_in_a_terminal(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    terminal = Terminal(
        ["chat", "--seed", "3", "--max-tokens", "40"], exported.parents[2], {"XDG_STATE_HOME": str(tmp_path)}
    )
    intro = terminal.until("\n> ")
    assert "/try 1   The cat" in intro and "/help" in intro
    terminal.type("Te\x1b[Dh\x1b[F cat\n")  # left arrow, then the missing letter, then the end of the line
    assert "The cat" in terminal.until("(seed 3").replace("\x1b[1m", "").replace("\x1b[0m", "").split("\n", 1)[1]
    terminal.until("> ")
    terminal.type("\x1b[A\n")  # the line before
    assert "The cat" in terminal.until("(seed 4")
    terminal.until("> ")
    terminal.type("/te\t0\n")
    assert "temperature 0" in terminal.until("> ")
    terminal.type("\x04")
    assert terminal.code() == 0
    history = tmp_path / "tilth" / "chat_history"
    assert "The cat" in history.read_text() and history.stat().st_mode & 0o777 == 0o600
    assert history.parent.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_and_no_colour(exported: Path, tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": "/dev/null/no", "NO_COLOR": "1"}
    terminal = Terminal(["chat", str(exported), "--max-tokens", "5", "--seed", "0"], tmp_path, environment)
    terminal.until("\n> ")
    terminal.type("/probs\n")
    assert "Nothing was answered yet" in terminal.until("\n> ")
    terminal.type("The\n")
    terminal.until("\n> ")
    terminal.type("/probs\n")
    table = terminal.until("\n> ")
    assert max(map(len, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", table).split("\n"))) <= 60
    assert not re.search(r"\x1b\[(3|4|9|10)\d", terminal.shown)
    terminal.type("\x03")
    # Between the prompt and its wait for keys, CPython's readline notes Ctrl-C but sleeps until the next key.
    assert terminal.code(pressing="\x03") == 0
    assert "Traceback" not in terminal.shown
