"""Text of many scripts made up from a seed, and the folder of real data where there is one."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from real_data import FOLDER, MISSING

SYLLABLES = {
    "latin": ["ba", "ke", "lo", "mi", "tra", "sten", "gri", "ou", "é", "ü", "ñ", "ing", "tion", "er"],
    "cyrillic": ["ка", "ло", "ми", "стро", "вен", "при", "ая", "ть", "ё"],
    "greek": ["λο", "γος", "και", "το", "ία", "ς", "ώ"],
    "arabic": ["ال", "كتا", "ب", "من", "في", "ية"],
    "devanagari": ["क", "का", "कि", "स्ते", "न", "म", "ः"],
    "han": list("的一是在不了有和人这中大为上个国"),
    "hangul": ["한", "글", "은", "는", "이", "다", "어"],
    "kana": ["の", "に", "は", "を", "た", "カ", "ナ", "ー"],
}
PUNCTUATION = [
    ". ",
    ", ",
    "! ",
    "\n",
    "\n\n",
    "\r\n",
    "  ",
    " - ",
    "... ",
    "\t",
    " \n ",
    "'s ",
    "'LL ",
    "'ſ ",
    "\u3000",
]
ODDITIES = [
    "3.14159",
    "1234567",
    "٣٤٥",
    "½",
    "<|x|>",
    "def f(x):\n    return x\n",
    "👩‍👩‍👧",
    "e\u0301",
    "\u200b",
    "ǅ",
    "ʰ",
]


def make_text(seed: int, n_words: int) -> str:
    rng = random.Random(seed)
    words = [
        "".join(rng.choices(syllables, k=rng.randint(1, 4))) for syllables in SYLLABLES.values() for _ in range(120)
    ]
    rng.shuffle(words)
    weights = [1 / (rank + 1) for rank in range(len(words))]
    parts: list[str] = []
    for word in rng.choices(words, weights, k=n_words):
        parts += [word, " " if rng.random() < 0.8 else rng.choice(PUNCTUATION)]
        if rng.random() < 0.03:
            parts.append(rng.choice(ODDITIES))
    return "".join(parts)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Documents that a tokenizer is trained on."""
    return [make_text(seed, 1500) for seed in range(8)]


@pytest.fixture(scope="session")
def unseen_texts() -> list[str]:
    """Documents that it was not trained on, and awkward ones."""
    awkward = [
        "",
        " ",
        "\n",
        "a",
        "'",
        "'s",
        " 's",
        "x  \n  ",
        "\n ",
        " \t",
        "a" * 500,
        "ab" * 300,
        " " * 200,
        "\ufeffé",
    ]
    return [make_text(seed, 500) for seed in range(100, 104)] + awkward


class RealData:
    """Files of the folder that TILTH_TEST_DATA names (default: `shared/data` beside the repository)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes:
        path = self.folder / name
        if not path.exists():
            pytest.skip(MISSING)
        with pa.input_stream(str(path)) as stream:
            return stream.read()


@pytest.fixture(scope="session")
def real_data() -> RealData:
    return RealData(FOLDER)


TEXT_FILES = (".jsonl.zst", ".jsonl.gz", ".txt.zst", ".csv.zst", ".html", ".tar.zst", ".tar", ".warc.gz", ".wet.gz")
MAX_BYTES_OF_A_FILE = 6_000_000
DOCUMENT_CHARACTERS = 60_000


@pytest.fixture(scope="session")
def all_texts(real_data: RealData) -> list[str]:
    """The text of every file of the data folder, up to 6 MB of each: all languages, code, HTML, and binary debris."""
    files = sorted(path for path in real_data.folder.rglob("*") if path.name.endswith(TEXT_FILES))
    files = [path for path in files if path.parent.name != "vocabs"]
    if not files:
        pytest.skip(MISSING)
    found: list[str] = []
    for path in files:
        with pa.input_stream(str(path)) as stream:
            text = stream.read(MAX_BYTES_OF_A_FILE).decode("utf-8", "replace")
        # Cut by characters, wherever that is: a document may begin and end with anything.
        found += [text[i : i + DOCUMENT_CHARACTERS] for i in range(0, len(text), DOCUMENT_CHARACTERS)]
    return found
