"""The text of each arm of a value measurement, drawn so that nothing but the text differs between them.

Documents are taken in the order of a hash of their text and the seed: neither the order in a folder nor the name of the
arm matters, and two arms of equal text get equal tokens. The trade-off: only as much as a learner reads is held in
memory, so a large dataset is a sample of itself, another one for each seed.

What is in the source must not pass for something new. A learner first reads those documents of the source that the
dataset was made of, as far as they fit; a document of the dataset that was made of other documents of the source (those
set aside as fresh text, or never read) is left out.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilth.assay.config import ValueConfig
from tilth.assay.text import lineage_entries
from tilth.errors import DataError
from tilth.storage import Dataset

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

ARMS: dict[str, str] = {
    "dataset": "The dataset itself.",
    "fresh": "Real text that the learner has not seen.",
    "repeat": "The source text that the learner has seen, again.",
    "word_salad": "The words of that text in random order.",
    "noise": "Random characters, as frequent as in that text.",
}
"""Arms that always run, and what a learner reads in them beside the replayed source text."""
LONGER = "longer"
"""The arm that trains on with text seen before for as many FLOPs as the dataset took; runs if those are known."""
MOST_BYTES_A_TOKEN = 8
"""Text that is held for each token that a learner reads; of a tokenizer that packs more, text is repeated."""
TOKENIZER_BYTES = 2_000_000
"""Text of the source that a tokenizer is trained on, where none is given."""
NOISE_DOCUMENT = 2000
"""Characters in a document of noise."""
_SPACE = re.compile(r"(\s+)")

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Text:
    """A document, as far as a value measurement looks at it."""

    id: str
    text: str
    made_of: frozenset[str] = frozenset()
    """Ids of the documents that its lineage names."""

    @property
    def own_names(self) -> frozenset[str]:
        """Under which it may be in another dataset."""
        return frozenset((self.id, digest(self.text).hex()))

    @property
    def names(self) -> frozenset[str]:
        """All under which it, or what it was made of, may be in the source."""
        return self.made_of | self.own_names


def digest(text: str, *key: object) -> bytes:
    """Returns 128 bits that follow from a text and a key."""
    head = "\0".join(map(str, key)) + "\0"
    return hashlib.sha256((head + text).encode("utf-8", "surrogatepass")).digest()[:16]


def read_texts(dataset: Dataset) -> Iterator[Text]:
    """Yields the documents that hold text, with the ids that their lineage names."""
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard):
            lineages: list[Any] = (
                batch.column("lineage").to_pylist() if "lineage" in batch.schema.names else [None] * batch.num_rows
            )
            rows = zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), lineages, strict=True)
            for name, text, lineage in rows:
                if str(text).strip():
                    yield Text(str(name), str(text), _made_of(lineage))


def _made_of(lineage: object) -> frozenset[str]:
    entries = lineage_entries(str(lineage)) if lineage else []
    named = (entry.get(key) for entry in entries for key in ("source_id", "part_of"))
    return frozenset(name for name in named if isinstance(name, str))


class Draw:
    """Keeps the documents with the smallest keys until they hold `most_bytes`, and one more."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._heap: list[tuple[int, str, Text]] = []

    def offer(self, text: Text, key: bytes) -> None:
        """Takes a document, unless documents with smaller keys are enough."""
        heapq.heappush(self._heap, (-int.from_bytes(key), text.id, text))
        self._bytes += len(text.text)
        while self._bytes - len(self._heap[0][2].text) >= self._most_bytes:
            self._bytes -= len(heapq.heappop(self._heap)[2].text)

    def texts(self) -> list[Text]:
        """Returns the documents in the order of their keys."""
        return [text for _, _, text in sorted(self._heap, key=lambda entry: (-entry[0], entry[1]))]


