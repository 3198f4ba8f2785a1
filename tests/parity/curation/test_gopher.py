"""Our Gopher rules against datatrove's, given the same words: same verdict, same reason.

On purpose different, and so kept apart here: datatrove cuts words with a tokenizer, we at white space; datatrove counts
as symbols a list of punctuation, we whatever has no letter or digit; and it joins an n-gram's words without a space
when it looks for repeated ones, so that "a bc" repeats "ab c".
"""

import json
import random

import pyarrow as pa
import pytest

from real_data import FOLDER, MISSING
from tilth.curation import rules
from tilth.curation.config import CurationConfig

pytest.importorskip("datatrove", reason="the peer is not installed")
from datatrove.data import Document as TroveDocument
from datatrove.pipeline.filters import gopher_quality_filter, gopher_repetition_filter
from datatrove.utils.text import PUNCTUATION_SET

QUALITY = {
    "too_few_words": "gopher_short_doc",
    "too_many_words": "gopher_long_doc",
    "short_words": "gopher_below_avg_threshold",
    "long_words": "gopher_above_avg_threshold",
    "too_many_hashes": "gopher_too_many_hashes",
    "too_many_ellipses": "gopher_too_many_ellipsis",
    "too_many_bullets": "gopher_too_many_bullets",
    "too_many_ellipsis_lines": "gopher_too_many_end_ellipsis",
    "too_few_alphabetic_words": "gopher_below_alpha_threshold",
    "too_few_stop_words": "gopher_enough_stop_words",
}
REPETITION = {
    "duplicate_paragraphs": "dup_para_frac",
    "duplicate_paragraph_characters": "dup_para_char_frac",
    "duplicate_lines": "dup_line_frac",
    "duplicate_line_characters": "dup_line_char_frac",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicate_{n}_grams": f"duplicated_{n}_n_grams" for n in range(5, 11)},
}
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "soil",
    "water",
    "rivers",
    "in",
    "we",
    "know",
    "that",
    "12",
    "x",
    "#",
    "...",
    "...",
    "-",
    "morning",
    "incomprehensibilities",
    "have…",
    "day",
]


@pytest.fixture(autouse=True)
def same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gopher_quality_filter, gopher_repetition_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language: text.split())


def verdict(outcome: bool | tuple[bool, str]) -> str | None:
    return outcome[1] if isinstance(outcome, tuple) else None


def compare(texts: list[str]) -> dict[str | None, int]:
    """Holds both verdicts against each other on each text, and returns how often each of theirs came."""
    quality = gopher_quality_filter.GopherQualityFilter()
    repetition = gopher_repetition_filter.GopherRepetitionFilter()
    seen: dict[str | None, int] = {}
    for text in texts:
        document = TroveDocument(text=text, id="x")
        for fault, names, theirs in (
            (rules.quality(text, "en", CurationConfig()), QUALITY, verdict(quality.filter(document))),
            (rules.repetition(text), REPETITION, verdict(repetition.filter(document))),
        ):
            assert (names[fault.reason] if fault else None) == theirs, text
            seen[theirs] = seen.get(theirs, 0) + 1
    return seen


def generated(rng: random.Random) -> str:
    """A text with a random amount of each vice."""
    vocabulary = rng.sample(WORDS, rng.randint(2, len(WORDS))) + [
        f"w{n}" for n in range(rng.choice([0, 10, 100, 1000]))
    ]
    lines = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 30))) for _ in range(rng.randint(1, 15))]
    start, end = rng.choice(["", "", "", "- "]), rng.choice(["", "", "", " ...", "…"])
    lines = [start + line + end for line in lines]
    for _ in range(rng.choice([0, 0, 1, 5])):
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return rng.choice(["\n", "\n\n"]).join(lines)


def test_generated_texts() -> None:
    rng = random.Random(0)
    seen = compare([generated(rng) for _ in range(4000)])
    assert set(seen) >= {*QUALITY.values(), *REPETITION.values(), None} - {
        "gopher_long_doc",
        "gopher_below_avg_threshold",
        "gopher_above_avg_threshold",
        "duplicated_6_n_grams",
        "duplicated_7_n_grams",
        "duplicated_8_n_grams",
        "duplicated_9_n_grams",
        "duplicated_10_n_grams",
    }


def test_one_repeated_stretch_of_every_length() -> None:
    texts = []
    for length in range(2, 30):
        for times in range(2, 12):
            for fill in (10, 30, 100, 300):
                rng = random.Random(length * 1000 + times)
                stretch = [f"w{rng.randrange(10**6)}" for _ in range(length)]
                words = [f"v{rng.randrange(10**6)}" for _ in range(fill)]
                for _ in range(times):
                    position = rng.randrange(len(words))
                    words[position:position] = stretch
                texts.append(" ".join(words))
    seen = compare(texts)
    assert sum(reason in seen for reason in REPETITION.values()) >= 6


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.exists(), reason=MISSING)
@pytest.mark.parametrize(
    "name",
    ["docs_text/python311_docs_rst.jsonl.zst", "web_domain_samples/redpajama-c4-refined.jsonl.zst"],
)
def test_real_texts(name: str) -> None:
    stream = pa.CompressedInputStream(pa.OSFile(str(FOLDER / name)), "zstd")
    texts = [plain(json.loads(line)["text"]) for line in stream.read().decode().splitlines()]
    compare([text for text in texts[:200] if text])


def plain(text: str) -> str:
    """Leaves out what only one of us counts as a symbol, such as © or a bullet that stands alone."""
    return "".join(c for c in text if c.isalnum() or c.isspace() or c in PUNCTUATION_SET).strip()
