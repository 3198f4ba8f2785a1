"""What is dropped after the operators, when all documents are known: languages that are not main ones, duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.global_dedup import dropped_documents
from tilth.curation.language import MAIN_SHARE
from tilth.curation.operators import Drop, Row
from tilth.curation.result import LanguageChoice
from tilth.curation.task import first_document

LANGUAGES = "languages"
"""Name of the stage that drops languages which are not main ones of the corpus."""


@dataclass(frozen=True)
class Verdicts:
    """The drops among the documents of the intermediate shards."""

    work: Path
    choice: LanguageChoice | None = None
    near_duplicate_threshold: float | None = None

    def rows(self, name: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Row, str, Drop | None]]:
        """Yields (number, document, stage, drop) of a shard; the drop is None for what is kept."""
        drops = {int(row["document"]): row for row in dropped_documents(self.work, name).to_pylist()}
        number = first_document(name)
        with pq.ParquetFile(self.work / "documents" / f"{name}.parquet") as file:
            for batch in file.iter_batches(batch_size=storage.ROW_GROUP_ROWS, columns=columns and list(columns)):
                for row in cast("list[Row]", batch.to_pylist()):
                    drop = minor_language(row["language"], self.choice) if self.choice else None
                    if drop is not None:
                        yield number, row, LANGUAGES, drop
                    else:
                        yield number, row, "dedup", self._duplicate(drops.get(number))
                    number += 1

    def _duplicate(self, row: Mapping[str, object] | None) -> Drop | None:
        if row is None:
            return None
        survivor = f"{row['survivor_id']} ({row['survivor_source']})"
        if row["similarity"] is None:
            return Drop("exact_duplicate", f"of {survivor}")
        similarity, limit = cast(float, row["similarity"]), self.near_duplicate_threshold
        at_least = "" if limit is None else f" ≥ {limit:g}"
        return Drop(
            "near_duplicate", f"of {survivor}, Jaccard similarity {similarity:.2f}{at_least}", similarity, limit
        )

    def dropped(self, name: str) -> npt.NDArray[np.int64]:
        """Returns the numbers of all dropped documents of a shard."""
        duplicates = dropped_documents(self.work, name)["document"].to_numpy()
        return np.concatenate([np.asarray(duplicates, np.int64), minor_documents(name, self.work, self.choice)])


def minor_documents(name: str, work: Path, choice: LanguageChoice | None) -> npt.NDArray[np.int64]:
    """Returns the numbers of a shard's documents in languages that are not main ones."""
    if choice is None or choice.shares.keys() <= set(choice.kept):
        return np.empty(0, np.int64)
    languages = pq.read_table(work / "documents" / f"{name}.parquet", columns=["language"])["language"].to_pylist()
    minor = [index for index, language in enumerate(languages) if minor_language(language, choice)]
    return first_document(name) + np.array(minor, np.int64)


def minor_language(language: object, choice: LanguageChoice) -> Drop | None:
    """Returns the drop of a document whose language is not a main one; source code has no language."""
    if language is None or language in choice.kept:
        return None
    share_of_text, least = choice.shares.get(str(language), 0.0), MAIN_SHARE * max(choice.shares.values(), default=0.0)
    return Drop("other_language", f"{language}: {share_of_text:.1%} < {least:.1%} of the text", share_of_text, least)
