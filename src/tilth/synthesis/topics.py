"""Topic clustering: groups of documents of a corpus that are about the same, named, as a topic in each one's `meta`.

TF-IDF of words, reduced by latent semantic analysis, or a teacher's embeddings; k-means in small batches
(scikit-learn). A model is fitted on a sample, the first documents by a hash of their ids, and then applied to all.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.curation.hashed_features import sklearn
from tilth.errors import DataError
from tilth.results import write_result
from tilth.storage import Dataset
from tilth.synthesis.broken_answers import broken_answer
from tilth.synthesis.prompt_files import PromptFile
from tilth.synthesis.seed_rows import with_meta
from tilth.synthesis.text_vectors import Lsa, TermCounts
from tilth.synthesis.topic_config import TopicConfig
from tilth.teacher.faults import DeadLetter
from tilth.teacher.request import Asker, GenerationParams, Request, Teacher
from tilth.types import Document

TOPICS = "topics.json"
"""File name, in the folder of the dataset with topics."""
RECIPE = "topics"
"""What the ledger calls the requests for names."""
CHARACTERS = 4000
"""How much of a document is looked at."""
BLOCK = 512
"""Documents that are assigned at a time."""
MAX_NAME_WORDS = 8


@dataclass(frozen=True, kw_only=True)
class FoundTopic:
    """A group of documents."""

    name: str
    """The teacher's, or the first three terms."""
    terms: tuple[str, ...]
    """Words that set the group apart, the strongest first."""
    documents: int
    examples: tuple[str, ...]
    """Ids of documents at its centre, the nearest first."""


@dataclass(frozen=True, kw_only=True)
class TopicsResult:
    """What a corpus is about."""

    topics: tuple[FoundTopic, ...]
    """The largest first."""
    features: str
    """`tf-idf`, or the name of the teacher whose embeddings were used."""


@dataclass(frozen=True, kw_only=True)
class _Grouping:
    """A fitted grouping."""

    topics: tuple[FoundTopic, ...]
    """By the number of the group."""
    groups: npt.NDArray[np.int64]
    """Of each document of the dataset."""
    excerpts: tuple[str, ...]
    """For each group the beginnings of its examples."""


async def cluster_topics(
    dataset: Dataset,
    out: Path | str,
    config: TopicConfig | None = None,
    *,
    embedder: Teacher | None = None,
    namer: Asker | None = None,
) -> tuple[Dataset, TopicsResult]:
    """Writes a dataset with `topic` in the `meta` of each document, and `topics.json`.

    `embedder` gives embeddings in place of TF-IDF; `namer` (a gateway) is asked for a name for each group, which is
    otherwise named by its terms. The same dataset, config and answers give the same bytes.
    Memory: the sample's beginnings (4,000 characters each) and its features.
    Raises: DataError for fewer than 4 documents, or none with words; ConfigError if `out` holds something else.
    """
    config = config or TopicConfig()
    if dataset.n_documents < 4:
        raise DataError(f"{dataset.folder} has {dataset.n_documents} documents, too few for topics.", fix="Give more.")
    grouping = await _group(dataset, config, embedder)
    topics = list(grouping.topics)
    if namer is not None:
        topics = [await _named(topic, text, namer) for topic, text in zip(topics, grouping.excerpts, strict=True)]
    topics = _distinct(topics)
    identity = {
        "dataset": dataset.fingerprint,
        "config": config,
        "embedder": None if embedder is None else dict(embedder.identity),
        "names": [topic.name for topic in topics],
    }
    result = TopicsResult(
        topics=tuple(sorted(topics, key=lambda topic: (-topic.documents, topic.name))),
        features="tf-idf" if embedder is None else embedder.name,
    )
    written = with_meta(
        dataset,
        out,
        lambda row: {"topic": topics[grouping.groups[row]].name},
        made_by="cluster_topics",
        identity=identity,
    )
    write_result(Path(out) / TOPICS, result)
    return written, result


