"""The verbs over single stages. Each writes one result to `--out`, with a record of what made it, and resumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tilth import steps
from tilth.cli import terminal
from tilth.cli.options import Machine, call, call_with_machine
from tilth.cli.terminal import duration, size
from tilth.curation.config import CurationConfig
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.improve.config import LoopConfig
from tilth.inference.config import SamplingParams
from tilth.model.config import ModelConfig
from tilth.recipes import singles
from tilth.steps import Step
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig

if TYPE_CHECKING:
    from tilth.inference import Engine
    from tilth.tokenizer.compare import Comparison

ModelFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
DatasetFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
TokenizerFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TOKENIZER")]


def _run(step: Step, out: Path, context: Context) -> Path:
    """Runs one step into the folder that was asked for, and says so."""
    outcome = steps.run_into(step, out, context)
    terminal.say(f"{out} {'is there already' if outcome.cached else f'written in {duration(outcome.seconds)}'}.")
    return outcome.folder


def curate(words: Sequence[str]) -> None:
    """`tilth curate CORPUS ... --out FOLDER`."""

    def build(
        corpus: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CORPUS ...")],
        *,
        out: Path,
        exclude: tuple[str, ...] = (),
        curation: tyro.conf.OmitArgPrefixes[CurationConfig] = CurationConfig(),
    ) -> tuple[Step, Path]:
        """Read, extract, filter and deduplicate text; every drop is kept with its reason.

        Args:
            corpus: Files, folders or URLs with text, source code, JSONL, Parquet, HTML or WARC.
            out: Folder for the datasets `train` and `held_out`, the rejects and the ledger.
            exclude: Globs of files to leave out, such as `*/tests/*`.
            curation: What to keep.
        """
        if not corpus:
            raise ConfigError("No corpus is given.", fix="`tilth curate FOLDER --out OUT`.")
        return singles.curate(corpus, curation, exclude), out

    machine, (step, out) = call_with_machine(build, words, "curate", Machine())
    _show_ledger(_run(step, out, machine.context()))


def _show_ledger(folder: Path) -> None:
    from tilth.curation import Ledger

    ledger = Ledger.read(folder)
    rows = [(stage, reason, f"{n:,}", size(n_bytes)) for stage, reason, n, n_bytes in ledger.table()]
    terminal.show_table("", ("stage", "reason", "documents", "text"), rows, right=(2, 3))


def tokenize(words: Sequence[str]) -> None:
    """`tilth tokenize train | encode | decode | show | compare | convert ...`."""
    verbs = {
        "train": _tokenize_train,
        "encode": _tokenize_encode,
        "decode": _tokenize_decode,
        "show": _tokenize_show,
        "compare": _tokenize_compare,
        "convert": _tokenize_convert,
    }
    if not words or words[0] in ("-h", "--help"):
        terminal.say(
            "usage: tilth tokenize COMMAND ...\n\n"
            "  train    Train a byte-level BPE on a dataset\n"
            "  encode   Print the ids of a text\n"
            "  decode   Print the text of ids\n"
            "  show     Print what a tokenizer is, and how it cuts a text\n"
            "  compare  Measure tokenizers on the same text: table, JSON, page\n"
            "  convert  Write a tokenizer in another format\n\n"
            "`tilth tokenize COMMAND --help` says more."
        )
        return
    if words[0] not in verbs:
        message, fix = terminal.unknown_word("command of `tilth tokenize`", words[0], verbs, "tilth tokenize --help")
        raise ConfigError(message, fix=fix)
    verbs[words[0]](words[1:])


def _tokenize_train(words: Sequence[str]) -> None:
    def build(
        dataset: DatasetFolder,
        *,
        out: Path,
        tokenizer: tyro.conf.OmitArgPrefixes[TokenizerConfig] = TokenizerConfig(),
    ) -> tuple[Step, Path]:
        """Train a byte-level BPE tokenizer on a dataset.

        Args:
            dataset: A dataset folder (`tilth curate` writes them).
            out: Folder for `tokenizer.json`.
            tokenizer: What to train.
        """
        return singles.tokenizer(dataset, tokenizer), out

    machine, (step, out) = call_with_machine(build, words, "tokenize train", Machine())
    _run(step, out, machine.context())


def _tokenize_encode(words: Sequence[str]) -> None:
    def encode(
        tokenizer: TokenizerFolder, text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    ) -> None:
        """Print the ids of a text.

        Args:
            tokenizer: Folder or `tokenizer.json`.
            text: The text; special tokens in it are read as such.
        """
        from tilth.tokenizer import Tokenizer

        print(*Tokenizer.load(tokenizer).encode(text, allowed_special="all"))

    call(encode, words, "tokenize encode")


def _tokenize_show(words: Sequence[str]) -> None:
    def show(
        tokenizer: TokenizerFolder,
        text: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = None,
    ) -> None:
        """Print what a tokenizer is, and how it cuts a text.

        Args:
            tokenizer: Folder or `tokenizer.json`.
            text: A text to cut.
        """
        from tilth.tokenizer import Tokenizer

        loaded = Tokenizer.load(tokenizer)
        print(f"vocabulary   {loaded.vocab_size:,} tokens")
        print(f"pattern      {loaded.pattern}")
        print(f"special      {loaded.special_tokens}")
        print(f"fingerprint  {loaded.fingerprint}")
        if text is not None:
            ids = loaded.encode(text, allowed_special="all")
            print(f"\n{len(ids)} tokens for {len(text.encode())} bytes")
            for token in ids:
                print(f"{token:>8}  {loaded.token_bytes(token)!r}")

    call(show, words, "tokenize show")


def _tokenize_decode(words: Sequence[str]) -> None:
    def decode(
        tokenizer: Given, ids: Annotated[tuple[int, ...], tyro.conf.Positional], *, pattern: str | None = None
    ) -> None:
        """Print the text of ids.

        Args:
            tokenizer: Folder or file of a tokenizer.
            ids: Ids, as `tilth tokenize encode` prints them.
            pattern: How text is cut, for a rank file that is not known: a known name or a regex.
        """
        from tilth.tokenizer import Tokenizer

        print(Tokenizer.load(tokenizer, pattern=pattern).decode(ids))

    call(decode, words, "tokenize decode")


def _tokenize_convert(words: Sequence[str]) -> None:
    def convert(tokenizer: Given, *, out: Path, pattern: str | None = None) -> None:
        """Write a tokenizer in another format: `tokenizer.json` into a folder, or ranks into a `.tiktoken` file.

        Args:
            tokenizer: Folder or file of a tokenizer.
            out: A folder, or a file whose name ends in `.tiktoken`.
            pattern: How text is cut, for a rank file that is not known: a known name or a regex.
        """
        from tilth.tokenizer import Tokenizer

        loaded = Tokenizer.load(tokenizer, pattern=pattern)
        if out.suffix == ".tiktoken":
            loaded.save_ranks(out)
        else:
            loaded.save(out)
        terminal.say(f"{out} written.")

    call(convert, words, "tokenize convert")


def _tokenize_compare(words: Sequence[str]) -> None:
    def compare(
        tokenizers: Annotated[tuple[Path, ...], tyro.conf.Positional],
        *,
        corpus: tuple[str, ...],
        out: Path | None = None,
        max_bytes: int = 5_000_000,
    ) -> None:
        """Measure tokenizers on the same text.

        Args:
            tokenizers: Folders or files of tokenizers.
            corpus: Datasets, folders or files with text; each one is a source of its own.
            out: Folder for `compare.json` and `compare.html`.
            max_bytes: Most text to read of each corpus.
        """
        from tilth.storage import write_json
        from tilth.tokenizer import Tokenizer
        from tilth.tokenizer.compare import compare as measure
        from tilth.tokenizer.compare_page import write_page
        from tilth.tokenizer.corpus import read_corpus

        loaded = {name: Tokenizer.load(path) for name, path in zip(_short_names(tokenizers), tokenizers, strict=True)}
        comparison = measure(loaded, read_corpus(corpus, max_bytes), terminal.progress())
        _show_comparison(comparison)
        if out is not None:
            write_json(out / "compare.json", comparison.to_json())
            write_page(out / "compare.html", comparison)
            terminal.say(f"{out / 'compare.html'} written.")

    call(compare, words, "tokenize compare")


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest end of each path that no other has; `tokenizer.json` and its like do not count."""
    dull = ("tokenizer.json", "tokenizer.model", "tokenizer", "vocab.json", "merges.txt")
    parts = [[*path.parts[:-1]] if path.name in dull and len(path.parts) > 1 else [*path.parts] for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({i})" for i, path in enumerate(paths, 1)]


def _show_comparison(comparison: Comparison) -> None:
    rows = [
        (
            measured.name,
            f"{measured.vocab_size:,}",
            f"{measured.groups[0].bytes_per_token:.3f}",
            f"{measured.relative_length:.3f}",
            f"{measured.groups[0].fertility:.2f}",
            f"{measured.used_tokens / measured.vocab_size:.1%}",
            f"{measured.renyi_efficiency:.3f}",
            f"{measured.n_unreachable:,}",
            f"{measured.megabytes_per_second:.1f}",
        )
        for measured in comparison.tokenizers
    ]
    columns = ("tokenizer", "vocabulary", "bytes/token", "length", "tokens/word", "used", "Rényi", "glitch?", "MB/s")
    terminal.show_table("", columns, rows, right=range(1, 9))
    parts = [{(g.kind, g.name): g for g in m.groups[1:]} for m in comparison.tokenizers]
    kinds = ("kind", "source", "script", "language")
    keys = sorted(parts[0], key=lambda key: (kinds.index(key[0]), -parts[0][key].bytes))
    rows = [(kind, name, *(f"{part[kind, name].bytes_per_token:.3f}" for part in parts)) for kind, name in keys[:40]]
    names = [measured.name for measured in comparison.tokenizers]
    terminal.show_table("bytes per token", ("", "", *names), rows, right=range(2, 2 + len(names)))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of the model."""

    depth: int = 4
    """The dial: layers; the width is 64 times that."""
    context_length: int = 256
    """Most tokens that the model attends to."""


def train(words: Sequence[str]) -> None:
    """`tilth train DATASET --tokenizer FOLDER --out FOLDER`."""

    def build(
        dataset: DatasetFolder,
        *,
        tokenizer: Path,
        out: Path,
        held_out: Path | None = None,
        shape: tyro.conf.OmitArgPrefixes[Shape] = Shape(),
        training: tyro.conf.OmitArgPrefixes[TrainConfig] = TrainConfig(),
    ) -> tuple[Step, Path]:
        """Pretrain a model on a dataset, tokenizing on the fly. Stopped or killed, the same command goes on.

        Args:
            dataset: A dataset folder.
            tokenizer: Folder with `tokenizer.json`.
            out: Folder for the model, its metrics and its checkpoint.
            held_out: A dataset to measure bits per byte on while training.
            shape: The shape of the model.
            training: How to train it.
        """
        from tilth.tokenizer import Tokenizer

        vocab_size = Tokenizer.load(tokenizer).vocab_size
        model = ModelConfig.from_depth(shape.depth, vocab_size=vocab_size, context_length=shape.context_length)
        return singles.train(dataset, tokenizer, model, training, held_out), out

    machine, (step, out) = call_with_machine(build, words, "train", Machine())
    folder = _run(step, out, machine.context())
    terminal.say(f"Chat:  tilth chat {folder / 'model'} --tokenizer TOKENIZER")


def evaluate(words: Sequence[str]) -> None:
    """`tilth eval MODEL DATASET [--tokenizer FOLDER]`."""

    def measure(
        model: ModelFolder,
        dataset: DatasetFolder,
        *,
        tokenizer: Path | None = None,
        train: Path | None = None,
        max_bytes: int = 1_000_000,
    ) -> None:
        """Measure a model's bits per byte on a dataset, beside `zstd -19` and, with `--train`, a 5-gram model.

        Args:
            model: Folder of a model: ours or Hugging Face's.
            dataset: A dataset folder that the model was not trained on.
            tokenizer: Folder with `tokenizer.json` (default: the model's folder).
            train: The dataset to count the 5-gram model on.
            max_bytes: Most bytes of text to measure on.
        """
        from tilth import evaluation
        from tilth.model import load_model
        from tilth.storage import Dataset
        from tilth.tokenizer import Tokenizer
        from tilth.training import held_out_excerpt

        loaded, encode = load_model(model), Tokenizer.load(tokenizer or model)
        excerpt = held_out_excerpt(Dataset.open(dataset).documents(), max_bytes)
        shown = terminal.progress()
        bits = {"model": evaluation.bits_per_byte(loaded, encode, excerpt, progress=shown)}
        if train is not None:
            ngram, _ = evaluation.train_ngram(encode, Dataset.open(train))
            bits["5-gram"] = evaluation.ngram_bits_per_byte(ngram, encode, excerpt)
        bits["zstd -19"] = evaluation.zstd_bits_per_byte([document.text for document in excerpt])
        rows = [(name, f"{value:.4f}") for name, value in bits.items()]
        terminal.show_table("", ("predictor", "bits per byte"), rows, right=(1,))

    call(measure, words, "eval")


def improve(words: Sequence[str]) -> None:
    """`tilth improve --out FOLDER`."""

    def build(*, out: Path, loop: tyro.conf.OmitArgPrefixes[LoopConfig] = LoopConfig()) -> tuple[Step, Path]:
        """Run the self-improving loop on reversing strings, from easy to hard, with its controls.

        Args:
            out: Folder for the models and `improve.json`.
            loop: The loop's settings.
        """
        return singles.improve(loop), out

    machine, (step, out) = call_with_machine(build, words, "improve", Machine())
    _show_loop(_run(step, out, machine.context()))


def _show_loop(folder: Path) -> None:
    from tilth.storage import read_json

    result = read_json(folder / "improve.json")
    lengths = [n for n in result["lengths"] if n >= result["base_lengths"][1]]
    places = [result["lengths"].index(n) for n in lengths]
    rows = [
        (name, *(f"{arm['accuracy'][-1][place]:.0%}" for place in places), f"{arm['train_flops']:.2g}")
        for name, arm in result["arms"].items()
    ]
    columns = ("arm", *(f"{n}" for n in lengths), "train FLOPs")
    title = "Accuracy after the last round, by length"
    terminal.show_table(title, columns, rows, right=tuple(range(1, len(columns))))


def export(words: Sequence[str]) -> None:
    """`tilth export MODEL --tokenizer FOLDER --out FOLDER`."""

    def build(model: ModelFolder, *, tokenizer: Path, out: Path) -> tuple[Step, Path]:
        """Write a model and its tokenizer as a folder that `transformers` loads.

        Args:
            model: Folder of a model.
            tokenizer: Folder with `tokenizer.json`.
            out: The folder to write.
        """
        return singles.export(model, tokenizer), out

    machine, (step, out) = call_with_machine(build, words, "export", Machine())
    _run(step, out, machine.context())


def chat(words: Sequence[str]) -> None:
    """`tilth chat MODEL`."""

    def talk(
        model: ModelFolder,
        *,
        tokenizer: Path | None = None,
        prompt: str | None = None,
        sampling: tyro.conf.OmitArgPrefixes[SamplingParams] = SamplingParams(max_tokens=120, temperature=0.7),
    ) -> None:
        """Talk to a model: what you type is continued. An empty line or Ctrl-D ends the talk.

        Args:
            model: Folder of a model: ours or Hugging Face's.
            tokenizer: Folder with `tokenizer.json` (default: the model's folder).
            prompt: Continue this text once, and stop.
            sampling: How tokens are drawn.
        """
        from tilth.inference import Engine
        from tilth.model import load_model
        from tilth.tokenizer import Tokenizer

        engine = Engine(load_model(model), Tokenizer.load(tokenizer or model))
        if prompt is not None:
            _continue(engine, prompt, sampling)
            return
        terminal.say("A base model: it continues what you type. An empty line ends the talk.")
        for line in _lines():
            _continue(engine, line, sampling)

    call(talk, words, "chat")


def _lines() -> Iterator[str]:
    while True:
        try:
            line = input("\n> ")
        except EOFError:
            return
        if not line:
            return
        yield line


def _continue(engine: Engine, prompt: str, sampling: SamplingParams) -> None:
    terminal.OUT.print(prompt, style="bold", end="", markup=False, soft_wrap=True)
    for piece in engine.stream(prompt, sampling):
        print(piece, end="", flush=True)
    print()
