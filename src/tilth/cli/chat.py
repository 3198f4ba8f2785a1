"""The verb `chat`: a model continues what is typed."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tilth.cli import terminal
from tilth.cli.conversation import COMMANDS, Conversation
from tilth.cli.line_input import history_file, is_interactive, line_editing, read_lines
from tilth.cli.model_folder import check_model, load_tokenizer, model_in, newest_model
from tilth.cli.options import call
from tilth.inference.config import SamplingParams
from tilth.model.device import check_device

_SEEDS = 1_000_000
"""First seeds are drawn below this: short enough to type again."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    max_tokens: int = 120
    """Most tokens of an answer."""
    temperature: float = 0.7
    """Divides the logits before sampling; 0 takes the likeliest token each time."""
    top_k: int | None = None
    """Sample among this many likeliest tokens only (default: among all)."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that together hold this much probability (nucleus sampling)."""
    seed: int | None = None
    """Seed of the first answer; each further answer has the next one (default: another first seed each time)."""
    token_healing: bool = True
    """Continue a prompt across the end of its last token, as text does."""

    def params(self) -> SamplingParams:
        """Returns what the first answer is drawn with."""
        return SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=secrets.randbelow(_SEEDS) if self.seed is None else self.seed,
            token_healing=self.token_healing,
        )


def chat(words: Sequence[str]) -> None:
    """`tilth chat [MODEL]`."""
    call(_talk, words, "chat")


def _talk(
    model: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = None,
    *,
    tokenizer: Path | None = None,
    prompt: str | None = None,
    probs: bool = False,
    runs: Path = Path("runs"),
    device: str = "auto",
    sampling: tyro.conf.OmitArgPrefixes[Sampling] = Sampling(),
) -> None:
    """Talk to a model: what you type is continued. Lines that begin with / are commands: /help lists them.

    Ctrl-C ends an answer; Ctrl-D, or Ctrl-C where nothing is being answered, ends the chat.

    Args:
        model: Folder of a model, of ours or Hugging Face's, or of a run; or a run's name (default: the newest model).
        tokenizer: Folder with `tokenizer.json` (default: the model's folder).
        prompt: Continue this text once, and stop.
        probs: Show the probability of each token of an answer, and the model's first choices.
        runs: Folder of runs, where the newest model is looked for if none is named.
        device: Torch device for the model: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        sampling: How tokens are drawn.
    """
    check_device(device)
    params = sampling.params()
    if model is not None and not model.exists() and (runs / model).exists():
        model = runs / model  # the name of a run
    folder = newest_model(runs) if model is None else model_in(model)
    if model is None:
        terminal.say(f"The newest model under {runs}: {folder}")
    check_model(folder)
    loaded_tokenizer = load_tokenizer(folder, tokenizer)
    from tilth.inference import Engine
    from tilth.inference.prompts import GENERIC, read_prompts
    from tilth.model import load_model

    engine = Engine(load_model(folder, device=device), loaded_tokenizer)
    conversation = Conversation(engine, params, read_prompts(folder) or list(GENERIC), show_probabilities=probs)
    if prompt is not None:
        if not conversation.answer(prompt):
            sys.exit(130)
        return
    if is_interactive():
        conversation.introduce()
    try:
        with line_editing(history_file("chat_history"), list(COMMANDS)):
            for line in read_lines("> "):
                if not conversation.take(line):
                    return
    except KeyboardInterrupt:
        print()