@dataclass(frozen=True, kw_only=True)
class SeedTexts:
    """The documents that the arms of one seed are made of."""

    seed: int
    before: tuple[Text, ...]
    """Of the source, in the order in which the learner reads them first."""
    fresh: tuple[Text, ...]
    dataset: tuple[Text, ...]
    left_out: int
    """Documents of the dataset that were made of source text which the learner has not read."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """All that is drawn from the datasets."""

    held_out: tuple[Text, ...]
    """Cut, see `held_out_texts`."""
    seeds: tuple[SeedTexts, ...]
    set_aside: float
    """Share of the source that was kept as fresh text; 0 where fresh text was given."""
    tokenizer: Tokenizer


def draw_texts(
    dataset: Dataset,
    *,
    source: Dataset,
    held_out: Dataset,
    fresh: Dataset | None,
    config: ValueConfig,
    tokenizer: Tokenizer | None,
    whole_source: Dataset | None = None,
) -> Texts:
    """Draws the documents of all arms and seeds. Documents that are in the held-out text are left out of all.

    Without a tokenizer, one is trained on the source (but for what is set aside). `whole_source`: what the source is a
    part of; documents of the dataset that were made of the rest are left out.
    Cost: each dataset is read once or twice, the dataset itself once more for each seed. In memory: the text that is
    read, and the names of the dataset's, the held-out and the fresh documents.
    Raises: DataError if the held-out set or the source has no text.
    """
    hidden = {digest(text.text) for text in read_texts(held_out)}
    measured = held_out_texts(held_out, config)
    share = 0.0 if fresh is not None else set_aside_share(source, config)
    named = {name for text in read_texts(dataset) for name in text.names}
    # Of the source, the names that anybody asks for: it may be far larger than what is read of it.
    asked = named | {name for text in (read_texts(fresh) if fresh is not None else ()) for name in text.own_names}
    known: set[str] = set()
    before = [Draw(config.before_tokens * MOST_BYTES_A_TOKEN) for _ in config.seeds]
    aside = [Draw(config.arm_tokens * MOST_BYTES_A_TOKEN) for _ in config.seeds]
    sample = Draw(TOKENIZER_BYTES)
    for text in read_texts(source):
        if digest(text.text) in hidden:
            continue
        own = text.own_names
        known |= own & asked
        if digest(text.text, "aside") < _fraction(share):
            _offer(text, aside, config.seeds)
            continue
        sample.offer(text, digest(text.text, "tokenizer"))
        for seed, draw in zip(config.seeds, before, strict=True):
            # Those that the dataset names come first: bytes compare from the left.
            draw.offer(text, bytes([own.isdisjoint(named)]) + digest(text.text, "before", seed))
    for text in read_texts(fresh) if fresh is not None else ():
        if digest(text.text) not in hidden and known.isdisjoint(text.own_names):
            _offer(text, aside, config.seeds)
    for text in read_texts(whole_source) if whole_source is not None else ():
        known |= text.own_names & named
    if not sample.texts():
        raise DataError("The source holds no text that is not held out.", fix="Give a source with more documents.")
    tokenizer = tokenizer or _trained(sample.texts(), config)
    seeds: list[SeedTexts] = []
    for seed, seen, unseen in zip(config.seeds, before, aside, strict=True):
        read = read_before(seen.texts(), tokenizer, config)
        allowed, left_out = _dataset_texts(dataset, seed, read, known, hidden, config)
        seeds.append(
            SeedTexts(seed=seed, before=tuple(read), fresh=tuple(unseen.texts()), dataset=allowed, left_out=left_out)
        )
    return Texts(held_out=tuple(measured), seeds=tuple(seeds), set_aside=share, tokenizer=tokenizer)


def _offer(text: Text, draws: Iterable[Draw], seeds: Iterable[int]) -> None:
    for seed, draw in zip(seeds, draws, strict=True):
        draw.offer(text, arm_key(text, seed))


def _trained(texts: Iterable[Text], config: ValueConfig) -> Tokenizer:
    from tilth.tokenizer import Tokenizer

    return Tokenizer.train((text.text for text in texts), vocab_size=config.vocab_size)


def arm_key(text: Text, seed: int) -> bytes:
    """Returns where a document comes in the order of an arm's text."""
    return digest(text.text, "arm", seed)


def _fraction(share: float) -> bytes:
    """Returns the 128 bits below which that share of all hashes is."""
    return min(int(share * 2**128), 2**128 - 1).to_bytes(16)


def set_aside_share(source: Dataset, config: ValueConfig) -> float:
    """Returns the share of the source to keep as fresh text: what an arm reads, and a quarter more.

    Of a source that is too small for both, as large a part as the arm's share of the tokens.
    """
    most = config.arm_tokens / (config.arm_tokens + config.before_tokens)
    return min(most, 1.25 * config.arm_tokens * MOST_BYTES_A_TOKEN / 2 / max(1, source.n_bytes))


def _dataset_texts(
    dataset: Dataset,
    seed: int,
    before: Sequence[Text],
    known: Collection[str],
    hidden: Collection[bytes],
    config: ValueConfig,
) -> tuple[tuple[Text, ...], int]:
    """Returns the documents of the dataset that tell nothing of source text that was not read; and how many do."""
    read = {name for text in before for name in text.own_names}
    draw, left_out = Draw(config.arm_tokens * MOST_BYTES_A_TOKEN), 0
    for text in read_texts(dataset):
        if digest(text.text) in hidden or any(name in known and name not in read for name in text.names):
            left_out += 1
        else:
            draw.offer(text, arm_key(text, seed))
    return tuple(draw.texts()), left_out


