"""CSV, TSV and chats: what becomes text, and what is said where nothing does."""

import json
from pathlib import Path

import pytest

from tilth.curation.config import CurationConfig
from tilth.curation.conversation import chat_fields, chat_text
from tilth.curation.read import read_file
from tilth.curation.read_result import Read
from tilth.files import InputFile

from .conftest import Reader

ASKED = "What is soil?"
ANSWERED = "Rock and life."
CHAT = f"User: {ASKED}\n\nAssistant: {ANSWERED}"


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]},
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}, {"type": "image"}]},
                      {"role": "assistant", "content": ANSWERED}]},
        {"prompt": ASKED, "completion": ANSWERED},
        {"prompt": [{"role": "user", "content": ASKED}], "completion": [{"role": "assistant", "content": ANSWERED}]},
        {"instruction": ASKED, "input": "", "output": ANSWERED},
        {"question": ASKED, "answer": ANSWERED},
    ],
)  # fmt: skip
def test_each_shape_of_a_chat_gives_the_same_text(read: Reader, record: dict[str, object]) -> None:
    assert read("a.jsonl", json.dumps(record).encode()) == [("prose", "a.jsonl#1", CHAT)]


def test_roles_and_inputs() -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "tool", "content": None}]
    assert chat_text({"messages": messages}, ("messages",)) == "System: Be short."
    fields = {"instruction": "Translate.", "input": "Erde", "output": "soil"}
    assert chat_text(fields, chat_fields(fields)) == "User: Translate.\n\nErde\n\nAssistant: soil"
    assert chat_text({"messages": [{"role": "user", "content": 1}]}, ("messages",)) is None
    assert chat_text({"messages": "not a list"}, ("messages",)) == "User: not a list"


def test_the_fields_of_a_chat_stay_in_meta(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": ASKED, "completion": ANSWERED, "topic": "earth"}))
    (result,) = read_file(InputFile(path=str(tmp_path / "a.jsonl"), name="a.jsonl", bytes=9), CurationConfig())
    assert json.loads(str(result.row["meta"])) == {
        "kind": "prose", "prompt": ASKED, "completion": ANSWERED, "topic": "earth",
    }  # fmt: skip


def test_a_csv_with_quoted_line_ends_and_other_delimiters(read: Reader) -> None:
    rows = b'id,text,stars\n1,"one, with\na line",5\n\n2,two,4\n'
    expected = [("prose", "a.csv#1", "one, with\na line"), ("prose", "a.csv#2", "two")]
    assert read("a.csv", rows) == expected
    assert read("a.csv", b"\xef\xbb\xbf" + rows.replace(b"\n", b"\r\n")) == expected
    assert read("a.csv", b"id;text\n1;caf\xe9\n") == [("prose", "a.csv#1", "café")]
    assert read("a.tsv", b"id\ttext\n1\tone, two\n") == [("prose", "a.tsv#1", "one, two")]
    assert read("a.csv", b"question,answer\n%s,%s\n" % (ASKED.encode(), ANSWERED.encode()))[0][2] == CHAT


def test_a_chat_in_a_table_is_read_as_one(read: Reader) -> None:
    turns = json.dumps([{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}])
    quoted = turns.replace('"', '""')
    assert read("a.csv", f'id,messages\n1,"{quoted}"\n'.encode()) == [("prose", "a.csv#1", CHAT)]
    assert read("a.csv", b"id,messages\n1,[laughs] Good.\n") == [("prose", "a.csv#1", "[laughs] Good.")]


def test_a_delimiter_in_a_quoted_name_is_none(read: Reader) -> None:
    rows = b'"a, b, c, d";text\n1;"two; parts"\n'
    assert read("a.csv", rows) == [("prose", "a.csv#1", "two; parts")]


def test_of_two_columns_of_one_name_the_first_is_taken_and_both_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",text,text,\n1,long,short,x\n")
    (result,) = read_file(InputFile(path=str(tmp_path / "a.csv"), name="a.csv", bytes=9), CurationConfig())
    assert result.row["text"] == "long"
    assert json.loads(str(result.row["meta"])) == {"kind": "prose", "column_1": "1", "text_3": "short", "column_4": "x"}


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_a_quotation_mark_that_is_not_closed_joins_no_rows_between_tabs(read: Reader, suffix: str) -> None:
    rows = b'id\ttext\tn\n1\t"one\t5\n2\ttwo\t6\n3\t"three\nlines ""of\nit"\t7\n4\tfour\t8\n'
    assert [text for _, _, text in read(f"a.{suffix}", rows)] == ['"one', "two", 'three\nlines "of\nit', "four"]


