import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.curation.config import CurationConfig
from tilth.curation.decontamination import MOST_ITEMS, EvaluationIndex, cut, evaluation_index, keep_evaluation_index
from tilth.curation.evaluation_sets import Item, read_items
from tilth.curation.pipeline import curate
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.files import list_files
from tilth.recipes import singles
from tilth.recipes.step_functions import CURATE_VERSION
from tilth.steps import Identities
from tilth.storage import Dataset, write_dataset
from tilth.types import Document

QUESTION = (
    "A baker sold ninety loaves on Monday, half as many on Tuesday and twice as many on Friday; how many loaves did "
    "the baker sell on those three days together?"
)
SHORT = "Which planet was found by Clyde Tombaugh?"


def index(*prompts: str) -> EvaluationIndex:
    return EvaluationIndex(Item(name=f"set#{n}", prompts=(prompt,)) for n, prompt in enumerate(prompts, 1))


def reason(text: str, *prompts: str) -> str:
    found = index(*prompts).find(text)
    return found.reason if found else ""


def words(n: int, first: int = 0) -> str:
    return " ".join(f"w{chr(97 + (first + i) % 26)}{(first + i) // 26}x" for i in range(n))


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not() -> None:
    item = words(60)
    thirteen, twelve = " ".join(item.split()[20:33]), " ".join(item.split()[20:32])
    found = index("other " + words(40, 500), item).find(f"Before it {thirteen} after it")
    assert found is not None
    assert (found.reason, found.item, found.measure, found.limit) == ("shared_13_gram", "set#2", 13, 13)
    assert found.text == thirteen
    assert f"13 words in a row ≥ 13 of set#2: '{thirteen}'" in found.drop().detail
    longest, none = index(item).search(f"Before it {twelve} after it")
    assert (longest, none) == (12, None)


def test_case_and_punctuation_do_not_matter_and_order_does() -> None:
    assert reason(QUESTION.upper().replace(",", " --").replace(";", "\n"), QUESTION) == "shared_13_gram"
    assert reason(" ".join(reversed(QUESTION.split())), QUESTION) == ""


def test_a_short_question_is_found_as_a_whole_only() -> None:
    assert reason(f"They asked: {SHORT.lower()} Nobody knew.", SHORT) == "whole_item"
    assert reason("Which planet was found by Clyde?", SHORT) == ""
    assert reason("so who wrote it then", "Who wrote it?") == ""
    assert index("Who wrote it?").too_short == 1


def test_labels_around_a_question_are_no_part_of_it() -> None:
    assert reason(f"They asked: {SHORT} Nobody knew.", f"Question: {SHORT}\nAnswer:") == "whole_item"


def test_an_item_with_words_changed_is_similar() -> None:
    changed = QUESTION
    for word, other in (("ninety", "eighty"), ("many on Friday", "much on Friday"), ("those", "these")):
        changed = changed.replace(word, other)
    text = f"Some text before. {changed} And some text after that."
    found = index(QUESTION).find(text)
    assert found is not None
    assert found.reason == "similar_item"
    assert found.measure > found.limit == 0.5
    # Ten words of it alone are not enough.
    assert reason(" ".join(QUESTION.split()[3:13]) + " some other words about another thing", QUESTION) == ""


def test_ten_of_eighteen_words_are_a_phrase_and_no_item() -> None:
    item = words(18)
    assert reason(" ".join(item.split()[:10]), item) == ""
    thirteen = " ".join([*item.split()[:10], "other", *item.split()[11:14]])
    assert reason(thirteen, item) == "similar_item"


def test_a_sequence_is_one_of_the_item_and_not_pieced_together() -> None:
    first = words(12)
    item = f"{' '.join(first.split()[3:])} last between them are other words {first} {words(20, 200)}"
    assert index(item).search(f"{first} last") == (12, None)


def test_what_many_items_share_is_their_template() -> None:
    template = "Read the following question about the history of science with care and then choose the best answer"
    few = [f"{template} {words(20, 40 * n)}" for n in range(MOST_ITEMS)]
    many = [*few, f"{template} {words(20, 4000)}"]
    assert reason(template, *few) == "shared_13_gram"
    assert reason(template, *many) == ""
    assert reason(f"{template} {words(20, 80)}", *many) == "shared_13_gram"


def test_counting_and_single_letters_say_nothing() -> None:
    numbers = " ".join(map(str, range(40)))
    assert reason(numbers, numbers) == ""
    assert reason(" ".join("abcdefghijklmnopqrstuvwxyz"), " ".join("abcdefghijklmnopqrstuvwxyz")) == ""
    chinese = "".join(chr(0x4E00 + (n * 7919) % 5000) for n in range(40))
    assert reason(f"x{chinese}y", chinese) == "shared_13_gram"