def held_out_texts(held_out: Dataset, config: ValueConfig) -> list[Text]:
    """Returns held-out documents in the order of a hash, until they hold `held_out_bytes`, the beginning of each.

    A document counts for at most a fiftieth of the bytes, so that there are many to draw intervals from; where there
    are fewer documents, for more.
    Raises: DataError if there is no text.
    """
    draw = Draw(64 * config.held_out_bytes)
    for text in read_texts(held_out):
        cut = text.text.encode("utf-8", "surrogatepass")[: config.held_out_bytes].decode("utf-8", "ignore")
        draw.offer(Text(text.id, cut), digest(text.text, "held_out"))
    texts = draw.texts()
    if not texts:
        raise DataError("There is no held-out text to measure.", fix="Give a held-out dataset that holds text.")
    contents = [text.text.encode("utf-8", "surrogatepass") for text in texts]
    left = config.held_out_bytes
    enough = bisect_left(range(left), left, key=lambda most: sum(min(len(content), most) for content in contents))
    most = max(enough, left // 50, 1)
    chosen: list[Text] = []
    for text, content in zip(texts, contents, strict=True):
        if cut := content[: min(most, left)].decode("utf-8", "ignore"):
            chosen.append(Text(text.id, cut))
            left -= len(cut.encode("utf-8", "surrogatepass"))
    return chosen


# Tokens


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Documents as ids, a separator before each and one at the end."""

    ids: Ids
    unique: int
    """Ids of different documents."""
    documents: int
    bytes: int
    """Of the text, in UTF-8."""


def to_tokens(texts: Iterable[str], tokenizer: Tokenizer, most: int) -> Tokens:
    """Returns the first `most` tokens of documents; the last one is cut."""
    edge = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    ids: list[int] = []
    unique = documents = size = 0
    seen: set[bytes] = set()
    for text in texts:
        if len(ids) >= most:
            break
        piece = [*edge, *tokenizer.encode(text, disallowed_special=())]
        part = min(1.0, (most - len(ids)) / max(1, len(piece)))
        piece = piece[: most - len(ids)]
        ids += piece
        documents += 1
        size += round(part * len(text.encode("utf-8", "surrogatepass")))
        if (key := digest(text)) not in seen:
            seen.add(key)
            unique += len(piece)
    return Tokens(ids=np.array([*ids, *edge], dtype=np.int64), unique=unique, documents=documents, bytes=size)


def read_before(texts: Iterable[Text], tokenizer: Tokenizer, config: ValueConfig) -> list[Text]:
    """Returns the documents that make up `before_tokens`: whole ones, unless the first is longer than that alone.

    One that no longer fits is passed over.
    """
    chosen: list[Text] = []
    left = config.before_tokens
    for text in texts:
        n_tokens = 1 + len(tokenizer.encode(text.text, disallowed_special=()))
        if n_tokens <= left or not chosen:
            chosen.append(text)
            left -= n_tokens
        if left <= config.before_tokens // 50:
            break
    return chosen


def arm_texts(arm: str, texts: SeedTexts) -> Iterable[str]:
    """Returns an arm's documents in order; `texts.before` is what the learner has read."""
    if arm == "dataset":
        return (text.text for text in texts.dataset)
    if arm == "fresh":
        return (text.text for text in texts.fresh)
    if arm == "word_salad":
        return word_salad([text.text for text in texts.before], texts.seed)
    if arm == "noise":
        return noise([text.text for text in texts.before], texts.seed)
    return (text.text for text in sorted(texts.before, key=lambda text: arm_key(text, texts.seed)))


def word_salad(texts: Sequence[str], seed: int) -> list[str]:
    """Returns the documents with all their words in random order; what is between words stays where it is."""
    pieces = [_SPACE.split(text) for text in texts]  # words at even places
    words = [word for document in pieces for word in document[::2] if word]
    order = iter(np.random.default_rng([seed, 1]).permutation(len(words)))
    return [
        "".join(words[next(order)] if place % 2 == 0 and piece else piece for place, piece in enumerate(document))
        for document in pieces
    ]


def noise(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Yields documents of characters drawn with the frequencies that they have in `texts`; it never ends."""
    characters, counts = np.unique(
        np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32), return_counts=True
    )
    rng = np.random.default_rng([seed, 2])
    while True:
        drawn = rng.choice(characters, size=NOISE_DOCUMENT, p=counts / counts.sum()).astype(np.uint32)
        yield drawn.tobytes().decode("utf-32-le", "surrogatepass")


def row_order(n_rows: int, n: int, seed: int, key: int) -> Ids:
    """Returns which of `n_rows` rows come one after the other: all in random order, then all in another."""
    rng = np.random.default_rng([seed, 3, key])
    passes = [rng.permutation(n_rows) for _ in range(-(-n // n_rows))]
    return np.concatenate(passes)[:n]


def rows_of(ids: Ids, context_length: int) -> Ids:
    """Returns ids cut into rows of `context_length` inputs and the target after the last; few ids are repeated."""
    if len(ids) < context_length + 1:
        ids = np.tile(ids, -(-(context_length + 1) // len(ids)))
    n = (len(ids) - 1) // context_length
    return np.stack([ids[row * context_length : (row + 1) * context_length + 1] for row in range(n)])
