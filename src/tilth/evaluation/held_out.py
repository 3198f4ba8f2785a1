"""Bits per byte of a model, and of simple predictors beside it, on one held-out text.

There is one definition, that of `training.held_out`: the losses of all tokens of a document and of its closing
separator are summed, the opening separator is given, and the sum is divided by the text's bytes. It holds for the
model and the n-gram model; the compressor has no documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tilth.errors import ConfigError, DataError
from tilth.evaluation.compression import LEVEL, zstd_bits_per_byte
from tilth.evaluation.ngram import NgramModel
from tilth.evaluation.result import BASELINES, Baselines
from tilth.progress import SILENT, Progress
from tilth.results import write_result
from tilth.storage import Dataset
from tilth.training import held_out_excerpt, text_loss
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.model import Transformer
    from tilth.tokenizer import Tokenizer

ORDER = 5
"""Tokens in the n-grams."""
BLOCK_DOCUMENTS = 256
"""Documents that are tokenized at a time."""


def bits_per_byte(
    model: Transformer, tokenizer: Tokenizer, documents: Iterable[Document], *, progress: Progress = SILENT
) -> float:
    """Returns a model's bits per byte on documents.

    Raises: DataError if there is no text; ConfigError if the tokenizer has more tokens than the model.
    """
    model.config.check_vocabulary(tokenizer.vocab_size)
    return text_loss(model, tokenizer, documents, progress=progress).bits_per_byte


def ngram_bits_per_byte(model: NgramModel, tokenizer: Tokenizer, documents: Iterable[Document]) -> float:
    """Returns an n-gram model's bits per byte on documents, by the same definition as a model's.

    Raises: DataError if there is no text.
    """
    texts = [document.text for document in documents]
    n_bytes = sum(map(_n_bytes, texts))
    if n_bytes == 0:
        raise DataError(
            "There is no held-out text to measure.", fix="Give more text: of very little, nothing is held out."
        )
    return float(model.token_losses(_tokens(tokenizer, texts)).sum()) / math.log(2) / n_bytes


def baselines(
    *,
    models: Mapping[str, Transformer],
    tokenizer: Tokenizer,
    train: Dataset,
    held_out: Dataset,
    out: Path | str,
    max_bytes: int = 200_000,
    curve_bytes: int | None = None,
    max_train_bytes: int = 64 << 20,
    ngram: tuple[NgramModel, int] | None = None,
    progress: Progress = SILENT,
) -> Baselines:
    """Measures models, a 5-gram model of the training text, and zstd on held-out text; writes
    `baselines.json`.

    All are measured on the same `max_bytes` of held-out text (in the order of ids, which is random and stable; the last
    document is cut), simple predictors also on the first `curve_bytes` of it. The 5-gram model counts at most
    `max_train_bytes` of the training text, about 50 bytes of memory for each; `ngram` gives what `train_ngram`
    returned, where it is there already.
    Raises: DataError if one of the datasets has no text; ConfigError for a tokenizer without a separator or with more
    tokens than a model.
    """
    excerpt = held_out_excerpt(held_out.documents(), max_bytes)
    texts = [document.text for document in excerpt]
    for model in models.values():  # before the first is measured, which takes a while
        model.config.check_vocabulary(tokenizer.vocab_size)
    measured = {name: bits_per_byte(model, tokenizer, excerpt, progress=progress) for name, model in models.items()}
    notes = {name: _model_note(model) for name, model in models.items()}
    counts, counted = ngram or train_ngram(tokenizer, train, max_train_bytes)
    measured[f"{ORDER}-gram"] = ngram_bits_per_byte(counts, tokenizer, excerpt)
    notes[f"{ORDER}-gram"] = (
        f"Interpolated {ORDER}-gram model (modified Kneser-Ney) over the same tokens, "
        f"counted on {counted:,} of the {train.n_bytes:,} bytes of training text."
    )
    measured[f"zstd -{LEVEL}"] = zstd_bits_per_byte(texts)
    n_bytes = sum(map(_n_bytes, texts))
    notes[f"zstd -{LEVEL}"] = (
        f"zstd level {LEVEL} over all {n_bytes:,} measured bytes in one frame; "
        "it has seen no training text and has no dictionary."
    )
    result = Baselines(
        held_out_bytes=n_bytes,
        held_out_documents=len(excerpt),
        bits_per_byte=measured,
        notes=notes,
        curve_bits_per_byte={} if curve_bytes is None else _simple(counts, tokenizer, excerpt, curve_bytes),
    )
    write_result(Path(out) / BASELINES, result)
    return result


def _simple(ngram: NgramModel, tokenizer: Tokenizer, excerpt: Sequence[Document], n_bytes: int) -> dict[str, float]:
    beginning = held_out_excerpt(excerpt, n_bytes)
    return {
        f"{ORDER}-gram": ngram_bits_per_byte(ngram, tokenizer, beginning),
        f"zstd -{LEVEL}": zstd_bits_per_byte([document.text for document in beginning]),
    }


def train_ngram(tokenizer: Tokenizer, train: Dataset, max_bytes: int = 64 << 20) -> tuple[NgramModel, int]:
    """Counts the n-grams of a dataset's documents, in order, up to `max_bytes`; returns the model and the
    bytes read.

    Raises: DataError if the dataset has no documents; ConfigError for a tokenizer without a separator.
    """
    separator = tokenizer.end_of_text
    if separator is None:
        raise ConfigError(
            "The tokenizer has no `<|endoftext|>` token to put between documents.",
            fix="Train it with `<|endoftext|>` among its special tokens.",
        )
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for document in train.documents():
            n_bytes = _n_bytes(document.text)
            if read + n_bytes > max_bytes:
                break
            read += n_bytes
            yield document.text

    model = NgramModel.fit(
        _tokens(tokenizer, texts()), vocab_size=tokenizer.vocab_size, separator=separator, order=ORDER
    )
    return model, read


def _tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Sequence[int]]:
    block: list[str] = []
    for text in texts:
        block.append(text)
        if len(block) == BLOCK_DOCUMENTS:
            yield from tokenizer.encode_batch(block, disallowed_special=())
            block = []
    yield from tokenizer.encode_batch(block, disallowed_special=())


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _model_note(model: Transformer) -> str:
    config = model.config
    return f"Transformer of {config.n_params:,} parameters that sees up to {config.context_length} tokens back."
