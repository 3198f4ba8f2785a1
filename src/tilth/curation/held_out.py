"""Which part of a corpus is held out: about `held_out_fraction` of its bytes, whatever its documents are like.

1. The plain rule: a document is held out if the hash of its group is below a threshold, which is the fraction. A group
   is a document (with all parts of its text file), a file or a site; its key is the hash of the content as read, the
   file's name within the corpus, or the URL's host, and depends on neither order nor machine. So a corpus that grows
   never moves a document across, as long as the threshold stays.
2. Where that holds out less than half or more than twice the fraction (few documents, or a very large one), the
   threshold is moved to the hash that comes closest.
3. Where no threshold does, the ends of the longest documents are held out, cut at the end of a paragraph or line, and
   the rest is trained on. An end that shares most of its text with the rest is not taken where another can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.config import CurationConfig
from tilth.curation.dedup import U64, shingles
from tilth.curation.global_dedup import document_rows
from tilth.curation.groups import SCALE, group_of, share
from tilth.curation.read_result import GROUP
from tilth.curation.result import Split
from tilth.curation.tails import tail_position
from tilth.curation.task import first_document
from tilth.curation.verdicts import Verdicts

I64 = npt.NDArray[np.int64]

TOLERANCE = 2.0
"""By the plain rule, the held-out share may be so many times smaller or larger than the fraction."""
CLOSEST_TOLERANCE = 1.5
"""By the closest hash, so many times."""
MOST_GROUPS = 0.25
"""Share of the documents, at most, that is held out by the closest hash."""
TINY_BYTES = 300
"""Of less text nothing is held out."""
MOST_TAILS = 16
"""Documents or files whose ends are held out, at most."""
TAIL_BYTES = 500
"""The ends of several documents are held out if each is at least so long, else of fewer."""
COMPARED_BYTES = 4 << 20
"""In a corpus up to this size, the ends are compared with the text that is trained on."""
MOST_SHARED = 0.5
"""Share of an end's shingles that may occur in the text that is trained on."""
MOST_OF_A_DOCUMENT = 0.5
"""Share of a document that its end may be, unless the fraction is larger: the rest is to be learned from."""
MOST_CHOICES = 8
"""Sets of ends that are compared with the rest; each comparison reads all text."""


@dataclass(frozen=True)
class HeldOut:
    """What is held out."""

    split: Split
    cuts: Mapping[int, int] = field(default_factory=dict[int, int])
    """Document -> the character at which its held-out end begins; 0: all of it is held out."""


@dataclass(frozen=True)
class _Sizes:
    """The kept documents: their numbers, the hashes of their groups, the bytes of their text."""

    documents: I64
    shares: npt.NDArray[np.float64]
    bytes: I64


def choose_held_out(names: Sequence[str], work: Path, config: CurationConfig, verdicts: Verdicts) -> HeldOut:
    """Returns what is held out of the kept documents of all shards; `Split.line` says what was done."""
    fraction, by, seed = config.held_out_fraction, config.held_out_by, config.seed
    plain = Split(by=by, threshold=fraction, seed=seed)
    if fraction == 0:
        return HeldOut(plain)
    total = below = 0
    for sizes in _all_sizes(names, work, config, verdicts):
        total += int(sizes.bytes.sum())
        below += int(sizes.bytes[sizes.shares < fraction].sum())
    if total < TINY_BYTES:
        line = f"Nothing is held out: {total:,} bytes of text are too few to divide ({TINY_BYTES} are needed)."
        return HeldOut(Split(by=by, threshold=0.0, seed=seed, line=line if total else ""))
    if _is_near(below, fraction * total, TOLERANCE) and below < total:
        return HeldOut(plain)
    parts = list(_all_sizes(names, work, config, verdicts))
    sizes = _Sizes(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))
    return _other_rule(sizes, work, config, below / total)


