"""How surprising a dataset is for each byte: under reference models, and to a compressor with and without the source.

A low number is text that says little new for its length, a high one may be information or noise: it is read beside that
of held-out real text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tilth.assay.result import Density
from tilth.assay.scoring import Scorer, bits_per_byte
from tilth.errors import DataError, TilthError
from tilth.evaluation.compression import LEVEL, zstd_bits_per_byte
from tilth.intervals import Interval

COMPRESSED_BYTES = 2_000_000
"""Most bytes of the dataset that are compressed."""
SOURCE_BYTES = 4_000_000
"""Most bytes of the source that are compressed in front of it: both lie within the window of zstd (8 MiB)."""


def measure_density(
    texts: Sequence[str],
    held_out: Sequence[str],
    scorers: Mapping[str, Scorer],
    *,
    compressed: Sequence[str],
    source: Sequence[str],
) -> tuple[Density, list[str]]:
    """Returns the bits per byte of texts and of held-out texts under each model, and what could not be measured.

    `compressed` and `source` are the texts for the compressor, of which the first bytes are taken.
    """
    here: dict[str, Interval] = {}
    there: dict[str, Interval] = {}
    notes: list[str] = []
    for name, scorer in scorers.items():
        try:
            dataset, real = bits_per_byte(scorer, texts), bits_per_byte(scorer, held_out)
        except TilthError as error:
            notes.append(f"Density under {name} was not measured: {error.message}")
            continue
        if not (math.isfinite(dataset.mean) and math.isfinite(real.mean)):
            notes.append(f"Density under {name} was not measured: its losses are not finite.")
            continue
        here[name], there[name] = dataset, real
    alone, given = _compressed(compressed, source)
    orders = [word_order(scorers[next(iter(here))], some) if here else math.nan for some in (texts, held_out)]
    return Density(
        bits_per_byte={name: found.mean for name, found in here.items()},
        source_bits_per_byte={name: found.mean for name, found in there.items()},
        compressed=alone,
        compressed_given_source=given,
        intervals=here,
        source_intervals=there,
        word_order=orders[0],
        source_word_order=orders[1],
        models={name: scorers[name].note for name in here},
        documents=len(texts),
        held_out_documents=len(held_out),
    ), notes


def word_order(scorer: Scorer, texts: Sequence[str]) -> float:
    """Returns the bits per byte that the order of words saves: those of the texts with their words shuffled, less those
    of the texts; white space is one space in both."""
    words = [text.split() for text in texts]
    shuffled = [random.Random(number).sample(row, len(row)) for number, row in enumerate(words)]
    mixed, plain = ([" ".join(row) for row in rows] for rows in (shuffled, words))
    return bits_per_byte(scorer, mixed).mean - bits_per_byte(scorer, plain).mean


def _compressed(texts: Sequence[str], source: Sequence[str]) -> tuple[float, float | None]:
    taken, before = _first(texts, COMPRESSED_BYTES), _first(source, SOURCE_BYTES)
    return zstd_bits_per_byte(taken), zstd_bits_given(taken, before) if before else None


def zstd_bits_given(texts: Sequence[str], source: Sequence[str]) -> float:
    """Returns the bits that zstd needs for each byte of texts, when it has just compressed the source.

    That is the size of source and texts in one frame less that of the source alone: pyarrow's zstd takes no dictionary,
    and in one frame its window of 8 MiB at this level reaches back as a dictionary would.
    Raises: DataError if there is no text.
    """
    content, before = _bytes(texts), _bytes(source)
    if not content:
        raise DataError("There is no text to compress.", fix="Give at least one document with text.")
    codec = pa.Codec("zstd", compression_level=LEVEL)
    return max(0.0, 8 * (codec.compress(before + content).size - codec.compress(before).size) / len(content))


def _bytes(texts: Sequence[str]) -> bytes:
    return b"".join(text.encode("utf-8", "surrogatepass") for text in texts)


def _first(texts: Sequence[str], n_bytes: int) -> list[str]:
    """Returns the first texts that hold `n_bytes`, the last one cut."""
    found: list[str] = []
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")[:n_bytes]
        found.append(content.decode("utf-8", "ignore"))
        n_bytes -= len(content)
        if n_bytes <= 0:
            break
    return found