def test_answers_count_where_they_are_long() -> None:
    made = EvaluationIndex([Item(name="set#1", prompts=("What is bread for?",), answers=(words(30), "the oven"))])
    found = made.find(f"a {words(20, 5)} z")
    assert found is not None
    assert found.item == "set#1"
    assert made.find("put it into the oven and wait") is None


def test_the_longest_sequence_is_named() -> None:
    first, second = words(40), words(40, 300)
    text = f"{' '.join(first.split()[:14])} and then {' '.join(second.split()[:20])}"
    found = index(first, second).find(text)
    assert found is not None
    assert (found.item, found.measure) == ("set#2", 20)


def test_saved_and_loaded_it_finds_the_same(tmp_path: Path) -> None:
    made = index(QUESTION, SHORT, words(60), "Who wrote it?")
    made.save(tmp_path)
    loaded = evaluation_index([str(tmp_path)])
    assert (len(loaded), loaded.too_short) == (4, 1)
    for text in (QUESTION, f"x {SHORT} y", words(30, 9), QUESTION.replace("ninety", "six"), "nothing of it at all, no"):
        assert loaded.search(text) == made.search(text)


# Files


def names_and_prompts(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(item.name, item.prompts) for item in read_items(str(path))]


def test_json_lines_and_their_fields(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "answer": "b", "context": "a passage is left aside"},
        {"id": "x7", "query": "q", "choices": ["c", "d"]},
        {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}]},
        {"context": "c", "continuation": "d"},
        {"instruction": "i", "input": "j", "output": "k"},
        {"task_id": 5, "prompt": "p", "choices": {"text": ["e"]}},
    ]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl.gz").write_bytes(gzip.compress("\n\n".join(map(json.dumps, rows)).encode()))
    items = list(read_items(str(tmp_path / "set" / "a.jsonl.gz")))
    assert [(item.name, item.prompts, item.answers) for item in items] == [
        ("set/a.jsonl.gz#1", ("a",), ("b",)),
        ("set/a.jsonl.gz#x7", ("q",), ("c", "d")),
        ("set/a.jsonl.gz#3", ("u",), ("v",)),
        ("set/a.jsonl.gz#4", ("c",), ("d",)),
        ("set/a.jsonl.gz#5", ("i", "j"), ("k",)),
        ("set/a.jsonl.gz#5", ("p",), ("e",)),
    ]
    assert list(read_items(str(tmp_path / "set"))) == items


