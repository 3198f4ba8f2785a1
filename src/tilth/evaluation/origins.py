"""From what a model wrote to the training documents that taught it.

By letters: the spans of a sample that the training text holds verbatim (`verbatim.py`, exact). By meaning: windows of
training text whose embedding is near to the sample's: the mean of the trained model's token embeddings, each weighted
by the token's inverse document frequency, less the mean over all windows. Means of last hidden states gave windows no
nearer to what the samples speak of, for 35 times the computation.
Source of the weighting: Arora et al. 2017 ("A simple but tough-to-beat baseline"), with idf instead of a/(a+p).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from tilth.evaluation.result import NEAREST, NearWindow, Origins, SampleOrigin, VerbatimSpan
from tilth.evaluation.verbatim import VerbatimSearch
from tilth.results import write_result
from tilth.storage import Dataset
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.model import Transformer
    from tilth.tokenizer import Tokenizer

MAX_SEARCH_BYTES = 256 << 20
"""Training text that is searched for spans, from its beginning: about half a second for 10 MB."""
MAX_WINDOWS = 30_000
"""Windows that are embedded, evenly spread over the training text: all of them up to 12 MB."""
WINDOW_CHARACTERS = 400
SHORTEST_WINDOW = 100
"""Characters; of a few words anything may be near."""
NEAR = 3
AROUND = 80
"""Characters that are shown around a span."""
HELD_OUT_PIECES = 16


@dataclass(slots=True)
class _Windows:
    """The windows of training text that are embedded."""

    tokenizer: Tokenizer
    stride: int
    """Every how many windows one is taken."""
    documents: list[Document] = field(default_factory=list[Document])
    """Of each window; without the text."""
    positions: list[int] = field(default_factory=list[int])
    texts: list[str] = field(default_factory=list[str])
    n_seen: int = 0

    def taken_from(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Takes windows out of documents that are passed on."""
        for document in documents:
            facts = Document(id=document.id, text="", source=document.source)
            for start in range(0, len(document.text), WINDOW_CHARACTERS):
                text = document.text[start : start + WINDOW_CHARACTERS]
                if len(text.strip()) < min(SHORTEST_WINDOW, len(document.text.strip())):
                    continue
                if self.n_seen % self.stride == 0:
                    self.documents.append(facts)
                    self.positions.append(start)
                    self.texts.append(text)
                self.n_seen += 1
            yield document


