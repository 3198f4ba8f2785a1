"""Training a BPE vocabulary: CPU seconds and peak memory against rustbpe, gigatoken, bpeasy and `tokenizers`.

    python benchmarks/tokenizer_train.py [--corpus FOLDER] [--megabytes 30 100] [--vocab-size 32768] [--rounds 3]
                                         [--python PYTHON] [--only NAME ...]

Every run is a process of its own, the runs of all trainers take turns, and the median counts, so that other work on
the machine falls on all alike. CPU seconds are those of the training call with all of its threads; the text is in
memory before. Without `--corpus` (a folder of .txt files) the text is this Python's own library, and what is wanting
is made up: sentences of random words of a Zipf law. Peers that `--python` cannot import are left out, with a line.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DOCUMENT = 10_000
"""Characters of a document."""


def tilth_llama3(texts: list[str], vocab_size: int, threads: int) -> int:
    from tilth.tokenizer import Tokenizer

    made = Tokenizer.train(texts, vocab_size=vocab_size, special_tokens=(), tie_break="lowest_pair", threads=threads)
    return made.vocab_size


def tilth_gpt2(texts: list[str], vocab_size: int, threads: int) -> int:
    from tilth.tokenizer import Tokenizer

    return Tokenizer.train(texts, vocab_size=vocab_size, pattern="gpt2", special_tokens=(), threads=threads).vocab_size


def tilth_superwords(texts: list[str], vocab_size: int, threads: int) -> int:
    from tilth.tokenizer import Tokenizer

    # Words may be joined for the last third of the vocabulary.
    made = Tokenizer.train(texts, vocab_size=vocab_size, superwords_from=vocab_size * 2 // 3, threads=threads)
    return made.vocab_size


def rustbpe_llama3(texts: list[str], vocab_size: int, threads: int) -> int:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size, pattern=LLAMA3)
    return len(tokenizer.get_mergeable_ranks())


def gigatoken_gpt2(texts: list[str], vocab_size: int, threads: int) -> int:
    import gigatoken

    return len(gigatoken.train_bpe("".join(texts).encode(), vocab_size, [])[0])


def bpeasy_llama3(texts: list[str], vocab_size: int, threads: int) -> int:
    import bpeasy

    return len(bpeasy.train_bpe(iter(texts), LLAMA3, 128, vocab_size))


def tokenizers_llama3(texts: list[str], vocab_size: int, threads: int) -> int:
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    split = Split(Regex(LLAMA3), "isolated")
    tokenizer.pre_tokenizer = Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = BpeTrainer(vocab_size=vocab_size, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab_size()


TRAINERS: dict[str, tuple[str, Callable[[list[str], int, int], int]]] = {
    "tilth (llama3 split)": ("tilth", tilth_llama3),
    "rustbpe (llama3 split)": ("rustbpe", rustbpe_llama3),
    "bpeasy (llama3 split)": ("bpeasy", bpeasy_llama3),
    "tokenizers (llama3 split)": ("tokenizers", tokenizers_llama3),
    "tilth (gpt2 split)": ("tilth", tilth_gpt2),
    "gigatoken (gpt2 split)": ("gigatoken", gigatoken_gpt2),
    "superwords (llama3 split)": ("tilth", tilth_superwords),
}


def corpus(folder: Path | None, n_bytes: int) -> str:
    """About `n_bytes` of text: the folder's, or this Python's library and then made-up sentences."""
    files = sorted((folder or Path(sysconfig.get_path("stdlib"))).rglob("*.txt" if folder else "*.py"))
    parts: list[str] = []
    size = 0
    for file in files:
        if size >= n_bytes:
            break
        parts.append(file.read_text(encoding="utf-8", errors="replace")[: n_bytes - size])
        size += len(parts[-1])
    if size < n_bytes and folder is not None:
        print(f"{folder} holds only {size / 1e6:.0f} MB of .txt files: what is wanting is made up")
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlcumwfgypbvk", k=rng.randint(1, 11))) for _ in range(200_000)]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    while size < n_bytes:
        sentence = " ".join(rng.choices(words, weights, k=100_000)) + ".\n"
        parts.append(sentence[: n_bytes - size])
        size += len(parts[-1])
    return "".join(parts)


def run_one(name: str, text_file: str, vocab_size: int, threads: int) -> None:
    """What a process of its own does: trains once and prints what it took."""
    import time

    with Path(text_file).open(encoding="utf-8", newline="") as file:
        texts = list(iter(lambda: file.read(DOCUMENT), ""))
    before = peak_memory()
    cpu, wall = time.process_time(), time.perf_counter()
    size = TRAINERS[name][1](texts, vocab_size, threads)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps({"cpu": cpu, "wall": wall, "extra_mb": (peak_memory() - before) / 1e6, "vocab": size}))


def peak_memory() -> int:
    """Most bytes of memory so far. On Linux not by `getrusage`, which counts what the parent had, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def installed(python: str, module: str) -> bool:
    """Whether that Python finds the module."""
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def measure(names: list[str], text_file: Path, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            python = sys.executable if TRAINERS[name][0] == "tilth" else options.python
            command = [python, __file__, "--one", name, str(text_file), str(options.vocab_size), str(options.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
                continue
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    return results


def report(results: dict[str, list[dict[str, float]]], megabytes: int) -> None:
    print(f"\n{megabytes} MB                        CPU s   wall s   extra MB   CPU of tilth's (same split)")
    for name, runs in results.items():
        if not runs:
            continue
        cpu, wall, extra = (statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "extra_mb"))
        ours = results.get(f"tilth ({name.split('(')[1]}", [])
        ratio = f"{cpu / statistics.median(run['cpu'] for run in ours):8.2f}x" if ours else ""
        print(f"{name:28} {cpu:8.2f} {wall:8.2f} {extra:10.0f} {ratio}")


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        name, text_file, vocab_size, threads = sys.argv[2:]
        return run_one(name, text_file, int(vocab_size), int(threads))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="folder of .txt files")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[30])
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="tilth's; the peers choose for themselves")
    parser.add_argument("--python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--only", nargs="+", help="trainers whose name begins so")
    options = parser.parse_args()
    names: list[str] = []
    for name, (module, _) in TRAINERS.items():
        if options.only and not name.startswith(tuple(options.only)):
            continue
        if module == "tilth" or installed(options.python, module):
            names.append(name)
        else:
            print(f"{name} is left out: {options.python} has no module {module}")
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            text_file = Path(folder) / "text.txt"
            text_file.write_text(corpus(options.corpus, megabytes * 1_000_000), encoding="utf-8")
            report(measure(names, text_file, options), megabytes)
    return None


if __name__ == "__main__":
    main()
