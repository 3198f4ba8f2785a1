"""Text in, text out: the model with its tokenizer.

A text prompt is read as the beginning of a document: the separator that training puts before each document
goes first, and the model ends an answer by writing it. Prompts given as token ids are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, overload

from tilth.errors import DataError
from tilth.inference.config import SamplingParams
from tilth.inference.generate import Decoding, Ends, FinishReason, FirstToken, check_prompt, generate_tokens
from tilth.inference.healing import Healer, heal
from tilth.inference.probabilities import TokenProbability, token_probabilities
from tilth.progress import SILENT, Progress

if TYPE_CHECKING:
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer

DEFAULT_PARAMS = SamplingParams()


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model wrote after a prompt."""

    text: str
    """What follows the prompt, without the stop token."""
    tokens: tuple[int, ...]
    """With the stop token, where one ended it. With token healing, the first may begin inside the prompt's text."""
    logprobs: tuple[float, ...]
    """Nats of each token under the model at temperature 1, without truncation."""
    finish_reason: FinishReason
    prompt_tokens: tuple[int, ...]
    """What the model read before `tokens`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prompt:
    """A prompt as the model reads it."""

    tokens: tuple[int, ...]
    text_from: int | None
    """Index of the text's first token, behind the separator; None: the prompt was given as ids."""
    n_characters: int = 0
    """Length of the prompt's text: the completion's begins behind it."""
    first: FirstToken | None = None
    """The completion's first token, where healing drew it."""


class Engine:
    """Generates with a model and its tokenizer, on the model's device."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, *, batch_size: int = 64) -> None:
        """Raises: ConfigError if the tokenizer has more tokens than the model."""
        model.config.check_vocabulary(tokenizer.vocab_size)
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size

    @overload
    def generate(  # pyright: ignore[reportOverlappingOverload] (a string is a sequence of strings, too)
        self,
        prompts: str,
        params: SamplingParams = ...,
        *,
        seeds: Sequence[int] | None = ...,
        stop_texts: Sequence[str] = ...,
        progress: Progress = ...,
    ) -> Completion: ...

    @overload
    def generate(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams = ...,
        *,
        seeds: Sequence[int] | None = ...,
        stop_texts: Sequence[str] = ...,
        progress: Progress = ...,
    ) -> list[Completion]: ...

    def generate(
        self,
        prompts: str | Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams = DEFAULT_PARAMS,
        *,
        seeds: Sequence[int] | None = None,
        stop_texts: Sequence[str] = (),
        progress: Progress = SILENT,
    ) -> Completion | list[Completion]:
        """Continues a prompt, or several in order; the document separator ends a completion, beside
        `params.stop_tokens`.

        `seeds`: one for each prompt, instead of `params.seed` and the prompt's place in the list; what is drawn for a
        prompt is then the same whatever else is in the list. `stop_texts` end a completion where the first of them
        begins; its tokens are all that were drawn.
        Raises: DataError, before anything is generated, for a prompt that leaves no room in the model's context, or
        that is neither text nor a sequence of ids.
        """
        if isinstance(prompts, str):
            return self._generate([prompts], params, seeds, stop_texts, progress)[0]
        for index, prompt in enumerate(prompts):
            _check_kind(index, prompt)
        return self._generate(prompts, params, seeds, stop_texts, progress)

    def stream(self, prompt: str | Sequence[int], params: SamplingParams = DEFAULT_PARAMS) -> TextStream:
        """Returns an iterator over the completion of one prompt, piece by piece, only ever whole characters.

        The pieces together are what `generate` returns for this prompt alone. Raises: as `generate`.
        """
        _check_kind(0, prompt)
        params = self._with_separator(params)
        return TextStream(self, self._prompts([self._encoded(prompt)], params)[0], params)

    def probabilities(
        self, prompt_tokens: Sequence[int], tokens: Sequence[int], *, n_alternatives: int = 3
    ) -> list[TokenProbability]:
        """The model's own probability of each of `tokens` behind `prompt_tokens`, beside its likeliest tokens."""
        return token_probabilities(
            self.model, prompt_tokens, tokens, n_alternatives=n_alternatives, n_tokens=self.tokenizer.vocab_size
        )

    @cached_property
    def healer(self) -> Healer:
        """What finds the tokens that continue a prompt across its end."""
        return Healer(self.tokenizer)

    @property
    def separator(self) -> tuple[int, ...]:
        """What goes before a text prompt: the document separator, if the tokenizer has one."""
        separator = self.tokenizer.end_of_text
        return () if separator is None else (separator,)

    def _generate(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams,
        seeds: Sequence[int] | None,
        stop_texts: Sequence[str],
        progress: Progress,
    ) -> list[Completion]:
        params = self._with_separator(params)
        begun = self._prompts([self._encoded(prompt) for prompt in prompts], params, seeds)
        generations = generate_tokens(
            self.model,
            [prompt.tokens for prompt in begun],
            params,
            batch_size=self.batch_size,
            n_tokens=self.tokenizer.vocab_size,
            first={index: prompt.first for index, prompt in enumerate(begun) if prompt.first is not None},
            seeds=seeds,
            ends=self._ends(begun, stop_texts) if stop_texts else None,
            progress=progress,
        )
        completions: list[Completion] = []
        for prompt, generation in zip(begun, generations, strict=True):
            text = self._text(prompt, [t for t in generation.tokens if t not in params.stop_tokens])
            stops = [at for stop in stop_texts if (at := text.find(stop)) >= 0]
            completions.append(
                Completion(
                    text=text[: min(stops)] if stops else text,
                    tokens=generation.tokens,
                    logprobs=generation.logprobs,
                    finish_reason="stop" if stops else generation.finish_reason,
                    prompt_tokens=prompt.tokens,
                )
            )
        return completions

    def _ends(self, prompts: Sequence[_Prompt], stop_texts: Sequence[str]) -> Ends:
        """Says whether a completion holds one of the texts, of which only the latest token can be the end."""
        window = max(len(stop.encode()) for stop in stop_texts) + 1

        def ends(index: int, tokens: Sequence[int]) -> bool:
            # The first tokens may begin inside the prompt, whose end may hold such a text, too.
            near = len(tokens) <= window
            text = self._text(prompts[index], tokens) if near else self.tokenizer.decode(tokens[-window:])
            return any(stop in text for stop in stop_texts)

        return ends

    def _text(self, prompt: _Prompt, tokens: Sequence[int]) -> str:
        if prompt.text_from is None:
            return self.tokenizer.decode(tokens)
        return self.tokenizer.decode([*prompt.tokens[prompt.text_from :], *tokens])[prompt.n_characters :]

    def _prompts(
        self, encoded: list[_Prompt], params: SamplingParams, seeds: Sequence[int] | None = None
    ) -> list[_Prompt]:
        """Checks prompts, then heals those of text."""
        for index, prompt in enumerate(encoded):
            check_prompt(self.model, index, prompt.tokens)
        if not params.token_healing:
            return encoded
        texts = {
            index: (prompt.tokens[: prompt.text_from], prompt.tokens[prompt.text_from :])
            for index, prompt in enumerate(encoded)
            if prompt.text_from is not None
        }
        starts = heal(self.model, self.healer, texts, params, batch_size=self.batch_size, seeds=seeds)
        return [
            replace(prompt, tokens=starts[index].kept, first=starts[index].first) if index in starts else prompt
            for index, prompt in enumerate(encoded)
        ]

    def _encoded(self, prompt: str | Sequence[int]) -> _Prompt:
        if not isinstance(prompt, str):
            return _Prompt(tokens=tuple(prompt), text_from=None)
        ids = self.tokenizer.encode_ordinary(prompt)
        return _Prompt(
            tokens=(*self.separator, *ids),
            text_from=len(self.separator),
            n_characters=len(self.tokenizer.decode(ids)),
        )

    def _with_separator(self, params: SamplingParams) -> SamplingParams:
        return replace(params, stop_tokens=(*params.stop_tokens, *self.separator))


