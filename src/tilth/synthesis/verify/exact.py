"""Equal texts, after normalisation."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from tilth.synthesis.verify.final_answer import marked_answer
from tilth.synthesis.verify.verdict import NO_REFERENCE, Verdict, excerpt, failed, passed
from tilth.types import Problem

_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)


_DASHES = {ord(dash): "-" for dash in "−–—‐‑"}
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?:,\d{3})*(?!\d))")


def _in_number(text: str, index: int) -> bool:
    """Whether a sign stands before a digit as a part of its number, or is a percent sign after one."""
    before, sign, after = text[index - 1 : index] if index else "", text[index], text[index + 1 : index + 2]
    if sign == "%":
        return before.isdigit()
    if sign == "-":
        return after.isdigit() and not before.isalpha()
    return sign in ".,/:" and after.isdigit() and (before.isdigit() or sign == ".")


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The answer is the reference answer, or one of `or_else`; Unicode is compared in form NFC."""

    ignore_case: bool = True
    ignore_white_space: bool = True
    """Runs of white space count as one blank; at the ends they count for nothing."""
    ignore_punctuation: bool = True
    """Except what belongs to a number: `-5`, `3.14`, `1/2` and `50%` are not `5`, `314`, `12` and `50`."""
    ignore_articles: bool = False
    """Leave out a, an and the, as SQuAD's metric does."""
    or_else: tuple[str, ...] = ()
    """Other right answers."""
    final: bool = True
    """Where the whole text does not match, compare what a mark such as `Answer:` points at."""

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Compares with `problem.answer`."""
        if problem.answer is None:
            return NO_REFERENCE
        right = {self.normalised(text) for text in (problem.answer, *self.or_else)}
        marked = marked_answer(answer) if self.final else None
        if self.normalised(answer) in right or (marked is not None and self.normalised(marked) in right):
            return passed("equal")
        return failed(f"{excerpt(answer if marked is None else marked)} is not {excerpt(problem.answer)}")

    def normalised(self, text: str) -> str:
        """Returns what is compared."""
        text = unicodedata.normalize("NFC", text)
        if self.ignore_case:
            text = text.casefold()
        if self.ignore_punctuation:
            text = _GROUPED.sub("", text.translate(_DASHES))
            kept = "".join(
                char
                for index, char in enumerate(text)
                if not unicodedata.category(char).startswith("P") or _in_number(text, index)
            )
            # An answer of punctuation alone is compared as it is.
            text = kept if kept.strip() else text
        if self.ignore_articles:
            text = _ARTICLES.sub(" ", text)
        return " ".join(text.split()) if self.ignore_white_space else text
