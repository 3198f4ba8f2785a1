"""What it takes to run a line of code in the sandbox, beside Python without any isolation.

python benchmarks/sandbox.py [--runs 40]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from tilth.synthesis.verify import isolation, run_code

CODE = "print(1)"


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measured(name: str, run: Callable[[], object], runs: int) -> None:
    run()
    walls: list[float] = []
    begin = cpu_seconds()
    for _ in range(runs):
        start = time.perf_counter()
        run()
        walls.append(1e3 * (time.perf_counter() - start))
    cpu = 1e3 * (cpu_seconds() - begin) / runs
    print(f"| {name} | {cpu:.1f} | {statistics.median(walls):.1f} | {min(walls):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    print(f"isolation: {isolation()}\n\n| a run | CPU ms | ms, median | least |\n|---|---|---|---|")
    bare = [sys.executable, "-S", "-c", CODE]
    measured("sandbox", lambda: run_code(CODE), runs)
    measured("`python -S`", lambda: subprocess.run(bare, capture_output=True, env={}), runs)


if __name__ == "__main__":
    main()
