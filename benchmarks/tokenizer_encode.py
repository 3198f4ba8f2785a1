"""Encoding against tiktoken, `tokenizers`, gigatoken, fastokens, quicktok-v1, bpe-openai and sentencepiece.

    python benchmarks/tokenizer_encode.py [--vocab FILE] [--corpus NAME=FILE ...] [--megabytes 40] [--threads 1 2]
                                          [--rounds 3] [--peers SITE_PACKAGES] [--only NAME ...] [--markdown]

Every run is a process of its own, and the runs of all encoders take turns, so that other work on the machine falls on
all alike; the median over the rounds counts. Three things are measured:

cold    a whole process that starts Python, imports, loads the vocabulary and encodes one small document
stream  every document once, each of them new, in batches of about a megabyte: what a training loader sees
warm    the last megabytes of the stream once more, when the caches know them

CPU seconds are those of all threads, rates are 10^6 bytes of UTF-8 a second, memory is what the peak of a run is above
what the process had with Python and the text in it. Encoders that are too slow for the whole stream get its beginning
(`--slow-megabytes`; a rate is a rate). Each one is called in the fastest way that its documentation has for the ids of
a list of texts. Exact means: the same ids for all documents that it encoded as the reference, which is tiktoken, or
sentencepiece where `--vocab` is a SentencePiece model.

Without `--corpus` the text is that of the folder in TILTH_TEST_DATA (English prose, Chinese, mixed languages) where it
is set, and in any case this Python's own library (code). A peer that cannot be imported is left out, with a line.
rustbpe and bpeasy are not here: rustbpe encodes only with a vocabulary that it trained in the same process, and bpeasy
hands its vocabulary to tiktoken.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Encode = Callable[[Sequence[str]], Any]
"""Texts to their ids, in whatever form is fastest (see `flat`)."""

SMALL_DOCUMENT = "A small document, as a command line tool gets it: 12 lines, 3 numbers, naïve. " * 10
BATCH_BYTES = 1_000_000


# Encoders: each takes the vocabulary's files and a number of threads, and gives a function.


def tilth(files: dict[str, str], threads: int) -> Encode:
    from tilth.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(files["vocab"])
    return lambda texts: tokenizer.encode_batch_to_numpy(texts, threads, disallowed_special=())


def tiktoken(files: dict[str, str], threads: int) -> Encode:
    import tiktoken as library
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(files["ranks"])
    encoding = library.Encoding("peer", pat_str=files["regex"], mergeable_ranks=ranks, special_tokens={})
    if threads == 1:
        return lambda texts: [encoding.encode_ordinary(text) for text in texts]
    return lambda texts: encoding.encode_ordinary_batch(list(texts), num_threads=threads)


def _tokenizers(files: dict[str, str]) -> Any:
    from tokenizers import Tokenizer

    peer = Tokenizer.from_file(files["json"])
    peer.encode_special_tokens = True
    return peer


def tokenizers(files: dict[str, str], threads: int) -> Encode:
    peer = _tokenizers(files)
    return lambda texts: [peer.encode(text, add_special_tokens=False).ids for text in texts]


def tokenizers_fast(files: dict[str, str], threads: int) -> Encode:
    peer = _tokenizers(files)
    return lambda texts: [e.ids for e in peer.encode_batch_fast(list(texts), add_special_tokens=False)]


def gigatoken(files: dict[str, str], threads: int) -> Encode:
    from gigatoken import Tokenizer

    if "regex" in files:
        scheme = {"llama3": "cl100k", "gpt2": "gpt2"}.get(files["pattern"], files["pattern"])
        peer = Tokenizer.from_tiktoken(files["ranks"], scheme)
    else:
        peer = Tokenizer.from_sentencepiece(files["vocab"])
    return lambda texts: peer.encode_batch(list(texts), parallel=threads > 1)


def fastokens(files: dict[str, str], threads: int) -> Encode:
    from fastokens import Tokenizer

    if "known" in files:  # by name it cuts text with code of its own, by pattern with PCRE2
        peer = Tokenizer.from_tiktoken(files["ranks"], encoding=files["known"])
    elif "regex" in files:
        peer = Tokenizer.from_tiktoken(files["ranks"], pattern=files["regex"])
    else:
        peer = Tokenizer.from_file(files["json"])
    return lambda texts: peer.encode_batch_flat(list(texts), split_special_tokens=True)


def quicktok(files: dict[str, str], threads: int) -> Encode:
    from quicktok import get_encoding

    peer = get_encoding(files["known"])
    return lambda texts: peer.encode_batch(list(texts), threads)


def bpe_openai(files: dict[str, str], threads: int) -> Encode:
    import bpe_openai as library

    peer = library.get_encoding(files["known"])
    if threads == 1:
        return lambda texts: [peer.encode_ordinary(text) for text in texts]
    return lambda texts: peer.encode_ordinary_batch(list(texts), num_threads=threads)


def sentencepiece(files: dict[str, str], threads: int) -> Encode:
    from sentencepiece import SentencePieceProcessor

    peer = SentencePieceProcessor(model_file=files["vocab"])
    return lambda texts: peer.encode(list(texts), num_threads=threads)


def python_alone(files: dict[str, str], threads: int) -> Encode:
    return lambda texts: []


ENCODERS = [
    tilth,
    tiktoken,
    tokenizers,
    tokenizers_fast,
    gigatoken,
    fastokens,
    quicktok,
    bpe_openai,
    sentencepiece,
    python_alone,
]
BY_NAME = {encoder.__name__: encoder for encoder in ENCODERS}
BYTE_LEVEL = ["tiktoken", "tilth", "tokenizers", "tokenizers_fast", "gigatoken", "fastokens", "quicktok", "bpe_openai"]
PIECES = ["sentencepiece", "tilth", "tokenizers", "tokenizers_fast", "gigatoken", "fastokens"]
SLOW = ("tokenizers", "tokenizers_fast", "sentencepiece")


# A run, in its own process


def run(name: str, files: dict[str, str], threads: int, text_file: str, bytes_of: dict[str, int]) -> dict[str, Any]:
    """Encodes a stream of up to `bytes_of["stream"]`, then the last `bytes_of["warm"]` of it again."""
    import hashlib
    import pickle

    import numpy as np

    batches = list(batched(pickle.loads(Path(text_file).read_bytes()), bytes_of["stream"]))
    baseline = resident_megabytes(reset_peak=True)
    encode = BY_NAME[name](files, threads)
    encode([SMALL_DOCUMENT])
    figures: dict[str, Any] = {"bytes": sum(n_bytes for _, n_bytes in batches)}
    digest, digests, done = hashlib.sha256(), {}, 0
    cpu = wall = 0.0
    for texts, n_bytes in batches:
        cpu_before, wall_before = time.process_time(), time.perf_counter()
        ids = encode(texts)
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - wall_before
        digest.update(np.ascontiguousarray(flat(ids), dtype=np.uint32).tobytes())
        done += n_bytes
        digests[done] = digest.hexdigest()
    figures |= {"stream_cpu": cpu, "stream_wall": wall, "megabytes": peak_megabytes() - baseline}
    again, n_again = [], 0
    while batches and n_again < bytes_of["warm"]:
        again.append(batches.pop())
        n_again += again[-1][1]
    cpu_before, wall_before = time.process_time(), time.perf_counter()
    for texts, _ in reversed(again):
        encode(texts)
    figures |= {"warm_cpu": time.process_time() - cpu_before, "warm_wall": time.perf_counter() - wall_before}
    return figures | {"warm_bytes": n_again, "ids": digests}


def batched(texts: Sequence[str], most_bytes: int) -> Iterator[tuple[list[str], int]]:
    """Texts in lists of about `BATCH_BYTES`, with their size, until `most_bytes` are reached."""
    batch: list[str] = []
    size = total = 0
    for text in texts:
        batch.append(text)
        size += len(text.encode())
        if size >= BATCH_BYTES:
            yield batch, size
            total += size
            batch, size = [], 0
            if total >= most_bytes:
                return
    if batch:
        yield batch, size


def flat(ids: Any) -> Any:
    """All ids of an encoder's answer as one array."""
    import numpy as np

    if isinstance(ids, tuple):  # ids and where each text's begin
        return np.frombuffer(ids[0], np.uint32) if isinstance(ids[0], bytes) else ids[0]
    if type(ids).__module__.startswith("awkward"):
        import awkward

        return awkward.to_numpy(awkward.flatten(ids))
    return np.concatenate([np.zeros(0, np.uint32), *[np.asarray(row, dtype=np.uint32) for row in ids]])


