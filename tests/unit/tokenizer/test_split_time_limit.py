"""A split pattern that backtracks ends in an error that names it and the text, wherever a user's pattern runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import regex

from tilth.errors import ConfigError
from tilth.tokenizer import Tokenizer, TokenizerConfig, split
from tilth.tokenizer.counting import count_pieces, count_to_file
from tilth.tokenizer.split import Splitter

SLOW = r"(a|aa)+$|b|c"
"""Needs time that doubles with each `a`, where no end of the text follows them."""
TEXT = "bcé" + 60 * "a" + "b"
CONFIG = TokenizerConfig(vocab_size=300, pattern=SLOW)


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "TIME_LIMIT_SECONDS", 0.1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["bcaa"], vocab_size=257, pattern=SLOW)


USES: dict[str, Callable[[Tokenizer, Path], object]] = {
    "encode": lambda tokenizer, _: tokenizer.encode(TEXT),
    "encode_to_numpy": lambda tokenizer, _: tokenizer.encode_to_numpy(TEXT),
    "encode_batch": lambda tokenizer, _: tokenizer.encode_batch(["bc", TEXT], 2),
    "encode_iterable": lambda tokenizer, _: list(tokenizer.encode_iterable([TEXT[:20], TEXT[20:]])),
    "encode_with_dropout": lambda tokenizer, _: tokenizer.encode_with_dropout(TEXT, 0.1, seed=1),
    "offsets": lambda tokenizer, _: tokenizer.offsets(TEXT),
    "count": lambda tokenizer, _: tokenizer.count(TEXT, 5),
    "train": lambda _, __: Tokenizer.train(["bc", TEXT], vocab_size=300, pattern=SLOW),
    "extend": lambda tokenizer, _: Tokenizer.train([TEXT], vocab_size=300, extend=tokenizer),
    "count_pieces": lambda _, __: count_pieces([TEXT], CONFIG),
    "count_to_file": lambda _, folder: count_to_file([TEXT], CONFIG, folder / "counts"),
}


@pytest.mark.parametrize("use", USES)
def test_a_pattern_that_backtracks_is_stopped(use: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        USES[use](tokenizer, tmp_path)
    message = str(caught.value)
    # Byte 2: "b" and "c" match, and no match begins at "é".
    assert repr(SLOW) in message and "byte 2 of 65" in message and "'éaaaa" in message
    assert "nested" in message


def test_files_written_and_read_keep_the_limit(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    with pytest.raises(ConfigError, match="byte 2 of 65"):
        Tokenizer.load(tmp_path).encode(TEXT)


def test_the_limit_grows_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "TIME_LIMIT_SECONDS", 0.0)
    text = b"word " * 20_000
    assert len(Splitter(r"\w+|\s").pieces(text)) == 40_000
    monkeypatch.setattr(split, "TIME_LIMIT_SECONDS_PER_MEGABYTE", 1e-3)
    with pytest.raises(ConfigError, match="was stopped"):
        Splitter(r"\w+|\s").pieces(text)


class Interrupted:
    """A regex whose time is over after every third match, as where other threads use up the time of the process."""

    def __init__(self, pattern: str) -> None:
        self._regex = regex.compile(pattern)
        self.n_interruptions = 0

    def finditer(self, text: str, start: int, timeout: float) -> Iterator[Any]:
        for i, match in enumerate(self._regex.finditer(text, start, timeout=timeout)):
            if i == 3:
                self.n_interruptions += 1
                raise TimeoutError
            yield match


@pytest.mark.parametrize("pattern", [r"\w+|\s", r"(?<=o)\w|\b", r"l*|o", r"^\w|(?<!\w)\w+|$", r"\Gh|\w\W"])
def test_an_interruption_by_other_threads_changes_no_piece(pattern: str) -> None:
    text = "hello world, a line\nof wörds and nöne ".encode() * 3
    splitter = Splitter(pattern)
    expected = splitter.pieces(text)
    interrupted: Any = Interrupted(pattern)
    splitter._regex = interrupted  # pyright: ignore[reportPrivateUsage]
    assert splitter.pieces(text) == expected
    assert interrupted.n_interruptions > 3
