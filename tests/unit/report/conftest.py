"""The made-up run as fixtures."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tilth.report import RunResults
from unit.report.made_up_run import RUN, Files, collected


@pytest.fixture
def run_files() -> Files:
    """The files of the made-up run, free to be changed."""
    return copy.deepcopy(RUN)


@pytest.fixture
def whole_run(run_files: Files, tmp_path: Path) -> RunResults:
    """The made-up run with nothing missing."""
    return collected(run_files, tmp_path / "runs")
