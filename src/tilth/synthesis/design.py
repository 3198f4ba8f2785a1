"""Sampling designs: which value of each axis (topic, audience, format, ...) a document gets.

- `weighted`: every axis is drawn by its weights, independently, from a hash of seed, axis and the document's id. A
  document has its cell whatever the others are and in whatever order they come.
- `grid`: full factorial by the document's index. After each whole cycle every cell was given equally often.
- `latin`: by the index too, for fewer documents than a grid has cells: the pairs of values of any two axes are given as
  evenly as even margins allow: of any two axes exactly, of more wherever all have one prime size (a Latin square, an
  orthogonal array), else by search.

In `grid` and `latin`, the counts of the values of an axis differ by 1 at most after any number of documents; weights
only say which values take part (0: not). Both depend on the order of the documents, which is a dataset's own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tilth.errors import ConfigError, DependencyError

Kind = Literal["weighted", "grid", "latin"]
Axes = Mapping[str, Mapping[str, float]]
"""Axis -> value -> weight, 0 or more; weights need not sum to 1."""

MAX_CYCLE = 50_000
"""Longest Latin design that is repeated; where sizes of axes have a larger common multiple, all documents are laid out
at once."""
SWEEPS = 8
"""Times that a Latin design is improved, at most."""
SMALL_TABLE = 400
"""Rows up to which it is tried several times."""


@dataclass(frozen=True)
class Design:
    """A design, ready to be asked for cells. `make_design` builds and checks it."""

    axes: Axes
    kind: Kind
    seed: int
    n_documents: int
    _values: tuple[tuple[str, ...], ...] = field(repr=False)
    """For each axis its values of positive weight, in the order of the seed."""
    _sums: tuple[npt.NDArray[np.float64], ...] = field(repr=False, compare=False)
    """For each axis the sums of the weights up to each of `_values`."""

    def cell(self, document_id: str, index: int) -> Mapping[str, str]:
        """Returns axis -> value for a document; `index` is its place among the documents, from 0."""
        if self.kind == "weighted":
            return {
                axis: values[_drawn(self.seed, axis, sums, document_id)]
                for axis, values, sums in zip(self.axes, self._values, self._sums, strict=True)
            }
        levels = self._latin_levels(index) if self.kind == "latin" else self._grid_levels(index)
        return {axis: values[level] for axis, values, level in zip(self.axes, self._values, levels, strict=True)}

    @property
    def n_cells(self) -> int:
        """Cells of the full grid."""
        return math.prod(len(values) for values in self._values)

    def _grid_levels(self, index: int) -> list[int]:
        """Mixed radix, each digit shifted by one whenever the digits before it have gone round with it: so every prefix
        has even margins, and all cells come once a cycle."""
        levels: list[int] = []
        period = 1
        for values in self._values:
            levels.append(_shifted(index, period, len(values)))
            period *= len(values)
        return levels

    def _latin_levels(self, index: int) -> list[int]:
        table = self._latin_table
        return [int(level) for level in table[index % len(table)]]

    @cached_property
    def _latin_table(self) -> npt.NDArray[np.int64]:
        sizes = [len(values) for values in self._values]
        cycle = math.lcm(*sizes)
        pairs = max((a * b for a, b in pairwise(sorted(sizes)[-2:])), default=1)
        cycle *= max(1, math.ceil(pairs / cycle))
        rows = max(self.n_documents, 1)
        return _latin(sizes, min(rows, cycle) if cycle <= MAX_CYCLE else rows, self.seed)


def make_design(axes: Axes, kind: Kind, seed: int, n_documents: int) -> Design:
    """Returns a design over axes, for so many documents; without axes, all cells are empty.

    Raises: ConfigError for an unknown kind, an axis without a value of positive weight, or a weight that is none.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"There is no sampling design {kind!r}.", fix=f"Give one of {', '.join(get_args(Kind))}.")
    values: list[tuple[str, ...]] = []
    for axis, weights in axes.items():
        for value, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ConfigError(f"The weight of `{axis}: {value}` is {weight}.", fix="Give 0 or a positive number.")
        used = [value for value, weight in weights.items() if weight > 0]
        if not used:
            raise ConfigError(f"The axis `{axis}` has no value of positive weight.", fix="Give it at least one.")
        # In an order of the seed, so that another seed pairs other values.
        values.append(tuple(sorted(used, key=lambda value: _digest(seed, "order", axis, value))))
    sums = tuple(np.cumsum([axes[axis][value] for value in used]) for axis, used in zip(axes, values, strict=True))
    return Design({axis: dict(weights) for axis, weights in axes.items()}, kind, seed, n_documents, tuple(values), sums)