async def _group(dataset: Dataset, config: TopicConfig, embedder: Teacher | None) -> _Grouping:
    sample = _sample(dataset, config)
    words = TermCounts([document.text for document in sample])
    features: _Reduced | _Embedded = (
        _Reduced(Lsa(words, config.dimensions, config.seed)) if embedder is None else _Embedded(embedder)
    )
    points = await features.of(sample)
    k = min(_number_of_topics(config, dataset), len(sample) // 2)
    model: Any = sklearn("cluster").MiniBatchKMeans(
        n_clusters=k, random_state=config.seed, n_init=3, batch_size=1024, max_iter=100
    )
    model.fit(points)
    groups: list[int] = []
    nearest: list[list[tuple[float, str, str]]] = [[] for _ in range(k)]
    for block in _blocks(dataset):
        distances = np.asarray(model.transform(await features.of(block)))
        for document, row in zip(block, distances, strict=True):
            group = int(np.argmin(row))
            groups.append(group)
            heapq.heappush(nearest[group], (-float(row[group]), document.id, document.text[:500]))
            if len(nearest[group]) > 5:
                heapq.heappop(nearest[group])
    sizes = Counter(groups)
    terms = words.of_groups(np.asarray(model.predict(points)), k)
    ordered = [sorted(examples, key=lambda one: (-one[0], one[1])) for examples in nearest]
    topics = tuple(
        FoundTopic(
            name=", ".join(terms[group][:3]) or f"topic {group + 1}",
            terms=tuple(terms[group]),
            documents=sizes[group],
            examples=tuple(identifier for _, identifier, _ in ordered[group]),
        )
        for group in range(k)
    )
    excerpts = tuple("\n\n".join(" ".join(text.split()) for _, _, text in examples[:3]) for examples in ordered)
    return _Grouping(topics=topics, groups=np.array(groups, dtype=np.int64), excerpts=excerpts)


def _number_of_topics(config: TopicConfig, dataset: Dataset) -> int:
    return config.topics or min(500, max(2, round(math.sqrt(dataset.n_documents / 2))))


def _shortened(document: Document) -> Document:
    return replace(document, text=document.text[:CHARACTERS])


def _sample(dataset: Dataset, config: TopicConfig) -> list[Document]:
    """The first documents by a hash of seed and id: the same whatever their order is."""

    def key(document: Document) -> tuple[bytes, str]:
        text = f"{config.seed}\0{document.id}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).digest(), document.id

    documents = (_shortened(document) for document in dataset.documents())
    return heapq.nsmallest(config.sample_documents, documents, key=key)


def _blocks(dataset: Dataset) -> Iterator[list[Document]]:
    documents = (_shortened(document) for document in dataset.documents())
    while block := list(islice(documents, BLOCK)):
        yield block


@dataclass(frozen=True)
class _Reduced:
    """Latent semantic analysis."""

    lsa: Lsa

    async def of(self, documents: Sequence[Document]) -> npt.NDArray[np.float64]:
        """Returns the features of documents, (documents, dimensions)."""
        return self.lsa.of([document.text for document in documents])


class _Embedded:
    """Embeddings of a teacher, rows of length 1; each document is embedded once or twice."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    async def of(self, documents: Sequence[Document]) -> npt.NDArray[np.float64]:
        """Returns the features of documents, (documents, dimensions)."""
        parts: list[npt.NDArray[np.float32]] = []
        for first in range(0, len(documents), BLOCK):
            texts = [document.text for document in documents[first : first + BLOCK]]
            parts.append(await self.teacher.embed(texts))
        return np.asarray(sklearn("preprocessing").normalize(np.concatenate(parts).astype(np.float64)))


async def _named(topic: FoundTopic, excerpts: str, namer: Asker) -> FoundTopic:
    """Asks for a name; what is no name of a few words leaves the terms in its place."""
    prompt = PromptFile.load(RECIPE, "name")
    messages = prompt.render({"terms": ", ".join(topic.terms), "excerpts": excerpts})
    params = GenerationParams(max_tokens=40, temperature=0.0)
    try:
        (reply,) = await namer.ask(Request(messages=messages, params=params), recipe=RECIPE)
    except DeadLetter:
        return topic
    name = reply.text.strip().strip("\"'*.").strip()
    if broken_answer(reply, prompt.instructions) or "\n" in name or not 1 <= len(name.split()) <= MAX_NAME_WORDS:
        return topic
    return replace(topic, name=name)


def _distinct(topics: Sequence[FoundTopic]) -> list[FoundTopic]:
    """Gives groups that have one name their first terms beside it, and a number where that is not enough."""
    counts = Counter(topic.name for topic in topics)
    found: list[FoundTopic] = []
    seen: Counter[str] = Counter()
    for topic in topics:
        name = topic.name if counts[topic.name] == 1 else f"{topic.name} ({', '.join(topic.terms[:3])})"
        seen[name] += 1
        found.append(replace(topic, name=name if seen[name] == 1 else f"{name} {seen[name]}"))
    return found
