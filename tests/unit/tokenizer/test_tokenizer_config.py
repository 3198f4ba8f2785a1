"""The config says what is wrong before anything runs, and loads nothing heavy."""

import subprocess
import sys
from typing import Any

import pytest

from tilth.errors import ConfigError
from tilth.tokenizer import TokenizerConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 256}, "Use at least 257"),
        ({"special_tokens": ("<a>", "<a>")}, "empty or repeated"),
        ({"special_tokens": ("",)}, "empty or repeated"),
        ({"tie_break": "random"}, "Use one of huggingface"),
        ({"max_training_bytes": 0}, "nothing to train on"),
    ],
)
def test_values_that_cannot_work_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenizerConfig(**fields)


def test_every_field_says_what_it_is() -> None:
    assert TokenizerConfig().vocab_size == 8192


def test_the_config_is_light() -> None:
    code = (
        "import sys, tilth.tokenizer.config\n"
        "print([m for m in ('numpy', 'regex', 'pyarrow', 'tilth._core') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
