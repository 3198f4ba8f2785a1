"""Topic search: which documents become seeds of which topic."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pyarrow as pa
import pytest

from tilth.errors import ConfigError, DataError
from tilth.storage import Dataset, finish_dataset, write_dataset, write_table
from tilth.synthesis.search import K1, B, Topic, read_topics, search_topics, seeds_by_topic
from tilth.types import Document

CELLS, STARS = Topic(name="Cells", query="cell membrane"), Topic(name="Stars", query="star galaxy")


def corpus(folder: Path, texts: list[str], shard_bytes: int = 40) -> Dataset:
    documents = [Document(id=f"id{i}", text=text, source="s", meta={"n": i}) for i, text in enumerate(texts)]
    return write_dataset(folder, documents, made_by="test", shard_bytes=shard_bytes)


TEXTS = [
    "the cell has a membrane",
    "a star in a galaxy far away",
    "the prison cell was dark",
    "nothing to see here",
    "Star! Star! A galaxy, a Membrane.",
    "the cell has a membrane",
]


def test_scores_are_bm25_by_its_formula(tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d", TEXTS)
    words = [text.lower().replace("!", "").replace(",", "").replace(".", "").split() for text in TEXTS]
    mean = sum(map(len, words)) / len(words)

    def score(row: int) -> float:
        total = 0.0
        for word in ("cell", "membrane"):
            n, f = sum(word in other for other in words), words[row].count(word)
            idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
            total += idf * f / (f + K1 * (1 - B + B * len(words[row]) / mean))
        return total

    hits = search_topics(dataset, [CELLS], per_topic=10)
    assert {hit.row for hit in hits} == {0, 2, 4, 5}
    for hit in hits:
        assert hit.score == pytest.approx(score(hit.row), rel=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_ties_go_by_id_and_the_order_of_documents_does_not_matter(tmp_path: Path) -> None:
    documents = [Document(id=f"id{i}", text="a cell", source="s") for i in range(12)]
    found: list[list[str]] = []
    for n in range(3):
        random.Random(n).shuffle(documents)
        dataset = write_dataset(tmp_path / str(n), documents, made_by="test")
        found.append([dataset[hit.row].id for hit in search_topics(dataset, [CELLS], per_topic=5)])
    assert found == [["id0", "id1", "id10", "id11", "id2"]] * 3


def test_a_document_serves_one_topic_that_where_it_ranks_best(tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d", TEXTS)
    hits = search_topics(dataset, [CELLS, STARS], per_topic=3)
    assert len({hit.row for hit in hits}) == len(hits)
    assert {hit.row for hit in hits if hit.topic == "Stars"} == {1, 4}
    for topic in ("Cells", "Stars"):
        ranks = [hit.rank for hit in hits if hit.topic == topic]
        assert ranks == list(range(1, len(ranks) + 1))


def test_seeds_are_a_dataset_with_topic_and_rank(tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d", TEXTS)
    seeds = seeds_by_topic(dataset, [CELLS, STARS], tmp_path / "out", per_topic=2)
    rows = [(document.id, document.meta["topic"], document.meta["topic_rank"]) for document in seeds]
    assert rows == [("id0", "Cells", 1), ("id1", "Stars", 2), ("id4", "Stars", 1), ("id5", "Cells", 2)]
    assert seeds[0].meta["n"] == 0 and seeds.parents == (dataset.fingerprint,)
    again = seeds_by_topic(dataset, [CELLS, STARS], tmp_path / "out", per_topic=2)
    assert again.fingerprint == seeds.fingerprint
    with pytest.raises(ConfigError, match="another call"):
        seeds_by_topic(dataset, [CELLS], tmp_path / "out", per_topic=2)


def test_all_columns_travel(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b"],
            "text": pa.array(["a cell", "none"], pa.large_string()),
            "source": ["s", "s"],
            "lineage": ["[1]", "[2]"],
            "score_quality": [1.5, 2.5],
        }
    )
    (tmp_path / "d").mkdir()
    write_table(tmp_path / "d" / "shard-00000.parquet", table)
    dataset = finish_dataset(tmp_path / "d", shards=["shard-00000.parquet"], made_by="test")
    seeds = seeds_by_topic(dataset, [CELLS], tmp_path / "out")
    (row,) = pa.Table.from_batches(seeds.batches(0)).to_pylist()
    assert (row["id"], row["lineage"], row["score_quality"]) == ("a", "[1]", 1.5)
    assert json.loads(row["meta"])["topic"] == "Cells"


def test_nothing_found_and_wrong_numbers(tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d", TEXTS)
    with pytest.raises(DataError, match="No document"):
        search_topics(dataset, [Topic(name="x", query="zebra")], per_topic=1)
    with pytest.raises(ConfigError, match="per_topic"):
        search_topics(dataset, [CELLS], per_topic=0)


def test_topics_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("# all\nCells: membrane nucleus\n\nStars  # far\n")
    topics = read_topics(tmp_path / "t.txt")
    assert topics == [Topic(name="Cells", query="Cells  membrane nucleus"), Topic(name="Stars", query="Stars")]
    assert len(read_topics()) > 100
    for content, named in (("#\n", "no topic"), ("a\na: b\n", "twice")):
        (tmp_path / "t.txt").write_text(content)
        with pytest.raises(ConfigError, match=named):
            read_topics(tmp_path / "t.txt")
    with pytest.raises(ConfigError, match="no file"):
        read_topics(tmp_path / "none.txt")
