"""Topic search: the documents of a corpus that say most about each of a list of topics, as seeds.

BM25 (`bm25s`) over lower-case words. SmolLM's second corpus was seeded like that: from a long list of topics and a
search over web pages, which beat topics that came from clustering.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.curation.hashed_features import TOKEN
from tilth.errors import ConfigError, DataError, DependencyError
from tilth.storage import Dataset
from tilth.synthesis.seed_rows import with_meta

BUILT_IN = "builtin"
"""Names the topics that come with tilth, where a file of topics is asked for."""
K1, B = 1.5, 0.75
_WORD = re.compile(TOKEN)


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic and the words that it is searched by."""

    name: str
    query: str


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that a topic found."""

    topic: str
    row: int
    """Number of the document in the dataset."""
    rank: int
    """Among the documents that this topic got, from 1."""
    score: float


def read_topics(source: Path | str = BUILT_IN) -> list[Topic]:
    """Reads a file of topics, one a line: `name`, or `name: more words to search by`; `#` begins a comment.

    Raises: ConfigError if there is no such file, no topic in it, or one twice.
    """
    path = Path(__file__).parent / "seed_lists" / "topics.txt" if str(source) == BUILT_IN else Path(source)
    if not path.is_file():
        raise ConfigError(
            f"There is no file of topics {path}.", fix=f"Give a text file with a topic a line, or `{BUILT_IN}`."
        )
    topics: list[Topic] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, more = line.partition("#")[0].strip().partition(":")
        if name.strip():
            topics.append(Topic(name=name.strip(), query=f"{name} {more}".strip()))
    if not topics:
        raise ConfigError(f"{path} holds no topic.", fix="Write one a line.")
    names = [topic.name for topic in topics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path} has the topic `{twice[0]}` twice.", fix="Name each once.")
    return topics


def seeds_by_topic(dataset: Dataset, topics: Sequence[Topic], out: Path | str, *, per_topic: int = 100) -> Dataset:
    """Writes the best documents of each topic as a dataset; `meta` has `topic`, `topic_rank` and `topic_score`.

    A document is given to one topic: to that in which it ranks best (of two, to the first in the list). Rows keep
    their columns and the order of the dataset. Raises: as `search_topics`; ConfigError if `out` holds something else.
    """
    hits = {hit.row: hit for hit in search_topics(dataset, topics, per_topic=per_topic)}
    identity = {
        "dataset": dataset.fingerprint,
        "topics": [[topic.name, topic.query] for topic in topics],
        "per_topic": per_topic,
    }

    def note(row: int) -> dict[str, object] | None:
        if (hit := hits.get(row)) is None:
            return None
        return {"topic": hit.topic, "topic_rank": hit.rank, "topic_score": round(hit.score, 4)}

    return with_meta(dataset, out, note, made_by="seeds_by_topic", identity=identity)


def search_topics(dataset: Dataset, topics: Sequence[Topic], *, per_topic: int) -> list[Hit]:
    """Returns the best documents of each topic, at most `per_topic`, none twice; documents without any of a topic's
    words are not found. Equal scores are ordered by id.

    Memory: about 8 bytes a word of the corpus while it is indexed, and 8 for each word of each document's vocabulary:
    some 3 GB for 1 GB of text. A larger corpus is searched in parts.
    Raises: ConfigError for less than 1 document a topic; DataError if nothing is found; DependencyError.
    """
    if per_topic < 1:
        raise ConfigError(f"`per_topic` is {per_topic}.", fix="Give 1 or more.")
    index = _Index(dataset)
    ranked = [index.best(topic.query, per_topic * 4) for topic in topics]
    taken: set[int] = set()
    counts = [0] * len(topics)
    hits: list[Hit] = []
    # By rank, so that a topic early in the list does not take all that others could use.
    for place in range(max((len(rows) for rows, _ in ranked), default=0)):
        for number, (rows, scores) in enumerate(ranked):
            if place >= len(rows) or counts[number] == per_topic or int(rows[place]) in taken:
                continue
            row = int(rows[place])
            taken.add(row)
            counts[number] += 1
            hits.append(
                Hit(topic=topics[number].name, row=row, rank=counts[number], score=float(scores[place]))
            )  # fmt: skip
    if not hits:
        raise DataError(
            f"No document of {dataset.folder} has a word of any of the {len(topics)} topics.",
            fix="Give topics in the language of the documents.",
        )
    return hits


class _Index:
    """BM25 over a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        try:
            import bm25s  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise DependencyError(
                "Topic search needs bm25s.", fix='Install it: `pip install "tilth[synthesis]"`.'
            ) from error
        self.vocabulary: dict[str, int] = {}
        documents: list[list[int]] = []
        ids: list[str] = []
        number = self.vocabulary.setdefault
        for document in dataset.documents():
            # One integer object for each word: a list holds references to it.
            documents.append([number(word, len(self.vocabulary)) for word in _words(document.text)])
            ids.append(document.id)
        self.id_rank = np.empty(len(ids), dtype=np.int64)
        self.id_rank[np.argsort(np.array(ids, dtype=np.str_), kind="stable")] = np.arange(len(ids))
        self._bm25: Any = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
        if self.vocabulary:
            self._bm25.index((documents, self.vocabulary), show_progress=False, create_empty_token=False)

    def best(self, query: str, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Returns rows and scores of the best `n` documents for a query, of those with a word of it."""
        known = [word for word in dict.fromkeys(_words(query)) if word in self.vocabulary]
        if not known:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        scores: npt.NDArray[np.float32] = self._bm25.get_scores(known)
        found = np.flatnonzero(scores > 0)
        order = found[np.lexsort((self.id_rank[found], -scores[found]))][:n]
        return order, scores[order]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word[0].isalnum()]
