"""Seconds and peak memory of an assay without value at several sizes of real text; prints Markdown.

    python benchmarks/assay.py TEXTS [--megabytes 0.5 2 8]

TEXTS: JSON lines (also .zst) with a field `text`. A third of each size is the dataset's, a half the source's, and the
rest held-out text; each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

PIECE = 3000


def pieces(path: Path, n_bytes: int) -> list[str]:
    """Returns pieces of the texts, whole documents kept together, until they hold so many bytes."""
    with path.open("rb") as raw:
        stream = pa.CompressedInputStream(raw, "zstd") if path.suffix == ".zst" else raw
        found: list[str] = []
        size = 0
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            text = json.loads(line)["text"]
            for start in range(0, len(text), PIECE):
                found.append(text[start : start + PIECE])
                size += len(found[-1].encode())
            if size >= n_bytes:
                return found
    sys.exit(f"{path} holds only {size:,} bytes of text.")


def measure(path: Path, n_bytes: int) -> dict[str, float]:
    """Runs one assay in this process and returns its seconds, CPU seconds and peak memory."""
    from tilth.assay import assay
    from tilth.storage import write_dataset
    from tilth.types import Document

    texts = pieces(path, n_bytes)
    third, rest = len(texts) // 3, len(texts) * 5 // 6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {"dataset": texts[:third], "source": texts[third:rest], "held_out": texts[rest:]}
        for part, some in parts.items():
            write_dataset(folder / part, (Document.make(text, source=part) for text in some), made_by="benchmark")
        del texts, parts
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        card = assay(folder / "dataset", folder / "out", source=folder / "source", held_out=folder / "held_out")
        seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "bytes": n_bytes,
        "measured": card.dataset.measured_bytes,
        "seconds": seconds,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "memory": after.ru_maxrss * 1024,
    }


def main() -> None:
    """Runs each size in a process of its own and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0.5, 2.0, 8.0])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(given.texts, given.one)))
        return
    print("| text (dataset, source, held-out) | seconds | CPU seconds | peak memory |\n|---|---|---|---|", flush=True)
    for megabytes in given.megabytes:
        command = [sys.executable, __file__, str(given.texts), "--one", str(int(megabytes * 1e6))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {megabytes:g} MB | {found['seconds']:.0f} | {found['cpu']:.0f} | {found['memory'] / 1e6:,.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
