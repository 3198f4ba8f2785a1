"""Where the real data lies that some tests compare on: a folder that a clone of the project does not have."""

import importlib
import os
from pathlib import Path

BESIDE = Path(__file__).parents[2] / "shared" / "data"
FOLDER = Path(os.environ.get("TILTH_TEST_DATA", BESIDE))
MISSING = f"{FOLDER} is not here; set TILTH_TEST_DATA to the folder with the test data"
MANUALS = ("decimal", "doctest", "optparse", "pickletools", "difflib", "heapq", "csv", "turtle", "locale", "unittest")


def manuals(n: int) -> list[str]:
    """Texts that people wrote and that are on every machine: the manuals in modules of the standard library."""
    texts = (importlib.import_module(name).__doc__ for name in MANUALS)
    return [text for text in texts if text and len(text) > 1200][:n]
