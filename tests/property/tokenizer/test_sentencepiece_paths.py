"""The fast paths of SentencePiece-style encoding: memories of runs, parts on threads, several tokenizers at a time."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tilth.tokenizer import Tokenizer
from unit.tokenizer import model_files as files

WORDS = [
    "the",
    "cat",
    " in",
    " the",
    " hat",
    "hat.",
    " 1984",
    "\n",
    "漢字",
    "。",
    "éé",
    "не",
    "  ",
    "\u2581the",
    "<s>",
    "q" * 40,
]


def loaded(folder: Path, *more: bytes, **options: bool) -> Tokenizer:
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(files.model([*files.default_pieces(), *more], **options))
    return Tokenizer.load(folder / "tokenizer.model")


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return loaded(tmp_path_factory.mktemp("spm") / "model")


def unremembered(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids that a tokenizer gives which has met no text before."""
    return type(tokenizer)(tokenizer.vocabulary).encode_ordinary(text)


@pytest.mark.parametrize(
    "unit", ["a", " ", "漢", "the cat, ", "\n", "<s>y ", "é", "\U0001f600", "a" * 3000 + " ", "漢 the"]
)
def test_threads_share_one_long_text(unit: str, spm: Tokenizer) -> None:
    text = unit * (1_200_000 // len(unit.encode()))
    options = {"allowed_special": "all"}
    expected = spm.encode_to_numpy(text, **options)
    assert expected.dtype == np.uint16
    assert "<s>" in unit or spm.decode(expected) == text
    np.testing.assert_array_equal(spm.encode_to_numpy(text, threads=3, **options), expected)
    out = np.zeros(len(expected), dtype=np.int64)
    np.testing.assert_array_equal(spm.encode_to_numpy(text, out, threads=3, **options), expected)
    assert spm.encode_batch([text, "a b"], 3, **options) == [expected.tolist(), spm.encode("a b")]


def test_a_long_random_text_in_parts(spm: Tokenizer) -> None:
    rng = random.Random(3)
    text = "".join(rng.choices(WORDS, k=200_000))
    for options in ({"allowed_special": "all"}, {"disallowed_special": ()}):
        expected = spm.encode(text, **options)
        assert spm.encode_to_numpy(text, threads=4, **options).tolist() == expected
        assert list(spm.encode_iterable([text], **options)) == expected


def test_a_memory_that_overflows_stays_right(spm: Tokenizer) -> None:
    rng = random.Random(4)
    letters = "catheinsdo"
    text = " ".join("".join(rng.choices(letters, k=rng.randint(1, 20))) for _ in range(400_000))
    first = spm.encode_to_numpy(text)
    assert spm.decode(first) == text
    np.testing.assert_array_equal(spm.encode_to_numpy(text), first)
    assert spm.encode(text[:3000]) == unremembered(spm, text[:3000])


def test_several_tokenizers_do_not_share_memories(tmp_path: Path) -> None:
    rng = random.Random(5)
    one, other = loaded(tmp_path / "one"), loaded(tmp_path / "other", files.piece("19", 5.0))
    texts = ["".join(rng.choices(WORDS, k=30)) for _ in range(300)]
    expected = [(unremembered(one, text), unremembered(other, text)) for text in texts]
    assert [(one.encode_ordinary(text), other.encode_ordinary(text)) for text in texts] == expected
    assert any(a != b for a, b in expected)


def test_threads_and_forks_share_a_tokenizer(spm: Tokenizer) -> None:
    rng = random.Random(6)
    texts = ["".join(rng.choices(WORDS, k=2000)) for _ in range(40)]
    expected = [unremembered(spm, text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(spm.encode_ordinary, texts)) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_encodes(spm: Tokenizer) -> None:
    expected = spm.encode_ordinary("the cat, 漢字")
    child = os.fork()
    if child == 0:
        os._exit(0 if spm.encode_batch(["the cat, 漢字"] * 4, 2) == [expected] * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
