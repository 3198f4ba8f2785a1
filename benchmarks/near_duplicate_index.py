"""Time and memory of the index of near duplicates, in memory and with its shingles on disk.

    python benchmarks/near_duplicate_index.py [100000] [--save]

Texts of 200 words drawn from 20,000, none a near duplicate of another; each is looked for, then added.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tilth.curation.near_duplicates import NearDuplicateIndex

SAVE_EVERY = 5000
VOCABULARY = [f"w{number}" for number in range(20_000)]


def resident_kb() -> int:
    """Anonymous memory of this process: memory-mapped files are the system's to drop."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=int, nargs="?", default=10_000)
    parser.add_argument("--save", action="store_true", help="move shingles to disk, every 5,000 documents")
    options = parser.parse_args()
    rng, index, before = random.Random(0), NearDuplicateIndex(), resident_kb()
    seconds, tenth, marks = 0.0, options.documents // 10 or 1, list[float]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.documents + 1):
            text = " ".join(rng.choices(VOCABULARY, k=200))
            begin = time.process_time()
            sketch = index.sketch(text)
            assert index.find(sketch) is None
            index.add(str(number), sketch)
            if options.save and number % SAVE_EVERY == 0:
                index.save(Path(folder))
            seconds += time.process_time() - begin
            if number % tenth == 0:
                marks.append(seconds)
        used = resident_kb() - before
    last = (marks[-1] - marks[-2]) / tenth if len(marks) > 1 else seconds / options.documents
    print(
        f"{options.documents:,} documents{', shingles on disk' * options.save}: {seconds:.1f} CPU s, "
        f"{1e3 * seconds / options.documents:.2f} ms a document (the last tenth {1e3 * last:.2f}), "
        f"{used / 1024:.0f} MB, {used / options.documents:.2f} kB a document"
    )


if __name__ == "__main__":
    main()
