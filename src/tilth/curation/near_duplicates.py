"""An index of texts that grows text by text, and finds the near duplicates of a new one.

`dedup` compares the documents of one corpus with each other, all at once. Here texts arrive one after another (samples
that are generated, documents that are held against earlier datasets): bands of a MinHash signature find candidates,
the true Jaccard similarity of their shingles decides. Shingles, signatures and bands are those of `dedup`.

Memory (`benchmarks/near_duplicate_index.py`; 100,000 documents of 200 words, threshold .8): 2.9 kB a document, of which
`save` moves the shingles (8 bytes a word) to a memory-mapped file, so that 0.9 kB stay. To find and add one takes 0.6
to 0.9 ms of CPU, at the 100,000th as at the 10,000th.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.curation import dedup
from tilth.curation.config import CurationConfig
from tilth.curation.dedup import BUCKET_LEADERS, U64, TextHashes
from tilth.curation.operators import Drop, Operator, Row, judge
from tilth.errors import ConfigError, DataError
from tilth.files import atomic_path, read_json, write_json
from tilth.identity import fingerprint_of
from tilth.storage import Dataset

STAGE = "against"
SETTINGS = "index.json"
"""File of a saved index that holds its settings; its parts are beside it."""

_RECENT = 1024
_PART_DOCUMENTS = 20_000
_AGAIN = "Delete the folder; the index is made again."
_U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A text of the index that another resembles."""

    id: str
    similarity: float
    """Jaccard similarity of the shingles, in 0..1."""
    is_copy: bool
    """Equal but for white space and Unicode form (`dedup.digest`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSketch:
    """What the index needs of a text: made once, for finding and for adding."""

    digest: bytes
    shingles: U64
    """Sorted and distinct."""
    keys: U64
    """One of the digest, then one a band: (1 + bands,)."""


class NearDuplicateIndex:
    """Texts by their shingles.

    `find` gives the same for an index that was saved and loaded as for one that was not. In a crowded bucket a text is
    compared with the `dedup.BUCKET_LEADERS` earliest, so that its cost stays bounded.
    """

    def __init__(
        self, threshold: float | None = 0.8, *, shingle_words: int = 5, num_permutations: int = 128, seed: int = 0
    ) -> None:
        """`threshold`: Jaccard similarity from which a text is a near duplicate; None: copies only.

        Raises: ConfigError for settings that cannot work.
        """
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(f"The threshold is {threshold}.", fix="Give a similarity above 0 and at most 1, or None.")
        if shingle_words < 1 or num_permutations < 1:
            raise ConfigError("A shingle needs a word, and a signature a permutation.", fix="Give 1 or more of each.")
        self.threshold, self.shingle_words = threshold, shingle_words
        self.num_permutations, self.seed = num_permutations, seed
        self._keys = _Keys()
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._tail: list[tuple[str, TextSketch]] = []

    @property
    def settings(self) -> dict[str, object]:
        """What an index must share with another to hold the same keys."""
        return {
            "threshold": self.threshold,
            "shingle_words": self.shingle_words,
            "num_permutations": self.num_permutations,
            "seed": self.seed,
        }

    @property
    def n_parts(self) -> int:
        """How often it was saved."""
        return len(self._parts)

    def __len__(self) -> int:
        return self._n_saved + len(self._tail)

    @property
    def _n_saved(self) -> int:
        return self._starts[-1] + len(self._parts[-1]) if self._parts else 0

    def sketch(self, text: str | TextHashes) -> TextSketch:
        """Returns the sketch of a text, which `find`, `nearest` and `add` take in its place."""
        hashes = TextHashes(text) if isinstance(text, str) else text
        digest = hashes.digest
        own = np.frombuffer(digest, "<u8").astype(np.uint64)[:1] ^ np.frombuffer(digest, "<u8").astype(np.uint64)[1:]
        if self.threshold is None:
            return TextSketch(digest=digest, shingles=np.empty(0, np.uint64), keys=own)
        shingles = hashes.shingles(self.shingle_words)
        if not len(shingles):  # alike only to its copies; as many keys as others have
            n_bands, _ = dedup.bands(self.num_permutations, self.threshold)
            return TextSketch(digest=digest, shingles=shingles, keys=np.repeat(own, 1 + n_bands))
        signature = hashes.signature(self.shingle_words, self.num_permutations, self.seed)
        (bands,) = dedup.band_keys(signature[None], self.threshold)
        return TextSketch(digest=digest, shingles=shingles, keys=np.concatenate([own, bands]))

    def find(self, text: str | TextSketch) -> Match | None:
        """Returns the text that this one is a copy or a near duplicate of: the most similar, of those the earliest."""
        match = self.nearest(text)
        if match is None or match.is_copy:
            return match
        return match if self.threshold is not None and match.similarity >= self.threshold else None

    def nearest(self, text: str | TextSketch) -> Match | None:
        """Returns the most similar text among those that share a key, whatever the threshold; None: none shares one.

        Similarities well below the threshold are seldom seen: such pairs share no key.
        """
        sketch = self.sketch(text) if isinstance(text, str) else text
        best: tuple[float, int] | None = None
        for number in self._keys.find(sketch.keys):
            digest, shingles = self._entry(number)
            if digest == sketch.digest:
                return Match(id=self._id(number), similarity=1.0, is_copy=True)
            similarity = dedup.jaccard(shingles, sketch.shingles)
            if similarity > 0 and (best is None or similarity > best[0]):
                best = similarity, number
        return None if best is None else Match(id=self._id(best[1]), similarity=best[0], is_copy=False)

    def add(self, id: str, text: str | TextSketch) -> None:
        """Adds a text under an id, which need not be new."""
        sketch = self.sketch(text) if isinstance(text, str) else text
        self._keys.add(len(self), sketch.keys)
        self._tail.append((id, sketch))

    def _entry(self, number: int) -> tuple[bytes, U64]:
        if number >= self._n_saved:
            sketch = self._tail[number - self._n_saved][1]
            return sketch.digest, sketch.shingles
        part = bisect_right(self._starts, number) - 1
        return self._parts[part].entry(number - self._starts[part])

    def _id(self, number: int) -> str:
        if number >= self._n_saved:
            return self._tail[number - self._n_saved][0]
        part = bisect_right(self._starts, number) - 1
        return self._parts[part].id(number - self._starts[part])

    # On disk

    def save(self, folder: Path) -> None:
        """Writes what was added since the last time as one more part, and serves it from there.

        Earlier parts are left as they are; a part of this number that a killed run left behind is replaced.
        Raises: ConfigError if the folder holds an index with other settings.
        """
        path = folder / SETTINGS
        if not path.exists():
            write_json(path, self.settings)
        elif read_json(path) != json.loads(json.dumps(self.settings)):
            raise ConfigError(f"{folder} holds an index with other settings.", fix="Delete it, or use another folder.")
        part = _part_path(folder, len(self._parts))
        _write_part(part, self._tail)
        self._take(_Part(part))
        self._tail = []

    @classmethod
    def load(cls, folder: Path, *, parts: int | None = None) -> NearDuplicateIndex:
        """Loads a saved index: all its parts, or the first `parts`.

        Raises: DataError if there is no index, or if it has fewer parts.
        """
        if not (folder / SETTINGS).exists():
            raise DataError(f"{folder} holds no index of near duplicates.")
        index = cls(**cast("dict[str, Any]", read_json(folder / SETTINGS)))
        for number in count() if parts is None else range(parts):
            path = _part_path(folder, number)
            if not path.exists():
                if parts is None:
                    break
                raise DataError(f"{path} is missing.", fix=_AGAIN)
            part = _Part(path)
            index._keys.add_many(len(index), part.keys)
            index._take(part)
        return index

    def _take(self, part: _Part) -> None:
        self._starts.append(self._n_saved)
        self._parts.append(part)


def earlier_index(datasets: Sequence[str], *, folder: Path | None = None, **settings: Any) -> NearDuplicateIndex:
    """Returns the index of the documents of datasets, or the one that `keep_earlier_index` left in a folder.

    With a `folder` it is saved there as it grows. `settings` are those of `NearDuplicateIndex`.
    Raises: DataError for what is no dataset.
    """
    if len(datasets) == 1 and (Path(datasets[0]) / SETTINGS).is_file():
        return NearDuplicateIndex.load(Path(datasets[0]))
    index = NearDuplicateIndex(**settings)
    for path in datasets:
        dataset = Dataset.open(path)
        name = str(path).rstrip("/").rpartition("/")[2]
        for document in dataset.documents():
            index.add(f"{name}#{document.id}", document.text)
            if folder is not None and len(index) % _PART_DOCUMENTS == 0:
                index.save(folder)
    if folder is not None:
        index.save(folder)
    return index


def keep_earlier_index(datasets: Sequence[str], work: Path, **settings: Any) -> str:
    """Makes the index of datasets once and returns its folder, below `work`, named by content and settings."""
    content = [Dataset.open(path).fingerprint for path in datasets]
    folder = work / f"earlier-{fingerprint_of([content, NearDuplicateIndex(**settings).settings])}"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        earlier_index(datasets, folder=unfinished, **settings)
        with contextlib.suppress(OSError):  # another process has made it
            unfinished.rename(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
    return str(folder)


def operator(config: CurationConfig) -> Operator:
    """Drops documents that are copies or near duplicates of documents in the datasets `config.against`.

    Drops: `exact_duplicate`, `near_duplicate`, naming the earlier document.
    """
    index = earlier_index(config.against, **settings_of(config))

    def keep(row: Row) -> Drop | None:
        match = index.find(str(row["text"]))
        return None if match is None else duplicate(match, index.threshold)

    return judge(STAGE, keep)


def settings_of(config: CurationConfig) -> dict[str, Any]:
    """Returns the settings of an index that judges as the deduplication of a curation does."""
    return {
        "threshold": config.near_duplicate_threshold,
        "shingle_words": config.shingle_words,
        "num_permutations": config.num_permutations,
        "seed": config.seed,
    }


def duplicate(match: Match, threshold: float | None) -> Drop:
    """Returns the judgement on a text that resembles another."""
    if match.is_copy:
        return Drop("exact_duplicate", f"of {match.id}", 1.0, threshold)
    detail = f"of {match.id}, Jaccard similarity {match.similarity:.2f} ≥ {threshold:g}"
    return Drop("near_duplicate", detail, match.similarity, threshold)


class _Keys:
    """Key -> numbers of documents, in their order: sorted arrays that are merged as they grow, and a small dict.

    A dict of lists would take ten times the memory.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[U64, _U32]] = []
        self._recent: dict[int, list[int]] = {}
        self._waiting: list[U64] = []
        self._first = 0

    def add(self, number: int, keys: U64) -> None:
        if not self._waiting:
            self._first = number
        self._waiting.append(keys)
        for key in set(cast("list[int]", keys.tolist())):
            self._recent.setdefault(key, []).append(number)
        if len(self._waiting) >= _RECENT:
            waiting, self._waiting, self._recent = np.stack(self._waiting), [], {}
            self._add_run(self._first, waiting)

    def add_many(self, first: int, keys: U64) -> None:
        """Adds documents numbered from `first` with their keys, (documents, keys); none may wait."""
        if len(keys):
            self._add_run(first, keys)

    def _add_run(self, first: int, keys: U64) -> None:
        numbers = np.repeat(np.arange(first, first + len(keys), dtype=np.uint32), keys.shape[1])
        self._runs.append(_sorted(keys.ravel(), numbers))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (a, a_numbers), (b, b_numbers) = self._runs[-2:]
            self._runs[-2:] = [_sorted(np.concatenate([a, b]), np.concatenate([a_numbers, b_numbers]))]

    def find(self, keys: U64) -> list[int]:
        """Returns the documents that share a key, the earliest `BUCKET_LEADERS` of each key, in order."""
        keys = dedup.distinct(keys)
        left = np.full(len(keys), BUCKET_LEADERS, np.int64)
        found: set[int] = set()
        for run, numbers in self._runs:
            begin = np.searchsorted(run, keys, "left")
            end = np.minimum(np.searchsorted(run, keys, "right"), begin + left)
            for index in np.flatnonzero(end > begin):
                found.update(numbers[begin[index] : end[index]].tolist())
            left -= end - begin
        for key, most in zip(keys.tolist(), left.tolist(), strict=True):
            found.update(self._recent.get(key, ())[:most])
        return sorted(found)


