"""Seconds and peak memory of the self-improving loop at three sizes, as a Markdown table.

    python benchmarks/improve.py                 # minutes on one core
    python benchmarks/improve.py --scale 0.1     # seconds, to try the script

Each size runs in a process of its own, whose peak memory is its own, on one thread. The arms are baseline, control and
vote; all arms of the default table cost about twice as much.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {"small": 0.25, "medium": 0.5, "large": 1.0}
"""Share of the default steps, samples and measured problems."""


def measure(effort: float) -> dict[str, float]:
    """Runs a loop and returns what it took."""
    from dataclasses import replace

    from tilth.execute import Context
    from tilth.improve import LoopConfig, improve

    config = replace(LoopConfig.from_effort(effort, rounds=3), arms=("baseline", "control", "vote"))
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        result = improve(config, Path(folder), Context(workers=1))
        seconds = time.monotonic() - started
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "base_steps": config.base_steps,
        "samples": config.samples,
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "peak_mb": kilobytes / 1024,
        "disk_mb": disk / 1e6,
        "tflops": result.flops / 1e12,
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="makes every size smaller")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one)))
        return
    print("| size | base steps | samples a round | TFLOPs | seconds | CPU seconds | peak memory, MB | on disk, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, effort in SIZES.items():
        words = [sys.executable, __file__, "--one", str(effort * arguments.scale)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {name} | {found['base_steps']:.0f} | {found['samples']:.0f} | {found['tflops']:.3f} | "
            f"{found['seconds']:.0f} | {found['cpu_seconds']:.0f} | {found['peak_mb']:.0f} | {found['disk_mb']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
