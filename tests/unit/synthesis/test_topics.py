"""Topic clustering: groups that a person would make, named, the same for the same seed."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.synthesis.topic_config import TopicConfig
from tilth.synthesis.topics import TOPICS, TopicsResult, cluster_topics
from tilth.synthesis.trial import FunctionAsker
from tilth.teacher.request import Request
from tilth.types import Document

SUBJECTS = {
    "sea": ["whale", "ocean", "tide", "coral", "wave", "ship", "harbour", "salt", "fish", "current", "sailor", "reef"],
    "code": [
        "function",
        "variable",
        "loop",
        "compiler",
        "memory",
        "pointer",
        "class",
        "method",
        "array",
        "string",
        "error",
        "stack",
    ],
    "food": [
        "recipe",
        "oven",
        "flour",
        "butter",
        "sugar",
        "bake",
        "dough",
        "spoon",
        "cream",
        "cake",
        "onion",
        "pepper",
    ],
}


def corpus(folder: Path, n: int = 90, order: int = 0) -> Dataset:
    rng = random.Random(1)
    documents: list[Document] = []
    for i in range(n):
        subject = list(SUBJECTS)[i % 3]
        text = " ".join(["the", "and", "with"] * 5 + rng.choices(SUBJECTS[subject], k=25))
        documents.append(Document(id=f"{subject}{i}", text=text, source="s", meta={"n": i}))
    random.Random(order).shuffle(documents)
    return write_dataset(folder, documents, made_by="test", shard_bytes=3000)


def cluster(dataset: Dataset, out: Path, **options: Any) -> tuple[Dataset, TopicsResult]:
    config = TopicConfig(topics=options.pop("topics", 3), seed=options.pop("seed", 0))
    return asyncio.run(cluster_topics(dataset, out, config, **options))


def test_groups_are_the_subjects_and_named_by_their_words(tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d")
    seeds, result = cluster(dataset, tmp_path / "out")
    assert len(seeds) == 90 and [d.id for d in seeds] == [d.id for d in dataset]
    by_topic: dict[object, set[str]] = defaultdict(set)
    for document in seeds:
        by_topic[document.meta["topic"]].add(document.id.rstrip("0123456789"))
        assert "n" in document.meta
    assert sorted(map(tuple, by_topic.values())) == [("code",), ("food",), ("sea",)]
    assert {topic.documents for topic in result.topics} == {30}
    for topic in result.topics:
        (subject,) = by_topic[topic.name]
        assert set(topic.terms) <= set(SUBJECTS[subject]) and topic.name == ", ".join(topic.terms[:3])
        assert len(topic.examples) == 5 and all(name.startswith(subject) for name in topic.examples)
    assert read_result(TopicsResult, tmp_path / "out" / TOPICS) == result


def test_topics_follow_from_documents_and_seed(tmp_path: Path) -> None:
    def topics(dataset: Dataset, out: str) -> dict[str, object]:
        return {document.id: document.meta["topic"] for document in cluster(dataset, tmp_path / out, topics=5)[0]}

    dataset = corpus(tmp_path / "d")
    first, again = topics(dataset, "a"), topics(dataset, "b")
    other_order = topics(corpus(tmp_path / "e", order=7), "c")
    assert first == again == other_order
    assert len(set(first.values())) == 5


def test_a_sample_is_enough(tmp_path: Path) -> None:
    config = TopicConfig(topics=3, sample_documents=30)
    seeds, _ = asyncio.run(cluster_topics(corpus(tmp_path / "d"), tmp_path / "out", config))
    pairs = Counter((d.id.rstrip("0123456789"), d.meta["topic"]) for d in seeds)
    assert len(pairs) == 3 and sum(pairs.values()) == 90


def test_a_teacher_names_groups_where_its_answer_is_a_name(tmp_path: Path) -> None:
    prompts: list[str] = []

    def answer(request: Request, sample: int) -> str:
        prompts.append(request.messages[-1].content)
        if "whale" in prompts[-1]:
            return '"Marine life."'
        return "I think that these texts are about very many different things indeed" if "oven" in prompts[-1] else "X"

    _, result = cluster(corpus(tmp_path / "d"), tmp_path / "out", namer=FunctionAsker(answer))
    names = {topic.name for topic in result.topics}
    assert {"Marine life", "X"} < names and len(names) == 3
    (other,) = names - {"Marine life", "X"}
    assert set(other.split(", ")) <= set(SUBJECTS["food"])
    assert len(prompts) == 3


def test_one_name_for_two_groups_is_told_apart(tmp_path: Path) -> None:
    _, result = cluster(corpus(tmp_path / "d"), tmp_path / "out", namer=FunctionAsker(lambda *_: "Things"))
    names = [topic.name for topic in result.topics]
    assert len(set(names)) == 3 and all(name.startswith("Things (") for name in names)


class Embedder:
    """A teacher with embeddings: the subject's number, and something of its own for each text."""

    name, identity = "embedder", {"kind": "test"}

    async def embed(self, texts: Sequence[str]) -> Any:
        rows = [[float(any(word in text for word in words)) for words in SUBJECTS.values()] for text in texts]
        return np.array([[*row, len(text) / 1e4] for row, text in zip(rows, texts, strict=True)], dtype=np.float32)


def test_embeddings_of_a_teacher_in_place_of_words(tmp_path: Path) -> None:
    seeds, result = cluster(corpus(tmp_path / "d"), tmp_path / "out", embedder=Embedder())
    assert result.features == "embedder"
    assert len({(d.id.rstrip("0123456789"), d.meta["topic"]) for d in seeds}) == 3


def test_texts_without_spaces_and_few_documents(tmp_path: Path) -> None:
    texts = ["海里有鱼和船", "大海和鱼群", "面包和黄油", "黄油面包和糖"]
    documents = [Document(id=str(i), text=text, source="s") for i, text in enumerate(texts)]
    seeds, result = cluster(write_dataset(tmp_path / "d", documents, made_by="test"), tmp_path / "out", topics=2)
    assert len(result.topics) == 2 and len(seeds) == 4
    assert seeds[0].meta["topic"] == seeds[1].meta["topic"] != seeds[2].meta["topic"]


def test_mistakes(tmp_path: Path) -> None:
    few = write_dataset(tmp_path / "few", [Document(id="1", text="a", source="s")], made_by="test")
    with pytest.raises(DataError, match="too few"):
        cluster(few, tmp_path / "out")
    documents = [Document(id=str(i), text="!!", source="s") for i in range(5)]
    with pytest.raises(DataError, match="no words"):
        cluster(write_dataset(tmp_path / "none", documents, made_by="test"), tmp_path / "out")
    with pytest.raises(ConfigError, match="topics"):
        TopicConfig(topics=1)
    cluster(corpus(tmp_path / "d"), tmp_path / "done")
    with pytest.raises(ConfigError, match="another call"):
        cluster(corpus(tmp_path / "e", 60), tmp_path / "done")
    assert json.loads((tmp_path / "done" / TOPICS).read_text())["features"] == "tf-idf"