def test_other_kinds_of_files_and_datasets(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "a.csv").write_text('question,answer\n"one, two",3\n')
    (folder / "b.json").write_text(json.dumps({"version": 1, "data": [{"problem": "four"}]}))
    pq.write_table(pa.table({"prompt": ["five"]}), folder / "c.parquet")
    (folder / "d.txt").write_text("six\nseven\n\n\neight")
    (folder / "README.md").write_text("no set")
    assert names_and_prompts(folder) == [
        ("sets/a.csv#1", ("one, two",)),
        ("sets/b.json#1", ("four",)),
        ("sets/c.parquet#1", ("five",)),
        ("sets/d.txt#1", ("six\nseven",)),
        ("sets/d.txt#2", ("eight",)),
    ]
    document = Document.make("nine", "a/b")
    write_dataset(tmp_path / "data", [document], made_by="test")
    assert names_and_prompts(tmp_path / "data") == [(f"data#{document.id}", ("nine",))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"question": "a"}\n{"question": ', "line 2 is no JSON"),
        ("a.jsonl", b'["a"]', "line 1 is no object"),
        ("a.jsonl", b'{"title": "a"}', "No record of .* has a question"),
        ("a.jsonl", b"", "are empty"),
        ("a.bin", b"x", "no evaluation set"),
        ("a.jsonl.gz", b"x", "Cannot read"),
        ("a.parquet", b"x", "Cannot read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        evaluation_index([str(tmp_path / name)])


# As an operator of curation


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.jsonl"
    path.write_text(json.dumps({"question": QUESTION}) + "\n")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("A quiet day in the bakery, about which there is little to say.")
    (folder / "b.txt").write_text(f"An exercise. {QUESTION}")
    return folder


def test_contaminated_documents_are_dropped_with_what_they_share(
    tmp_path: Path, evaluation: Path, corpus: Path
) -> None:
    config = CurationConfig(operators=(), decontaminate=(str(evaluation),), held_out_fraction=0.0)
    ledger = curate(list_files(str(corpus)), tmp_path / "out", config, Context(workers=1))
    assert [document.source for document in Dataset.open(tmp_path / "out" / "train")] == ["a.txt"]
    assert [(stage.stage, stage.documents_out) for stage in ledger.stages] == [
        ("read", 2),
        ("decontaminate", 1),
        ("dedup", 1),
    ]
    (row,) = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert (row["stage"], row["reason"], row["limit"]) == ("decontaminate", "shared_13_gram", 13)
    assert f"{tmp_path.name}/evaluation.jsonl#1" in row["detail"]
    assert "baker sold ninety loaves" in row["detail"]


LINES = "\n".join(f"Line {n} tells of the bakery, of its oven and of the street before it." for n in range(12))


def test_only_the_lines_with_items_are_cut() -> None:
    made = index(QUESTION, SHORT)
    question = QUESTION.replace("Tuesday and", "Tuesday\r\n\nand")
    text = f"{LINES}\n{question}\nlast words\nSo: {SHORT}\n"
    left, found = cut(text, made)
    assert left == f"{LINES}\n\nlast words\n"
    assert [(one.reason, one.item) for one in found] == [("shared_13_gram", "set#1"), ("whole_item", "set#2")]
    assert cut(left, made) == (left, [])


def test_documents_are_cut_and_their_lineage_says_so(tmp_path: Path, evaluation: Path, corpus: Path) -> None:
    (corpus / "c.txt").write_text(f"{LINES}\n{QUESTION}\n")
    (corpus / "d.txt").write_text(f"Two lines, and the longer one is an item.\n{QUESTION}\n")
    config = CurationConfig(
        operators=(), decontaminate=(str(evaluation),), decontaminate_by="cut", held_out_fraction=0.0
    )
    curate(list_files(str(corpus)), tmp_path / "out", config, Context(workers=1))
    (batch,) = Dataset.open(tmp_path / "out" / "train").batches(0)
    rows = {row["source"]: row for row in batch.to_pylist()}
    assert sorted(rows) == ["a.txt", "c.txt"]  # of the others too little would be left
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert [(row["source"], row["reason"]) for row in rejects] == [
        ("b.txt", "shared_13_gram"),
        ("d.txt", "shared_13_gram"),
    ]
    assert QUESTION not in rows["c.txt"]["text"]
    assert rows["c.txt"]["text"].strip() == LINES
    (entry,) = (one for one in json.loads(rows["c.txt"]["lineage"]) if one["stage"] == "decontaminate")
    assert "evaluation.jsonl#1" in entry["cut"][0]
    assert all(one["stage"] != "decontaminate" for one in json.loads(rows["a.txt"]["lineage"]))
    with pytest.raises(ConfigError, match="decontaminate_by"):
        CurationConfig(decontaminate_by="mend")  # pyright: ignore


def test_a_changed_evaluation_set_is_other_work(tmp_path: Path, evaluation: Path, corpus: Path) -> None:
    config = CurationConfig(operators=(), decontaminate=(str(evaluation),), held_out_fraction=0.0)
    curate(list_files(str(corpus)), tmp_path / "out", config, Context(workers=1))
    evaluation.write_text(json.dumps({"question": SHORT}) + "\n")
    with pytest.raises(ConfigError, match="decontaminate"):
        curate(list_files(str(corpus)), tmp_path / "out", config, Context(workers=1))


def test_the_step_is_identified_by_what_the_sets_hold(tmp_path: Path, evaluation: Path, corpus: Path) -> None:
    def fingerprint(*sets: Path) -> str:
        config = CurationConfig(decontaminate=tuple(map(str, sets)))
        step = singles.curate([str(corpus)], config)
        assert step.config == CurationConfig()
        return json.dumps(Identities(tmp_path / "runs").of(step), sort_keys=True)

    before, moved = fingerprint(evaluation), tmp_path / "moved" / "evaluation.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(evaluation.read_bytes())
    assert fingerprint(moved) == before
    assert fingerprint() != before
    assert json.loads(fingerprint())["version"] == CURATE_VERSION
    evaluation.write_text(json.dumps({"question": SHORT}) + "\n")
    assert fingerprint(evaluation) != before


def test_a_kept_index_is_made_once_for_the_same_content(tmp_path: Path, evaluation: Path) -> None:
    folder = keep_evaluation_index([str(evaluation)], tmp_path / "work")
    assert keep_evaluation_index([str(evaluation)], tmp_path / "work") == folder
    assert evaluation_index([folder]).find(QUESTION) is not None
    evaluation.write_text(json.dumps({"question": SHORT}) + "\n")
    assert keep_evaluation_index([str(evaluation)], tmp_path / "work") != folder
