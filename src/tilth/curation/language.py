"""Which language a text is in: py3langid, naive Bayes over byte n-grams, 2 MB, no download.

Measured on 29 languages of Tatoeba (single sentences, 32 characters; eight joined, 260) and on the Declaration of
Human Rights in pieces of 1,000 characters, beside resiliparse's `detect_fast` (one CPU core): accuracy .967 / 1.000 /
.987 against .255 / .924 / .961. It costs 0.1 to 0.3 ms a text, resiliparse 0.004; at reading speed that is little,
and a wrong language costs a document. Both sets may have been in its training data: take the figures as an upper
bound.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tilth.curation.config import CurationConfig
from tilth.curation.operators import Drop, Operator, Row, judge, kind
from tilth.curation.result import LanguageChoice

MAIN_SHARE = 0.1
"""A language is a main one of a corpus if its text has at least this share of the bytes of the most frequent one."""
SAMPLE_CHARACTERS = 1000
"""Characters that are looked at, at the beginning and again in the middle of a long text."""


_HELD_WORDS = 1 << 16
"""Words, with the state that they begin in, whose way through the automaton is held; of as many more, those that came
before: about 45 MB in all."""
_LONGEST_HELD = 32


class _Identifier(LanguageIdentifier):
    """py3langid's, with its walk through the automaton held word by word: the same scores at half the time.

    Checked against: tests/parity/curation/test_language.py.
    """

    __slots__ = ("_before", "_known")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Held as float16; each product with it would make it float32 again.
        self.nb_ptc = self.nb_ptc.astype(np.float32)
        self._full_model = self.nb_ptc, self.nb_pc, self.nb_classes
        self._known: dict[tuple[int, bytes], tuple[int, tuple[int, ...]]] = {}
        self._before = self._known

    def _raw_score(self, text: bytes) -> Any:
        visited = Counter(self._features(text))
        if visited:
            return self._sparse_score(visited, self.nb_ptc)
        return np.zeros(len(self.nb_classes), np.float32)  # as the library, with `norm_probs`

    def _features(self, text: bytes) -> list[int]:
        """Returns the features of a text, in its order: of each word, begun in the state that the last one ended in."""
        state, features = 0, list[int]()
        known = self._known
        *words, last = text.split(b" ")
        for word in words:
            found = known.get((state, word))
            if found is None:
                found = self._before.get((state, word)) or self._walk(state, word + b" ")
                if len(word) <= _LONGEST_HELD:
                    if len(known) >= _HELD_WORDS:  # frequent words are taken over before the others go
                        self._before, self._known = known, {}
                        known = self._known
                    known[state, word] = found
            state = found[0]
            features += found[1]
        features += self._walk(state, last)[1]
        return features

    def _walk(self, state: int, word: bytes) -> tuple[int, tuple[int, ...]]:
        moves, rows, output = self.tk_nextmove, self._rowbase, self.tk_output
        features: list[int] = []
        for letter in word:
            state = moves[rows[state] + letter]
            if output[state] >= 0:
                features.append(output[state])
        return state, tuple(features)


@functools.cache
def _identifier() -> LanguageIdentifier:
    # Of another version, the automaton may be held otherwise.
    kind = _Identifier if version("py3langid").startswith("0.4.") else LanguageIdentifier
    return kind.from_model_file(MODEL_FILE, norm_probs=True)


def identify(text: str) -> tuple[str, float]:
    """Returns the ISO 639-1 code of the text's main language and the model's confidence in 0..1.

    `zxx` stands for a text without language (numbers, markup), ISO 639-3 codes for languages without a short one.
    """
    if len(text) > 2 * SAMPLE_CHARACTERS:
        middle = len(text) // 2
        text = text[:SAMPLE_CHARACTERS] + "\n" + text[middle : middle + SAMPLE_CHARACTERS]
    code, score = _identifier().classify(text)
    return str(code), float(score)


def choose_languages(sizes: Mapping[str, int]) -> LanguageChoice:
    """Returns the main languages of a corpus, given the bytes of text in each."""
    total = sum(sizes.values())
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return LanguageChoice(
        kept=tuple(code for code, size in ordered if size >= MAIN_SHARE * ordered[0][1]),
        shares={code: size / total for code, size in ordered},
    )


def operator(config: CurationConfig) -> Operator:
    """Sets `language` and keeps documents in one of `config.languages` (None or empty: all); source code passes.

    With `auto` it keeps all: what is not in a main language is dropped when all documents are known.
    Drops: `other_language`, with code and confidence as detail.
    """
    wanted = () if config.detects_languages else config.languages or ()

    def keep(row: Row) -> Row | Drop | None:
        if kind(row) == "code":
            return None
        code, score = identify(str(row["text"]))
        if wanted and code not in wanted:
            return Drop("other_language", f"{code} ({score:.2f}), not {', '.join(wanted)}")
        return dict(row) | {"language": code}

    return judge("language", keep)
