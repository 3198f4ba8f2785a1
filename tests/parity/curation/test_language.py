"""Languages are told as py3langid tells them, bit by bit, although its automaton is walked word by word."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tilth.curation import language

PIECES = (
    "The air is thinner on a mountain, and water boils at a lower temperature there. ",
    "Die Luft ist auf einem Berg dünner, und Wasser siedet dort bei geringerer Temperatur. ",
    "В горах воздух разрежен, и вода кипит при более низкой температуре. ",
    "山の上では空気が薄く、水はより低い温度で沸騰します。",
    "הוא הלך לבית הספר בבוקר. ",
    "x" * 50 + " for (int i = 0; i < n; i++) { sum += a[i]; }\n\t",
    "ALL OF THIS IS WRITTEN IN CAPITALS ",
)


def test_scores_are_those_of_the_library() -> None:
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    ours = language._identifier()
    rng = np.random.default_rng(0)
    texts = ["", " ", "a", " a", "a ", "  ", "12 3", "\x00 \n", *PIECES]
    texts += [
        "".join(str(rng.choice(PIECES))[: int(rng.integers(1, 90))] for _ in range(int(rng.integers(1, 12))))
        for _ in range(300)
    ]
    for text in [*texts, *texts[:50]]:
        assert np.array_equal(ours._decide(text), library._decide(text)), text
        assert ours.classify(text) == library.classify(text)


def test_no_more_words_are_held_than_may_be() -> None:
    ours = language._Identifier.from_model_file(MODEL_FILE, norm_probs=True)
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    for start in range(0, 80_000, 4000):
        text = " ".join(f"w{n}" for n in range(start, start + 4000))
        assert np.array_equal(ours._decide(text), library._decide(text))
        assert len(ours._known) <= 1 << 16
