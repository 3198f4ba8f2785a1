"""What a curation came to: `ledger.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

LEDGER = "ledger.json"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number of documents and the bytes of their text (UTF-8)."""

    documents: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class InputAmount:
    """The input files of one type."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class StageAmount:
    """What entered one stage of curation, and what left it."""

    stage: str
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, kw_only=True)
class RejectExample:
    """A document that was dropped: its source, what the rule measured, how the text begins."""

    source: str = ""
    detail: str = ""
    excerpt: str = ""


@dataclass(frozen=True, kw_only=True)
class RejectCount:
    """All documents that one stage dropped for one reason."""

    stage: str
    reason: str
    documents: int
    bytes: int
    examples: tuple[RejectExample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeptExample:
    """A document that was kept, drawn at random."""

    source: str
    id: str
    excerpt: str
    """How its text begins."""
    bytes: int
    split: str
    """`train` or `held_out`."""
    language: str = ""
    """ISO 639-1 code; empty for source code."""


@dataclass(frozen=True, kw_only=True)
class LanguageChoice:
    """Which languages `languages=("auto",)` chose, from all prose that passed the other rules."""

    kept: tuple[str, ...]
    """The main languages, the most frequent first."""
    shares: dict[str, float]
    """Language -> its share of the bytes of prose, in 0..1."""


@dataclass(frozen=True, kw_only=True)
class DeadLetterNote:
    """A file or record that could not be decoded or parsed."""

    stage: str
    error: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which documents are held out: those whose group hashes below the threshold, or the ends of long documents."""

    by: str
    threshold: float
    """Share of the hash space, in 0..1; 0 where the ends of documents are held out."""
    seed: int
    tails: int = 0
    """Documents that were cut in two: the beginning is in `train`, the end in `held_out`."""
    line: str = ""
    """What was done, for the user, where it was not the plain rule; else empty."""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The account of a curation: what came in, what was dropped and why, what was kept."""

    stages: tuple[StageAmount, ...]
    """In the order of the operators."""
    train: Amount
    held_out: Amount
    split: Split | None = None
    inputs: tuple[InputAmount, ...] = ()
    rejects: tuple[RejectCount, ...] = ()
    dead_letters: tuple[DeadLetterNote, ...] = ()
    """The first twenty."""
    n_dead_letters: int = 0
    languages: dict[str, int] = field(default_factory=dict[str, int])
    """Language -> prose documents kept."""
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    """`code` and `prose` -> documents kept."""
    code_languages: dict[str, int] = field(default_factory=dict[str, int])
    """Programming language, by the file's suffix -> documents kept."""
    language_choice: LanguageChoice | None = None
    """What `languages=("auto",)` chose; None where the config names languages."""
    cut_files: int = 0
    """Long text files that were cut into several documents."""
    cut_documents: int = 0
    """The documents that they were cut into."""
    kept_examples: tuple[KeptExample, ...] = ()
    """Some twenty of the kept documents, by the lowest hash of their ids."""

    def table(self) -> list[tuple[str, str, int, int]]:
        """Returns rows to print, (stage, reason, documents, bytes): what came in, each drop, what was kept."""
        first = self.stages[0] if self.stages else None
        rows = [("read", "found", first.documents_in if first else 0, first.bytes_in if first else 0)]
        rows += [(reject.stage, reject.reason, reject.documents, reject.bytes) for reject in self.rejects]
        if self.n_dead_letters:
            rows.append(("any", "dead letters", self.n_dead_letters, 0))
        rows.append(("kept", "train", self.train.documents, self.train.bytes))
        rows.append(("kept", "held out", self.held_out.documents, self.held_out.bytes))
        return rows
