"""ProX: a model writes a small program for each document, which drops it or takes the noise out of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parsed, Rejected, recipe
from tilth.synthesis.recipes.prox_program import (
    Call,
    Edit,
    apply_edits,
    edits_of,
    parse_chunk_program,
    parse_document_program,
    split_chunks,
)
from tilth.teacher.request import GenerationParams
from tilth.types import Document

BYTES_PER_TOKEN = 4
"""Of English under the common vocabularies it is a little more, so that a limit in tokens is kept."""


@dataclass(frozen=True, kw_only=True)
class Prox:
    """Drop documents, and edit the rest line by line."""

    programs: Literal["both", "document", "lines"] = "both"
    """Which programs are asked for: whether to keep the document, edits of its lines, or one after the other."""
    document_tokens: int = 2000
    """How much of a document is shown for the decision to keep it, at 4 bytes a token."""
    chunk_tokens: int = 1500
    """Most tokens of a chunk of lines, at 4 bytes a token; longer lines are left as they are."""
    max_removed: float = 0.5
    """Largest share of a document's bytes that its programs may remove; beyond it the document is rejected."""
    max_added: float = 0.02
    """Largest share of a document's bytes that `normalize` may write: a program takes noise out, and writes no text."""

    def __post_init__(self) -> None:
        if self.document_tokens < 16 or self.chunk_tokens < 16:
            raise ConfigError(
                f"`document_tokens` is {self.document_tokens} and `chunk_tokens` {self.chunk_tokens}.",
                fix="Give 16 or more.",
            )
        if not (0 <= self.max_removed <= 1 and 0 <= self.max_added <= 1):
            raise ConfigError(
                f"`max_removed` is {self.max_removed} and `max_added` {self.max_added}.", fix="Give shares from 0 to 1."
            )


@recipe(
    "prox",
    version=1,
    shape="annotation",
    prompts=("document", "lines"),
    options=Prox,
    params=GenerationParams(max_tokens=256, temperature=0.0),
    source="Zhou et al. 2024, Programming Every Example (ProX)",
)
async def prox(document: Document, ask: Ask) -> list[Draft]:
    """Drop documents or remove and repair lines, by small programs that the teacher writes.

    The edited document keeps its id, which names the document and not its bytes: `meta` has `edits`, the list of
    (begin, end, replacement) in bytes of the original, from which the text follows exactly.
    """
    options: Prox = ask.options
    original = document.text.encode("utf-8", "surrogatepass")
    replies: list[Parsed[bool] | Parsed[tuple[Call, ...]]] = []
    if options.programs != "lines":
        shown = original[: options.document_tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore")
        verdict = await ask("document", {"document": shown}, parse_document_program)
        if not verdict.value:
            raise Rejected("drop_doc")
        replies.append(verdict)
    edits: list[Edit] = []
    counts: dict[str, int] = {}
    if options.programs != "document":
        edits, counts, programs = await _line_programs(original, ask)
        replies += programs
    text = apply_edits(document.text, edits)
    meta = {"edits": [list(edit) for edit in edits], "edit_counts": {name: n for name, n in counts.items() if n}}
    return [Draft(text=text, replies=tuple(replies), meta=meta, keeps_id=True)]


async def _line_programs(
    original: bytes, ask: Ask
) -> tuple[list[Edit], dict[str, int], list[Parsed[tuple[Call, ...]]]]:
    """Returns the edits of all chunks, what was counted, and the programs.

    A chunk whose program cannot be read stays as it is. Raises: Rejected if that is so of all, or as `_check_size`.
    """
    chunks, too_long = split_chunks(original, ask.options.chunk_tokens * BYTES_PER_TOKEN)
    prompts = [("lines", {"lines": chunk.numbered(original)}) for chunk in chunks]
    programs = await ask.each(prompts, parse_chunk_program)
    if programs and not any(programs):
        raise Rejected("no_program", f"none of {len(programs)} chunks has one")
    counts = Counter({"lines_too_long": too_long, "chunks_without_program": programs.count(None)})
    edits: list[Edit] = []
    for chunk, program in zip(chunks, programs, strict=True):
        if program is not None:
            made = edits_of(original, chunk, program.value)
            edits += made.edits
            counts.update(made.counts)
    _check_size(edits, len(original), ask.options)
    return edits, dict(counts), [program for program in programs if program is not None]


def _check_size(edits: list[Edit], size: int, options: Prox) -> None:
    """Raises: Rejected if the edits remove or add more of `size` bytes than the options allow."""
    removed = sum(end - begin for begin, end, _ in edits)
    added = sum(len(text.encode()) for _, _, text in edits)
    if removed > options.max_removed * size:
        raise Rejected("removes_too_much", f"{removed} of {size} bytes, {options.max_removed:.0%} allowed")
    if added > options.max_added * size:
        raise Rejected("adds_too_much", f"{added} bytes to {size}, {options.max_added:.0%} allowed")
