"""Lesson 1: from characters to bytes to words to byte-pair encoding.

A model reads numbers. This lesson turns text into numbers in four ways, each of which solves a problem of the one
before, and ends with the tokenizer that tilth trains. Run it: `python lessons/01_tokenization.py`.
"""

import itertools
from collections import Counter

from tilth import Tokenizer
from tilth.tokenizer import ByteTokenizer, CharacterTokenizer, WordTokenizer

TEXT = "the cat in the hat sat on the mat; the cat in the hat sat"
FOREIGN = "naïve 猫 🐈"


def characters() -> None:
    """One number a character: short to explain, but which characters are there?"""
    tokenizer = CharacterTokenizer.train([TEXT])
    print(f"characters   {tokenizer.vocab_size:>5} in the vocabulary, {len(tokenizer.encode(TEXT))} tokens")
    # The vocabulary holds the characters of the training text. Unicode has about 150,000 more.
    assert tokenizer.decode(tokenizer.encode("the 猫")) == "the <unk>"


def utf8_bytes() -> None:
    """One number a byte: 256 are enough for every text there is, but the sequence is long."""
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(FOREIGN)
    print(f"bytes          256 in the vocabulary, {len(tokenizer.encode(TEXT))} tokens; {FOREIGN!r} takes {len(ids)}")
    assert tokenizer.decode(ids) == FOREIGN
    assert len(ids) > len(FOREIGN)


def words() -> None:
    """One number a word: short sequences, but a word that was not in the training text is lost."""
    tokenizer = WordTokenizer.train([TEXT], vocab_size=100)
    ids = tokenizer.encode("the cat sat on the sofa")
    print(f"words        {tokenizer.vocab_size:>5} in the vocabulary; {tokenizer.decode(ids)!r}")
    assert tokenizer.decode(ids) == "the cat sat on the <unk>"


def merge(tokens: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """Joins each occurrence of `pair`, from the left."""
    joined: list[bytes] = []
    for token in tokens:
        if joined and (joined[-1], token) == pair:
            joined[-1] += token
        else:
            joined.append(token)
    return joined


def byte_pair_encoding() -> list[tuple[bytes, bytes]]:
    """Start with bytes; repeatedly join the pair of neighbours that occurs most often."""
    # Text is split into words first, each with the space before it, so that no token spans two words.
    pieces = Counter(TEXT.replace(" ", "\0 ").split("\0"))
    split = {piece: [bytes([b]) for b in piece.encode()] for piece in pieces}
    merges: list[tuple[bytes, bytes]] = []
    for step in range(6):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for piece, tokens in split.items():
            for pair in itertools.pairwise(tokens):
                pairs[pair] += pieces[piece]
        # Of equally frequent pairs the greater pair of byte strings is taken.
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        split = {piece: merge(tokens, best) for piece, tokens in split.items()}
        merges.append(best)
        shown = " ".join(token.decode().replace(" ", "_") for token in split[" the"])
        print(f"  merge {step + 1}: {best[0]!r:>6} + {best[1]!r:<6} {pairs[best]:>3} times;  ' the' is now: {shown}")
    return merges


def tilths_tokenizer(merges: list[tuple[bytes, bytes]]) -> None:
    """tilth's trainer does the same in C++; its tokenizer encodes every text."""
    tokenizer = Tokenizer.train([TEXT], vocab_size=256 + len(merges) + 1, pattern="gpt2", tie_break="lexicographic")
    learned = [tokenizer.token_bytes(256 + i) for i in range(len(merges))]
    assert learned == [left + right for left, right in merges]
    ids = tokenizer.encode(TEXT)
    print(f"BPE          {tokenizer.vocab_size:>5} in the vocabulary, {len(ids)} tokens")
    assert len(ids) < len(TEXT)
    assert tokenizer.decode(ids) == TEXT
    # No text is unknown: what no merge covers is encoded as bytes.
    assert tokenizer.decode(tokenizer.encode(FOREIGN)) == FOREIGN


def main() -> None:
    """The lesson, in order."""
    characters()
    utf8_bytes()
    words()
    merges = byte_pair_encoding()
    tilths_tokenizer(merges)


if __name__ == "__main__":
    main()
