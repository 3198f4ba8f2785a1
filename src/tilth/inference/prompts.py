"""Prompts to try a model with: how documents like those that it learned from begin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from tilth.errors import DataError
from tilth.files import read_json, write_json

PROMPTS = "prompts.json"
"""In a model's folder: `{"prompts": [...]}`."""
GENERIC = ("The", "It was", "In the", "def main(")
"""For a model that has none of its own."""
_N_PROMPTS = 5
_MOST_CHARACTERS = 40
_MOST_DOCUMENTS = 200


def opening_prompts(texts: Iterable[str], n: int = _N_PROMPTS) -> list[str]:
    """Returns the first words of up to `n` texts that begin differently.

    A text prompt is read as the beginning of a document, so it is what the model knows best how to continue.
    """
    found: dict[str, str] = {}
    for _, text in zip(range(_MOST_DOCUMENTS), texts, strict=False):
        line = next((line.rstrip() for line in text.splitlines() if line.strip()), "")
        prompt = _first_words(line)
        if any(character.isalpha() for character in prompt):
            found.setdefault(prompt[:8].lower(), prompt)
        if len(found) == n:
            break
    return list(found.values())


def write_prompts(folder: Path | str, prompts: Iterable[str]) -> None:
    """Writes the prompts to try into a model's folder."""
    write_json(Path(folder) / PROMPTS, {"prompts": list(prompts)})


def read_prompts(folder: Path | str) -> list[str]:
    """Returns the prompts to try from a model's folder; none if it has none that can be read."""
    path = Path(folder) / PROMPTS
    if not path.is_file():
        return []
    try:
        content: object = read_json(path)
    except (DataError, OSError, ValueError):
        return []
    prompts = cast("dict[str, object]", content).get("prompts") if isinstance(content, dict) else None
    listed = cast("list[object]", prompts) if isinstance(prompts, list) else []
    return [prompt for prompt in listed if isinstance(prompt, str) and prompt]


def _first_words(line: str) -> str:
    if len(line) <= _MOST_CHARACTERS:
        return line
    cut = line[: _MOST_CHARACTERS + 1].rfind(" ")
    return line[: cut if cut > 0 else _MOST_CHARACTERS].rstrip()