def cells(axes: Axes, kind: Kind, n: int, seed: int) -> list[Mapping[str, str]]:
    """Returns the cells of `n` documents whose ids are their numbers.

    Raises: ConfigError as `make_design`.
    """
    design = make_design(axes, kind, seed, n)
    return [design.cell(str(index), index) for index in range(n)]


def _digest(seed: int, *parts: str) -> int:
    """64 bits of a hash; lengths are in it, so that no two lists of parts are one."""
    text = "\0".join([str(seed), *(f"{len(part)}:{part}" for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _drawn(seed: int, axis: str, sums: npt.NDArray[np.float64], document_id: str) -> int:
    point = _digest(seed, "draw", axis, document_id) / 2**64 * sums[-1]
    return min(int(np.searchsorted(sums, point, side="right")), len(sums) - 1)


def _shifted(index: int, period: int, size: int) -> int:
    """The level of an axis beside others that repeat after `period`: within `period * size` rows, each of its levels
    comes once with each of theirs."""
    return (index + index // math.lcm(period, size) % math.gcd(period, size)) % size


def _latin(sizes: list[int], rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Returns levels, (rows, axes): each run of `size` rows has every level of the axis once."""
    table = np.empty((rows, len(sizes)), dtype=np.int64)
    rng = np.random.default_rng([seed, 0x1A71])
    index = np.arange(rows)
    for axis, size in enumerate(sizes):
        alike = all(other == size for other in sizes[:axis])
        if axis < 2:
            period = math.prod(sizes[:axis])
            table[:, axis] = [_shifted(row, period, size) for row in range(rows)]
        elif alike and all(math.gcd(step, size) == 1 for step in range(1, axis + 1)):
            # Lines of other slopes through the square: any two of them meet in each pair once (sizes that are prime).
            table[:, axis] = (index + axis * (index // size)) % size
        else:
            tries = 20 if rows <= SMALL_TABLE else 1
            columns = [_spread(table[:, :axis], sizes[:axis], size, rng) for _ in range(tries)]
            table[:, axis] = min(columns, key=lambda column: column[0])[1]
    return table


def _spread(
    before: npt.NDArray[np.int64], sizes: list[int], size: int, rng: np.random.Generator
) -> tuple[float, npt.NDArray[np.int64]]:
    """Returns a column for one more axis whose pairs with those before repeat little, and how much they repeat.

    Each run of rows gets the assignment of levels with the fewest repeats, over again until no run gets better.
    """
    rows = len(before)
    column = np.full(rows, -1, dtype=np.int64)
    seen = [np.zeros((other, size)) for other in sizes]

    def count(block: slice, by: int) -> None:
        for other, counts in enumerate(seen):
            np.add.at(counts, (before[block, other], column[block]), by)

    for sweep in range(SWEEPS):
        changed = False
        for start in range(0, rows, size):
            block = slice(start, min(start + size, rows))
            if sweep:
                count(block, -1)
            cost = np.sum([counts[before[block, other]] for other, counts in enumerate(seen)], axis=0)
            # A tie is broken by the seed; a repeated pair always costs more than all ties of a run.
            levels = _assigned(cost + rng.random(cost.shape) / (2 * size))
            changed |= bool((levels != column[block]).any())
            column[block] = levels
            count(block, 1)
        if not changed:
            break
    return float(sum((counts**2).sum() for counts in seen)), column


def _assigned(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Returns the column of each row (rows <= columns) so that the sum of costs is least."""
    try:
        import scipy.optimize as optimize  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise DependencyError(
            "The design `latin` needs scikit-learn (with scipy).", fix='Install it: `pip install "tilth[synthesis]"`.'
        ) from error
    solve: Any = optimize.linear_sum_assignment  # pyright: ignore[reportUnknownMemberType]
    return solve(cost)[1]
