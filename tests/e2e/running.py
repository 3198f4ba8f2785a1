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
    code, _ = signal_when(signal.SIGKILL, moment, *words, cwd=cwd)
    assert code == -signal.SIGKILL


def interrupt_when(moment: Callable[[], bool], *words: str, cwd: Path) -> tuple[int, str]:
    """Starts the command line and presses Ctrl-C as soon as `moment()` holds; returns exit code and standard error."""
    return signal_when(signal.SIGINT, moment, *words, cwd=cwd)


def signal_when(number: signal.Signals, moment: Callable[[], bool], *words: str, cwd: Path) -> tuple[int, str]:
    """Starts the command line and signals its whole group as soon as `moment()` holds; returns code and stderr."""
    command = [sys.executable, "-m", "tilth", *words]
    process = subprocess.Popen(
        command, cwd=cwd, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not moment():
        assert process.poll() is None, "the run ended before the moment came"
        time.sleep(0.002)
    os.killpg(process.pid, number)  # as a terminal does: the workers get it too
    _, said = process.communicate(timeout=120)
    return process.returncode, said