def _sorted(keys: U64, numbers: _U32) -> tuple[U64, _U32]:
    order = np.argsort(keys, kind="stable")  # numbers come in their order, and stay in it
    return keys[order], numbers[order]


class _Part:
    """Documents of a saved index, in a memory-mapped Arrow file."""

    def __init__(self, path: Path) -> None:
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                f"Cannot read {path}: {error}.", fix="Delete the folder; the index is made again."
            ) from None
        self._ids, self._digests = batch.column("id"), batch.column("digest")
        shingles = cast("Any", batch.column("shingles"))
        self._offsets, self._values = shingles.offsets.to_numpy(), shingles.values.to_numpy()
        keys = cast("Any", batch.column("keys"))
        n_keys = int(keys.type.list_size)
        self.keys: U64 = keys.values.to_numpy().reshape(-1, n_keys) if len(self) else np.empty((0, n_keys), np.uint64)

    def __len__(self) -> int:
        return len(self._ids)

    def entry(self, number: int) -> tuple[bytes, U64]:
        return self._digests[number].as_py(), self._values[self._offsets[number] : self._offsets[number + 1]]

    def id(self, number: int) -> str:
        return self._ids[number].as_py()


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.arrow"


def _write_part(path: Path, entries: Sequence[tuple[str, TextSketch]]) -> None:
    sketches = [sketch for _, sketch in entries]
    n_keys = len(sketches[0].keys) if sketches else 1
    sizes = np.cumsum([0, *(len(sketch.shingles) for sketch in sketches)])
    arrays = {
        "id": pa.array([id for id, _ in entries], pa.string()),
        "digest": pa.array([sketch.digest for sketch in sketches], pa.binary(16)),
        "shingles": pa.LargeListArray.from_arrays(
            pa.array(sizes, pa.int64()), _joined([sketch.shingles for sketch in sketches])
        ),
        "keys": pa.FixedSizeListArray.from_arrays(_joined([sketch.keys for sketch in sketches]), n_keys),
    }
    batch = pa.RecordBatch.from_pydict(cast("dict[str, Any]", arrays))
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _joined(arrays: Sequence[U64]) -> pa.Array[Any]:
    return pa.array(np.concatenate([np.empty(0, np.uint64), *arrays]), pa.uint64())
