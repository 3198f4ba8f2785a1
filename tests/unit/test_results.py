"""Results on disk: tuples of mixed values, and what does not fit."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.results import read_result, write_result


@dataclass(frozen=True)
class Named:
    pairs: tuple[tuple[str, float], ...]


def test_a_tuple_of_several_kinds_comes_back(tmp_path: Path) -> None:
    made = Named((("a", 0.5), ("b", 1.0)))
    write_result(tmp_path / "named.json", made)
    assert read_result(Named, tmp_path / "named.json") == made


@pytest.mark.parametrize("text", ['{"pairs": [["a"]]}', '{"pairs": [["a", 1, 2]]}', '{"pairs": [[1, "a"]]}'])
def test_a_tuple_that_does_not_fit_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "named.json").write_text(text)
    with pytest.raises(DataError, match=r"named\.json\.pairs\[0\]"):
        read_result(Named, tmp_path / "named.json")
