"""Passages are slices of the document, with their bytes."""

from tilth.synthesis import passages
from tilth.synthesis.passages import first_characters, join_lines, split_passages
from tilth.synthesis.post import estimate_tokens


def test_paragraphs_are_joined_while_they_fit() -> None:
    text = "Ä one.\n\nTwo two.\n\n" + "long " * 30 + "\n\nEnd."
    found = split_passages(text, max_tokens=10)
    assert found[0].text == "Ä one.\n\nTwo two."
    assert found[0].span == (0, 17)
    assert found[-1].text.endswith("End.")
    assert all(estimate_tokens(passage.text) <= 10 for passage in found)
    assert all(text.encode()[slice(*passage.span)].decode() == passage.text for passage in found)


def test_a_long_paragraph_is_split_at_sentences() -> None:
    found = split_passages("One two three four. Five six seven eight. Nine ten.", max_tokens=6)
    assert [passage.text for passage in found] == ["One two three four.", "Five six seven eight.", "Nine ten."]


def test_short_passages_are_left_out() -> None:
    text = "word " * 40 + "\n\n" + "short.\n\n" + "word " * 40
    assert [len(passage.text.split()) for passage in split_passages(text, max_tokens=52, min_tokens=20)] == [40, 40]


def test_lines_beyond_the_limit_are_left_out_and_not_bridged() -> None:
    text = "a b\nc d\n" + "x " * 50 + "\ne f\n"
    assert [passage.text for passage in join_lines(text, max_tokens=20)] == ["a b\nc d", "e f"]
    assert [passage.text for passage in join_lines(text, max_tokens=20, min_tokens=5)] == ["a b\nc d"]
    assert [passage.text for passage in join_lines("a b\nc d\ne f", max_tokens=6)] == ["a b\nc d", "e f"]


def test_the_beginning_ends_with_a_sentence_or_a_word() -> None:
    assert first_characters("Short.", 1000).text == "Short."
    text = "One sentence here. Another sentence here. And a third that is cut."
    assert first_characters(text, 50).text == "One sentence here. Another sentence here."
    assert first_characters("One. " + "word " * 20, 30).text == "One. word word word word word"
    assert first_characters("x" * 50, 30).text == "x" * 30
    assert first_characters("  ä. " + "b" * 10, 4).span == (2, 5)
    assert first_characters("   ", 10).text == ""


def test_words_and_bytes_are_counted_as_characters_say() -> None:
    text = "ab é中\u3000\u3001\n\t\x85\u2028\xa0\u200b\ud800😀 .!? x" * 3
    tokens = passages._Tokens(text)  # pyright: ignore[reportPrivateUsage]
    assert tokens.n_bytes == [len(text[:end].encode("utf-8", "surrogatepass")) for end in range(len(text) + 1)]
    # A word counts where it begins; `str.split` parts words at the same characters.
    assert tokens.n_words == [len(text[:end].split()) for end in range(len(text) + 1)]
