"""Whom a text is written for, and whose view it is written from: values for the axes of a sampling design.

An axis takes its values from here, from a file, or from a dataset such as the one that the recipe `personas` makes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

from tilth.errors import ConfigError
from tilth.storage import MANIFEST, Dataset

AUDIENCES: dict[str, float] = {
    "children of five to ten years, who know everyday words only and like to be shown one thing at a time": 1.0,
    "pupils of eleven to fourteen years, who have met the subject's words and need examples from daily life": 3.0,
    "pupils in the last years of school, who prepare for examinations and want each step justified": 2.0,
    "students in their first years at university, who expect definitions, notation and worked applications": 2.0,
    "specialists of the field, who know the basics and look for precision, limits and open questions": 1.0,
    "adults without training in the subject, who read because they need it at work or at home": 1.0,
    "teachers, who look for explanations, typical mistakes and exercises to use in class": 1.0,
}
"""Descriptions of readers -> weight. Most weight is on school, after SmolLM (Ben Allal et al. 2024), where it helped
small models most."""
BUILT_IN = {"audiences": AUDIENCES}
MAX_VALUE_CHARACTERS = 1000


def axis_values(source: str | Path) -> dict[str, float]:
    """Returns value -> weight of an axis: `audiences`, the folder of a dataset (its texts), or a file.

    A file has a value a line, with a tab and a weight after it or not; in `.jsonl`, an object with `persona`, `text` or
    `value`, and `weight` or not. Equal values are one, of their summed weight.
    Raises: ConfigError if there is none, naming file and line.
    """
    if str(source) in BUILT_IN:
        return dict(BUILT_IN[str(source)])
    path = Path(source)
    if (path / MANIFEST).is_file():
        found = [(document.text.strip(), 1.0) for document in Dataset.open(path).documents()]
    elif path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        read = _json_value if path.suffix == ".jsonl" else _plain_value
        found = [read(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    else:
        raise ConfigError(
            f"There is no file or dataset {source} with the values of an axis.",
            fix=f"Give a text file with a value a line, a dataset, or one of {', '.join(BUILT_IN)}.",
        )
    values: dict[str, float] = {}
    for value, weight in found:
        if len(value) > MAX_VALUE_CHARACTERS:
            raise ConfigError(
                f"{source} has a value of {len(value):,} characters: {value[:60]!r}.",
                fix=f"Give values of at most {MAX_VALUE_CHARACTERS:,}.",
            )
        values[value] = values.get(value, 0.0) + weight
    if not values:
        raise ConfigError(f"{source} holds no value.", fix="Write one a line.")
    return values


def _plain_value(line: str, where: str) -> tuple[str, float]:
    value, tab, weight = line.strip().rpartition("\t")
    if not tab:
        return weight, 1.0
    try:
        return value.strip(), _weight(float(weight), where)
    except ValueError:
        raise ConfigError(f"{where}: {weight!r:.40} after the tab is no weight.", fix="Write a number.") from None


def _json_value(line: str, where: str) -> tuple[str, float]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where} is not JSON: {error}.", fix="Write an object a line.") from None
    entries = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    for key in ("persona", "text", "value"):
        if isinstance(entries.get(key), str) and entries[key].strip():
            weight = entries.get("weight", 1.0)
            if not isinstance(weight, int | float) or isinstance(weight, bool):
                raise ConfigError(f"{where}: the weight is {weight!r:.40}.", fix="Write a number.")
            return entries[key].strip(), _weight(float(weight), where)
    raise ConfigError(f"{where} has no text under `persona`, `text` or `value`.", fix="Name it one of these.")


def _weight(weight: float, where: str) -> float:
    if not 0 <= weight < math.inf:
        raise ConfigError(f"{where}: the weight is {weight}.", fix="Give 0 or a positive number.")
    return weight
