"""Preference pairs: answers of different quality to one prompt, judged, the better one chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parsed, Rejected, recipe
from tilth.synthesis.passages import first_characters
from tilth.synthesis.recipes.turns import assistant_message, grades, last_lines, user_message
from tilth.teacher.request import GenerationParams
from tilth.types import Document

WEAKNESSES = {
    "vague": "it stays general, with no detail, number or example where the message calls for one.",
    "wrong": "it has one or two errors in fact or in reasoning that someone who knows the subject would notice.",
    "incomplete": "it leaves out one part of what the message asks, without saying so.",
    "off_topic": "it begins well, and then goes on about something related that was not asked for.",
    "padded": "it is at least twice as long as it needs to be, with repetitions and empty phrases.",
    "disordered": "its points are in an order that makes them hard to follow, and some come twice.",
}
JUDGE = GenerationParams(temperature=0.0, max_tokens=400)
_VERDICT = last_lines({"Verdict": "first|second|tie"})
_GRADES = grades("Correctness", "Instructions", "Usefulness", "Clarity")


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Pairs of a better and a worse answer."""

    prompts: Literal["written", "given"] = "written"
    """Where prompts come from: written from each document, or each document is one (a dataset of instructions)."""
    how: Literal["samples", "degraded"] = "samples"
    """Where the worse answer comes from: several samples are drawn and judged, or one is asked for with a weakness."""
    judge: Literal["pairwise", "rubric"] = "pairwise"
    """Compare each two answers in both orders (a win counts if both agree), or grade each, four times from 1 to 5."""
    responses: int = 3
    """Samples drawn of the answer (`how=samples`); pairwise judging asks n (n - 1) times."""
    min_margin: float = 0.5
    """Least difference of mean grades (`judge=rubric`)."""

    def __post_init__(self) -> None:
        if not 2 <= self.responses <= 16:
            raise ConfigError(f"`responses` is {self.responses}.", fix="Draw 2 to 16.")
        if not 0 <= self.min_margin <= 4:
            raise ConfigError(f"`min_margin` is {self.min_margin}.", fix="Give 0 to 4 grades.")


@recipe(
    "preferences",
    version=1,
    shape="preference",
    prompts=("instruction", "respond", "respond-worse", "rubric", "compare"),
    options=Preferences,
    params=GenerationParams(max_tokens=1024, temperature=0.9, top_p=0.95),
    source="Cui et al. 2023 (UltraFeedback); Zheng et al. 2023 (judging in both orders)",
)
async def preferences(document: Document, ask: Ask) -> list[Draft]:
    """Draw answers of different quality to a prompt, judge them, and keep the best and the worst; ties are dropped."""
    options: Preferences = ask.options
    prompt, asked = document.text.strip(), list[Parsed[Any]]()
    if options.prompts == "written":
        shown = {"text": first_characters(document.text, 4000).text}
        asked.append(await ask("instruction", shown, user_message(min_words=4, max_words=150)))
        prompt = str(asked[0].value)
    answers, weakness = await _answers(prompt, ask)
    if len(answers) < 2:
        raise Rejected("tie", "fewer than two different answers")
    score = _by_rubric if options.judge == "rubric" else _by_pairs
    scores, judgements = await score(prompt, [answer.value for answer in answers], ask)
    best, worst = _best_and_worst(scores)
    if weakness and best != 0:
        raise Rejected("weakness_preferred", weakness)
    meta: dict[str, object] = {"judge": options.judge, "chosen_score": scores[best], "rejected_score": scores[worst]}
    return [
        Draft(
            prompt=prompt,
            chosen=answers[best].value,
            rejected=answers[worst].value,
            replies=(*asked, answers[best], answers[worst], *judgements),
            part=options.how,
            meta=meta | ({"weakness": weakness} if weakness else {}) | ({} if asked else {"appends_source": True}),
        )
    ]


async def _answers(prompt: str, ask: Ask) -> tuple[list[Parsed[str]], str]:
    """Returns different answers, and which weakness the last one of two was asked for with."""
    variables: dict[str, object] = {"instruction": prompt}
    if ask.options.how == "samples":
        drawn = await ask.samples("respond", variables, assistant_message, n=ask.options.responses)
        return list({answer.value: answer for answer in drawn}.values()), ""
    weakness = str(ask.rng.choice(list(WEAKNESSES)))
    good = await ask("respond", variables, assistant_message)
    bad = await ask("respond-worse", {**variables, "weakness": WEAKNESSES[weakness]}, assistant_message)
    return [good, bad] if good.value != bad.value else [good], weakness


async def _by_rubric(prompt: str, answers: Sequence[str], ask: Ask) -> tuple[list[float], list[Parsed[Any]]]:
    """Returns the mean grade of each answer. Raises: Rejected where the margin is too small."""
    prompts = [("rubric", {"instruction": prompt, "response": answer}) for answer in answers]
    judged = await ask.each(prompts, _GRADES, params=JUDGE, is_judgement=True)
    found = [one for one in judged if one is not None]
    if len(found) < len(answers):
        raise Rejected("not_judged", f"{len(found)} of {len(answers)} judgements could be read")
    scores = [sum(one.value.values()) / len(one.value) for one in found]
    if max(scores) - min(scores) < max(ask.options.min_margin, 1e-9):
        raise Rejected("tie", f"grades from {min(scores)} to {max(scores)}")
    return scores, list(found)


async def _by_pairs(prompt: str, answers: Sequence[str], ask: Ask) -> tuple[list[float], list[Parsed[Any]]]:
    """Returns the share of the others that each answer beats in both orders. Raises: Rejected `tie`."""
    pairs = list(combinations(range(len(answers)), 2))
    orders = [order for a, b in pairs for order in ((a, b), (b, a))]
    prompts = [("compare", {"instruction": prompt, "first": answers[a], "second": answers[b]}) for a, b in orders]
    judged = await ask.each(prompts, _VERDICT, params=JUDGE, is_judgement=True)
    if any(one is None for one in judged):
        raise Rejected("not_judged", f"{judged.count(None)} of {len(judged)} judgements could not be read")
    found = [one for one in judged if one is not None]
    wins = [0] * len(answers)
    for (a, b), one, swapped in zip(pairs, found[::2], found[1::2], strict=True):
        verdicts = (one.value["Verdict"], swapped.value["Verdict"])
        if verdicts == ("first", "second"):
            wins[a] += 1
        elif verdicts == ("second", "first"):
            wins[b] += 1
    scores = [n / (len(answers) - 1) for n in wins]
    if max(scores) == min(scores):
        raise Rejected("tie", f"wins {wins}, counted where both orders agree")
    return scores, list(found)


def _best_and_worst(scores: Sequence[float]) -> tuple[int, int]:
    """Returns the first of the best and the last of the worst."""
    return scores.index(max(scores)), len(scores) - 1 - scores[::-1].index(min(scores))
