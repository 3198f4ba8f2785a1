"""Instruction back-translation: a passage of a document is the answer, and the teacher writes what was asked."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Rejected, recipe
from tilth.synthesis.passages import Passage, join_lines, split_passages
from tilth.synthesis.recipes.turns import grades, user_message
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message

JUDGE = GenerationParams(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class Backtranslation:
    """Instructions for passages of documents."""

    min_passage_tokens: int = 60
    """Fewest tokens of a passage, about."""
    max_passage_tokens: int = 800
    """Most tokens of a passage, about; documents are cut between paragraphs, or between lines where they have none."""
    passages: int = 4
    """Most passages of a document; of more, so many are drawn."""
    min_curation_score: int = 4
    """Lowest score (1 to 5) of the teacher's own judgement of the pair that is kept; 0: it is not asked for."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_passage_tokens <= self.max_passage_tokens:
            raise ConfigError(
                f"Passages have {self.min_passage_tokens} to {self.max_passage_tokens} tokens.",
                fix="Give 1 <= `min_passage_tokens` <= `max_passage_tokens`.",
            )
        if self.passages < 1:
            raise ConfigError(f"`passages` is {self.passages}.", fix="Use 1 or more of each document.")
        if not 0 <= self.min_curation_score <= 5:
            raise ConfigError(
                f"`min_curation_score` is {self.min_curation_score}.", fix="Give 1 to 5, or 0 for no judgement."
            )


@recipe(
    "backtranslation",
    version=1,
    shape="chat",
    prompts=("instruction", "score"),
    options=Backtranslation,
    params=GenerationParams(max_tokens=300, temperature=0.7, top_p=0.95),
    source="Li et al. 2023, Self-Alignment with Instruction Backtranslation",
)
async def backtranslation(document: Document, ask: Ask) -> list[Draft]:
    """Take passages as answers, have the instruction written that each would answer, and keep pairs of a good score."""
    options: Backtranslation = ask.options
    passages = _drawn(whole_passages(document.text, options), ask)
    if not passages:
        raise Rejected(
            "no_passage",
            f"none of whole lines with {options.min_passage_tokens} to {options.max_passage_tokens} tokens",
        )
    prompts = [("instruction", {"text": passage.text}) for passage in passages]
    asked = await ask.each(prompts, user_message(min_words=4, max_words=150))
    pairs = [(passage, one) for passage, one in zip(passages, asked, strict=True) if one is not None]
    scores = [None] * len(pairs)
    if options.min_curation_score:
        judged = [("score", {"instruction": one.value, "response": passage.text}) for passage, one in pairs]
        scores = await ask.each(judged, grades("Score"), params=JUDGE, is_judgement=True)
    drafts: list[Draft] = []
    for (passage, one), score in zip(pairs, scores, strict=True):
        if options.min_curation_score and score is None:
            continue  # recorded as rejected
        if score is not None and score.value["Score"] < options.min_curation_score:
            ask.reject("low_score", f"{score.value['Score']} < {options.min_curation_score}", raw=one.text)
            continue
        messages = (Message(role="user", content=one.value), Message(role="assistant", content=passage.text))
        replies = (one,) if score is None else (one, score)
        # The answer is the source's own text: the gate `copy` judges the rest.
        meta = {"appends_source": True} | ({} if score is None else {"curation_score": score.value["Score"]})
        drafts.append(Draft(messages=messages, replies=replies, span=passage.span, meta=meta))
    return drafts


def whole_passages(text: str, options: Backtranslation) -> list[Passage]:
    """Returns passages that begin and end with a line: an answer does not begin in the middle of a sentence."""
    split = split_passages if "\n\n" in text.strip() else join_lines
    lines = b"\n" + text.encode("utf-8", "surrogatepass") + b"\n"
    found = split(text, max_tokens=options.max_passage_tokens, min_tokens=options.min_passage_tokens)
    spans = [piece.span for piece in found]
    # Blanks may stand between a passage and the ends of its lines; more than 100 count as text.
    around = [(lines[max(0, begin - 100) : begin + 1], lines[end + 1 : end + 101]) for begin, end in spans]
    return [
        piece
        for piece, (before, after) in zip(found, around, strict=True)
        if before.rstrip(b" \t\r").endswith(b"\n") and after.lstrip(b" \t\r").startswith(b"\n")
    ]


def _drawn(passages: list[Passage], ask: Ask) -> list[Passage]:
    """Returns as many passages as the options allow, in the order of the document."""
    if len(passages) <= ask.options.passages:
        return passages
    return [passages[n] for n in sorted(ask.rng.choice(len(passages), ask.options.passages, replace=False).tolist())]
