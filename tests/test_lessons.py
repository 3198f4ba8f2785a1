"""Lessons run, are short, and import the real modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LESSONS = sorted((Path(__file__).parents[1] / "lessons").glob("[0-9]*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_runs(lesson: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, lesson], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_is_short_and_asserts(lesson: Path) -> None:
    text = lesson.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) < 150
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert any(isinstance(n, ast.ImportFrom) and (n.module or "").startswith("tilth") for n in ast.walk(tree))
