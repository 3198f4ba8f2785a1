"""The quality classifier, topic clustering and BM25 search on real texts: how well, and in how many CPU seconds.

    python benchmarks/seeds.py [FOLDER]

FOLDER is that of the tests' real data (`TILTH_TEST_DATA`). The classifier learns two-valued labels that people (or a
source) gave, and is measured on a fifth of the texts that it did not see, beside one that knows only their length.
Topics are measured by how far they agree with the textbooks that the texts came from (purity).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tilth.storage import Dataset, finish_dataset, write_dataset, write_table
from tilth.synthesis.quality import train_classifier
from tilth.synthesis.search import read_topics, seeds_by_topic
from tilth.synthesis.topics import TopicConfig, cluster_topics
from tilth.types import Document

DATA = Path(os.environ.get("TILTH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
GOOD, BAD = 4.0, 1.0
PIECE_CHARACTERS = 600


def rows(path: Path) -> list[dict[str, Any]]:
    text = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read().decode()
    return [json.loads(line) for line in io.StringIO(text)]


def pieces(text: str) -> list[str]:
    found, piece = list[str](), ""
    for line in text.split("\n"):
        piece += f"{line}\n"
        if len(piece) > PIECE_CHARACTERS:
            found.append(piece.strip())
            piece = ""
    return found


def scored(folder: Path, texts: list[tuple[str, float]]) -> Dataset:
    table = pa.table(
        {
            "id": [f"id{number:05d}" for number in range(len(texts))],
            "text": pa.array([text for text, _ in texts], pa.large_string()),
            "source": ["benchmark"] * len(texts),
            "score_quality": pa.array([score for _, score in texts], pa.float64()),
        }
    )
    folder.mkdir()
    write_table(folder / "shard-00000.parquet", table)
    return finish_dataset(folder, shards=["shard-00000.parquet"], made_by="benchmark")


def quality(name: str, texts: list[tuple[str, float]], work: Path) -> None:
    dataset = scored(work / name.split()[0], texts)
    begin = time.process_time()
    trained = train_classifier(dataset)
    seconds, report = time.process_time() - begin, trained.report
    found, length = report.classifier, report.length_only
    print(f"\n{name}: {len(texts):,} texts, {seconds:.1f} CPU s to train and measure")
    print(f"  precision {found.precision:.3f}, recall {found.recall:.3f}, F1 {found.f1:.3f}, "
          f"rank correlation {found.rank_correlation:.3f}; "
          f"length alone: F1 {length.f1:.3f}, rank correlation {length.rank_correlation:.3f}")  # fmt: skip
    print(f"  fifths (predicted/actual): {' '.join(f'{b.predicted:.2f}/{b.actual:.2f}' for b in found.calibration)}")
    begin = time.process_time()
    for text, _ in texts[:1000]:
        trained.classifier.score([text])
    size = sum(len(text.encode()) for text, _ in texts[:1000])
    print(f"  applied one by one: {size / 1e6 / (time.process_time() - begin):.2f} MB a CPU second")


def topics(documents: list[Document], work: Path) -> None:
    dataset = write_dataset(work / "books", documents, made_by="benchmark")
    begin = time.process_time()
    clustered, result = asyncio.run(cluster_topics(dataset, work / "topics", TopicConfig(topics=30)))
    seconds = time.process_time() - begin
    book = {document.id: document.source for document in documents}
    by_topic: dict[object, Counter[str]] = defaultdict(Counter)
    for document in clustered.documents():
        by_topic[document.meta["topic"]][book[document.id]] += 1
    agreed = sum(max(books.values()) for books in by_topic.values())
    size = sum(len(document.text.encode()) for document in documents)
    print(f"\ntopics: {len(documents)} texts of {len(set(book.values()))} books, {size / 1e6:.1f} MB: "
          f"{len(result.topics)} topics in {seconds:.1f} CPU s, purity {agreed / len(documents):.2f}")  # fmt: skip
    begin = time.process_time()
    named = read_topics()
    found = seeds_by_topic(dataset, named, work / "seeds", per_topic=10)
    print(f"search: {len(named)} topics, {len(found)} texts found, {time.process_time() - begin:.1f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    folder: Path = parser.parse_args().folder
    if not folder.is_dir():
        print(f"Left out: there is no {folder}.")
        return
    books = rows(folder / "textbooks_openstax/openstax_ccby.jsonl.zst")
    labels = {"objective": GOOD, "subjective": BAD}
    sentences = rows(folder / "sentence_labels/subjectivity_polarity.jsonl.zst")
    web = [
        piece
        for name in ("redpajama-cc-2023-06-refined", "redpajama-c4-refined")
        for row in rows(folder / f"web_domain_samples/{name}.jsonl.zst")
        for piece in pieces(row["text"])
    ]
    taught = [piece for row in books[::25] for piece in pieces(row["text"])[:3]][: 3 * len(web)]
    with tempfile.TemporaryDirectory() as kept:
        work = Path(kept)
        quality(
            "sentences, objective or subjective",
            [(row["text"], labels[row["label"]]) for row in sentences if row["label"] in labels],
            work,
        )
        quality("textbooks or web pages", [(t, BAD) for t in web] + [(t, GOOD) for t in taught], work)
        topics([Document(id=row["id"], text=row["text"], source=row["book"]) for row in books], work)


if __name__ == "__main__":
    main()
