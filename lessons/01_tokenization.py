"""Lesson 1: from characters to bytes to words to byte-pair encoding.

A model reads numbers. This lesson turns text into numbers in four ways, each mending what was wrong with the one
before, and ends with the tokenizer that tilth trains. Run it: `python lessons/01_tokenization.py`.
"""

import itertools
from collections import Counter

from tilth import Tokenizer

TEXT = "the cat in the hat sat on the mat; the cat in the hat sat"
FOREIGN = "naïve 猫 🐈"


def characters() -> None:
    """One number a character: short to explain, but which characters are there?"""
    vocabulary = {character: i for i, character in enumerate(sorted(set(TEXT)))}
    ids = [vocabulary[character] for character in TEXT]
    print(f"characters   {len(vocabulary):>5} in the vocabulary, {len(ids)} tokens")
    # The vocabulary is whatever stood in the training text. Unicode has about 150,000 characters more.
    assert "猫" not in vocabulary


def utf8_bytes() -> None:
    """One number a byte: 256 are enough for every text there is, but the sequence is long."""
    ids = list(FOREIGN.encode("utf-8"))
    print(f"bytes          256 in the vocabulary, {len(TEXT.encode())} tokens; {FOREIGN!r} takes {len(ids)}")
    assert bytes(ids).decode("utf-8") == FOREIGN
    assert len(ids) > len(FOREIGN)


def words() -> None:
    """One number a word: short sequences, but a word that was not seen before is lost."""
    vocabulary = {"<unk>": 0} | {word: i + 1 for i, word in enumerate(sorted(set(TEXT.split())))}
    ids = [vocabulary.get(word, 0) for word in ["the", "cat", "sat", "on", "the", "sofa"]]
    print(f"words        {len(vocabulary):>5} in the vocabulary; 'sofa' becomes {ids[-1]}, which is <unk>")
    assert ids[-1] == vocabulary["<unk>"]


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
    """Begin with bytes; again and again, join the pair of neighbours that occurs most often."""
    # Words are cut first, each with the space before it, so that no token reaches across two words.
    pieces = Counter(TEXT.replace(" ", "\0 ").split("\0"))
    split = {piece: [bytes([b]) for b in piece.encode()] for piece in pieces}
    merges: list[tuple[bytes, bytes]] = []
    for step in range(6):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for piece, tokens in split.items():
            for pair in itertools.pairwise(tokens):
                pairs[pair] += pieces[piece]
        # Where two pairs are as frequent, something has to decide: here, the greater pair of byte strings.
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        split = {piece: merge(tokens, best) for piece, tokens in split.items()}
        merges.append(best)
        shown = " ".join(token.decode().replace(" ", "_") for token in split[" the"])
        print(f"  merge {step + 1}: {best[0]!r:>6} + {best[1]!r:<6} {pairs[best]:>3} times;  ' the' is now: {shown}")
    return merges


def the_real_one(merges: list[tuple[bytes, bytes]]) -> None:
    """tilth's trainer does the same in C++, and what it learns works on every text."""
    tokenizer = Tokenizer.train([TEXT], vocab_size=256 + len(merges) + 1, pattern="gpt2", tie_break="lexicographic")
    learned = [tokenizer.token_bytes(256 + i) for i in range(len(merges))]
    assert learned == [left + right for left, right in merges]
    ids = tokenizer.encode(TEXT)
    print(f"BPE          {tokenizer.vocab_size:>5} in the vocabulary, {len(ids)} tokens")
    assert len(ids) < len(TEXT)
    assert tokenizer.decode(ids) == TEXT
    # Nothing is ever unknown: what no merge covers falls back to bytes.
    assert tokenizer.decode(tokenizer.encode(FOREIGN)) == FOREIGN


def main() -> None:
    """The lesson, in order."""
    characters()
    utf8_bytes()
    words()
    merges = byte_pair_encoding()
    the_real_one(merges)


if __name__ == "__main__":
    main()
