"""The plain records that travel between stages, and the Arrow schemas they have on disk.

All are frozen dataclasses. `Document` is the currency of curation and training; `Problem` follows the field's shape
(`prompt, answer, verifier`), `Rollout` is one answer that a model gave, and `Sample` is what synthesis makes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

SCHEMA_VERSION = 1
"""Version of the dataset layout; it is written into every `dataset.json`."""


def document_id(corpus: str, content: str | bytes) -> str:
    """Returns the stable id of a document: 128 bits of SHA-256 over the corpus's name and the content, as hex.

    Order, position, file name and machine do not enter it: equal content within a corpus has one id.
    """
    digest = hashlib.sha256(corpus.encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
    digest.update(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def extend_lineage(lineage: str | None, **entry: object) -> str:
    """Returns a `lineage` column's value with one more entry: a JSON list to which stages append."""
    entries = json.loads(lineage) if lineage else []
    return json.dumps([*entries, entry], ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text with where it came from."""

    id: str
    text: str
    source: str
    """Where the text was read: `<corpus>/<file>`, with `#record` where a file holds several."""
    url: str | None = None
    language: str | None = None
    """ISO 639-1 code where known."""
    meta: Mapping[str, object] = field(default_factory=dict[str, object])
    """Anything else; stored as a JSON string."""

    @classmethod
    def make(
        cls,
        text: str,
        source: str,
        *,
        corpus: str = "",
        content: bytes | None = None,
        url: str | None = None,
        language: str | None = None,
        meta: Mapping[str, object] | None = None,
    ) -> Document:
        """Builds a document with its stable id, that of `content` (such as a page's HTML) where the text is not it."""
        return cls(
            id=document_id(corpus, text if content is None else content),
            text=text,
            source=source,
            url=url,
            language=language,
            meta=meta or {},
        )

    def row(self) -> dict[str, str | None]:
        """Returns the document as a row of `DOCUMENT_SCHEMA`."""
        return {
            "id": self.id,
            "text": self.text,
            "url": self.url,
            "source": self.source,
            "language": self.language,
            "meta": json.dumps(dict(self.meta), ensure_ascii=False, sort_keys=True),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, object]) -> Document:
        """Builds a document from a row of a dataset; columns that stages added are left aside."""
        url, language, meta = row.get("url"), row.get("language"), row.get("meta")
        return cls(
            id=str(row["id"]),
            text=str(row["text"]),
            source=str(row.get("source") or ""),
            url=None if url is None else str(url),
            language=None if language is None else str(language),
            meta=json.loads(str(meta)) if meta else {},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A prompt whose answers a named task family can verify."""

    id: str
    prompt: str
    answer: str | None = None
    """The reference answer; None where there is none, or where a learner must not see it."""
    verifier: str
    """Name of the task family that verifies answers."""
    difficulty: float | None = None

    @classmethod
    def make(cls, prompt: str, *, verifier: str, answer: str | None = None, difficulty: float | None = None) -> Problem:
        """Builds a problem whose id follows from verifier and prompt, so that equal text is one problem."""
        # NUL cannot be in a name, so no two pairs give the same bytes.
        digest = hashlib.sha256(f"{verifier}\0{prompt}".encode("utf-8", "surrogatepass"))
        return cls(id=digest.hexdigest()[:32], prompt=prompt, answer=answer, verifier=verifier, difficulty=difficulty)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One answer that a model gave to a problem."""

    problem_id: str
    text: str
    """Decoded from `tokens`, the stop token left out."""
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    """Natural-log probability of each token under the model that sampled it; empty where it was not sampled as it
    is."""
    finish_reason: Literal["stop", "length"] = "stop"
    reward: float | None = None
    """What a verifier gave it, such as 1.0 for right or the share of votes; None: not judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A text that was generated, with all that it was made from.

    On disk it is a document with more columns: `messages`; or `prompt, chosen, rejected`; or `prompt, answer,
    verifier`; `score_<name>`; and `lineage`, the source document's list with one more entry.
    """

    id: str
    """Stable: from the recipe's name and the content (`document_id`)."""
    text: str
    """What a training stream reads; of a chat or a preference, all of it in one text."""
    source: str
    """`<recipe>/<source of the seed document>`."""
    url: str | None = None
    language: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict[str, object])
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    answer: str | None = None
    verifier: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    lineage: tuple[Mapping[str, object], ...] = ()


DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("source", pa.string()),
        pa.field("language", pa.string()),
        pa.field("meta", pa.string()),
    ]
)
"""Columns of a dataset; stages may add `score_<name>` (float) and `lineage` (JSON string)."""

REJECT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("excerpt", pa.string()),
    ]
)
"""Why a document was dropped; `excerpt` is its beginning, so that a person can judge the rule."""

DEAD_LETTER_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("excerpt", pa.string()),
    ]
)
"""Records and files that could not be decoded or parsed, or that took too long; the others are kept."""


def documents_table(documents: list[Document]) -> pa.Table:
    """Returns the documents as an Arrow table of `DOCUMENT_SCHEMA`."""
    return pa.Table.from_pylist([document.row() for document in documents], schema=DOCUMENT_SCHEMA)
