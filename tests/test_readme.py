"""The commands and the code in the README run as they stand."""

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from e2e.running import RECIPE, tilth
from tilth.recipes import BUILT_IN

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def commands(program: str, text: str = README) -> list[list[str]]:
    lines = [line for block in blocks("bash", text) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [words[1] for words in commands("make")]
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_ci_runs_the_readmes_test_command() -> None:
    assert ["make", "test"] in commands("make")
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)", README):
        assert (ROOT / target).exists(), target


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `texts`, as the README assumes."""
    place = tmp_path_factory.mktemp("readme")
    library = Path(sysconfig.get_path("stdlib"))
    for path in [*library.glob("email/*.py"), *library.glob("c*.py")]:
        (place / "texts" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / "texts" / path.parent.name)
    return place


@pytest.mark.slow
def test_stage_by_stage(place: Path) -> None:
    lines = commands("tilth", section("Stage by stage"))
    assert len(lines) == 8
    for words in lines:
        done = tilth(*words[1:], cwd=place)
        assert done.stdout or done.stderr
    for code in blocks("python"):
        run = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout


@pytest.mark.slow
def test_synthetic_data(place: Path) -> None:
    if not (place / "curated").exists():
        tilth("curate", "texts", "--out", "curated", cwd=place)
    lines = commands("tilth", section("Synthetic data"))
    assert len(lines) == 3
    for words in lines:
        tilth(*words[1:], cwd=place)
    assert (place / "wrapped" / "report.html").is_file() and (place / "wrapped" / "samples" / "dataset.json").is_file()


@pytest.mark.slow
def test_what_data_is_worth(place: Path) -> None:
    if not (place / "wrapped").exists():
        test_synthetic_data(place)
    lines = commands("tilth", section("What data is worth"))
    assert len(lines) == 1
    for words in lines:
        tilth(*words[1:], cwd=place)
    assert (place / "card" / "assay.json").is_file() and (place / "card" / "report.html").is_file()


def test_experiments_can_be_planned(place: Path) -> None:
    lines = commands("tilth", section("A loop that spends compute where it pays"))
    assert {words[2] for words in lines} == set(BUILT_IN) - {"quickstart"}
    for words in lines:
        assert tilth("plan", *words[2:], cwd=place).stdout


@pytest.mark.slow
def test_your_own_text(place: Path) -> None:
    """As it stands, but with a recipe that is the same chain in seconds."""
    lines = commands("tilth", section("Your own text"))
    assert len(lines) >= 6
    for words in lines:
        told = {"~/texts": "texts", "quickstart": RECIPE, "README.md": "cmd.py"}
        words = [told.get(word, word) for word in words]
        if words[1] == "chat":
            words += ["--prompt", "import "]
        tilth(*words[1:], cwd=place)