def _is_near(held_out: float, target: float, tolerance: float) -> bool:
    return target / tolerance <= held_out <= target * tolerance


def _other_rule(sizes: _Sizes, work: Path, config: CurationConfig, plain_share: float) -> HeldOut:
    fraction, by, seed = config.held_out_fraction, config.held_out_by, config.seed
    total = int(sizes.bytes.sum())
    shares, which = np.unique(sizes.shares, return_inverse=True)
    group_bytes = np.bincount(which, weights=sizes.bytes).astype(np.int64)
    # Candidates hold out the groups up to each hash, but never all of them.
    held_out = np.cumsum(group_bytes)[:-1]
    closest = int(np.argmin(np.abs(np.log(held_out / (fraction * total))))) if len(held_out) else -1
    # Beside one huge document, a small share of the bytes may be most of the documents.
    is_few = closest < max(1, MOST_GROUPS * len(group_bytes))
    is_near = closest >= 0 and _is_near(held_out[closest], fraction * total, CLOSEST_TOLERANCE)
    if closest >= 0 and (by != "document" or (is_near and is_few)):
        threshold = float(shares[closest]) + 1 / SCALE
        line = (
            f"Held out: {held_out[closest] / total:.1%} of the text ({held_out[closest]:,} bytes), each {by} with a "
            f"hash below {threshold:.4g} (below {fraction:g} it would be {plain_share:.1%})."
        )
        return HeldOut(Split(by=by, threshold=threshold, seed=seed, line=line))
    if by != "document":
        line = f"Nothing is held out: all text is of one {by}. `--held-out-by document` holds out a part of it."
        return HeldOut(Split(by=by, threshold=0.0, seed=seed, line=line))
    cuts, tail_bytes, is_shared = _tails(sizes, which, group_bytes, work, config)
    ends = f"the end of {'long documents' if len(cuts) > 1 else 'a long document'}"
    line = (
        f"Held out: {tail_bytes / total:.1%} of the text ({tail_bytes:,} bytes), {ends}; there are too few documents, "
        "or too large ones, to hold out whole documents."
    )
    if is_shared:
        line += (
            " Most of it occurs in the text that is trained on as well, so what is measured on it says little: take "
            "out what all files end with, such as a license."
        )
    n_cut = sum(position > 0 for position in cuts.values())
    return HeldOut(Split(by=by, threshold=0.0, seed=seed, tails=n_cut, line=line), cuts)


def _tails(
    sizes: _Sizes, which: I64, group_bytes: I64, work: Path, config: CurationConfig
) -> tuple[dict[int, int], int, bool]:
    """Returns where to cut which documents, the bytes of the ends, and whether the rest holds most of one as well.

    The longest documents come first. Where no others have ends that are long enough, theirs are taken in any case.
    """
    total = int(group_bytes.sum())
    target = max(config.held_out_fraction * total, min(TAIL_BYTES, total / 10))
    most = max(MOST_OF_A_DOCUMENT, config.held_out_fraction)
    order = np.argsort(-group_bytes, kind="stable")
    refused = set[int]()
    first: tuple[dict[int, int], int, bool] | None = None
    for _ in range(MOST_CHOICES):
        chosen = _longest([int(group) for group in order if int(group) not in refused], group_bytes, target)
        cuts: dict[int, int] = {}
        texts: dict[int, str] = {}
        share_of_each = min(target / sum(int(group_bytes[group]) for group in chosen), most)
        for group in chosen:
            members = np.flatnonzero(which == group)
            cuts |= _cut_group(sizes, members, share_of_each * int(group_bytes[group]), work, texts)
        n_bytes = sum(_tail_bytes(sizes, document, position, texts) for document, position in cuts.items())
        if first is not None and n_bytes < min(TAIL_BYTES, target / TOLERANCE):
            return first
        shared = _shared(sizes, cuts, texts, work, config) if total <= COMPARED_BYTES else []
        bad = {int(which[sizes.documents == document][0]) for document in shared}
        first = first or (cuts, n_bytes, bool(bad))
        if not bad:
            return cuts, n_bytes, False
        refused |= bad
        if len(refused) >= len(group_bytes):
            break
    assert first is not None
    return first


