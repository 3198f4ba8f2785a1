"""Where the real data lies that some tests compare on: a folder that a clone of the project does not have."""

import os
from pathlib import Path

BESIDE = Path(__file__).parents[2] / "shared" / "data"
FOLDER = Path(os.environ.get("TILTH_TEST_DATA", BESIDE))
MISSING = f"{FOLDER} is not here; set TILTH_TEST_DATA to the folder with the test data"
