"""A passage that a model continues again and again while it is trained, so that one sees it improve."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tilth.execute import Context
from tilth.inference.config import SamplingParams
from tilth.inference.result import LIVE_SAMPLES, LiveSample

if TYPE_CHECKING:
    from tilth.model import Transformer
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

PROMPT_CHARACTERS = 120
PARAMS = SamplingParams(max_tokens=60, temperature=0.7)


class LiveSamples:
    """Appends a continuation to `samples.jsonl` each time it is called."""

    def __init__(self, path: Path, tokenizer: Tokenizer, prompt: str, context: Context) -> None:
        self.path, self.tokenizer, self.prompt, self.context = path, tokenizer, prompt, context
        self.began, self.failed = time.monotonic(), False

    def __call__(self, model: Transformer, tokens: int) -> None:
        """Takes the model as it is; an error is said once and ends nothing, because a sample is only looked at."""
        if self.failed:
            return
        try:
            self._sample(model, tokens)
        except Exception as error:
            self.failed = True
            self.context.progress.say(f"No samples while training ({type(error).__name__}: {error}).")

    def _sample(self, model: Transformer, tokens: int) -> None:
        from tilth.inference import Engine

        # The end of the passage, where the context has no room for all of it.
        ids = self.tokenizer.encode_ordinary(self.prompt)[-(model.config.context_length // 2) :]
        prompt = self.tokenizer.decode(ids)
        (completion,) = Engine(model, self.tokenizer).generate([prompt], PARAMS)
        seconds = round(time.monotonic() - self.began, 1)
        row = LiveSample(prompt=prompt, text=completion.text, tokens=tokens, seconds=seconds)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(asdict(row)).encode() + b"\n")


def live_samples(context: Context, tokenizer: Tokenizer, texts: Sequence[Dataset | None]) -> LiveSamples | None:
    """Returns what training calls now and then; None where nobody looks, or there is no text to begin with.

    The passage is from the first of the datasets that has one.
    """
    if context.live is None:
        return None
    for dataset in texts:
        if dataset is None:
            continue
        for document in dataset.documents():
            if prompt := passage(document.text):
                return LiveSamples(context.live / LIVE_SAMPLES, tokenizer, prompt, context)
            break
    return None


def passage(text: str) -> str:
    """Returns some whole words from a third into a text, past its header; shorter than usual where the text is."""
    begin = text.find("\n", len(text) // 3) + 1
    if not 0 < begin < len(text) - PROMPT_CHARACTERS:
        begin = text.find(" ", len(text) // 3) + 1
    taken = text[begin : begin + PROMPT_CHARACTERS]
    words, _, rest = taken.rpartition(" ")
    return (words if words and len(taken) == PROMPT_CHARACTERS and rest else taken).strip()
