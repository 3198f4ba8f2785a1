"""Operators of one's own, what they may raise, and documents that hang or kill the process."""

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.curation.config import CurationConfig
from tilth.curation.guard import guarded
from tilth.curation.operators import Drop, Row, build_operators, judge
from tilth.curation.pipeline import curate
from tilth.curation.result import Ledger
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.files import list_files
from tilth.storage import Dataset

OWN = """
import os, re, signal, time
from dataclasses import replace
import pyarrow as pa
from tilth.curation import Drop, judge
from tilth.errors import ConfigError, DataError, DependencyError

def keep_long(config):
    def rule(row):
        words = len(row["text"].split())
        return Drop("too_short", f"{words} words") if words < 3 else {**row, "score_words": float(words)}
    return judge("length", rule)

class OwnError(Exception):
    def __init__(self, one, two):
        super().__init__(one)

def trap(act):
    def factory(config):
        def rule(row):
            if "TRAP" in row["text"]:
                act(row)
        return judge("trap", rule)
    return factory

def raises(error):
    def act(row):
        raise error
    return trap(act)

type_error = trap(lambda row: row["text"] + 1)
memory = raises(MemoryError())
config_error = raises(ConfigError("A wrong setting.", fix="Set it."))
dependency = raises(DependencyError("No such package."))
outage = raises(TimeoutError("no answer"))
disk = raises(OSError(5, "Input/output error"))
own_error = raises(OwnError("one", "two"))
data_error = raises(DataError("its markup is broken"))
unicode_error = trap(lambda row: b"\\xff".decode())
backtracking = trap(lambda row: re.match(r"(a+)+$", "a" * 60 + "b"))
crash = trap(lambda row: os.kill(os.getpid(), signal.SIGSEGV))
leaves = trap(lambda row: os._exit(3))

class Loses:
    name = "loses"
    def __init__(self, config): pass
    def apply(self, batch):
        return judge("x", lambda row: None).apply(batch.drop_columns(["lineage"]))

class Forgets:
    name = "forgets"
    def __init__(self, config): pass
    def apply(self, batch):
        every = judge("x", lambda row: None).apply(batch)
        return type(every)(kept=batch.slice(1), rejects=every.rejects, dead_letters=every.dead_letters)

renames = lambda config: judge("renames", lambda row: {**row, "id": "mine"})
truth = lambda config: judge("truth", lambda row: "TRAP" not in row["text"])

def nothing(config):
    return None

class Batches:
    name = "batches"
    def __init__(self, change):
        self.change = change
    def apply(self, batch):
        outcome = judge("x", lambda row: None).apply(batch)
        changed = self.change(outcome)
        return replace(outcome, kept=changed) if isinstance(changed, pa.RecordBatch) else changed

def batches(change):
    return lambda config: Batches(change)

def with_column(batch, name, values):
    return batch.set_column(batch.schema.get_field_index(name), name, values)

loses_one = batches(lambda made: made.kept.slice(0, made.kept.num_rows - 1))
loses_in_pairs = batches(lambda made: made.kept.slice(0, 1) if made.kept.num_rows > 1 else made.kept)
doubles = batches(lambda made: made.kept.take(pa.array([*range(made.kept.num_rows)] * 2)))
no_ids = batches(lambda made: with_column(made.kept, "id", pa.nulls(made.kept.num_rows, pa.string())))
one_id = lambda config: judge("one_id", lambda row: {**row, "id": "same"})
no_source = lambda config: judge("no_source", lambda row: {**row, "source": None})
numbers = batches(lambda made: with_column(made.kept, "text", pa.array([1] * made.kept.num_rows)))
returns_none = batches(lambda made: None)
other_rejects = batches(lambda made: replace(made, rejects=pa.table({"id": ["a"]})))
"""
EXTRACT = "extract"


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], str]:
    (tmp_path / "own.py").write_text(OWN)
    return lambda name: f"{tmp_path / 'own.py'}:{name}"


def corpus_of(folder: Path, *texts: str) -> Path:
    folder.mkdir()
    for index, text in enumerate(texts):
        (folder / f"{index:03d}.txt").write_text(text)
    return folder


def run(tmp_path: Path, *texts: str, workers: int = 1, **fields: object) -> Ledger:
    corpus = corpus_of(tmp_path / "corpus", *texts)
    config = CurationConfig(held_out_fraction=0, **fields)  # type: ignore[arg-type]
    return curate(list_files(str(corpus)), tmp_path / "out", config, Context(workers=workers))