def test_a_broken_row_is_a_dead_letter_and_the_next_is_read(read: Reader) -> None:
    found = read("a.csv", b"text,n\none,1\ntwo, and more,2\nthree,3\n")
    assert found[0] == ("prose", "a.csv#1", "one")
    assert found[1] == ("dead letter", "a.csv#2", "the row has 3 fields, the header 2")
    assert found[2] == ("prose", "a.csv#3", "three")
    assert read("a.csv", b'text\none\n"' + b"never closed\n" * 20, max_document_bytes=100)[-1][0] == "dead letter"
    found = read("a.csv", b"text\n" + b"x" * 200 + b"\ny\n", max_document_bytes=100)
    assert found == [("reject", "a.csv", "line_too_long"), ("prose", "a.csv#1", "y")]


def test_without_a_known_column_the_longest_is_taken_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,review,stars\n1,a long review of it,5\n2,another one,1\n")
    first, second = read_file(InputFile(path=str(tmp_path / "a.csv"), name="a.csv", bytes=9), CurationConfig())
    assert isinstance(first, Read)
    assert isinstance(second, Read)
    assert first.row["text"] == "a long review of it"
    assert "`review`" in first.note
    assert "--text-field" in first.note
    assert not second.note


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_the_field_that_is_asked_for_is_taken(tmp_path: Path, name: str) -> None:
    rows = {"a.csv": "text,title\nbody of it,The title\n", "a.jsonl": '{"text": "body of it", "title": "The title"}'}
    (tmp_path / name).write_text(rows[name])
    file = InputFile(path=str(tmp_path / name), name=name, bytes=9)
    (result,) = read_file(file, CurationConfig(text_field="title"))
    assert result.row["text"] == "The title"
    (result,) = read_file(file, CurationConfig(text_field="titel"))
    assert result.row["reason"] == "no_text_field"
    assert result.row["detail"] == "no field `titel` among: text, title; `--text-field NAME` says which one it is"


def test_a_chat_that_is_written_as_json_in_a_column_is_a_chat(read: Reader) -> None:
    turns = json.dumps([{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}])
    assert read("a.jsonl", json.dumps({"messages": turns}).encode()) == [("prose", "a.jsonl#1", CHAT)]
    quoted = turns.replace('"', '""')
    assert read("a.csv", f'id,messages\n1,"{quoted}"\n'.encode()) == [("prose", "a.csv#1", CHAT)]
    assert read("a.jsonl", b'{"messages": "[1] a note"}') == [("prose", "a.jsonl#1", "[1] a note")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_csv_in_utf_16_keeps_its_letters(read: Reader, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    rows = f'{mark}id,text\r\n1,"Größe, 大小"\r\n2,два\r\n'.encode(encoding)
    assert read("a.csv", rows) == [("prose", "a.csv#1", "Größe, 大小"), ("prose", "a.csv#2", "два")]


def test_a_quote_that_is_never_closed_does_not_make_one_document_of_many_rows(read: Reader) -> None:
    rows = b'id,text\n1,"one\nmore"\n2,"two\n3,three\n4,four\n'
    error = "a quote that opens in the row of line 4 is never closed: the file is not read from there"
    assert read("a.csv", rows) == [("prose", "a.csv#1", "one\nmore"), ("dead letter", "a.csv", error)]


def test_columns_with_one_name_do_not_hide_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,note,text,note\none,a,two,b\n")
    (result,) = read_file(InputFile(path=str(tmp_path / "a.csv"), name="a.csv", bytes=9), CurationConfig())
    assert isinstance(result, Read)
    assert result.row["text"] == "one"
    assert json.loads(str(result.row["meta"])) == {"kind": "prose", "note": "a", "text_3": "two", "note_4": "b"}


def test_a_first_row_of_text_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"1,{'one ' * 40}\n2,{'two ' * 40}\n")
    results = list(read_file(InputFile(path=str(tmp_path / "a.csv"), name="a.csv", bytes=9), CurationConfig()))
    assert [str(result.row["text"])[:3] for result in results] == ["one", "two"]
    assert isinstance(results[0], Read)
    assert "from `2`" in results[0].note
