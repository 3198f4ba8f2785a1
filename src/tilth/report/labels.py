"""Labels that tell the results of one kind apart, from the records of the steps that wrote them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

MOST_KEYS = 3
"""Config fields that a label names at most."""
FINGERPRINT_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a label is made of."""

    name: str
    config: Mapping[str, object] = field(default_factory=dict[str, object])
    fingerprint: str = ""


def unique_labels(items: Sequence[Labelled], *, short: bool = False) -> list[str]:
    """Returns a label for each item, all different.

    A name that occurs once is its own label. Equal names get the config fields in which they differ, where these tell
    them apart, else the beginning of their fingerprints, else a number. `short` leaves out a name that all items have,
    where the fields suffice (`seed 1`).
    """
    names = [item.name for item in items]
    if short and len(items) > 1 and len(set(names)) == 1 and all(endings := _differences(items)):
        return endings
    for endings_of in (_differences, _fingerprints):
        names = _extended(names, items, endings_of)
    while len(set(names)) < len(names):
        names = _extended(names, items, _numbers)
    return names


def _extended(
    names: Sequence[str], items: Sequence[Labelled], endings_of: Callable[[Sequence[Labelled]], Sequence[str]]
) -> list[str]:
    """Returns the names, those that occur more than once with what `endings_of` gives for their items."""
    longer = list(names)
    for name in [name for name, count in Counter(names).items() if count > 1]:
        indices = [index for index, other in enumerate(names) if other == name]
        for index, ending in zip(indices, endings_of([items[index] for index in indices]), strict=True):
            longer[index] = f"{name}, {ending}" if ending else name
    return longer


def _differences(items: Sequence[Labelled]) -> list[str]:
    """The config fields whose values differ, as `seed 1, depth 4`."""
    flat = [_flat(item.config) for item in items]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if len({one.get(key) for one in flat}) > 1]
    last = Counter(key.rpartition(".")[2] for key in keys)
    shown = [(key, tail if last[tail := key.rpartition(".")[2]] == 1 else key) for key in keys[:MOST_KEYS]]
    endings = [", ".join(f"{name} {one.get(key, '–')}" for key, name in shown) for one in flat]
    return endings if len(set(endings)) == len(items) else [""] * len(items)


def _fingerprints(items: Sequence[Labelled]) -> list[str]:
    endings = [item.fingerprint[:FINGERPRINT_DIGITS] for item in items]
    return endings if len(set(endings)) == len(items) else [""] * len(items)


def _numbers(items: Sequence[Labelled]) -> list[str]:
    return [str(number) for number, _ in enumerate(items, 1)]


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Returns each value as text by the path of its key, joined with dots."""
    values: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            values |= _flat(cast("Mapping[str, object]", value), f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return values