def _longest(groups: Sequence[int], group_bytes: I64, target: float) -> list[int]:
    """Returns the longest groups: as many as can each give an end of `TAIL_BYTES` in proportion to their length."""
    for n in range(min(MOST_TAILS, len(groups)), 1, -1):
        chosen = groups[:n]
        if int(group_bytes[chosen[-1]]) * target / int(group_bytes[chosen].sum()) >= TAIL_BYTES:
            return list(chosen)
    return list(groups[:1])


def _cut_group(sizes: _Sizes, members: I64, want: float, work: Path, texts: dict[int, str]) -> dict[int, int]:
    """Returns the cuts that hold out the last `want` bytes of a group's documents."""
    cuts: dict[int, int] = {}
    left = want
    for member in members[::-1]:
        document, size = int(sizes.documents[member]), int(sizes.bytes[member])
        if left < want / 4:
            break
        if size <= 1.25 * left and len(cuts) + 1 < len(members):
            cuts[document] = 0
            left -= size
            continue
        texts[document] = _text(work, document)
        cuts[document] = tail_position(texts[document], left)
        break
    return cuts


def _tail_bytes(sizes: _Sizes, document: int, position: int, texts: Mapping[int, str]) -> int:
    if position == 0:
        return int(sizes.bytes[sizes.documents == document][0])
    return len(texts[document][position:].encode())


def _shared(
    sizes: _Sizes, cuts: Mapping[int, int], texts: Mapping[int, str], work: Path, config: CurationConfig
) -> list[int]:
    """Returns the documents whose held-out ends share most of their shingles with the text that is trained on."""
    ends: dict[int, U64] = {}
    for document, position in cuts.items():
        text = texts[document][position:] if position else _text(work, document)
        ends[document] = shingles(text, config.shingle_words)
    wanted = np.unique(np.concatenate(list(ends.values())))
    found = np.zeros(len(wanted), bool)
    for number in sizes.documents:
        document = int(number)
        if cuts.get(document) == 0:
            continue
        text = texts[document][: cuts[document]] if document in cuts else _text(work, document)
        found |= np.isin(wanted, shingles(text, config.shingle_words), assume_unique=True)
    in_train = wanted[found]
    return [
        document
        for document, end in ends.items()
        if len(end) and np.isin(end, in_train, assume_unique=True).mean() > MOST_SHARED
    ]


# What the shards hold


def _all_sizes(names: Sequence[str], work: Path, config: CurationConfig, verdicts: Verdicts) -> Iterator[_Sizes]:
    for name in names:
        yield _sizes(name, work, config, verdicts)


def _sizes(name: str, work: Path, config: CurationConfig, verdicts: Verdicts) -> _Sizes:
    path = work / "documents" / f"{name}.parquet"
    shares: list[float] = []
    lengths: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=storage.ROW_GROUP_ROWS, columns=[GROUP, "url", "text"]):
            sizes: Any = pc.call_function("binary_length", [batch.column("text")])
            lengths.append(sizes.to_numpy(zero_copy_only=False).astype(np.int64))
            rows = cast("list[dict[str, object]]", batch.select([GROUP, "url"]).to_pylist())
            shares += [share(group_of(row, config.held_out_by), config.seed) for row in rows]
    documents = first_document(name) + np.arange(len(shares), dtype=np.int64)
    kept = ~np.isin(documents, verdicts.dropped(name))
    return _Sizes(documents[kept], np.array(shares, np.float64)[kept], np.concatenate(lengths)[kept])


def _text(work: Path, document: int) -> str:
    ((_, row),) = document_rows([document], work, ["text"])
    return str(row["text"])
