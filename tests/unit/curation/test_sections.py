"""Where long text files are cut."""

from collections.abc import Iterator

import pytest

from tilth.curation import sections
from tilth.curation.sections import CHAPTER_BYTES, PARAGRAPH_BYTES, SECTION_BYTES, WHOLE_BYTES, cut


def parts(text: str) -> list[str]:
    return [part.decode() for part in cut(iter(text.encode().split(b"\n")))]


def filler(size: int, word: str = "word") -> str:
    """Lines of text without a heading or a blank line."""
    line = f"{word} and more of the same kind of text in a line"
    return "\n".join([line] * (size // len(line) + 1))


@pytest.mark.parametrize(
    "heading",
    [
        "# Title",
        "CHAPTER IV.",
        "Chapter the second: In which nothing happens",
        "Kapitel 3",
        "Erstes Kapitel",
        "Chapitre 12",
        "Глава 5",
        "第三章 开始",
        "Title\n=====",
        "*****\nTitle\n*****",
        "XIV.",
    ],
)
def test_a_long_text_is_cut_at_each_chapter(heading: str) -> None:
    chapters = [f"{heading}\n\n{filler(WHOLE_BYTES // 3, f'number{n}')}" for n in range(4)]
    assert parts("\n\n".join(chapters)) == [chapter + "\n" * (n < 3) for n, chapter in enumerate(chapters)]


@pytest.mark.parametrize("heading", ["## Part", "3.1 Results of it", "Title\n-----"])
def test_sections_are_joined_until_they_are_of_a_size(heading: str) -> None:
    text = "\n\n".join(f"{heading}\n\n{filler(3000, f'number{n}')}" for n in range(20))
    found = parts(text)
    assert all(part.startswith(heading) for part in found)
    assert all(SECTION_BYTES <= len(part) < SECTION_BYTES + 4000 for part in found[:-1])


@pytest.mark.parametrize(
    "line",
    ["#hashtag", "The chapter was long", "1. an item", "-----", "I", "# in a fence"],
)
def test_other_lines_are_no_headings(line: str) -> None:
    body = filler(WHOLE_BYTES // 2)
    text = f"{body}\n```\n{line}\n```\n{body}" if "fence" in line else f"{body}\n{line}\n{body}"
    assert parts(text) == [text]


def test_without_headings_it_is_cut_between_paragraphs_and_else_between_lines() -> None:
    text = "\n\n".join(filler(5000) for _ in range(40))
    found = parts(text)
    assert len(found) == 4
    assert all(PARAGRAPH_BYTES <= len(part) + 1 < PARAGRAPH_BYTES + 6000 for part in found[:-1])
    assert all(part.endswith("\n") for part in found[:-1])
    assert max(map(len, parts(filler(5 * PARAGRAPH_BYTES)))) <= 2 * PARAGRAPH_BYTES + 100


def test_nothing_is_lost_and_a_short_file_or_end_is_no_part_of_its_own() -> None:
    short = "# A\n\ntext\n\n# B\n\ntext"
    assert parts(short) == [short]
    long = "\n".join(f"# Heading {n}\n\n{filler(6000)}\n" for n in range(12)) + "\n# End\n\nfin"
    found = parts(long)
    assert "\n".join(found) == long
    assert len(found) == 12
    assert min(map(len, found)) >= CHAPTER_BYTES
    assert parts(" \n\n") == []


def test_no_more_is_read_ahead_than_a_part() -> None:
    read = 0

    def lines() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 99

    next(sections.cut(lines()))
    assert 100 * read < 5 * PARAGRAPH_BYTES
