"""Gate `language`: a sample is in the language of its source, or in one of those that the config names."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tilth.curation.language import identify
from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
from tilth.types import Document, Sample

LEAST_CHARACTERS = 50
"""Shorter texts pass: their language is a guess (`curation.language`: .967 right at 32 characters, all at 260)."""
LEAST_CONFIDENCE = 0.5
"""Below it the language counts as not known, and the sample passes."""
_NO_LANGUAGE = "zxx"
_HEAD = 20_000


@dataclass(frozen=True)
class LanguageGate:
    """Detects languages as curation does (py3langid).

    What cannot be told passes, with the reason as detail: source code (`meta["kind"]` of sample or source is `code`),
    text without a language (numbers, markup), a short text, an uncertain guess, and a source of which the same holds.
    """

    languages: tuple[str, ...] | None
    """ISO 639-1 codes; None: that of the source; empty: all."""
    name: str = "language"

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `other_language`. Measure: the detector's confidence in the sample's language, 0..1."""
        if self.languages == ():
            return Pass(detail="all languages")
        if "code" in (sample.meta.get("kind"), seed.meta.get("kind")):
            return Pass(detail="source code")
        wanted = self.languages if self.languages is not None else _language_of(seed)
        if not wanted:
            return Pass(detail="the source's language is not known")
        known = detect(sample.text)
        if isinstance(known, str):
            return Pass(detail=known)
        code, confidence = known
        if code not in wanted:
            detail = f"{code} ({confidence:.2f}), not {', '.join(wanted)}"
            return Drop("other_language", detail, confidence, LEAST_CONFIDENCE)
        return Pass(measure=confidence, limit=LEAST_CONFIDENCE, detail=code)


def detect(text: str) -> tuple[str, float] | str:
    """Returns language and confidence, or why it is not known."""
    text = text.strip()
    if len(text) < LEAST_CHARACTERS:
        return f"too short to tell ({len(text)} characters)"
    if len(text) > _HEAD:  # the detector reads two pieces of a text
        text = text[: _HEAD // 2] + "\n" + text[len(text) // 2 :][: _HEAD // 2]
    code, confidence = identify(text.encode("utf-8", "replace").decode())
    if code == _NO_LANGUAGE:
        return "no language"
    if confidence < LEAST_CONFIDENCE:
        return f"uncertain: {code} ({confidence:.2f})"
    return code, confidence


def _language_of(seed: Document) -> tuple[str, ...]:
    if seed.language:
        return (seed.language,)
    return _language_of_text(seed.text)


@functools.lru_cache(maxsize=1)  # the samples of a document come one after another
def _language_of_text(text: str) -> tuple[str, ...]:
    known = detect(text)
    return () if isinstance(known, str) else known[:1]
