"""What a curation run is told: operators, languages, limits, thresholds, the split.

Kept apart from the operators so that planning a run and `--help` load neither pyarrow nor a parser. Few knobs: the
thresholds of the published rule sets (Gopher, StarCoder) are constants in `rules`, because a run that changes
them no longer runs those rules; only what people really set is a field.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal, get_args

from tilth.errors import ConfigError

COMPARING_OPERATORS = ("decontaminate", "against")
"""Operators that compare with data of the user's: they run last, where the field of their name is set."""
DEFAULT_OPERATORS = ("extract", "language", "rules")
"""Main text of web pages, language, quality rules."""
BUILT_IN_OPERATORS = (*DEFAULT_OPERATORS, "quality")
"""Operators that come with tilth; `quality` needs a classifier."""
AUTO = "auto"
"""In `languages`: keep the main languages of the corpus, whichever they are."""
HeldOutBy = Literal["document", "file", "site"]


@dataclass(frozen=True, kw_only=True)
class CurationConfig:
    """Turn raw files into clean, deduplicated documents."""

    operators: tuple[str, ...] = DEFAULT_OPERATORS
    """What documents pass, in order: built-in names, or one's own as `path/to/file.py:factory`."""
    languages: tuple[str, ...] | None = ("en",)
    """ISO 639-1 codes of the languages to keep, `auto` for the main ones of the corpus; empty: all. Code is exempt."""
    text_field: str | None = None
    """Column or field with the text, in JSONL, Parquet, CSV and TSV; None: `text`, `content`, `body`, ... or a chat."""
    max_document_bytes: int = 10_000_000
    """Longest document, web page or JSON line; longer ones are dropped before they fill the memory."""
    document_seconds: float = 20.0
    """Most CPU seconds that an operator may take for a document; past it the document is a dead letter."""
    max_dead_letters: float = 0.05
    """Share of dead letters among records, or among files, above which the run fails (from eleven on, or if all)."""
    min_words: int = 50
    """Fewest words of a prose document (Gopher: 50)."""
    max_words: int = 100_000
    """Most words of a prose document (Gopher: 100,000)."""
    decontaminate: tuple[str, ...] = ()
    """Evaluation sets (files, folders, datasets): documents that hold items of them are dropped."""
    decontaminate_by: Literal["drop", "cut"] = "drop"
    """What becomes of such documents; `cut`: they lose the lines with items, and go if less than half would be left."""
    against: tuple[str, ...] = ()
    """Datasets made earlier: near duplicates of their documents are dropped."""
    quality_classifier: str | None = None
    """Folder of the classifier that the operator `quality` scores documents with."""
    min_quality: float | None = None
    """Lowest score of a document that it keeps; None: all are scored and kept."""
    near_duplicate_threshold: float | None = 0.8
    """Jaccard similarity of word shingles from which the later document is dropped; None: exact copies only."""
    shingle_words: int = 5
    """Words in a shingle."""
    num_permutations: int = 128
    """Hash functions of a MinHash signature: more find more of the pairs near the threshold, and cost time."""
    held_out_fraction: float = 0.02
    """Share of the text that is kept from training."""
    held_out_by: HeldOutBy = "document"
    """What is held out as a whole: a document (with all parts of its text file), a file, or a site (a URL's host)."""
    shard_bytes: int = 64 << 20
    """Most bytes of text in a shard, and of input files in a task (a larger file is a task of its own)."""
    seed: int = 0
    """Chooses the hash functions and the held-out documents."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_document_bytes", 1),
            ("min_words", 0),
            ("max_words", max(self.min_words, 1)),
            ("shingle_words", 1),
            ("num_permutations", 1),
            ("shard_bytes", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"`{name}` is {getattr(self, name)}.", fix=f"Set it to a number that is at least {least}."
                )
        self._check_shares()
        self._check_names()

    def _check_shares(self) -> None:
        threshold = self.near_duplicate_threshold
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(
                f"`near_duplicate_threshold` is {threshold}.",
                fix="Set a similarity above 0 and at most 1, or None for exact copies only.",
            )
        if not 0 <= self.held_out_fraction < 1:
            raise ConfigError(
                f"`held_out_fraction` is {self.held_out_fraction}.",
                fix="Set a share from 0 to below 1, such as 0.02.",
            )
        if not 0 <= self.max_dead_letters <= 1:
            raise ConfigError(
                f"`max_dead_letters` is {self.max_dead_letters}.", fix="Set a share from 0 to 1, such as 0.05."
            )
        if not 0.1 <= self.document_seconds <= 86_400:
            raise ConfigError(
                f"`document_seconds` is {self.document_seconds}.", fix="Set seconds from 0.1 to 86400, such as 20."
            )

    @property
    def all_operators(self) -> tuple[str, ...]:
        """The operators in order, with those that compare with `decontaminate` and `against`."""
        return (*self.operators, *(name for name in COMPARING_OPERATORS if getattr(self, name)))

    @property
    def detects_languages(self) -> bool:
        """Whether the corpus decides which languages are kept."""
        return self.languages == (AUTO,) and "language" in self.operators

    def _check_names(self) -> None:
        for code in self.languages or ():
            if code != AUTO and not (2 <= len(code) <= 3 and code.isalpha() and code.islower()):
                raise ConfigError(
                    f"`languages` holds {code!r}.", fix="Give ISO 639-1 codes such as `en` or `de`, or `auto` alone."
                )
        if AUTO in (self.languages or ()) and self.languages != (AUTO,):
            raise ConfigError(
                f"`languages` is {' '.join(self.languages or ())}.", fix="Give `auto` alone, or codes without `auto`."
            )
        if self.text_field == "":
            raise ConfigError("`text_field` is empty.", fix="Give the name of the field that holds the text.")
        if self.held_out_by not in get_args(HeldOutBy):
            raise ConfigError(
                f"`held_out_by` is {self.held_out_by!r}.", fix=f"Give one of {', '.join(get_args(HeldOutBy))}."
            )
        if self.decontaminate_by not in ("drop", "cut"):
            raise ConfigError(f"`decontaminate_by` is {self.decontaminate_by!r}.", fix="Give `drop` or `cut`.")
        for name in self.operators:
            if name in COMPARING_OPERATORS:
                raise ConfigError(
                    f"`operators` holds `{name}`, which runs last by itself.",
                    fix=f"Leave it out, and give `--{name}` what to compare with.",
                )
            if ":" not in name and name not in BUILT_IN_OPERATORS:
                close = difflib.get_close_matches(name, BUILT_IN_OPERATORS, n=1)
                raise ConfigError(
                    f"`operators` holds `{name}`, which is no operator.",
                    fix=(f"Did you mean `{close[0]}`? " if close else "")
                    + f"There are {', '.join(BUILT_IN_OPERATORS)}; your own: `path/to/file.py:factory`.",
                )
        if "quality" in self.operators and self.quality_classifier is None:
            raise ConfigError(
                "`operators` holds `quality`, and there is no `quality_classifier`.",
                fix="Give the classifier's folder.",
            )
        if self.quality_classifier is not None and "quality" not in self.operators:
            raise ConfigError(
                "There is a `quality_classifier`, and `operators` does not use it.",
                fix="Add `quality` to the operators.",
            )
        if len(set(self.operators)) < len(self.operators):
            raise ConfigError(f"`operators` names one twice: {', '.join(self.operators)}.", fix="Name each once.")