def table(folder: Path) -> list[dict[str, object]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


TEXTS = ("one document here", "another TRAP here", "and a third one")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_filter_of_ones_own_is_a_name_in_the_list(tmp_path: Path, own: Callable[[str], str], workers: int) -> None:
    ledger = run(tmp_path, "a few words here", "two words", operators=("extract", own("keep_long")), workers=workers)
    assert [stage.stage for stage in ledger.stages] == ["read", "extract", "length", "dedup"]
    (reject,) = ledger.rejects
    assert (reject.stage, reject.reason, reject.examples[0].detail) == ("length", "too_short", "2 words")
    assert [(row["text"], row["score_words"]) for row in table(tmp_path / "out" / "train")] == [
        ("a few words here", 4.0)
    ]
    assert Dataset.open(tmp_path / "out" / "train").n_documents == 1


def test_no_operators_leave_all_text_and_reject_pages(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", "x", "y")
    (corpus / "page.html").write_text("<p>text")
    ledger = curate(
        list_files(str(corpus)),
        tmp_path / "out",
        CurationConfig(operators=(), held_out_fraction=0),
        Context(workers=1),
    )
    assert ledger.train.documents == 2
    assert [(reject.stage, reject.reason) for reject in ledger.rejects] == [("read", "no_text")]
    assert [stage.stage for stage in ledger.stages] == ["read", "dedup"]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("type_error", TypeError, "can only concatenate str"),
        ("memory", MemoryError, "001.txt"),
        ("config_error", ConfigError, "A wrong setting, when the operator `trap` was given 001.txt"),
        ("dependency", ImportError, "No such package"),
        ("outage", TimeoutError, "no answer"),
        ("disk", OSError, "Input/output error"),
        ("own_error", RuntimeError, "OwnError: one"),
    ],
)
def test_what_no_document_causes_ends_the_run_and_names_the_document(
    tmp_path: Path, own: Callable[[str], str], name: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        run(tmp_path, *TEXTS, operators=(own(name),))
    notes = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
    assert "001.txt (id " in notes
    assert "`trap`" in notes
    assert not (tmp_path / "out" / "ledger.json").exists()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("data_error", "its markup is broken"),
        ("unicode_error", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
        ("backtracking", "it took more than 0.5 CPU seconds"),
        ("crash", "the process of the operators was ended by SIGSEGV"),
        ("leaves", "the process of the operators ended with exit code 3"),
    ],
)
def test_a_document_that_breaks_hangs_or_crashes_is_a_dead_letter(
    tmp_path: Path, own: Callable[[str], str], name: str, error: str
) -> None:
    ledger = run(tmp_path, *TEXTS, operators=(own("keep_long"), own(name)), document_seconds=0.5)
    (letter,) = ledger.dead_letters
    assert (letter.stage, letter.source) == ("trap", "001.txt")
    assert letter.error.startswith(error)
    assert [row["text"] for row in table(tmp_path / "out" / "train")] == [TEXTS[0], TEXTS[2]]
    for before, after in zip(ledger.stages, ledger.stages[1:], strict=False):
        assert before.documents_out == after.documents_in
        assert before.bytes_out == after.bytes_in


def test_a_corpus_of_which_nothing_can_be_read_is_no_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for number in range(3):
        (tmp_path / "corpus" / f"{number}.jsonl.gz").write_bytes(b"502 Bad Gateway")
    files = list_files(str(tmp_path / "corpus"))
    with pytest.raises(DataError, match=r"All of 3 records cannot be read.*BadGzipFile"):
        curate(files, tmp_path / "out", CurationConfig(operators=()), Context(workers=1))


