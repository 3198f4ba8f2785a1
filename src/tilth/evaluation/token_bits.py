"""Held-out text token by token: the bits that a model and an n-gram model need for each.

Documents of several kinds are read from their beginning, in the windows of `training.text_loss`, so that the bits of a
document sum to its loss there; a passage of each is kept with the model's most likely tokens. The n-gram model scores
the same tokens. The trade-off: whole logits are made, a window at a time, where the loss alone needs none.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilth.errors import DataError
from tilth.evaluation.ngram import NgramModel
from tilth.evaluation.result import SURPRISE, ContextBits, ScoredPassage, ScoredToken, Surprise
from tilth.results import write_result
from tilth.training.held_out import overlapping_windows
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.model import Transformer
    from tilth.tokenizer import Tokenizer

PASSAGES = 6
PASSAGE_BYTES = 640
SCORED_BYTES = 6000
"""Most bytes of a document that are scored, from its beginning."""
ALTERNATIVES = 5
MOST_KINDS = 32
"""Kinds of documents that are told apart."""
CONTEXT_EDGES = (0, 4, 16, 64, 256, 1 << 30)
WINDOW_LOGITS = 1 << 24
"""Logits that are made at a time: 64 MB of float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    """A document's bits; all arrays have an entry for each token and one for the separator at the end."""

    document: Document
    content: bytes
    spans: NDArray[np.int64]
    """Where each token is in `content`: start and end, without the separator. Shape: (tokens, 2)."""
    shown: list[tuple[int, int]]
    """The tokens of the passage in groups `(first, end)` of whole characters."""
    model: NDArray[np.float64]
    ngram: NDArray[np.float64]
    alternatives: dict[int, dict[str, float]]
    """By the index of a shown token."""


def surprise(
    *,
    model: Transformer,
    ngram: NgramModel,
    tokenizer: Tokenizer,
    documents: Iterable[Document],
    out: Path,
    passages: int = PASSAGES,
    passage_bytes: int = PASSAGE_BYTES,
    scored_bytes: int = SCORED_BYTES,
) -> Surprise:
    """Scores up to `passages` documents token by token, and writes `surprise.json`.

    They are chosen by kind (language, kind of text, ending of the file's name), the kinds taken in turn, and within a
    kind by id, which is random and stable.
    Raises: DataError if there is no text; ConfigError for a tokenizer with more tokens than the model.
    """
    model.config.check_vocabulary(tokenizer.vocab_size)
    chosen = chosen_documents(documents, passages, passage_bytes)
    if not chosen:
        raise DataError(
            "There is no held-out text to measure.", fix="Give more text: of very little, nothing is held out."
        )
    scored = [_score(model, ngram, tokenizer, _cut(document, scored_bytes), passage_bytes) for document in chosen]
    result = Surprise(
        order=ngram.order,
        documents=len(scored),
        bytes=sum(len(one.content) for one in scored),
        model_bits=float(sum(one.model.sum() for one in scored)),
        ngram_bits=float(sum(one.ngram.sum() for one in scored)),
        passages=tuple(_passage(one) for one in scored),
        by_context=tuple(_by_context(scored)),
    )
    write_result(out / SURPRISE, result)
    return result


def kind_of(document: Document) -> str:
    """Returns language and kind of a document's text, such as `en, prose`."""
    kind = document.meta.get("kind")
    return ", ".join(filter(None, [document.language, kind if isinstance(kind, str) else "prose"]))


def chosen_documents(documents: Iterable[Document], n: int, enough_bytes: int) -> list[Document]:
    """Returns up to `n` documents with text, of as many kinds as there are; those with `enough_bytes` come first.

    At most `n` documents of each kind are held.
    """
    kinds: dict[str, list[tuple[bool, str, Document]]] = {}
    for document in documents:
        if not document.text.strip():
            continue
        suffix = Path(document.source).suffix
        kind = f"{kind_of(document)} {suffix if suffix[1:].isalpha() else ''}"
        if kind not in kinds and len(kinds) == MOST_KINDS:
            kind = ""
        best = kinds.setdefault(kind, [])
        insort(best, (len(document.text) < enough_bytes, document.id, document), key=lambda entry: entry[:2])
        del best[n:]
    turns = [(rank, entry[0], kind, entry[2]) for kind, best in kinds.items() for rank, entry in enumerate(best)]
    turns.sort(key=lambda turn: (turn[1], turn[0], turn[2]))
    chosen = [document for _, _, _, document in turns[:n]]
    return sorted(chosen, key=lambda document: (kind_of(document), document.source, document.id))


def _cut(document: Document, most_bytes: int) -> Document:
    content = document.text.encode("utf-8", "surrogatepass")
    if len(content) <= most_bytes:
        return document
    return replace(document, text=content[:most_bytes].decode("utf-8", "ignore"))


def _score(
    model: Transformer, ngram: NgramModel, tokenizer: Tokenizer, document: Document, passage_bytes: int
) -> _Scored:
    content = document.text.encode("utf-8", "surrogatepass")
    ids = tokenizer.encode(content, disallowed_special=())
    try:
        spans = tokenizer.offsets(content, disallowed_special=())
    except DataError:  # the vocabulary's normalization changes the text: show what the tokens say
        texts = [tokenizer.token_bytes(token) for token in ids]
        content = b"".join(texts)
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        spans = np.stack([ends - [len(text) for text in texts], ends], axis=1)
    shown = _shown(content, spans, passage_bytes)
    bits, likely = _model_bits(model, [ngram.separator, *ids, ngram.separator], shown[0][0], shown[-1][1])
    return _Scored(
        document=document,
        content=content,
        spans=spans,
        shown=shown,
        model=bits,
        ngram=ngram.token_losses([ids]) / math.log(2),
        alternatives={index: _alternatives(tokenizer, logprobs) for index, logprobs in likely.items()},
    )


