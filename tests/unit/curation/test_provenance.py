"""Ids, sources, lineage and columns: what stays the same whatever the order, the position and the file."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.cli import main
from tilth.curation.config import CurationConfig
from tilth.curation.pipeline import curate
from tilth.curation.read import read_file
from tilth.curation.read_result import Read
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.files import InputFile, list_files
from tilth.recipes import singles
from tilth.types import Document

CONFIG = CurationConfig(operators=("extract",), held_out_fraction=0)
Rows = dict[str, dict[str, object]]


def files_of(**corpora: Path) -> list[InputFile]:
    return [replace(file, corpus=name) for name, path in corpora.items() for file in list_files(str(path))]


def kept(out: Path, *sides: str) -> Rows:
    rows = [row for side in sides or ("train",) for path in (out / side).glob("*.parquet") for row in _rows(path)]
    return {str(row["text"]): row for row in rows}


def _rows(path: Path) -> list[dict[str, object]]:
    return pq.read_table(path).to_pylist()


def run(out: Path, config: CurationConfig = CONFIG, **corpora: Path) -> Rows:
    curate(files_of(**corpora), out, config, Context(workers=1))
    return kept(out)


def lines(path: Path, *records: Mapping[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_an_id_knows_neither_order_nor_position_nor_file(tmp_path: Path) -> None:
    records = [{"text": f"record {n}"} for n in range(5)]
    page = "<html><body><p>some text of a page</p></body></html>"
    before = lines(tmp_path / "before" / "data.jsonl", *records).parent
    after = lines(tmp_path / "after" / "moved" / "renamed.jsonl", {"text": "new"}, *records[::-1]).parents[1]
    for folder, name in ((before, "page.html"), (after, "other.html")):
        (folder / name).write_text(page)
    one, two = run(tmp_path / "1", c=before), run(tmp_path / "2", c=after)
    assert {text: one[text]["id"] for text in one} == {text: two[text]["id"] for text in one}
    assert len(one) == 6
    assert one["record 0"]["source"] == "c/data.jsonl#1"
    assert two["record 0"]["source"] == "c/moved/renamed.jsonl#6"
    other = run(tmp_path / "3", d=before)
    assert not {row["id"] for row in other.values()} & {row["id"] for row in one.values()}


def test_two_corpora_with_one_file_name_have_two_sources(tmp_path: Path) -> None:
    one = lines(tmp_path / "a" / "data.jsonl", {"text": "first"}).parent
    two = lines(tmp_path / "b" / "data.jsonl", {"text": "second"}).parent
    rows = run(tmp_path / "out", a=one, b=two)
    assert {row["source"] for row in rows.values()} == {"a/data.jsonl#1", "b/data.jsonl#1"}


def test_curating_again_keeps_all_columns_and_appends_to_the_lineage(tmp_path: Path) -> None:
    record = {"text": "some text", "url": "http://a.b/", "score_quality": 0.5, "stars": 3}
    first = run(tmp_path / "1", web=lines(tmp_path / "in" / "a.jsonl", record).parent)["some text"]
    (shard,) = (tmp_path / "1" / "train").glob("*.parquet")
    table = pq.read_table(shard).append_column("topic", pa.array(["birds"]))
    (tmp_path / "grown").mkdir()
    pq.write_table(table, tmp_path / "grown" / "x.parquet")
    second = run(tmp_path / "2", again=tmp_path / "grown")["some text"]
    assert second.pop("topic") == "birds"
    before, after = (json.loads(str(row.pop("lineage"))) for row in (first, second))
    assert first == second
    assert first["score_quality"] == 0.5
    assert first["source"] == "web/a.jsonl#1"
    assert [entry["stage"] for entry in before] == ["read", "curate"]
    assert after[:2] == before
    assert after[2:] == [
        {"stage": "read", "corpus": "again", "source": "again/x.parquet#1"},
        {"stage": "curate", "operators": ["extract"], "split": "train"},
    ]


def test_columns_travel_through_every_operator_and_are_null_where_a_file_lacks_them(tmp_path: Path) -> None:
    html = "<p>" + "The gardener of the trees waters and keeps the soil. " * 3
    lines(tmp_path / "in" / "a.jsonl", {"html": html, "score_a": 1, "lineage": '[{"stage": "crawl"}]'})
    lines(tmp_path / "in" / "b.jsonl", {"text": html[3:] + "And more of it.", "score_b": 2.5})
    config = replace(CONFIG, operators=("extract", "language", "rules"), min_words=1, near_duplicate_threshold=None)
    config = replace(config, operators=("extract", "language"), shard_bytes=1)
    rows = run(tmp_path / "out", config, c=tmp_path / "in")
    scores = {str(row["source"]): (row["score_a"], row["score_b"]) for row in rows.values()}
    assert scores == {"c/a.jsonl#1": (1.0, None), "c/b.jsonl#1": (None, 2.5)}
    (page,) = [row for row in rows.values() if row["source"] == "c/a.jsonl#1"]
    assert [entry["stage"] for entry in json.loads(str(page["lineage"]))] == ["crawl", "read", "curate"]


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_columns_of_two_types_are_an_error_that_names_the_column_and_the_files(
    tmp_path: Path, shard_bytes: int
) -> None:
    base = dict.fromkeys(("id", "text", "url", "source", "language", "meta"), "x")
    lines(tmp_path / "in" / "a.jsonl", base | {"text": "one", "meta": "{}", "rank": 1})
    lines(tmp_path / "in" / "b.jsonl", base | {"text": "two", "meta": "{}", "rank": "first"})
    config = replace(CONFIG, shard_bytes=shard_bytes)
    with pytest.raises(ConfigError, match=r"`rank` is int64 in x and string in x"):
        run(tmp_path / "out", config, c=tmp_path / "in")
    lines(tmp_path / "in" / "b.jsonl", base | {"text": "two", "meta": "{}", "rank": 1.5})
    rows = run(tmp_path / "other", config, c=tmp_path / "in")
    assert {row["rank"] for row in rows.values()} == {1.0, 1.5}


BAD = [
    {"meta": "[1,2]"},
    {"meta": "{broken"},
    {"meta": 7},
    {"id": 7},
    {"id": None},
    {"text": ["x"]},
    {"url": 7},
    {"lineage": "{}"},
    {"lineage": "[1]"},
    {"score_x": "high"},
    {"score_x": 10**400},
    {"rank": 10**30},
    {"rank\ud800": 1},
    {"rank": json.loads("[" * 40 + "]" * 40)},
]


@pytest.mark.parametrize("bad", BAD, ids=[next(iter(bad)) + str(index) for index, bad in enumerate(BAD)])
def test_a_row_with_a_field_of_a_wrong_kind_loses_only_itself(tmp_path: Path, bad: Mapping[str, object]) -> None:
    base = dict.fromkeys(("id", "text", "url", "source", "language", "meta"), "x") | {"meta": "{}"}
    path = lines(tmp_path / "a.jsonl", base, base | dict(bad), base)
    found = list(read_file(InputFile(path=str(path), name="a.jsonl", bytes=1), CurationConfig()))
    assert [isinstance(result, Read) for result in found] == [True, False, True]


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "fine", "n": 1' + b"0" * 5000 + b"}",
        b'{"text": "fine", "deep": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"text": "fine", "x": NaN, "y": -Infinity}',
        b'{"text": "fine \\ud800", "\\udfff": "\\udc00"}',
        b'{"text": "fine", "meta": {"a": [null, {"b": 1e999}]}}',
        b'\xff\xfe{"text": "fine"}',
        b'{"text": "fine", "\\u0000": 1}',
    ],
)
def test_lines_that_json_takes_or_does_not_take(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "three"}\n')
    rows = run(tmp_path / "out", c=tmp_path / "a.jsonl")
    assert {"one", "three"} <= rows.keys()
    assert all(isinstance(json.loads(str(row["meta"])), dict) for row in rows.values())


def test_corpora_have_names(tmp_path: Path) -> None:
    (tmp_path / "a=b.txt").touch()
    assert singles.named_corpus("web=/data/crawl") == ("web", "/data/crawl")
    assert singles.named_corpus("/data/crawl/") == ("crawl", "/data/crawl/")
    assert singles.named_corpus("/data/x=y/crawl") == ("crawl", "/data/x=y/crawl")
    assert singles.named_corpus("hf://datasets/some/corpus") == ("corpus", "hf://datasets/some/corpus")
    assert singles.named_corpus(f"{tmp_path}/a=b.txt") == ("a=b.txt", f"{tmp_path}/a=b.txt")
    with pytest.raises(ConfigError, match="Two corpora are called `data`") as error:
        singles.curate(["x/data", "y/data"], CurationConfig())
    assert "data-2=y/data" in str(error.value.fix)
    step = singles.curate(["x/data", "other=y/data"], CurationConfig())
    assert list(step.inputs) == ["data", "other"]


def command(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert not end.value.code


def test_the_lineage_of_a_document_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines(tmp_path / "in" / "a.jsonl", {"text": "some text"})
    runs = ["--runs", str(tmp_path / "runs")]
    words = [f"mine={tmp_path / 'in'}", "--out", str(tmp_path / "out"), "--operators", "extract", "--workers", "1"]
    command(["curate", *words, "--held-out-fraction", "0", *runs])
    (row,) = kept(tmp_path / "out").values()
    capsys.readouterr()
    command(["show", str(tmp_path / "out"), "--id", str(row["id"])])
    said = capsys.readouterr().out
    assert "mine/a.jsonl#1" in said
    assert '"stage": "curate"' in said


@pytest.mark.parametrize(("depth", "lost"), [(30, 0), (60, 1), (300, 1)])
def test_a_column_that_is_nested_too_deep_is_one_dead_letter(tmp_path: Path, depth: int, lost: int) -> None:
    nested: object = 1
    for _ in range(depth):
        nested = [nested]
    rows = [Document.make(f"text {n}", "a").row() for n in range(5)]
    lines = [json.dumps(row) for row in rows] + [json.dumps(Document.make("deep", "a").row() | {"extra": nested})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    config = CurationConfig(operators=("language",), languages=None, held_out_fraction=0)
    ledger = curate(list_files(str(tmp_path / "a.jsonl")), tmp_path / "out", config, Context(workers=1))
    assert (ledger.n_dead_letters, ledger.train.documents) == (lost, 6 - lost)


def test_documents_are_found_by_the_name_of_their_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    lines(folder / "a.jsonl", *({"text": f"some text {n}"} for n in range(7)))
    (folder / "short.txt").write_bytes(b"x" * 300)
    (folder / "more_short.txt").write_bytes(b"y\n" * 300)
    lines(folder / "b.jsonl", {"no": "text"})
    words = [f"mine={tmp_path / 'in'}", "--out", str(tmp_path / "out"), "--operators", "extract", "--workers", "1"]
    runs = ["--runs", str(tmp_path / "runs"), "--max-document-bytes", "200"]
    command(["curate", *words, "--held-out-fraction", "0", *runs])
    capsys.readouterr()
    for wanted, says in (
        ("short.txt", ["line_too_long", "measure   300", "limit     200"]),
        ("deep/short.txt", ["line_too_long"]),
        ("mine/deep/b.jsonl", ["no_text_field", "among: no"]),
        ("a.jsonl#3", ["some text 2"]),
        ("a.jsonl", ["7 documents match `a.jsonl`", "mine/deep/a.jsonl#7"]),
    ):
        command(["show", str(tmp_path / "out"), "--id", wanted])
        said = capsys.readouterr().out
        assert all(part in said for part in says), said
        assert "more_short" not in said
    with pytest.raises(SystemExit) as end:
        main(["show", str(tmp_path / "out"), "--id", "jsonl"])
    assert end.value.code == 2


def test_a_glob_in_quotes_gives_the_documents_of_the_files_that_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("texts/a.txt", "texts/b.md", "texts/deep/c.txt", "texts/deep/d.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"Some words of {name}.")
    expected = {
        "texts/*.txt": {"texts/a.txt"},
        "texts/*": {"texts/a.txt", "texts/b.md", "texts/deep/c.txt", "texts/deep/d.md"},
        "texts/**/*.md": {"texts/b.md", "texts/deep/d.md"},
        "texts/de?p": {"texts/deep/c.txt", "texts/deep/d.md"},
        f"{tmp_path}/te*/a.txt": {f"{tmp_path.name}/texts/a.txt"},
    }
    for index, (glob, sources) in enumerate(expected.items()):
        words = ["--out", f"out{index}", "--operators", "extract", "--workers", "1", "--held-out-fraction", "0"]
        command(["curate", glob, *words])
        assert {str(row["source"]) for row in kept(tmp_path / f"out{index}").values()} == sources
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["curate", "texts/*.csv", "--out", "out"])
    assert end.value.code == 2
    assert "Nothing in texts matches `*.csv`" in capsys.readouterr().err


def test_the_option_that_the_error_names_works_with_the_same_output_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(
        "Der Gärtner gießt am frühen Morgen die Bäume im Garten hinter dem alten Haus, weil die trockene Erde das "
        "Wasser dann bis zum Abend behält und die Blätter nicht in der heißen Sonne verbrennen."
    )
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["curate", "texts", "--out", "out", "--workers", "1"])
        assert end.value.code == 2
        printed = capsys.readouterr()
        assert "--languages auto" in " ".join(printed.err.replace("│", " ").split())
        assert "other_language" in printed.out + printed.err
    words = ["--languages", "auto", "--min-words", "20", "--workers", "1"]
    command(["curate", "texts", "--out", "out", *words])
    assert len(kept(tmp_path / "out")) == 1
