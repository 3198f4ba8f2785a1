"""Values of axes from lists, files and datasets."""

from pathlib import Path

import pytest

from tilth.errors import ConfigError
from tilth.storage import write_dataset
from tilth.synthesis.audiences import AUDIENCES, axis_values
from tilth.synthesis.design import make_design
from tilth.types import Document


def test_built_in_audiences_make_an_axis() -> None:
    design = make_design({"audience": axis_values("audiences")}, "weighted", 0, 10)
    assert design.cell("d1", 0)["audience"] in AUDIENCES
    assert len(AUDIENCES) >= 5 and axis_values("audiences") is not AUDIENCES


def test_values_of_files_and_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a nurse\t2\n\na clerk\na nurse\n")
    assert axis_values(tmp_path / "a.txt") == {"a nurse": 3.0, "a clerk": 1.0}
    (tmp_path / "a.jsonl").write_text('{"persona": "a pilot", "weight": 0.5}\n{"text": "a cook"}\n')
    assert axis_values(str(tmp_path / "a.jsonl")) == {"a pilot": 0.5, "a cook": 1.0}
    write_dataset(tmp_path / "d", [Document(id="1", text="a smith ", source="s")], made_by="test")
    assert axis_values(tmp_path / "d") == {"a smith": 1.0}


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.txt", "a nurse\tmany\n", "line 1"),
        ("a.txt", "ok\na nurse\t-1\n", "line 2"),
        ("a.txt", "\n", "no value"),
        ("a.jsonl", "nurse\n", "not JSON"),
        ("a.jsonl", '{"name": "nurse"}\n', "persona"),
        ("a.jsonl", '{"text": "nurse", "weight": "x"}\n', "weight"),
        ("a.txt", "x" * 1001, "characters"),
    ],
)
def test_mistakes_name_file_and_line(name: str, content: str, named: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=named):
        axis_values(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        axis_values(tmp_path / "none.txt")