def nearest(
    *,
    samples: Sequence[str],
    model: Transformer,
    tokenizer: Tokenizer,
    train: Dataset,
    held_out: Dataset | None,
    out: Path,
    max_search_bytes: int = MAX_SEARCH_BYTES,
    max_windows: int = MAX_WINDOWS,
) -> Origins:
    """Finds the training documents that are nearest to samples, and writes `nearest.json`.

    Cost: one pass over the training text, of which `max_search_bytes` are searched letter by letter.
    """
    pieces = _pieces(held_out, samples)
    search = VerbatimSearch([*samples, *pieces])
    most = train.n_bytes // WINDOW_CHARACTERS + train.n_documents  # each document's last window may be short
    stride = max(1, -(-most // max_windows))
    windows = _Windows(tokenizer, stride)
    for document in windows.taken_from(train.documents()):
        if search.n_bytes < max_search_bytes:
            search.add(document)
    search.finish()
    near = _near(samples, windows, model)
    sizes = [len(content) for content in search.contents]
    shares = [search.share(number) for number in range(len(sizes))]
    n_held_out = sum(sizes[len(samples) :])
    covered = sum(size * share for size, share in zip(sizes[len(samples) :], shares[len(samples) :], strict=True))
    result = Origins(
        least_bytes=search.least,
        searched_documents=search.n_documents,
        searched_bytes=search.n_bytes,
        train_bytes=train.n_bytes,
        windows=len(windows.texts),
        held_out_share=covered / n_held_out if n_held_out else None,
        samples=tuple(
            SampleOrigin(text=text, verbatim_share=shares[i], spans=_spans(search, i, text), near=near[i])
            for i, text in enumerate(samples)
        ),
    )
    write_result(out / NEAREST, result)
    return result


def _pieces(held_out: Dataset | None, samples: Sequence[str]) -> list[str]:
    """Returns pieces of the first held-out documents, from a third into each, as long as a sample is on average."""
    length = sum(map(len, samples)) // max(len(samples), 1)
    pieces: list[str] = []
    for document in held_out.documents() if held_out is not None and length else ():
        begin = len(document.text) // 3
        if len(document.text) >= begin + length:
            pieces.append(document.text[begin : begin + length])
        if len(pieces) == HELD_OUT_PIECES:
            break
    return pieces


def _spans(search: VerbatimSearch, number: int, sample: str) -> tuple[VerbatimSpan, ...]:
    content = search.contents[number]
    spans: list[VerbatimSpan] = []
    for match in search.matches(number):
        start, end = (len(content[:at].decode("utf-8", "surrogatepass")) for at in (match.start, match.end))
        text = match.document.text
        position = len(text.encode("utf-8", "surrogatepass")[: match.position].decode("utf-8", "surrogatepass"))
        after = position + end - start
        spans.append(
            VerbatimSpan(
                start=start,
                end=end,
                documents=match.documents,
                document_id=match.document.id,
                source=match.document.source,
                position=position,
                before=text[max(0, position - AROUND) : position],
                after=text[after : after + AROUND],
            )
        )
    return tuple(spans)


def _near(samples: Sequence[str], windows: _Windows, model: Transformer) -> list[tuple[NearWindow, ...]]:
    if not windows.texts or not samples:
        return [() for _ in samples]
    ids, offsets = windows.tokenizer.encode_batch_to_numpy(windows.texts, disallowed_special=())
    embeddings = model.embedding.weight.detach().float().cpu()
    weighted = embeddings * torch.from_numpy(_idf(ids, offsets, len(embeddings)))[:, None]
    vectors = F.normalize(_bags(ids, offsets, weighted), dim=-1)
    centre = vectors.mean(dim=0)
    vectors = F.normalize(vectors - centre, dim=-1)
    sample_ids, sample_offsets = windows.tokenizer.encode_batch_to_numpy(list(samples), disallowed_special=())
    queries = F.normalize(_bags(sample_ids, sample_offsets, weighted), dim=-1)
    similarities = F.normalize(queries - centre, dim=-1) @ vectors.T
    return [
        _best(similarity, windows) if end > start else ()
        for similarity, start, end in zip(similarities, sample_offsets, sample_offsets[1:], strict=False)
    ]


def _idf(ids: NDArray[np.unsignedinteger], offsets: NDArray[np.int64], n_tokens: int) -> NDArray[np.float32]:
    """Returns ln((n + 1) / (df + 1)) for each token: n windows, df of them with the token."""
    n = len(offsets) - 1
    window = np.repeat(np.arange(n, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(window * n_tokens + ids.astype(np.int64))
    frequency = np.bincount(pairs % n_tokens, minlength=n_tokens)
    return np.log((n + 1) / (frequency + 1)).astype(np.float32)


def _bags(ids: NDArray[np.unsignedinteger], offsets: NDArray[np.int64], weighted: torch.Tensor) -> torch.Tensor:
    tokens, starts = torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(offsets[:-1].astype(np.int64))
    return F.embedding_bag(tokens, weighted, starts, mode="sum")


def _best(similarity: torch.Tensor, windows: _Windows) -> tuple[NearWindow, ...]:
    found: dict[str, NearWindow] = {}
    # Rounded, so that equal windows come in the order of the text whatever the machine's last digits are.
    order = torch.sort(torch.round(similarity, decimals=4), descending=True, stable=True).indices
    for index in order.tolist():
        document = windows.documents[index]
        if document.id not in found:
            found[document.id] = NearWindow(
                document_id=document.id,
                source=document.source,
                position=windows.positions[index],
                similarity=round(float(similarity[index]), 4),
                text=windows.texts[index],
            )
        if len(found) == NEAR:
            break
    return tuple(found.values())
