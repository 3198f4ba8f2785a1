"""A conversation with a base model: prompts, answers, and the commands between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from tilth.cli import terminal
from tilth.cli.line_input import is_interactive
from tilth.errors import ConfigError, TilthError

if TYPE_CHECKING:
    from tilth.inference import Engine, SamplingParams

COMMANDS = {
    "/again": ("", "answer the last prompt again, with another seed"),
    "/more": ("", "continue the last answer"),
    "/try": ("[N]", "list the prompts to try, or answer one"),
    "/probs": ("", "probability of each token of the last answer"),
    "/temperature": ("[X]", "show or set it; 0: the likeliest token each time"),
    "/max-tokens": ("[N]", "show or set the most tokens of an answer"),
    "/seed": ("[N]", "show or set the seed of the next answer"),
    "/help": ("", "show this"),
    "/quit": ("", "end the chat (Ctrl-D, too)"),
}
"""What each command takes, and does."""
N = TypeVar("N", int, float)
_ALTERNATIVES = 3
_LEAST_ROOM = 4
"""A prompt leaves at least this fraction of the context, one in so many, for the answer, or `max_tokens`."""
_VISIBLE = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    127: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


@dataclass(frozen=True)
class _Turn:
    """An answer that was given."""

    prompt: str
    text: str
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]


class Conversation:
    """Takes lines: a prompt is answered, a command is done."""

    def __init__(
        self, engine: Engine, params: SamplingParams, prompts: list[str], *, show_probabilities: bool = False
    ) -> None:
        """The first answer is drawn with `params`, each further one with the next seed."""
        self.engine, self.params, self.prompts = engine, params, prompts
        self.show_probabilities = show_probabilities
        self._last: _Turn | None = None
        self._commands: dict[str, Callable[[str], None]] = {
            "/again": self._again,
            "/more": self._more,
            "/try": self._try,
            "/probs": self._probabilities,
            "/temperature": self._temperature,
            "/max-tokens": self._max_tokens,
            "/seed": self._seed,
            "/help": self._help,
        }

    def introduce(self) -> None:
        """Says what the model is and how to talk to it."""
        config = self.engine.model.config
        terminal.say(
            f"{config.n_params:,} parameters, context {config.context_length:,} tokens. A base model: it continues "
            "what you type.\n\nTo try:"
        )
        self._list_prompts()
        terminal.say("\n/help shows the commands. Ctrl-C ends an answer, Ctrl-D the chat.")

    def take(self, line: str) -> bool:
        """Answers a prompt, or does what a command says; returns whether the conversation continues."""
        if not line.strip():
            return True
        if line.startswith("//"):  # text that begins with a slash
            line = line[1:]
        elif line.startswith("/"):
            name, _, argument = line.strip().partition(" ")
            if name == "/quit":
                return False
            self._guarded(lambda: self._do(name, argument.strip()))
            return True
        self._guarded(lambda: self.answer(line))
        return True

    def answer(self, prompt: str) -> bool:
        """Writes the continuation of a prompt; returns False if Ctrl-C ended it."""
        fitted = fit_prompt(self.engine, prompt, self.params.max_tokens)
        if fitted != prompt:
            terminal.say(
                f"The prompt is too long for the model's context of {self.engine.model.config.context_length} tokens: "
                f"its first {len(prompt) - len(fitted):,} characters are left out."
            )
        stream = self.engine.stream(fitted, self.params)
        pieces: list[str] = []
        complete = True
        print(_bold(visible(fitted)), end="", flush=True)
        try:
            for piece in stream:
                pieces.append(piece)
                print(visible(piece), end="", flush=True)
        except KeyboardInterrupt:
            complete = False
        print()
        if is_interactive():
            stopped = "" if complete else ", stopped"
            plural = "" if len(stream.tokens) == 1 else "s"
            terminal.say_softly(f"(seed {self.params.seed}, {len(stream.tokens)} token{plural}{stopped})")
        self._last = _Turn(fitted, "".join(pieces), stream.prompt_tokens, stream.tokens)
        self.params = replace(self.params, seed=(self.params.seed + 1) % (1 << 63))
        if self.show_probabilities and complete:
            self._probabilities("")
        return complete

    def _guarded(self, do: Callable[[], object]) -> None:
        """A mistake ends the turn, not the conversation."""
        try:
            do()
        except TilthError as error:
            terminal.say(error.message + (f" {error.fix}" if error.fix else ""))

    def _do(self, name: str, argument: str) -> None:
        if name not in self._commands:
            message, fix = terminal.unknown_word("command", name, COMMANDS, "/help")
            raise ConfigError(message, fix=f"{fix} For a prompt that begins with /, type two of them.")
        self._commands[name](argument)

    def _help(self, argument: str) -> None:
        rows = [(f"{name} {takes}".rstrip(), does) for name, (takes, does) in COMMANDS.items()]
        terminal.show_table("", ("command", ""), rows, whole=(0,))

    def _again(self, argument: str) -> None:
        self.answer(self._turn().prompt)

    def _more(self, argument: str) -> None:
        turn = self._turn()
        self.answer(turn.prompt + turn.text)

    def _try(self, argument: str) -> None:
        if not argument:
            self._list_prompts()
            return
        number = _number(argument, int)
        if not 1 <= number <= len(self.prompts):
            raise ConfigError(f"There is no prompt {number}.", fix=f"Give 1 to {len(self.prompts)}.")
        self.answer(self.prompts[number - 1])

    def _list_prompts(self) -> None:
        for number, prompt in enumerate(self.prompts, 1):
            terminal.say(f"  /try {number}   {visible(prompt)}")

    def _probabilities(self, argument: str) -> None:
        turn = self._turn()
        if not turn.tokens:
            raise ConfigError("The answer has no tokens.", fix="/again answers once more.")
        found = self.engine.probabilities(turn.prompt_tokens, turn.tokens, n_alternatives=_ALTERNATIVES)
        rows = [
            (
                self._shown(one.token),
                f"{one.probability:.1%}",
                "  ".join(f"{self._shown(token)} {probability:.0%}" for token, probability in one.alternatives),
            )
            for one in found
        ]
        terminal.show_table("", ("token", "probability", "first choices"), rows, right=(1,), whole=(1,))

    def _temperature(self, argument: str) -> None:
        if argument:
            self.params = replace(self.params, temperature=_number(argument, float))
        terminal.say(f"temperature {self.params.temperature:g}")

    def _max_tokens(self, argument: str) -> None:
        if argument:
            self.params = replace(self.params, max_tokens=_number(argument, int))
        terminal.say(f"max_tokens {self.params.max_tokens}")

    def _seed(self, argument: str) -> None:
        if argument:
            self.params = replace(self.params, seed=_number(argument, int))
        terminal.say(f"seed of the next answer: {self.params.seed}")

    def _turn(self) -> _Turn:
        if self._last is None:
            raise ConfigError("Nothing was answered yet.", fix="Type a prompt, or `/try 1`.")
        return self._last

    def _shown(self, token: int) -> str:
        """A token as a quoted string; bytes that are no whole character are escaped."""
        data = self.engine.tokenizer.token_bytes(token)
        return json.dumps(visible(data.decode("utf-8", "backslashreplace")), ensure_ascii=False)


def fit_prompt(engine: Engine, prompt: str, max_tokens: int) -> str:
    """Returns the end of a prompt that leaves room for an answer in the model's context: all of it, if it does."""
    context = engine.model.config.context_length
    room = max(1, context - len(engine.separator) - min(max_tokens, max(1, context // _LEAST_ROOM)))
    ids = engine.tokenizer.encode_ordinary(prompt)
    kept = prompt
    while len(ids) > room:
        data = engine.tokenizer.decode_bytes(ids[len(ids) - room :])
        shorter = data.decode("utf-8", "ignore")  # the first character may be cut
        kept = shorter if len(shorter) < len(kept) else kept[1:]
        ids = engine.tokenizer.encode_ordinary(kept)
    return kept


def visible(text: str) -> str:
    """`text` with control characters, which a terminal would obey, as signs of them."""
    return text.translate(_VISIBLE)


def _bold(text: str) -> str:
    styled = terminal.OUT.is_terminal and not terminal.OUT.no_color
    return f"\x1b[1m{text}\x1b[0m" if styled and text else text


def _number(text: str, kind: Callable[[str], N]) -> N:
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"`{text}` is not a number.", fix="Give one, such as 1.") from None
