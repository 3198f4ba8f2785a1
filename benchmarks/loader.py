"""Tokenizing on the fly: tokens a second that the training stream gives from one core, and what a model takes of them.

    python benchmarks/loader.py [--vocab FILE ...] [--text FILE] [--megabytes 20] [--characters 500 5000] [--rounds 3]
                                [--parameters 135e6] [--flops 790e12] [--mfu 0.5] [--markdown]

Documents of a dataset (Parquet shards in a temporary folder) are read, shuffled, tokenized and packed into batches of
16 rows of 1024 tokens by `tilth.training.TokenStream`, in one thread, over one epoch: every document is new. Beside it
stands the tokenizer alone on the same documents. A model of N parameters takes 6 N FLOPs a token; attention is left
out, so it takes fewer tokens than stands here. `--flops` and `--mfu` say how fast the machine trains: as they stand,
half of 790 TFLOP/s, the bf16 matrix rate that was measured on an H200. The last column is the share of one core that
the loader then needs. Without `--vocab` there are two vocabularies that are trained on the text itself, and cl100k if
TILTH_TEST_DATA has it; without `--text` the text is this Python's own library.
"""

import argparse
import os
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TokenStream
from tilth.types import Document

CONTEXT, ROWS = 1024, 16
BATCH_DOCUMENTS = 256


def text_of(arguments: argparse.Namespace) -> str:
    """Returns up to `--megabytes` of text."""
    n_characters = int(1e6 * arguments.megabytes)
    if arguments.text:
        with arguments.text.open(encoding="utf-8", errors="replace") as file:
            return file.read(n_characters)
    parts: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" not in path.parts and sum(map(len, parts)) < n_characters:
            parts.append(path.read_text(encoding="utf-8", errors="replace"))
    return "".join(parts)[:n_characters]


def vocabularies(arguments: argparse.Namespace, text: str) -> Iterator[tuple[str, Tokenizer]]:
    """Yields names and tokenizers."""
    for path in arguments.vocab:
        yield path.stem, Tokenizer.load(path)
    if arguments.vocab:
        return
    for size in (8192, 32768):
        yield f"own, {size:,}", Tokenizer.train([text], vocab_size=size)
    published = Path(os.environ.get("TILTH_TEST_DATA", "none")) / "vocabs" / "cl100k_base.tiktoken"
    if published.exists():
        yield "cl100k", Tokenizer.load(published)


def loader_seconds(dataset: Dataset, tokenizer: Tokenizer) -> tuple[int, float]:
    """Returns tokens and CPU seconds of the first epoch."""
    stream = TokenStream(dataset, tokenizer, context_length=CONTEXT, batch_size=ROWS)
    tokens, started = 0, time.process_time()
    while stream.epoch == 0:
        tokens += stream.next_batch().n_tokens
    return tokens, time.process_time() - started


def tokenizer_seconds(texts: list[str], tokenizer: Tokenizer) -> tuple[int, float]:
    """Returns tokens and CPU seconds of encoding alone, by the loader's call and from caches that are as cold."""
    fresh = Tokenizer(tokenizer.vocabulary)
    tokens, started = 0, time.process_time()
    for start in range(0, len(texts), BATCH_DOCUMENTS):
        batch = texts[start : start + BATCH_DOCUMENTS]
        tokens += len(fresh.encode_batch_to_numpy(batch, 1, disallowed_special=())[0])
    return tokens, time.process_time() - started


def main() -> None:
    """Measures each vocabulary on documents of each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=Path, nargs="*", default=[])
    parser.add_argument("--text", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--characters", type=int, nargs="*", default=[500, 5000], help="length of a document")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parameters", type=float, default=135e6)
    parser.add_argument("--flops", type=float, default=790e12, help="of the machine that trains, a second")
    parser.add_argument("--mfu", type=float, default=0.5, help="the share of them that the model gets")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = arguments.mfu * arguments.flops / (6 * arguments.parameters)
    print(f"{arguments.parameters / 1e6:.0f}M parameters at {arguments.flops / 1e12:g} TFLOP/s and {arguments.mfu:.0%}")
    print(f"take {wanted:,.0f} tokens a second.\n")
    header = ["vocabulary", "characters a document", "loader, tokens per CPU s", "tokenizer alone", "share of a core"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header) if arguments.markdown else " | ".join(header))
    text = text_of(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for length in arguments.characters:
            texts = [text[i : i + length] for i in range(0, len(text), length)]
            documents = (Document.make(part, str(i)) for i, part in enumerate(texts))
            dataset = write_dataset(Path(folder) / str(length), documents, made_by="benchmark")
            for name, tokenizer in vocabularies(arguments, text):
                rates: dict[str, list[float]] = {"loader": [], "alone": []}
                for _ in range(arguments.rounds):
                    for kind, (tokens, seconds) in (
                        ("loader", loader_seconds(dataset, Tokenizer(tokenizer.vocabulary))),
                        ("alone", tokenizer_seconds(texts, tokenizer)),
                    ):
                        rates[kind].append(tokens / seconds)
                loader, alone = statistics.median(rates["loader"]), statistics.median(rates["alone"])
                cells = [name, f"{length:,}", f"{loader:,.0f}", f"{alone:,.0f}", f"{wanted / loader:.1%}"]
                print(("| " + " | ".join(cells) + " |") if arguments.markdown else " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
