"""The recipe `language`: its steps, without loading what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tilth.improve.text.language_config import LanguageConfig
from tilth.recipes import load_recipe
from tilth.steps import needed_steps


def test_its_steps_end_with_a_report_on_the_study(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    target = load_recipe("language")(corpus=str(tmp_path), effort=0.5, seeds=(7, 8))
    steps = {step.name: step for step in needed_steps(target)}
    assert target.name == "report"
    assert list(steps) == ["curate", "tokenizer", "language-experiment", "report"]
    config = steps["language-experiment"].config
    assert isinstance(config, LanguageConfig)
    assert config.seeds == (7, 8)
    assert config.arm_tokens == LanguageConfig().arm_tokens / 2


def test_without_a_corpus_it_takes_this_machines_python() -> None:
    steps = {step.name for step in needed_steps(load_recipe("language")())}
    assert "documentation" in steps


def test_planning_it_loads_no_torch() -> None:
    check = "import sys, tilth.recipes.language as l; l.language(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
