"""Encoding against tiktoken, `tokenizers`, gigatoken, fastokens, quicktok-v1, bpe-openai and sentencepiece.

    python benchmarks/tokenizer_encode.py [--vocab FILE] [--corpus NAME=FILE ...] [--megabytes 8] [--threads 1 2]
                                          [--rounds 3] [--peers SITE_PACKAGES] [--only NAME ...] [--json FILE]

Every run is a process of its own, and the runs of all encoders take turns, so that other work on the machine falls on
all alike; the median over the rounds counts. A run loads the vocabulary (start-up), encodes every document once in a
stream (first pass: what a loader sees) and then again (warm). CPU seconds are those of all threads. Exact means: the
same ids as the reference, which is tiktoken, or sentencepiece where `--vocab` is a SentencePiece model.

Without `--corpus` the text is that of the folder in TILTH_TEST_DATA (English prose, Chinese, mixed languages) where it
is set, and in any case this Python's own library (code). A peer that cannot be imported is left out, with a line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Encode = Callable[[Sequence[str], int], Sequence[Any]]
"""Texts and a number of threads to a list of ids for each text."""


# Encoders: each takes the vocabulary's files and gives a function.


def tilth(files: dict[str, str]) -> Encode:
    from tilth.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(files["vocab"])

    def encode(texts: Sequence[str], threads: int) -> Sequence[Any]:
        if threads == 1:
            return [tokenizer.encode_to_numpy(text, disallowed_special=()) for text in texts]
        return tokenizer.encode_batch(texts, threads, disallowed_special=())

    return encode


def tiktoken(files: dict[str, str]) -> Encode:
    import tiktoken as library
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(files["ranks"])
    encoding = library.Encoding("peer", pat_str=files["regex"], mergeable_ranks=ranks, special_tokens={})
    return lambda texts, threads: (
        [encoding.encode_ordinary(text) for text in texts]
        if threads == 1
        else encoding.encode_ordinary_batch(list(texts), num_threads=threads)
    )


def _tokenizers(files: dict[str, str]) -> Any:
    from tokenizers import Tokenizer

    peer = Tokenizer.from_file(files["json"])
    peer.encode_special_tokens = True
    return peer


def tokenizers(files: dict[str, str]) -> Encode:
    peer = _tokenizers(files)
    return lambda texts, threads: [peer.encode(text, add_special_tokens=False).ids for text in texts]


def tokenizers_fast(files: dict[str, str]) -> Encode:
    peer = _tokenizers(files)
    return lambda texts, threads: [e.ids for e in peer.encode_batch_fast(list(texts), add_special_tokens=False)]


def gigatoken(files: dict[str, str]) -> Encode:
    from gigatoken import Tokenizer

    if "regex" in files:
        scheme = {"llama3": "cl100k", "gpt2": "gpt2"}.get(files["pattern"], files["pattern"])
        peer = Tokenizer.from_tiktoken(files["ranks"], scheme)
    else:
        peer = Tokenizer.from_sentencepiece(files["vocab"])
    return lambda texts, threads: (
        [peer.encode(text) for text in texts] if threads == 1 else peer.encode_batch_list(list(texts))
    )


def fastokens(files: dict[str, str]) -> Encode:
    from fastokens import Tokenizer

    if "regex" in files:
        peer = Tokenizer.from_tiktoken(files["ranks"], pattern=files["regex"])
    else:
        peer = Tokenizer.from_file(files["json"])
    return lambda texts, threads: (
        [peer.encode_ordinary(text).ids for text in texts]
        if threads == 1
        else [e.ids for e in peer.encode_batch(list(texts), split_special_tokens=True)]
    )


def quicktok(files: dict[str, str]) -> Encode:
    from quicktok import get_encoding

    peer = get_encoding(files["known"])
    return lambda texts, threads: (
        [peer.encode_ordinary(text) for text in texts] if threads == 1 else peer.encode_batch(list(texts), threads)
    )


def bpe_openai(files: dict[str, str]) -> Encode:
    import bpe_openai as library

    peer = library.get_encoding(files["known"])
    return lambda texts, threads: [peer.encode_ordinary(text) for text in texts]


def sentencepiece(files: dict[str, str]) -> Encode:
    from sentencepiece import SentencePieceProcessor

    peer = SentencePieceProcessor(model_file=files["vocab"])
    return lambda texts, threads: (
        [peer.encode(text) for text in texts] if threads == 1 else peer.encode(list(texts), num_threads=threads)
    )


BYTE_LEVEL = [tiktoken, tilth, tokenizers, tokenizers_fast, gigatoken, fastokens, quicktok, bpe_openai]
PIECES = [sentencepiece, tilth, tokenizers, tokenizers_fast, gigatoken, fastokens]
PACKAGES = {"tokenizers_fast": "tokenizers"}


# A run, in its own process


def run(name: str, files: dict[str, str], text_file: str, threads: int) -> dict[str, Any]:
    texts: list[str] = json.loads(Path(text_file).read_text())
    baseline = _peak_megabytes()
    started = time.perf_counter()
    encode: Encode = globals()[name](files)
    encode(["warming up"], 1)
    start_up = time.perf_counter() - started
    figures: dict[str, Any] = {"start_up": start_up}
    for phase in ("first", "warm"):
        cpu, wall = time.process_time(), time.perf_counter()
        ids = encode(texts, threads)
        figures[phase] = time.process_time() - cpu
        figures[f"{phase}_wall"] = time.perf_counter() - wall
    figures["megabytes"] = _peak_megabytes() - baseline
    digest = hashlib.sha256()
    for row in ids:
        digest.update(json.dumps([int(i) for i in row]).encode())
    return figures | {"ids": digest.hexdigest()}


def _peak_megabytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # `ru_maxrss` would count the parent, from before this program was loaded
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# Text


def documents(text: str, size: int = 10_000) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def python_library(n_bytes: int) -> str:
    parts: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts or size >= n_bytes:
            continue
        parts.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(parts[-1])
    return "".join(parts)


def lines_of(path: Path) -> Iterator[str]:
    from tilth.files import open_stream

    with open_stream(str(path)) as stream:
        for line in stream:
            text = line.decode("utf-8", "replace")
            yield json.loads(text).get("text", "") if path.name.split(".")[1] == "jsonl" else text


def is_chinese(line: str) -> bool:
    return sum("\u4e00" <= c <= "\u9fff" for c in line) * 3 > len(line)


def corpora(arguments: argparse.Namespace) -> dict[str, list[str]]:
    n_bytes = int(arguments.megabytes * 1e6)
    found: dict[str, str] = {}
    for given in arguments.corpus:
        name, _, path = given.partition("=")
        found[name] = "\n".join(lines_of(Path(path)))
    if not found:
        found["code"] = python_library(n_bytes)
        folder = Path(os.environ.get("TILTH_TEST_DATA", "none"))
        if folder.is_dir():
            found["english"] = "\n".join(lines_of(folder / "books_novels/english_novels.jsonl.zst"))
            found["mixed"] = "\n".join(lines_of(folder / "langid/udhr2.jsonl.zst"))
            sources = ("langid/tatoeba_112.jsonl.zst", "langid/udhr2.jsonl.zst")
            tar = folder / "html_debian/installation_guide_19langs.tar.zst"
            lines = [line for source in sources for text in lines_of(folder / source) for line in text.splitlines()]
            found["chinese"] = "\n".join(filter(is_chinese, [*lines, *lines_of(tar)]))
        else:
            print("TILTH_TEST_DATA names no folder: code only. Give more text with --corpus NAME=FILE.")
    cut = {name: text.encode()[:n_bytes].decode("utf-8", "ignore") for name, text in found.items()}
    return {name: documents(text) for name, text in cut.items() if text}


# Everything


def vocabulary_files(vocab: Path | None, folder: Path) -> tuple[dict[str, str], list[Callable[..., Encode]]]:
    from tilth.tokenizer import Tokenizer
    from tilth.tokenizer.split import PATTERNS

    known = {"cl100k": "cl100k_base", "o200k": "o200k_base"}
    if vocab is None:
        data = Path(os.environ.get("TILTH_TEST_DATA", "none")) / "vocabs" / "cl100k_base.tiktoken"
        vocab = data if data.exists() else _small_vocabulary(folder)
    tokenizer = Tokenizer.load(vocab) if vocab.parent != folder else Tokenizer.load(vocab, pattern="cl100k")
    tokenizer.save(folder)
    files = {"vocab": str(vocab), "json": str(folder / "tokenizer.json")}
    if not hasattr(tokenizer.vocabulary, "pieces"):
        files |= {"pattern": tokenizer.pattern, "regex": PATTERNS.get(tokenizer.pattern, tokenizer.pattern)}
        files["ranks"] = str(vocab)
        if vocab.parent == folder:  # a rank file of our own, which tilth reads by its `tokenizer.json`
            files["vocab"] = str(folder)
        elif tokenizer.pattern in known:
            files["known"] = known[tokenizer.pattern]
        return files, BYTE_LEVEL
    return files, PIECES


def _small_vocabulary(folder: Path) -> Path:
    from tilth.tokenizer import Tokenizer

    print("No --vocab and no TILTH_TEST_DATA: a vocabulary of 16384 is trained on this Python's library.")
    trained = Tokenizer.train([python_library(8_000_000)], vocab_size=16384, pattern="cl100k")
    trained.save_ranks(folder / "small.tiktoken")
    return folder / "small.tiktoken"


def start(name: str, files: dict[str, str], text_file: Path, threads: int, peers: str | None) -> dict[str, Any] | str:
    """The figures of a run, or why there are none."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    if peers and name != "tilth":
        environment["PYTHONPATH"] = peers
    words = [sys.executable, __file__, "--run", name, json.dumps(files), str(text_file), str(threads)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return (done.stderr.strip().splitlines() or ["no output"])[-1]


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    files, encoders = vocabulary_files(arguments.vocab, folder)
    names = [encoder.__name__ for encoder in encoders]
    names = [name for i, name in enumerate(names) if i == 0 or not arguments.only or name in arguments.only]
    rows: list[dict[str, Any]] = []
    for corpus, texts in corpora(arguments).items():
        n_bytes = sum(len(text.encode()) for text in texts)
        text_file = folder / f"{corpus}.json"
        text_file.write_text(json.dumps(texts))
        for threads in arguments.threads:
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for _ in range(arguments.rounds):
                for name in list(runs):
                    result = start(name, files, text_file, threads, arguments.peers)
                    if isinstance(result, str):
                        print(f"{name} is left out: {result}")
                        del runs[name]
                    else:
                        runs[name].append(result)
            names = [name for name in names if name in runs]
            rows += [{"corpus": corpus, "threads": threads, "bytes": n_bytes} | row for row in table(runs, n_bytes)]
            show([row for row in rows if row["corpus"] == corpus and row["threads"] == threads])
    return rows


def table(runs: dict[str, list[dict[str, Any]]], n_bytes: int) -> list[dict[str, Any]]:
    reference = next(iter(runs))
    middle = {
        name: {key: statistics.median(r[key] for r in results) for key in results[0] if key != "ids"}
        for name, results in runs.items()
    }
    return [
        {
            "encoder": name,
            "first": n_bytes / 1e6 / figures["first"],
            "warm": n_bytes / 1e6 / figures["warm"],
            "first_ratio": middle[reference]["first"] / figures["first"],
            "warm_ratio": middle[reference]["warm"] / figures["warm"],
            "wall": n_bytes / 1e6 / figures["warm_wall"],
            "start_up": figures["start_up"],
            "megabytes": figures["megabytes"],
            "exact": all(r["ids"] == runs[reference][0]["ids"] for r in runs[name]),
        }
        for name, figures in middle.items()
    ]


def show(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    print(f"\n{first['corpus']}, {first['bytes'] / 1e6:.1f} MB, {first['threads']} threads; MB per CPU second")
    print(f"{'':16} {'first':>8} {'':>7} {'warm':>8} {'':>7} {'MB/s wall':>10} {'start-up':>9} {'memory':>8}  ids")
    for row in rows:
        print(
            f"{row['encoder']:16} {row['first']:8.1f} {row['first_ratio']:6.2f}x {row['warm']:8.1f} "
            f"{row['warm_ratio']:6.2f}x {row['wall']:10.1f} {1000 * row['start_up']:6.0f} ms {row['megabytes']:5.0f} MB"
            f"  {'exact' if row['exact'] else 'DIFFER'}"
        )


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        name, files, text_file, threads = sys.argv[2:]
        print(json.dumps(run(name, json.loads(files), text_file, int(threads))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=Path, help="rank file or SentencePiece model")
    parser.add_argument("--corpus", nargs="*", default=[], metavar="NAME=FILE", help="text or JSONL, compressed or not")
    parser.add_argument("--megabytes", type=float, default=8, help="most text of a corpus")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", help="a site-packages folder to import the peers from")
    parser.add_argument("--only", nargs="*", help="encoders to run beside the reference")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