def test_many_files_that_break_off_end_the_run_however_many_records_there_are(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for number in range(12):
        rows = "".join(json.dumps({"text": f"record {row} of file {number}"}) + "\n" for row in range(300))
        packed = gzip.compress(rows.encode())
        (tmp_path / "corpus" / f"{number:02}.jsonl.gz").write_bytes(packed if number == 0 else packed[:-20])
    files = list_files(str(tmp_path / "corpus"))
    with pytest.raises(DataError, match=r"11 of 12 files cannot be read.*11 times.*EOFError"):
        curate(files, tmp_path / "out", CurationConfig(operators=()), Context(workers=1))


def test_many_dead_letters_end_the_run_with_the_most_frequent_error(tmp_path: Path) -> None:
    lines = "".join(f'{{"text": "fine {n}"}}\n' for n in range(150)) + "{broken\n" * 10
    corpus = corpus_of(tmp_path / "corpus")
    (corpus / "a.jsonl").write_text(lines)
    config = CurationConfig(operators=("extract",), max_dead_letters=0.01)
    assert curate(list_files(str(corpus)), tmp_path / "few", config, Context(workers=1)).n_dead_letters == 10
    (corpus / "a.jsonl").write_text(lines + '{"text": 1, "text": broken}\n')
    with pytest.raises(DataError, match=r"11 of 161 .* 10 times, first in a.jsonl#151: malformed JSON") as error:
        curate(list_files(str(corpus)), tmp_path / "many", config, Context(workers=1))
    assert error.value.fix
    allowed = CurationConfig(operators=("extract",), max_dead_letters=0.2)
    assert curate(list_files(str(corpus)), tmp_path / "allowed", allowed, Context(workers=1)).n_dead_letters == 11


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        (("nothing",), "returned NoneType"),
        (("nowhere",), "has no `nowhere`"),
        (("type_error", "memory"), "is called `trap`, as another stage is"),
        (("Loses",), "lost the column `lineage`"),
        (("Forgets",), "was given 1 documents and returned 0"),
        (("renames",), "is not among them"),
        (("truth",), "judged a document to be True"),
    ],
)
def test_operators_that_cannot_work_say_so(
    tmp_path: Path, own: Callable[[str], str], specs: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, *TEXTS, operators=tuple(map(own, specs)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loses_one", "is not among them"),
        ("loses_in_pairs", "given 2 documents and returned 1"),
        ("doubles", "is too many"),
        ("no_ids", "is not among them"),
        ("one_id", "is not among them"),
        ("no_source", "is not among them"),
        ("numbers", "`text` int64"),
        ("returns_none", "returned NoneType"),
        ("other_rejects", "other columns"),
    ],
)
def test_no_document_is_lost_doubled_or_renamed_by_an_operator(
    tmp_path: Path, own: Callable[[str], str], name: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, "One text of a few words.", "Another text of a few words.", operators=(own(name),))


def test_a_changed_operator_does_not_continue_unfinished_work(tmp_path: Path, own: Callable[[str], str]) -> None:
    with pytest.raises(TypeError):
        run(tmp_path, *TEXTS, operators=(own("type_error"),))
    (tmp_path / "own.py").write_text(OWN + "\n# changed\n")
    config = CurationConfig(held_out_fraction=0, operators=(own("type_error"),))
    with pytest.raises(ConfigError, match="another call"):
        curate(list_files(str(tmp_path / "corpus")), tmp_path / "out", config, Context(workers=1))


def test_judges_change_only_what_they_change(batch: Callable[..., pa.RecordBatch]) -> None:
    documents = batch(("a", "one", {}), ("b", "two", {}), ("c", "three", {}), n=7, score_x=None)
    verdicts = {"one": None, "two": Drop("no", "why"), "three": {"text": "THREE", "added": True}}
    outcome = judge("mine", lambda row: verdicts[str(row["text"])]).apply(documents)
    assert outcome.kept["text"].to_pylist() == ["one", "THREE"]
    assert outcome.kept["n"].to_pylist() == [7, 7]
    assert outcome.kept["source"].to_pylist() == ["a", "c"]
    assert outcome.kept["added"].to_pylist() == [None, True]
    assert outcome.rejects.select(["stage", "reason", "detail", "source"]).to_pylist() == [
        {"stage": "mine", "reason": "no", "detail": "why", "source": "b"}
    ]


def test_a_row_that_a_judge_changed_in_place_is_changed(batch: Callable[..., pa.RecordBatch]) -> None:
    def score(row: Row) -> Row:
        cast("dict[str, object]", row)["score_length"] = float(len(str(row["text"])))
        return row

    outcome = judge("mine", score).apply(batch(("a", "one", {}), ("b", "three", {})))
    assert outcome.kept["score_length"].to_pylist() == [3.0, 5.0]
    assert outcome.kept["text"].to_pylist() == ["one", "three"]


def test_the_guarded_process_gives_what_the_operators_give_in_place(batch: Callable[..., pa.RecordBatch]) -> None:
    config = CurationConfig(operators=("extract", "language"))
    prose = "The gardener waters the trees in the morning, because the soil then keeps the water through the day."
    documents = batch(("a", prose, {}), ("b.html", f"<p>That is why {prose}</p>".encode(), {}), ("c", "#", {}))
    (worked,) = guarded(config).apply(documents)
    expected = documents
    for operator in build_operators(config):
        expected = operator.apply(expected).kept
    assert worked.kept.equals(expected.drop_columns(["html"]))
    assert worked.kept.num_rows == 2


ORPHAN = """
import os, signal, sys
from pathlib import Path
from tilth.curation.config import CurationConfig
from tilth.curation.guard import guarded
guard = guarded(CurationConfig(operators=("extract",)))
guard.names
print(guard._child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_process_of_the_operators_ends_with_a_worker_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    child = Path("/proc") / done.stdout.strip()
    deadline = time.monotonic() + 60
    while child.exists() and "zombie" not in (child / "status").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists() or "zombie" in (child / "status").read_text()
