"""Text in, text out: the model with its tokenizer.

A text prompt is read as the beginning of a document: the separator that training puts before each document
goes first, and the model ends an answer by writing it. Prompts given as token ids are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilth.inference.config import SamplingParams
from tilth.inference.generate import Decoding, FinishReason, check_prompt, generate_tokens
from tilth.progress import SILENT, Progress

if TYPE_CHECKING:
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model wrote after a prompt."""

    text: str
    """Without the stop token."""
    tokens: tuple[int, ...]
    """With the stop token, where one ended it."""
    logprobs: tuple[float, ...]
    """Nats of each token under the model at temperature 1, without truncation."""
    finish_reason: FinishReason


class Engine:
    """Generates with a model and its tokenizer, on the model's device."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, *, batch_size: int = 64) -> None:
        """Raises: ConfigError if the tokenizer has more tokens than the model."""
        model.config.check_vocabulary(tokenizer.vocab_size)
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size

    def generate(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        progress: Progress = SILENT,
    ) -> list[Completion]:
        """Continues prompts, in order; the document separator ends a completion, beside `params.stop_tokens`.

        Raises: DataError, before anything is generated, for a prompt that leaves no room in the model's context.
        """
        params = self._with_separator(params)
        ids = [self._ids(prompt) for prompt in prompts]
        generations = generate_tokens(
            self.model,
            ids,
            params,
            batch_size=self.batch_size,
            n_tokens=self.tokenizer.vocab_size,
            progress=progress,
        )
        return [
            Completion(
                text=self.tokenizer.decode([t for t in generation.tokens if t not in params.stop_tokens]),
                tokens=generation.tokens,
                logprobs=generation.logprobs,
                finish_reason=generation.finish_reason,
            )
            for generation in generations
        ]

    def stream(self, prompt: str | Sequence[int], params: SamplingParams) -> Iterator[str]:
        """Yields the completion of one prompt piece by piece, only ever whole characters.

        The pieces together are what `generate` returns for this prompt alone. Raises: as `generate`.
        """
        params = self._with_separator(params)
        ids = self._ids(prompt)
        check_prompt(self.model, 0, ids)
        decoding = Decoding(self.model, {0: ids}, params, n_tokens=self.tokenizer.vocab_size)
        decoder = self.tokenizer.stream_decoder()
        while decoding.active:
            decoding.step()
            token = decoding.tokens[0][-1]
            if token not in params.stop_tokens and (piece := decoder.push(token)):
                yield piece
        if rest := decoder.finish():
            yield rest

    @property
    def _separator(self) -> tuple[int, ...]:
        separator = self.tokenizer.end_of_text
        return () if separator is None else (separator,)

    def _with_separator(self, params: SamplingParams) -> SamplingParams:
        return replace(params, stop_tokens=(*params.stop_tokens, *self._separator))

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return [*self._separator, *self.tokenizer.encode_ordinary(prompt)]
        return list(prompt)
