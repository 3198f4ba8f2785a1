"""The look before a run: what is there, what would be kept, what it will take, and when it asks."""

from __future__ import annotations

import email
import gzip
from pathlib import Path

import pytest

from tilth import steps
from tilth.cli import look as cli_look
from tilth.cli.look import lines_of, show_look
from tilth.curation.config import CurationConfig
from tilth.execute import Context
from tilth.files import list_files
from tilth.recipes import look as look_module
from tilth.recipes.look import Look, estimates_of, look, sample_of
from tilth.recipes.quickstart import quickstart


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some modules of the library, a text of three words, and a picture."""
    folder = tmp_path_factory.mktemp("corpus")
    for path in sorted(Path(email.__file__).parent.glob("*.py"))[:12]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "short.txt").write_text("only three words")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return folder


def looked(tmp_path: Path, *corpora: Path, **fields: int) -> Look:
    context = Context(runs=tmp_path / "runs")
    target = quickstart(corpus=tuple(map(str, corpora)), **fields)
    found = look(target, steps.plan(target, context), context)
    assert found is not None
    assert not (tmp_path / "runs" / "curate").exists()
    return found


def test_it_says_what_is_there_and_what_would_become_of_it(corpus: Path, tmp_path: Path) -> None:
    found = looked(tmp_path, corpus)
    (there,) = found.corpora
    assert there.files == 14 and there.unread == ((".png", 1),)
    assert [(kind, n) for kind, n, _ in there.kinds] == [(".py", 12), (".txt", 1)]
    assert dict(found.sample.drops)["too_few_words"] == 1
    assert found.sample.documents == 13 and found.sample.kept >= 10
    assert found.sample.kept_share is not None and 0.8 < found.sample.kept_share < 1
    text_bytes = sum(size for _, _, size in there.kinds)
    assert found.text_tokens is not None and text_bytes / 6 < found.text_tokens < text_bytes / 2
    assert found.epochs is not None and found.epochs == 2_000_000 / found.text_tokens
    assert found.memory_bytes is not None and 4e8 < found.memory_bytes < 4e9
    assert found.seconds is not None
    shown = "\n".join(lines_of(found))
    for part in (str(corpus), ".py", "not read: .png 1", "too_few_words 1", "passes over the text", "of memory"):
        assert part in shown


def test_it_is_the_same_every_time_and_reads_a_little_of_much(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list_files(str(corpus))
    whole = sample_of(files, CurationConfig())
    assert sample_of(list(reversed(files)), CurationConfig()) == whole
    monkeypatch.setattr(look_module, "SAMPLE_FILES", 3)
    part = sample_of(files, CurationConfig())
    assert part.files == 3 and part.bytes < whole.bytes


def test_text_for_many_passes_is_worth_a_question_and_enough_is_not(corpus: Path, tmp_path: Path) -> None:
    little = looked(tmp_path, corpus)
    assert len(little.questions) == 1 and "training will stop after 16 passes" in little.questions[0]
    assert "more text helps most" in little.questions[0]
    assert looked(tmp_path, corpus, tokens=100_000).questions == ()


def test_training_is_expected_to_end_after_the_most_passes(corpus: Path, tmp_path: Path) -> None:
    context = Context(runs=tmp_path / "runs")
    target = quickstart(corpus=str(corpus))
    planned = steps.plan(target, context)
    found = look(target, planned, context)
    assert found is not None and found.epochs is not None and found.epochs > found.max_epochs
    whole, cut = (estimates_of(planned, seen, context)["pretrain"] for seen in (None, found))
    assert whole is not None and cut is not None
    assert cut.seconds == pytest.approx(whole.seconds * found.max_epochs / found.epochs)
    known = [one.seconds for one in estimates_of(planned, found, context).values() if one is not None]
    assert len(known) == len(planned) and found.seconds == pytest.approx(sum(known))


def test_packed_text_is_longer_than_its_file(corpus: Path, tmp_path: Path) -> None:
    text = "".join(path.read_text() for path in sorted(corpus.glob("*.py"))[:6])
    tokens: list[int] = []
    for name, content in (("a.py", text.encode()), ("a.py.gz", gzip.compress(text.encode()))):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content)
        tokens.append(looked(tmp_path, tmp_path / name).text_tokens or 0)
    assert tokens[0] / 2 < tokens[1] < 2 * tokens[0]


def test_nothing_kept_is_worth_a_question(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("only three words")
    found = looked(tmp_path, tmp_path / "a.txt")
    assert found.questions[0] == "Nothing of the sample would be kept, most of it as `too_few_words`."
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert looked(tmp_path, tmp_path / "b.png").questions[0] == "None of these files is of a kind that is read."


def test_several_corpora_are_told_apart(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.md").write_text("only three words")
    found = looked(tmp_path, corpus, other)
    assert [(one.path, one.files) for one in found.corpora] == [(str(corpus), 14), (str(other), 1)]


@pytest.mark.parametrize(
    ("typed", "yes", "terminal", "goes_on"),
    [("n\n", False, True, False), ("\n", False, True, True), ("n\n", True, True, True), ("n\n", False, False, True)],
)
def test_it_asks_on_a_terminal_only(
    typed: str, yes: bool, terminal: bool, goes_on: bool, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a question, since the text is little."""
    source = tmp_path / "typed"
    source.write_text(typed)
    with source.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr(cli_look, "is_interactive", lambda: terminal)
        context = Context(runs=tmp_path / "runs")
        target = quickstart(corpus=str(corpus))
        assert show_look(look(target, steps.plan(target, context), context), yes=yes) is goes_on
        assert stdin.read() == ("" if terminal and not yes else typed)


def test_what_is_curated_already_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("only three words")
    context = Context(runs=tmp_path / "runs")
    target = quickstart(corpus=str(tmp_path / "a.txt"))
    assert look(target, [], context) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
