"""The error for a curation that kept nothing: the reason that dropped most, and the option that changes it."""

from __future__ import annotations

from pathlib import Path

from tilth.curation.held_out import TINY_BYTES
from tilth.curation.result import LEDGER, Ledger, RejectCount
from tilth.curation.tally import rejected_languages, typical_measure
from tilth.errors import DataError

_NOT_TEXT = "Give text, Markdown, source code, HTML, JSONL, CSV, Parquet or WARC: convert the files, or choose others."
_FIXES = {
    "too_many_words": "Give a larger `--max-words`.",
    "no_text_field": "Name the field with the text: `--text-field NAME`.",
    "unsupported_type": _NOT_TEXT,
    "binary_file": _NOT_TEXT,
    "not_text": _NOT_TEXT,
    "not_read": "Give the files themselves, or `--follow-links`.",
    "empty_file": "Give files that hold text.",
    "no_documents": "Give files that hold text.",
    "empty_record": "Give records that hold text, or name another field: `--text-field NAME`.",
    "document_too_long": "Give a larger `--max-document-bytes`.",
    "line_too_long": "Give a larger `--max-document-bytes`.",
    "no_main_text": "Give pages with more text; the excerpts in the rejects show what they hold.",
}
_WITHOUT_RULES = "`--operators extract language`"
_NO_RULES = f"Leave the quality rules out: {_WITHOUT_RULES}."
_FEW_WORDS = 20
"""In a text of fewer words any three of them are a large share, so that the other rules would drop it."""


def check_something_kept(ledger: Ledger, out: Path) -> None:
    """Raises DataError if a curation kept no document; what it dropped stays in `out` to be read."""
    if ledger.train.documents or ledger.held_out.documents:
        return
    n_read = ledger.stages[0].documents_in if ledger.stages else 0
    top = max(ledger.rejects, key=lambda reject: reject.documents, default=None)
    read_on = f"{out / 'rejects'} holds each drop with its reason, {out / LEDGER} the counts."
    if top is None or ledger.n_dead_letters > top.documents:
        first = ledger.dead_letters[0] if ledger.dead_letters else None
        error = f" The first: {first.source}: {first.error}" if first else ""
        raise DataError(
            f"Nothing was kept: {ledger.n_dead_letters:,} of {n_read:,} files and records could not be read.{error}",
            fix=f"Mend the input, or give other files. {out / 'dead_letters'} holds each with its error.",
        )
    reason, fix = _reason_and_fix(top, out)
    if top.reason == "too_few_words" and ledger.stages[0].bytes_in < TINY_BYTES:
        fix = "Give more text, a few pages at least: this is too little to train on."
    raise DataError(
        f"Nothing was kept: {_all_of(n_read, top.documents)} {reason}.",
        fix=f"{fix} {read_on}",
    )


def _all_of(n_read: int, n_top: int) -> str:
    if n_read == 1:
        return "the only document was dropped"
    each = "all of them" if n_top == n_read else f"{n_top:,} of them"
    return f"all {n_read:,} documents were dropped, {each}"


def _reason_and_fix(top: RejectCount, out: Path) -> tuple[str, str]:
    paths = sorted((out / "rejects").glob("*.parquet"))
    if top.reason == "other_language":
        counts = rejected_languages(paths)
        first = counts.most_common(1)[0][0] if counts else "?"
        listed = ", ".join(f"{code}: {count:,}" for code, count in counts.most_common(3))
        return f"for their language ({listed})", f"Give `--languages {first}`, or `--languages auto`."
    example = top.examples[0] if top.examples else None
    shown = f" ({example.source}: {example.detail or 'no detail'})" if example else ""
    reason = f"as `{top.reason}`{shown}"
    if top.reason == "too_few_words":
        words = int(typical_measure(paths, top.reason) or 0)
        shorter = f"`--min-words {words // 2}`" if words >= _FEW_WORDS else f"without the rules, {_WITHOUT_RULES}"
        return reason, f"Give documents with more words, or keep shorter ones: {shorter}."
    return reason, _FIXES.get(top.reason, _NO_RULES if top.stage == "rules" else "Change the operator that drops them.")