def resident_megabytes(*, reset_peak: bool) -> float:
    if reset_peak and Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_megabytes() -> float:
    return _status("VmHWM")


def _status(field: str) -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text().split(f"{field}:")[1].split()[0]) / 1024


# Starting runs


def start(words: Sequence[str], name: str, threads: int, peers: str | None) -> tuple[str, float, float] | str:
    """What a process says, its CPU seconds and its wall time; or why it failed."""
    import subprocess
    import tempfile

    # One thread for numpy's BLAS: its threads spin for a while after the import, and count as CPU time.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "true"}
    environment |= {"RAYON_NUM_THREADS": str(threads)}
    if peers and name != "tilth":
        environment["PYTHONPATH"] = peers
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        child = subprocess.Popen([sys.executable, __file__, *words], stdout=out, stderr=errors, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if child.returncode == 0:
            return out.read(), usage.ru_utime + usage.ru_stime, wall
        return (errors.read().strip().splitlines() or ["no output"])[-1]


def measure_cold(
    names: list[str], files: dict[str, str], rounds: int, peers: str | None
) -> dict[str, dict[str, float]]:
    """CPU and wall seconds of a whole process, by encoder; leaves out of `names` those that cannot run."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ["python_alone", *names]}
    for _ in range(rounds):
        for name in list(runs):
            result = start(["--cold", name, json.dumps(files)], name, 1, peers)
            if isinstance(result, str):
                print(f"{name} is left out: {result}", file=sys.stderr)
                del runs[name]
                names.remove(name)
            else:
                runs[name].append(result[1:])
    return {
        name: {"cpu": median(r[0] for r in results), "wall": median(r[1] for r in results)}
        for name, results in runs.items()
    }


def measure(
    names: list[str], files: dict[str, str], text_file: Path, threads: int, arguments: Any
) -> list[dict[str, Any]]:
    """The rows of one corpus on so many threads, the reference first."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            most = arguments.slow_megabytes if name in SLOW else arguments.megabytes
            bytes_of = {"stream": int(1e6 * most), "warm": int(1e6 * min(arguments.warm_megabytes, most))}
            words = ["--run", name, json.dumps(files), str(threads), str(text_file), json.dumps(bytes_of)]
            result = start(words, name, threads, arguments.peers)
            if isinstance(result, str):
                sys.exit(f"{name} failed on {text_file.stem}: {result}")
            runs[name].append(json.loads(result[0].splitlines()[-1]))
    reference = runs[names[0]][0]["ids"]
    return [row(name, runs[name], reference) for name in names]


def row(name: str, results: list[dict[str, Any]], reference: dict[str, str]) -> dict[str, Any]:
    def rate(phase: str, clock: str) -> float:
        n_bytes = results[0]["bytes" if phase == "stream" else "warm_bytes"]
        return n_bytes / 1e6 / median(r[f"{phase}_{clock}"] for r in results)

    # Compared where both have encoded the same bytes: everything, or the part that the slower one got.
    place = max((n for n in reference if n in results[0]["ids"]), key=int)
    return {
        "encoder": name,
        "bytes": results[0]["bytes"],
        "megabytes": median(r["megabytes"] for r in results),
        "exact": all(r["ids"][place] == reference[place] for r in results),
        "compared_bytes": int(place),
    } | {f"{phase}_{clock}": rate(phase, clock) for phase in ("stream", "warm") for clock in ("cpu", "wall")}


def median(values: Any) -> float:
    import statistics

    return statistics.median(values)


# Text and vocabulary


def documents(text: str, size: int = 10_000) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def python_library(n_bytes: int) -> str:
    import sysconfig

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


def text_at(path: Path, n_bytes: int) -> str:
    parts: list[str] = []
    size = 0
    for line in lines_of(path):
        parts.append(line)
        size += len(line.encode())
        if size >= n_bytes:
            break
    return "\n".join(parts)


def test_data(folder: Path, n_bytes: int) -> dict[str, list[str]]:
    """English prose, Chinese and mixed languages from the folder that TILTH_TEST_DATA names."""
    import random

    sources = [folder / "langid/tatoeba_112.jsonl.zst", folder / "langid/udhr2.jsonl.zst"]
    tar = folder / "html_debian/installation_guide_19langs.tar.zst"
    lines = [line for source in sources for text in lines_of(source) for line in text.splitlines()]
    mixed = documents("\n".join(lines))
    random.Random(0).shuffle(mixed)  # so that each part of the stream has all languages
    return {
        "english": documents(text_at(folder / "books_novels/english_novels.jsonl.zst", n_bytes)),
        "chinese": documents("\n".join(filter(is_chinese, [*lines, *lines_of(tar)]))),
        "mixed": mixed,
    }


def corpora(given: Sequence[str], n_bytes: int) -> dict[str, list[str]]:
    if given:
        pairs = [word.partition("=") for word in given]
        return {name: documents(text_at(Path(path), n_bytes)) for name, _, path in pairs}
    found = {"code": documents(python_library(n_bytes))}
    folder = Path(os.environ.get("TILTH_TEST_DATA", "none"))
    if folder.is_dir():
        return found | test_data(folder, n_bytes)
    print("TILTH_TEST_DATA names no folder: code only. Give more text with --corpus NAME=FILE.", file=sys.stderr)
    return found


def vocabulary_files(vocab: Path | None, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Where each encoder finds the vocabulary, and which encoders can use it."""
    from tilth.tokenizer import Tokenizer
    from tilth.tokenizer.split import PATTERNS

    if vocab is None:
        data = Path(os.environ.get("TILTH_TEST_DATA", "none")) / "vocabs" / "cl100k_base.tiktoken"
        vocab = data if data.exists() else small_vocabulary(folder)
    tokenizer = Tokenizer.load(vocab) if vocab.parent != folder else Tokenizer.load(vocab, pattern="cl100k")
    tokenizer.save(folder)
    files = {"vocab": str(vocab), "json": str(folder / "tokenizer.json")}
    if not tokenizer.pattern:
        return files, list(PIECES)
    files |= {"pattern": tokenizer.pattern, "regex": PATTERNS.get(tokenizer.pattern, tokenizer.pattern)}
    files["ranks"] = str(vocab)
    published = {100277: "cl100k_base", 200019: "o200k_base"}.get(tokenizer.vocab_size)
    if vocab.parent == folder:  # a rank file of our own, which tilth reads by its `tokenizer.json`
        files["vocab"] = str(folder)
    elif published is not None:
        return files | {"known": published}, list(BYTE_LEVEL)
    return files, [name for name in BYTE_LEVEL if name not in ("quicktok", "bpe_openai")]


def small_vocabulary(folder: Path) -> Path:
    from tilth.tokenizer import Tokenizer

    print("No --vocab and no TILTH_TEST_DATA: 16384 tokens are trained on this Python's library.", file=sys.stderr)
    trained = Tokenizer.train([python_library(8_000_000)], vocab_size=16384, pattern="cl100k")
    trained.save_ranks(folder / "small.tiktoken")
    return folder / "small.tiktoken"


# Tables


def cells(rows: list[dict[str, Any]], one: dict[str, Any]) -> dict[str, str]:
    first = rows[0]

    def rated(phase: str, clock: str) -> str:
        value = one[f"{phase}_{clock}"]
        return f"{value:.1f}" + ("" if one is first else f" ({value / first[f'{phase}_{clock}']:.1f}x)")

    return {
        "stream, MB per CPU s": rated("stream", "cpu"),
        "warm, MB per CPU s": rated("warm", "cpu"),
        "stream, MB/s wall": f"{one['stream_wall']:.0f}",
        "memory": f"{one['megabytes']:.0f} MB",
        "ids": ("exact" if one["exact"] else "DIFFER") + f", {one['compared_bytes'] / 1e6:.1f} MB",
    }


def show(title: str, table: list[tuple[str, dict[str, str]]], *, markdown: bool) -> None:
    header = ["", *table[0][1]]
    body = [[name, *columns.values()] for name, columns in table]
    if markdown:
        print(f"\n{title}\n")
        print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
        print("\n".join("| " + " | ".join(line) + " |" for line in body), flush=True)
        return
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
    print(f"\n{title}")
    for line in [header, *body]:
        print(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ),
            flush=True,
        )


def benchmark(arguments: Any, folder: Path) -> dict[str, Any]:
    import pickle

    files, names = vocabulary_files(arguments.vocab, folder)
    names = [name for i, name in enumerate(names) if i == 0 or not arguments.only or name in arguments.only]
    texts_of = corpora(arguments.corpus, int(1e6 * arguments.megabytes))
    cold = measure_cold(names, files, arguments.rounds, arguments.peers)
    show(
        "cold: a whole process with one small document",
        [(n, {"CPU": f"{1000 * c['cpu']:.0f} ms", "wall": f"{1000 * c['wall']:.0f} ms"}) for n, c in cold.items()],
        markdown=arguments.markdown,
    )
    rows: list[dict[str, Any]] = []
    for corpus, texts in texts_of.items():
        text_file = folder / f"{corpus}.pickle"
        text_file.write_bytes(pickle.dumps(texts))
        for threads in arguments.threads:
            measured = measure(names, files, text_file, threads, arguments)
            most = max(m["bytes"] for m in measured) / 1e6
            title = f"{corpus}, {most:.1f} MB, {threads} thread{'s' * (threads > 1)}"
            show(title, [(m["encoder"], cells(measured, m)) for m in measured], markdown=arguments.markdown)
            rows += [{"corpus": corpus, "threads": threads} | m for m in measured]
    return {"cold": cold, "rows": rows}


def main() -> None:
    if sys.argv[1:2] == ["--cold"]:
        BY_NAME[sys.argv[2]](json.loads(sys.argv[3]), 1)([SMALL_DOCUMENT])
        return
    if sys.argv[1:2] == ["--run"]:
        name, files, threads, text_file, bytes_of = sys.argv[2:]
        print(json.dumps(run(name, json.loads(files), int(threads), text_file, json.loads(bytes_of))))
        return
    import argparse
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=Path, help="rank file or SentencePiece model")
    parser.add_argument("--corpus", nargs="*", default=[], metavar="NAME=FILE", help="text or JSONL, compressed or not")
    parser.add_argument("--megabytes", type=float, default=40, help="most text of a corpus")
    parser.add_argument("--slow-megabytes", type=float, default=2, help="most text for encoders that are slow")
    parser.add_argument("--warm-megabytes", type=float, default=8, help="how much of it is encoded again")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", help="a site-packages folder to import the peers from")
    parser.add_argument("--only", nargs="*", help="encoders to run beside the reference")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = benchmark(arguments, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
