"""What decontamination finds and what it takes by mistake, on planted questions of real evaluation sets.

    python benchmarks/decontamination.py [FOLDER] [--questions 300]

FOLDER is that of the tests' real data (`TILTH_TEST_DATA`): evaluation sets (gsm8k, mmlu, math, core_tasks) and texts
that are none (textbooks, Wikipedia). First the texts as they are: what is found in them is a mistake, or the text
really holds an item; each is printed. Then questions are put between the lines of clean texts, verbatim and changed,
and the share that is found is counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from tilth.curation.decontamination import Contamination, EvaluationIndex, words_of
from tilth.curation.evaluation_sets import Item, read_items

DATA = Path(os.environ.get("TILTH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHOWN = 20
"""Findings in texts that are printed."""
Rewrite = Callable[[str, random.Random], str]


def packed(path: Path) -> str:
    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read().decode()


def texts(folder: Path) -> dict[str, list[str]]:
    books = packed(folder / "textbooks_openstax/openstax_ccby.jsonl.zst")
    articles = re.split(r"\n = [^=]", packed(folder / "wikitext2/valid.txt.zst"))
    return {
        "textbooks": [json.loads(line)["text"] for line in io.StringIO(books)],
        "Wikipedia": [article for article in articles if len(article) > 500],
    }


def every(n: int) -> Rewrite:
    """Puts another word for every n-th."""

    def rewrite(text: str, rng: random.Random) -> str:
        words = text.split(" ")
        for at in range(rng.randrange(n), len(words), n):
            words[at] = "thing" if words[at].isalpha() else words[at]
        return " ".join(words)

    return rewrite


def other_numbers(text: str, rng: random.Random) -> str:
    return re.sub(r"\d+", lambda found: str(int(found[0]) + 7) if len(found[0]) < 9 else found[0], text)


REWRITES: dict[str, Rewrite] = {
    "verbatim": lambda text, rng: text,
    "upper case, no punctuation": lambda text, rng: re.sub(r"[^\w\s]", "", text).upper(),
    "other numbers": other_numbers,
    "every 15th word": every(15),
    "every 10th": every(10),
    "every 6th": every(6),
    "first half": lambda text, rng: " ".join(text.split()[: len(text.split()) // 2]),
}


def n_words(item: Item) -> int:
    return len(words_of(item.prompts[0]))


POOLS: dict[str, Callable[[Item], bool]] = {
    "GSM8K": lambda item: item.name.startswith("gsm8k/"),
    "MMLU": lambda item: item.name.startswith("mmlu/"),
    "MATH": lambda item: item.name.startswith("math/"),
    "ARC": lambda item: "arc_" in item.name,
    "all, 13 words or more": lambda item: n_words(item) >= 13,
    "all, 6 to 12 words": lambda item: 6 <= n_words(item) < 13,
}


def planted(question: str, hosts: list[str], rng: random.Random) -> str:
    lines = rng.choice(hosts).split("\n")
    at = rng.randrange(len(lines) + 1)
    return "\n".join([*lines[:at], question, *lines[at:]])


def false_alarms(index: EvaluationIndex, folder: Path) -> list[str]:
    """Prints what is found in the texts; returns those in which nothing is."""
    clean: list[str] = []
    for name, documents in texts(folder).items():
        begin = time.process_time()
        found: list[Contamination | None] = [index.find(text) for text in documents]
        seconds, size = time.process_time() - begin, sum(len(text.encode()) for text in documents)
        hits = [one for one in found if one is not None]
        print(f"\n{name}: {len(documents)} texts, {size / 1e6:.1f} MB, {size / 1e6 / seconds:.2f} MB a CPU second; "
              f"found in {len(hits)}")  # fmt: skip
        for one in hits[:SHOWN]:
            print(f"  {one.reason}, {one.item}: {' '.join(one.text.split())[:100]}")
        clean += [text for text, one in zip(documents, found, strict=True) if one is None]
    return clean


def recall(index: EvaluationIndex, items: list[Item], hosts: list[str], n: int) -> None:
    rng = random.Random(0)
    print(f"\n| question | {' | '.join(REWRITES)} |\n|---|{'---|' * len(REWRITES)}")
    for name, belongs in POOLS.items():
        pool = [item for item in items if belongs(item)]
        chosen = rng.sample(pool, min(n, len(pool)))
        shares = [
            sum(index.find(planted(rewrite(item.prompts[0], rng), hosts, rng)) is not None for item in chosen)
            / max(len(chosen), 1)
            for rewrite in REWRITES.values()
        ]
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    parser.add_argument("--questions", type=int, default=300, help="planted of each kind")
    options = parser.parse_args()
    folder: Path = options.folder
    if not folder.is_dir():
        print(f"Left out: there is no {folder}.")
        return
    sets = ["gsm8k/train.jsonl.zst", "mmlu/val.jsonl.zst", "mmlu/dev.jsonl.zst", "math/competition_math_5k.jsonl.zst"]
    paths = [*(folder / name for name in sets), *sorted(folder.glob("core_tasks/*/*.zst"))]
    begin = time.process_time()
    items = [item for path in paths for item in read_items(str(path))]
    read = time.process_time()
    index = EvaluationIndex(items)
    print(f"{len(items):,} items, {index.too_short:,} of fewer words than are looked for; "
          f"{read - begin:.1f} CPU s to read, {time.process_time() - read:.1f} to index")  # fmt: skip
    recall(index, items, false_alarms(index, folder), options.questions)


if __name__ == "__main__":
    main()