@torch.no_grad()
def _model_bits(
    model: Transformer, ids: list[int], first: int, end: int
) -> tuple[NDArray[np.float64], dict[int, Tensor]]:
    """Returns the bits of every id but the opening separator, and for those in `first..end` all log-probabilities."""
    windows = overlapping_windows(ids, model.config.context_length)
    rows = max(1, WINDOW_LOGITS // (model.config.context_length * model.config.vocab_size))
    was_training = model.training
    model.eval()
    bits: list[float] = []
    shown: dict[int, Tensor] = {}
    for start in range(0, len(windows), rows):
        batch = windows[start : start + rows]
        longest = max(len(window) for window, _ in batch) - 1
        inputs = torch.zeros(len(batch), longest, dtype=torch.int64)
        for row, (window, _) in enumerate(batch):
            inputs[row, : len(window) - 1] = torch.tensor(window[:-1])
        logits = model(inputs.to(model.device)).float().cpu()
        for row, (window, context) in enumerate(batch):
            logprobs = logits[row, context : len(window) - 1].log_softmax(dim=-1)
            targets = torch.tensor(window[context + 1 :])
            scored = len(bits)
            bits += (-logprobs.gather(1, targets[:, None])[:, 0].double() / math.log(2)).tolist()
            shown |= {index: logprobs[index - scored] for index in range(max(first, scored), min(end, len(bits)))}
    model.train(was_training)
    return np.array(bits), shown


def _alternatives(tokenizer: Tokenizer, logprobs: Tensor) -> dict[str, float]:
    best = logprobs[: tokenizer.vocab_size].topk(min(ALTERNATIVES, tokenizer.vocab_size))
    return {
        token_text(tokenizer.token_bytes(token)): round(probability, 4)
        for token, probability in zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    }


def token_text(token: bytes) -> str:
    """Returns a token as text; bytes that are no whole characters as `⟨E4 B8⟩`."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return f"⟨{token.hex(' ').upper()}⟩"


def _shown(content: bytes, spans: NDArray[np.int64], passage_bytes: int) -> list[tuple[int, int]]:
    """Returns the tokens of a passage: whole lines, where there are lines, from a third into the document on."""
    begin = max(0, min(len(content) // 3, len(content) - passage_bytes))
    line = content.find(b"\n", begin, begin + passage_bytes // 2) + 1
    begin = line if begin and line else begin
    end = min(begin + passage_bytes, len(content))
    line = content.rfind(b"\n", begin + passage_bytes // 2, end) + 1
    end = line if line and end < len(content) else end
    groups = character_groups(content, spans)
    return [(a, b) for a, b in groups if spans[a, 0] >= begin and spans[b - 1, 1] <= end] or groups[:1]


def _passage(scored: _Scored) -> ScoredPassage:
    spans, shown = scored.spans, scored.shown
    tokens = tuple(
        ScoredToken(
            text=scored.content[spans[a, 0] : spans[b - 1, 1]].decode("utf-8", "replace"),
            model_bits=round(float(scored.model[a:b].sum()), 3),
            ngram_bits=round(float(scored.ngram[a:b].sum()), 3),
            tokens=b - a,
            alternatives=scored.alternatives[a],
        )
        for a, b in shown
    )
    return ScoredPassage(
        document_id=scored.document.id,
        source=scored.document.source,
        kind=kind_of(scored.document),
        first_token=shown[0][0],
        bytes=int(spans[shown[-1][1] - 1, 1] - spans[shown[0][0], 0]),
        tokens=tokens,
    )


def character_groups(content: bytes, spans: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Returns the tokens in groups `(first, end)`, each of whole characters; a token of whole characters is alone."""
    inside = [i < len(content) and content[i] & 0xC0 == 0x80 for i in range(len(content) + 1)]
    groups: list[tuple[int, int]] = []
    first = 0
    for index in range(len(spans)):
        is_last = index == len(spans) - 1
        if is_last or not inside[spans[index, 1]]:
            groups.append((first, index + 1))
            first = index + 1
    return groups


def _by_context(documents: Sequence[_Scored]) -> list[ContextBits]:
    """Sums the bits by how many tokens of the document come before a token; the separators are left out."""
    found: list[ContextBits] = []
    for least, above in pairwise(CONTEXT_EDGES):
        parts = [
            (
                int(one.spans[least:above, 1].max(initial=0) - one.spans[least:above, 0].min(initial=len(one.content))),
                float(one.model[: len(one.spans)][least:above].sum()),
                float(one.ngram[: len(one.spans)][least:above].sum()),
            )
            for one in documents
            if len(one.spans) > least
        ]
        if parts:
            n_bytes, model_bits, ngram_bits = (sum(values) for values in zip(*parts, strict=True))
            most = min(above, max(len(one.spans) for one in documents)) - 1
            found.append(
                ContextBits(least=least, most=most, bytes=n_bytes, model_bits=model_bits, ngram_bits=ngram_bits)
            )
    return found
