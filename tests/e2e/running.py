"""Runs the command line in processes of their own, and kills them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RECIPE = f"{Path(__file__).parent / 'tiny_recipe.py'}:tiny"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def tilth(*words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user would, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tilth", *words],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def kill_when(moment: Callable[[], bool], *words: str, cwd: Path) -> None:
    """Starts the command line and kills it, with its workers, as soon as `moment()` holds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tilth", *words],
        cwd=cwd, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not moment():
        assert process.poll() is None, "the run ended before the moment came"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