class TextStream(Iterator[str]):
    """The completion of one prompt while it is written: iterating gives its text, in pieces of whole characters.

    It can be left at any point; `tokens` are those that were written until then.
    """

    def __init__(self, engine: Engine, prompt: _Prompt, params: SamplingParams) -> None:
        self.prompt_tokens = prompt.tokens
        """What the model read before `tokens`."""
        first = {} if prompt.first is None else {0: prompt.first}
        self._decoding = Decoding(
            engine.model, {0: prompt.tokens}, params, n_tokens=engine.tokenizer.vocab_size, first=first
        )
        self._stop_tokens = params.stop_tokens
        self._decoder = engine.tokenizer.stream_decoder()
        self._n_read = 0
        self._to_skip = prompt.n_characters
        if prompt.text_from is not None:
            for token in prompt.tokens[prompt.text_from :]:
                self._piece(token)
        self._finished = False

    @property
    def tokens(self) -> tuple[int, ...]:
        """What was written so far."""
        return tuple(self._decoding.tokens[0])

    def __next__(self) -> str:
        """The next piece of text, not empty."""
        while not self._finished:
            if self._n_read == len(self.tokens):
                if not self._decoding.active:
                    self._finished = True
                    return self._unless_empty(self._beyond_prompt(self._decoder.finish()))
                self._decoding.step()
            token = self.tokens[self._n_read]
            self._n_read += 1
            if token not in self._stop_tokens and (piece := self._piece(token)):
                return piece
        raise StopIteration

    def _piece(self, token: int) -> str:
        return self._beyond_prompt(self._decoder.push(token))

    def _beyond_prompt(self, text: str) -> str:
        """What of `text` is not the prompt's."""
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:]

    @staticmethod
    def _unless_empty(text: str) -> str:
        if not text:
            raise StopIteration
        return text


def _check_kind(index: int, prompt: object) -> None:
    """Raises DataError for a prompt that is neither text nor a sequence of ids."""
    if isinstance(prompt, int):
        raise DataError(
            f"Prompt {index} is the number {prompt}, not a text or a list of ids.",
            fix="Give a list of prompts; for one prompt of ids, a list that holds the list: `[ids]`.",
        )
    if isinstance(prompt, bytes | bytearray):
        raise DataError(f"Prompt {index} is bytes.", fix='Decode it first: `prompt.decode("utf-8")`.')
    if not isinstance(prompt, str) and not hasattr(prompt, "__iter__"):
        raise DataError(
            f"Prompt {index} is of type {type(prompt).__name__}, not a text or a list of ids.",
            fix="Give each prompt as a string, or as a list of ids.",
        )
