"""The look at a corpus before a run, on the terminal, and the question whether to go on."""

from __future__ import annotations

import sys

from tilth.cli import terminal
from tilth.cli.terminal import about, size
from tilth.recipes.look import Corpus, Look

MOST_KINDS = 4


def show_look(found: Look | None, *, yes: bool) -> bool:
    """Shows what a run that still has to curate will work on (`recipes.look.look`); returns whether to go on.

    It asks only where something is worth a question, and only on a terminal; not with `yes`.
    """
    if found is None:
        return True
    for line in lines_of(found):
        terminal.say(line)
    for question in found.questions:
        terminal.say(f"!          {question}")
    terminal.say("")
    if yes or not found.questions or not is_interactive():
        return True
    terminal.ERR.print("Go on? [Y/n] ", end="", markup=False)
    try:
        return input().strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


def is_interactive() -> bool:
    """Whether a person can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def lines_of(found: Look) -> list[str]:
    """Returns what was found, one line a subject."""
    lines = [f"{'Text' if not index else '':<10} {_corpus(corpus)}" for index, corpus in enumerate(found.corpora)]
    sample = found.sample
    if sample.kept_share is not None:
        kept = f"{sample.kept:,} of {sample.documents:,} documents ({sample.kept_share:.0%} of the text) would be kept"
        drops = ", ".join(f"{reason} {n:,}" for reason, n in sample.drops[:MOST_KINDS])
        lines.append(f"Sample     {kept}{f'; dropped: {drops}' if drops else ''}")
    if sample.languages:
        total = sum(sample.languages.values())
        shares = (f"{name} {n / total:.0%}" for name, n in list(sample.languages.items())[:MOST_KINDS])
        lines.append(f"Languages  {', '.join(shares)} of what would be kept")
    if found.epochs is not None:
        budget = f"{found.asked_tokens:,} tokens, about {_number(found.epochs)} passes over the text"
        lines.append(f"Training   {budget} (about {_rounded(found.text_tokens or 0):,} tokens)")
    needs = [f"about {about(found.seconds)}" if found.seconds is not None else ""]
    needs.append(f"about {size(found.memory_bytes)} of memory" if found.memory_bytes is not None else "")
    if any(needs):
        lines.append(f"Needs      {' and '.join(need for need in needs if need)}")
    return lines


def _corpus(corpus: Corpus) -> str:
    kinds = ", ".join(f"{kind} {size(n_bytes)}" for kind, _, n_bytes in corpus.kinds[:MOST_KINDS])
    more = f" and {len(corpus.kinds) - MOST_KINDS} more kinds" if len(corpus.kinds) > MOST_KINDS else ""
    text = f"{corpus.path}: {corpus.files:,} {'file' if corpus.files == 1 else 'files'}, {size(corpus.bytes)}"
    text += f" ({kinds}{more})" if kinds else ""
    if corpus.unread:
        names = ", ".join(f"{kind} {n:,}" for kind, n in corpus.unread[:MOST_KINDS])
        text += f"; not read: {names}"
    return text


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _rounded(value: int) -> int:
    """Returns a number with two digits: it is estimated."""
    digits = max(0, len(str(value)) - 2)
    return round(value, -digits)
