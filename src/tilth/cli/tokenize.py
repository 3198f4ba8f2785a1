"""The verbs of `tilth tokenize`: train, encode, decode, show, compare, convert."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tilth.cli import terminal
from tilth.cli.options import DatasetFolder, RuntimeOptions, TokenizerFolder, call, call_with_options, run_single
from tilth.errors import ConfigError
from tilth.recipes import singles
from tilth.steps import Step
from tilth.tokenizer.config import TokenizerConfig

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer
    from tilth.tokenizer.compare import Comparison


_KINDS = (".tiktoken", ".model", ".json")
_WORDS = 32_768
"""Size of the vocabulary `words`."""
_SHOWN = 6
"""Tokens of a list that the terminal shows."""
_SHOWN_CHARACTERS = 24
_SHOWN_SPECIAL = 8


def tokenize(words: Sequence[str]) -> None:
    """`tilth tokenize train | encode | decode | show | compare | convert ...`."""
    verbs = {
        "train": _train,
        "encode": _encode,
        "decode": _decode,
        "show": _show,
        "compare": _compare,
        "convert": _convert,
    }
    if not words or words[0] in ("-h", "--help"):
        terminal.say(
            "usage: tilth tokenize COMMAND ...\n\n"
            "  train    Train a BPE tokenizer on a dataset\n"
            "  encode   Print the ids of a text\n"
            "  decode   Print the text of ids\n"
            "  show     Print facts of a tokenizer, and the tokens of a text\n"
            "  compare  Measure tokenizers on the same text: table, JSON, page\n"
            "  convert  Write a tokenizer in another format\n\n"
            "`tilth tokenize COMMAND --help` says more."
        )
        return
    if words[0] not in verbs:
        message, fix = terminal.unknown_word("command of `tilth tokenize`", words[0], verbs, "tilth tokenize --help")
        raise ConfigError(message, fix=fix)
    verbs[words[0]](words[1:])


def _train(words: Sequence[str]) -> None:
    def build(
        dataset: DatasetFolder,
        *,
        out: Path,
        extend: Path | None = None,
        tokenizer: tyro.conf.OmitArgPrefixes[TokenizerConfig] = TokenizerConfig(),
    ) -> tuple[Step, Path]:
        """Train a BPE tokenizer on a dataset.

        Args:
            dataset: A dataset folder (`tilth curate` writes them).
            out: Folder for `tokenizer.json`.
            extend: Folder or file of a byte-level tokenizer to continue from; its tokens keep their ids.
            tokenizer: What to train.
        """
        return singles.tokenizer(dataset, tokenizer, extend), out

    options, (step, out) = call_with_options(build, words, "tokenize train", RuntimeOptions())
    run_single(step, out, options.context())


def _encode(words: Sequence[str]) -> None:
    def encode(
        tokenizer: TokenizerFolder,
        text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
        *,
        pattern: str | None = None,
    ) -> None:
        """Print the ids of a text.

        Args:
            tokenizer: Folder or file of a tokenizer, or a known name.
            text: The text, or `-` for standard input; special tokens in it are recognised.
            pattern: How text is split, for a rank file whose pattern is not known: the name of a pattern or a regex.
        """
        from tilth.tokenizer import Tokenizer

        loaded = Tokenizer.load(tokenizer, pattern=pattern)
        print(*loaded.encode(_text(text), allowed_special="all"))

    call(encode, words, "tokenize encode")


def _text(text: str) -> bytes:
    """The text of an argument as UTF-8; that of standard input, byte by byte as it is, for `-`."""
    return sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogateescape")


def _show(words: Sequence[str]) -> None:
    def show(
        tokenizer: TokenizerFolder,
        text: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = None,
        *,
        pattern: str | None = None,
    ) -> None:
        """Print facts of a tokenizer, and the tokens of a text.

        Args:
            tokenizer: Folder or file of a tokenizer, or a known name.
            text: A text to split into tokens, or `-` for standard input.
            pattern: How text is split, for a rank file whose pattern is not known: the name of a pattern or a regex.
        """
        from tilth.tokenizer import Tokenizer

        loaded = Tokenizer.load(tokenizer, pattern=pattern)
        special = [f"{token} {token_id}" for token, token_id in loaded.special_tokens.items()]
        rest = f", and {len(special) - _SHOWN_SPECIAL:,} more" if len(special) > _SHOWN_SPECIAL else ""
        print(f"vocabulary   {loaded.vocab_size:,} tokens")
        print(f"pattern      {loaded.pattern or 'none: SentencePiece or a model of the `tokenizers` library'}")
        print(f"special      {', '.join(special[:_SHOWN_SPECIAL])}{rest}")
        print(f"fingerprint  {loaded.fingerprint}")
        if text is not None:
            data = _text(text)
            ids = loaded.encode(data, allowed_special="all")
            print(f"\n{len(ids)} tokens for {len(data)} bytes")
            for token in ids:
                print(f"{token:>8}  {loaded.token_bytes(token)!r}")

    call(show, words, "tokenize show")


def _decode(words: Sequence[str]) -> None:
    def decode(
        tokenizer: TokenizerFolder,
        ids: Annotated[tuple[int, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ID ...")],
        *,
        pattern: str | None = None,
    ) -> None:
        """Print the text of ids.

        Args:
            tokenizer: Folder or file of a tokenizer, or a known name.
            ids: Ids, as `tilth tokenize encode` prints them.
            pattern: How text is split, for a rank file whose pattern is not known: the name of a pattern or a regex.
        """
        from tilth.tokenizer import Tokenizer

        print(Tokenizer.load(tokenizer, pattern=pattern).decode(ids))

    call(decode, words, "tokenize decode")


def _convert(words: Sequence[str]) -> None:
    def convert(tokenizer: TokenizerFolder, *, out: Path, pattern: str | None = None) -> None:
        """Write a tokenizer in another format: `tokenizer.json` into a folder, or ranks into a `.tiktoken` file.

        Args:
            tokenizer: Folder or file of a tokenizer, or a known name.
            out: A folder, or a file whose name ends in `.tiktoken`.
            pattern: How text is split, for a rank file whose pattern is not known: the name of a pattern or a regex.
        """
        from tilth.tokenizer import Tokenizer

        loaded = Tokenizer.load(tokenizer, pattern=pattern)
        if out.suffix == ".tiktoken":
            loaded.save_ranks(out)
            terminal.say(
                f"{out} written. It holds neither the split pattern nor the special tokens; read it with "
                f"Tokenizer.load({str(out)!r}, pattern={loaded.pattern!r}, special_tokens={loaded.special_tokens!r})"
            )
        else:
            loaded.save(out)
            terminal.say(f"{out} written.")

    call(convert, words, "tokenize convert")


def _compare(words: Sequence[str]) -> None:
    def compare(
        tokenizers: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TOKENIZER ...")],
        *,
        corpus: tuple[str, ...],
        out: Path | None = None,
        max_bytes: int = 5_000_000,
        json: bool = False,
    ) -> None:
        """Measure tokenizers on the same text.

        Args:
            tokenizers: Folders or files of tokenizers, known names (`cl100k`), or `bytes`, `characters`, `words`:
                simple vocabularies, made from this corpus.
            corpus: Datasets, folders or files with text; each is measured as a source of its own.
            out: Folder for `compare.json` and `compare.html`.
            max_bytes: Bytes to read of each corpus at most.
            json: Print the comparison as one JSON document.
        """
        from tilth.files import write_json
        from tilth.tokenizer.compare import compare as measure
        from tilth.tokenizer.compare_page import write_page
        from tilth.tokenizer.corpus import read_corpus

        samples = read_corpus(corpus, max_bytes)
        texts = [sample.text for sample in samples]
        loaded = {name: _named(path, texts) for name, path in zip(_short_names(tokenizers), tokenizers, strict=True)}
        comparison = measure(loaded, samples, terminal.progress())
        if json:
            terminal.show_json(comparison.to_json())
        else:
            _show_comparison(comparison)
        if out is not None:
            write_json(out / "compare.json", comparison.to_json())
            write_page(out / "compare.html", comparison)
            terminal.say(f"{out / 'compare.html'} written.")

    call(compare, words, "tokenize compare")


def _named(path: Path, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer at `path`, or a simple one made from `texts`."""
    from tilth.tokenizer import ByteTokenizer, CharacterTokenizer, Tokenizer, WordTokenizer

    if path.exists():
        return Tokenizer.load(path)
    match str(path):
        case "bytes":
            return ByteTokenizer()
        case "characters":
            return CharacterTokenizer.train(texts)
        case "words":
            return WordTokenizer.train(texts, _WORDS)
        case _:
            return Tokenizer.load(path)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest end of each path that no other has; file names that every tokenizer has do not count."""
    generic = ("tokenizer.json", "tokenizer.model", "tokenizer", "vocab.json", "merges.txt")
    parts = [[*path.parts[:-1]] if path.name in generic and len(path.parts) > 1 else [*path.parts] for path in paths]
    without_kind = [[*p[:-1], Path(p[-1]).stem if Path(p[-1]).suffix in _KINDS else p[-1]] for p in parts]
    for length in range(1, max(map(len, parts), default=0) + 1):
        for candidates in (without_kind, parts):
            names = ["/".join(p[-length:]) for p in candidates]
            if len(set(names)) == len(names):
                return names
    return [f"{path} ({i})" for i, path in enumerate(paths, 1)]


def _show_comparison(comparison: Comparison) -> None:
    names = [measured.name for measured in comparison.tokenizers]
    figures = {
        "vocabulary": [f"{m.vocab_size:,}" for m in comparison.tokenizers],
        "bytes per token": [f"{m.groups[0].bytes_per_token:.3f}" for m in comparison.tokenizers],
        "length at equal bytes": [f"{m.relative_length:.3f}" for m in comparison.tokenizers],
        "tokens per word": [f"{m.groups[0].fertility:.2f}" for m in comparison.tokenizers],
        "vocabulary used": [f"{m.used_tokens / m.vocab_size:.1%}" for m in comparison.tokenizers],
        "Rényi efficiency": [f"{m.renyi_efficiency:.3f}" for m in comparison.tokenizers],
        "glitch candidates": [f"{m.n_unreachable:,}" for m in comparison.tokenizers],
        "MB per CPU second": [f"{m.megabytes_per_second:.1f}" for m in comparison.tokenizers],
    }
    numbers = range(1, 1 + len(names))
    terminal.show_table("", ("", *names), [(label, *cells) for label, cells in figures.items()], right=numbers)
    parts = [{(g.kind, g.name): g for g in m.groups[1:]} for m in comparison.tokenizers]
    kinds = ("kind", "source", "script", "language")
    keys = sorted(parts[0], key=lambda key: (kinds.index(key[0]), -parts[0][key].bytes))
    rows = [(kind, name, *(f"{part[kind, name].bytes_per_token:.3f}" for part in parts)) for kind, name in keys[:40]]
    terminal.show_table("bytes per token", ("", "", *names), rows, right=range(2, 2 + len(names)))
    lists = [
        (m.name, title, "  ".join(_shortened(token) for token in tokens[:_SHOWN]))
        for m in comparison.tokenizers
        for title, tokens in (
            ("longest in use", m.longest_tokens),
            (f"never used, of {m.n_never_used:,}", m.never_used),
            (f"glitch candidates, of {m.n_unreachable:,}", m.unreachable),
        )
        if tokens
    ]
    terminal.show_table("tokens", ("", "", ""), lists)


def _shortened(token: str) -> str:
    return repr(token if len(token) <= _SHOWN_CHARACTERS else f"{token[:_SHOWN_CHARACTERS]}…")
