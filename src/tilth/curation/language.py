"""Which language a text is in: py3langid, naive Bayes over byte n-grams, 2 MB, no download.

Measured on 29 languages of Tatoeba (single sentences, 32 characters; eight joined, 260) and on the Declaration of
Human Rights in pieces of 1,000 characters, beside resiliparse's `detect_fast` (one CPU core): accuracy .967 / 1.000 /
.987 against .255 / .924 / .961. It costs 0.1 to 0.3 ms a text, resiliparse 0.004; at reading speed that is little,
and a wrong language costs a document. Both sets may have been in its training data: take the figures as an upper
bound.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import pyarrow as pa
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tilth.curation.ledger import Drop, Outcome, operate
from tilth.types import Document

SAMPLE_CHARACTERS = 1000
"""Characters that are looked at, at the beginning and again in the middle of a long text."""


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identify(text: str) -> tuple[str, float]:
    """Returns the ISO 639-1 code of the text's main language and the model's confidence in 0..1.

    `zxx` stands for a text without language (numbers, markup), ISO 639-3 codes for languages without a short one.
    """
    if len(text) > 2 * SAMPLE_CHARACTERS:
        middle = len(text) // 2
        text = text[:SAMPLE_CHARACTERS] + "\n" + text[middle : middle + SAMPLE_CHARACTERS]
    code, score = _identifier().classify(text)
    return str(code), float(score)


def identify_batch(batch: pa.RecordBatch, languages: tuple[str, ...] | None) -> Outcome:
    """Sets `language` and keeps documents in one of `languages` (None or empty: all); source code passes untouched.

    Drops: `other_language`, with code and confidence as detail.
    """

    def judge(row: Mapping[str, object]) -> Document | Drop:
        document = Document.from_row(row)
        if document.meta.get("kind") == "code":
            return document
        code, score = identify(document.text)
        if languages and code not in languages:
            return Drop("other_language", f"{code} ({score:.2f})")
        return Document(
            id=document.id,
            text=document.text,
            source=document.source,
            url=document.url,
            language=code,
            meta=document.meta,
        )

    return operate("language", judge, batch)
