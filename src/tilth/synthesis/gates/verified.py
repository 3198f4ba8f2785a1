"""Gate `verifier`: the answer of a sample, judged by the verifier that the sample names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
from tilth.types import Document, Problem, Sample


class Verdict(Protocol):
    """What a verifier says (`tilth.synthesis.verify.verdict`)."""

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        ...

    @property
    def score(self) -> float:
        """In 0..1."""
        ...

    @property
    def detail(self) -> str:
        """Why, in a few words."""
        ...


class Verifier(Protocol):
    """Judges answers to problems."""

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Returns the verdict."""
        ...


@dataclass(frozen=True)
class VerifierGate:
    """Judges the response of a sample: what the assistant said last, or `chosen`; where there is neither, `answer`.

    `answer` is the reference. Where it is itself the response, verifiers that work from the problem alone (countdown,
    arithmetic) check it in full, and those that compare with a reference check its form only.
    """

    find: Callable[[str], Verifier]
    """Name -> verifier, such as `tilth.synthesis.verify.registry.verifier`."""
    name: str = "verifier"

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `not_verified`, `no_answer`. Measure: the verdict's score. Raises: ConfigError for an unknown name."""
        if not sample.verifier:
            return Pass(detail="no verifier")
        response = response_of(sample)
        if response is None:
            return Drop("no_answer", f"the sample names the verifier {sample.verifier} and holds no answer", 0.0, 1.0)
        problem = Problem.make(sample.prompt or _asked(sample), verifier=sample.verifier, answer=sample.answer)
        verdict = self.find(sample.verifier).verify(problem, response)
        if verdict.passed:
            return Pass(measure=verdict.score, limit=1.0, detail=verdict.detail)
        return Drop("not_verified", f"{sample.verifier}: {verdict.detail}", verdict.score, 1.0)


def response_of(sample: Sample) -> str | None:
    """Returns what a sample answers."""
    said = [message.content for message in sample.messages if message.role == "assistant"]
    return said[-1] if said else sample.chosen or sample.answer


def _asked(sample: Sample) -> str:
    return next((message.content for message in reversed(sample.messages) if message.role == "user"), "")
