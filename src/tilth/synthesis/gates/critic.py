"""Gate `critic`: a teacher judges a sample, on a scale from 0 to 5.

- `rubric`: a point for each of five criteria, with a reason; the answer ends with `Score: N`.
- `pairwise`: the sample against its source, asked twice with the order swapped: 5 if both answers prefer the sample, 0
  if both prefer the source, else 2.5 (a tie, or a judge that goes by the order).
- `reward`: 5 x P(Yes) / (P(Yes) + P(No)) at the first token of an answer to one question, from the log-probabilities
  of the likeliest tokens; where the server gives none, the word alone counts, as 5 or 0.

A sample cannot close the marks that it stands between in the prompt (`synthesis.material`), and of an answer only the
last line (or the first word) is read. An answer without it drops the sample as `critic_unparsed`; the answer stays in
the request cache, under the key that the detail names.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Protocol

from tilth.curation.operators import Drop
from tilth.synthesis.config import GateConfig
from tilth.synthesis.gates.gate import Pass
from tilth.synthesis.prompt_files import PromptFile
from tilth.teacher.request import Asker, GenerationParams, Reply, Request
from tilth.types import Document, Sample

RECIPE = "critic"
"""What the ledger counts a critic's requests under."""
HIGHEST = 5.0
TIE = 2.5
MOST_CHARACTERS = 16_000
"""Longer texts are judged by their beginning."""

_PARAMS = GenerationParams(max_tokens=512, temperature=0.0)
_REWARD_PARAMS = GenerationParams(max_tokens=4, temperature=0.0, logprobs=10)
_SCORE = re.compile(r"\**score:\**\s*([0-5])(?:\s*/\s*5)?\.?\**", re.IGNORECASE)
_BETTER = re.compile(r"\**better:\**\s*(a|b|neither)\.?\**", re.IGNORECASE)
_WORDS = re.compile(r"\w+")
_EXCERPT = 300


class Unparsed(Exception):  # noqa: N818 (a verdict on the judge, not a fault)
    """A judge's answer has not the form that was asked for."""

    def __init__(self, reply: Reply) -> None:
        last = _last_line(reply.text)
        super().__init__(f"answer {reply.key} ends with {last[:_EXCERPT]!r}")


class _Judge(Protocol):
    async def score(self, sample: Sample, seed: Document, ask: _Ask) -> tuple[float, str]: ...


class Critic:
    """A teacher's judgement as a gate (`gate.CriticGate`)."""

    name = "critic"

    def __init__(self, judge: _Judge, *, min_score: float, teacher: str | None = None) -> None:
        self._judge, self._min_score, self._teacher = judge, min_score, teacher

    async def judge(self, sample: Sample, seed: Document, asker: Asker) -> Drop | Pass:
        """Drops: `low_score`, `critic_unparsed`. Measure: the score, 0..5. Raises: what `asker.ask` raises."""
        try:
            score, why = await self._judge.score(sample, seed, _Ask(asker, self._teacher))
        except Unparsed as error:
            return Drop("critic_unparsed", str(error))
        if score < self._min_score:
            return Drop("low_score", f"{score:.3g} < {self._min_score:g}: {why}", score, self._min_score)
        return Pass(measure=score, limit=self._min_score, detail=why)


class _Ask:
    def __init__(self, asker: Asker, teacher: str | None) -> None:
        self._asker, self._teacher = asker, teacher

    async def __call__(self, prompt: PromptFile, params: GenerationParams, **variables: str) -> Reply:
        shown = {name: text[:MOST_CHARACTERS] for name, text in variables.items()}
        request = Request(messages=prompt.render(shown), params=params)
        (reply,) = await self._asker.ask(request, recipe=RECIPE, teacher=self._teacher)
        return reply


class Rubric:
    """A score for each text by itself."""

    def __init__(self) -> None:
        self.prompt = PromptFile.load(RECIPE, "rubric")

    async def score(self, sample: Sample, seed: Document, ask: _Ask) -> tuple[float, str]:
        """Returns score and reason. Raises: Unparsed."""
        reply = await ask(self.prompt, _PARAMS, text=sample.text, source=seed.text)
        found = _SCORE.fullmatch(_last_line(reply.text))
        if found is None:
            raise Unparsed(reply)
        return float(found[1]), _reason(reply.text)


class Pairwise:
    """The sample against its source, in both orders."""

    def __init__(self) -> None:
        self.prompt = PromptFile.load(RECIPE, "pairwise")

    async def score(self, sample: Sample, seed: Document, ask: _Ask) -> tuple[float, str]:
        """Returns score and reason; a sample without a source wins. Raises: Unparsed."""
        if not seed.text.strip():
            return HIGHEST, "there is no source to compare it with"
        replies = await asyncio.gather(
            ask(self.prompt, _PARAMS, first=sample.text, second=seed.text),
            ask(self.prompt, _PARAMS, first=seed.text, second=sample.text),
        )
        choices = [_choice(reply) for reply in replies]
        if choices == ["a", "b"]:
            return HIGHEST, f"preferred to its source in both orders: {_reason(replies[0].text)}"
        if choices == ["b", "a"]:
            return 0.0, f"its source is preferred in both orders: {_reason(replies[0].text)}"
        return TIE, f"no preference: {choices[0].upper()} in one order, {choices[1].upper()} in the other"


class Reward:
    """How likely a judge says Yes."""

    def __init__(self) -> None:
        self.prompt = PromptFile.load(RECIPE, "reward")

    async def score(self, sample: Sample, seed: Document, ask: _Ask) -> tuple[float, str]:
        """Returns score and reason. Raises: Unparsed."""
        reply = await ask(self.prompt, _REWARD_PARAMS, text=sample.text)
        likely = _likely(reply)
        if likely is not None:
            return HIGHEST * likely, f"P(Yes) = {likely:.3f}"
        words = _WORDS.findall(reply.text.lower())
        if words[:1] not in (["yes"], ["no"]):
            raise Unparsed(reply)
        return (HIGHEST if words[0] == "yes" else 0.0), f"{words[0].capitalize()}, without log-probabilities"


def _likely(reply: Reply) -> float | None:
    """Returns P(Yes) / (P(Yes) + P(No)) at the first token that holds a word; None where nothing tells it."""
    first = next((one for one in reply.answer.logprobs or () if _WORDS.search(one.token)), None)
    if first is None:
        return None
    shown = dict(first.top) | {first.token: first.logprob}
    total = {"yes": 0.0, "no": 0.0}
    for token, logprob in shown.items():
        word = token.strip().lower()
        if word in total and logprob <= 0:
            total[word] += math.exp(logprob)
    both = total["yes"] + total["no"]
    return total["yes"] / both if both > 0 else None


def _choice(reply: Reply) -> str:
    found = _BETTER.fullmatch(_last_line(reply.text))
    if found is None:
        raise Unparsed(reply)
    return found[1].lower()


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip()


def _reason(text: str) -> str:
    return " ".join(text.strip().rpartition("\n")[0].split())[:_EXCERPT]


_JUDGES = {"rubric": Rubric, "pairwise": Pairwise, "reward": Reward}


def make_critic(config: GateConfig) -> Critic | None:
    """Returns the critic that a config names, or None."""
    if not config.critic:
        return None
    return Critic(_JUDGES[config.critic](), min_score=config.min_score, teacher=config.critic_teacher)
