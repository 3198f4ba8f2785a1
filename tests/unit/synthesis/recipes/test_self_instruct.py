"""Self-instruct: hand-written tasks are shown, new ones filtered, instances made input or output first."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from answers_by_prompt import answers_by_prompt
from tilth.errors import ConfigError, DataError
from tilth.synthesis.define import ParseError
from tilth.synthesis.recipes.self_instruct import (
    Instance,
    SelfInstruct,
    Task,
    draw_tasks,
    parse_instances,
    parse_instructions,
    parse_yes_no,
    read_seed_tasks,
    rouge_l,
    self_instruct,
)
from tilth.synthesis.trial import try_recipe
from tilth.types import Document, Message

EMPTY = Document.make("", "#0")
CLASSIFY, INPUT, OUTPUT, WRITE = (
    "Is it a classification",
    "Input: <input>\nOutput",
    "Output: <label>",
    "Continue the collection",
)
HAIKU, REVIEW = "Compose a haiku about rust on iron.", "Does this review of a novel praise it or not?"


def test_tasks_become_chats_by_their_kind() -> None:
    answer = answers_by_prompt(
        {
            WRITE: f"1. {HAIKU}\n2. {REVIEW}",
            CLASSIFY: ["No.", "yes"],
            INPUT: "Input: none\nOutput: Iron forgets rain",
            OUTPUT: "Output: praise\nInput: I read it twice.\n\nExample 2\nOutput: no praise\nInput: I fell asleep.",
        }
    )
    trial = try_recipe(self_instruct, [EMPTY], answer)
    chats = [draft.messages for draft in trial.drafts[0]]
    user, assistant = "user", "assistant"
    assert chats == [
        (Message(role=user, content=HAIKU), Message(role=assistant, content="Iron forgets rain")),
        (Message(role=user, content=f"{REVIEW}\n\nI read it twice."), Message(role=assistant, content="praise")),
        (Message(role=user, content=f"{REVIEW}\n\nI fell asleep."), Message(role=assistant, content="no praise")),
    ]
    assert [draft.part for draft in trial.drafts[0]] == ["generation", "classification", "classification"]
    assert [reply.prompt for reply in trial.drafts[0][1].replies] == [
        "self-instruct/instructions",
        "self-instruct/classify",
        "self-instruct/output-first",
    ]


def test_tasks_that_are_not_new_or_not_of_text_are_rejected() -> None:
    seed = read_seed_tasks("")[0].instruction
    written = [HAIKU, seed.replace("ten-year-old", "child"), "Draw a picture of a leek.", "Sing.", HAIKU + " Please."]
    answer = answers_by_prompt(
        {
            WRITE: "\n".join(f"{n}. {task}" for n, task in enumerate(written, start=1)),
            CLASSIFY: "no",
            INPUT: "Input: none\nOutput: Iron forgets rain",
        }
    )
    trial = try_recipe(self_instruct, [EMPTY], answer, SelfInstruct(new=5))
    assert [draft.meta["instruction"] for draft in trial.drafts[0]] == [HAIKU]
    found = {(part.reason, part.raw) for part in trial.rejected}
    assert found == {
        ("similar_task", written[1]),
        ("not_a_text_task", written[2]),
        ("task_length", written[3]),
        ("similar_task", written[4]),
    }


def test_one_answer_that_cannot_be_used_drops_one_task() -> None:
    answer = answers_by_prompt(
        {
            WRITE: f"Here are the tasks:\n\n1. {HAIKU}\n2. {REVIEW}\n3. Name a river that flows north.",
            CLASSIFY: ["no", "It depends on the labels.", "no"],
            INPUT: ["Input: none\nOutput: none", "Input: none\nOutput: The Nile."],
        }
    )
    trial = try_recipe(self_instruct, [EMPTY], answer)
    assert [draft.messages[1].content for draft in trial.drafts[0]] == ["The Nile."]
    assert sorted(trial.reasons) == ["no_usable_instances", "not_yes_or_no"]


def test_what_is_shown_differs_by_document_and_holds_its_text() -> None:
    documents = [Document.make(text, "mine") for text in ("", " ", "Name the parts of a\nplough.")]
    answer = answers_by_prompt({WRITE: "no list"})
    shown = [
        request.messages[-1].content.partition("\n\n")[2].partition("\n\nContinue")[0].split("\n")[1:-1]
        for request in try_recipe(self_instruct, documents, answer).requests
    ]
    assert [len(tasks) for tasks in shown] == [8, 8, 8] and shown[0] != shown[1]
    assert [sum("Name the parts of a plough." in task for task in tasks) for tasks in shown] == [0, 0, 1]


def test_a_quarter_of_what_is_shown_are_classifications() -> None:
    seeds = [Task(f"free {n}") for n in range(20)] + [Task(f"label {n}", True) for n in range(5)]
    for seed in range(20):
        drawn = draw_tasks(seeds, "", 8, np.random.default_rng(seed))
        assert len(set(drawn)) == 8 and sum(task.startswith("label") for task in drawn) == 2
    assert len(draw_tasks(seeds[:3], "", 8, np.random.default_rng(0))) == 3


def test_the_seed_tasks_of_the_package() -> None:
    seeds = read_seed_tasks("")
    assert len(seeds) >= 40 and len({seed.instruction for seed in seeds}) == len(seeds)
    assert 6 <= sum(seed.is_classification for seed in seeds) <= len(seeds) // 3
    words = [seed.instruction.lower().split() for seed in seeds]
    assert max(rouge_l(a, b) for n, a in enumerate(words) for b in words[:n]) < 0.5


def test_seed_tasks_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    rows = [{"instruction": f"Task {n} of mine.", "is_classification": n % 2 == 0} for n in range(9)]
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    answer = answers_by_prompt({WRITE: "no list"})
    trial = try_recipe(self_instruct, [EMPTY], answer, SelfInstruct(seed_tasks=str(file), shown=4, new=2))
    asked = trial.requests[0].messages[-1].content
    assert asked.count("of mine.") == 4 and "with 2 more" in asked


def test_a_changed_file_of_seed_tasks_is_another_run(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"instruction": "Name a river."}\n')
    first = SelfInstruct(seed_tasks=str(file))
    assert SelfInstruct(seed_tasks=first.seed_tasks) == first  # as it is read back from a record
    file.write_text('{"instruction": "Name a lake."}\n')
    assert SelfInstruct(seed_tasks=str(file)) != first
    with pytest.raises(DataError, match="have changed"):
        SelfInstruct(seed_tasks=first.seed_tasks)


@pytest.mark.parametrize(
    ("line", "says"), [("{", "line 2: no JSON"), ('{"task": "x"}', "line 2: there is no"), ("[1]", "line 2")]
)
def test_a_broken_file_of_seed_tasks_is_named(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"instruction": "Name a river."}\n' + line + "\n")
    with pytest.raises(DataError, match=says):
        SelfInstruct(seed_tasks=str(file))
    with pytest.raises(ConfigError):
        SelfInstruct(seed_tasks=str(tmp_path / "nothing.jsonl"))


@pytest.mark.parametrize("answer", ["1. A\n2. B", "1) A\n\n2) B", "Here you are:\n\n- **A**\n- B", "9. A\n10. B"])
def test_lists_of_instructions(answer: str) -> None:
    assert parse_instructions(answer) == ["A", "B"]


@pytest.mark.parametrize("answer", ["A\nB", "One:\nTwo:\n1. A", "I'd rather not."])
def test_what_is_no_list_of_instructions(answer: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_instructions(answer)
    assert caught.value.reason == "not_a_list"


@pytest.mark.parametrize("answer", ["maybe", "yes and no", "yes or no", "nothing", "Is it a classification?"])
def test_what_is_not_yes_or_no(answer: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_yes_no(answer)
    assert caught.value.reason == "not_yes_or_no"


@pytest.mark.parametrize("answer", ["No, the answer is written freely.", "**No**", "Answer: no", "no\n\nIt is free."])
def test_a_reason_after_yes_or_no_is_left_aside(answer: str) -> None:
    assert not parse_yes_no(answer) and parse_yes_no(re.sub("no", "yes", answer, count=1, flags=re.IGNORECASE))


@pytest.mark.parametrize(
    "answer",
    [
        "### Input:\na\n### Output:\nb\n### Input:\nc\n### Output:\nd",
        "1. Input: a\n   Output: b\n2. Input: c\n   Output: d",
        "**Example 1**\n**Input:** a\n**Output:** b\n\n**Example 2**\n**Input:** c\n**Output:** d",
    ],
)
def test_instances_as_models_number_them(answer: str) -> None:
    assert [(one.input, one.output) for one in parse_instances(answer)] == [("a", "b"), ("c", "d")]


def test_instances_with_several_lines() -> None:
    answer = "Example 1:\nInput: a\nb\nOutput: c\n\nd\n42\n\n---\n**Example 2:**\n**Input:** e\n**Output:** f"
    assert parse_instances(answer) == [Instance("a\nb", "c\n\nd\n42"), Instance("e", "f")]


def test_instances_that_teach_nothing_are_left_out() -> None:
    """Of one input with two outputs both, an output that is its input, and what comes twice."""
    pairs = [("a", "1"), ("a", "2"), ("same", "same"), ("b", "3"), ("b", "3")]
    answer = "\n".join(f"Input: {a}\nOutput: {b}" for a, b in pairs)
    assert parse_instances(answer) == [Instance("b", "3")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The answer is 4.", "no_instances"),
        ("Input: a", "incomplete_instance"),
        ("Input: a\nInput: b", "incomplete_instance"),
        ("Input: a\nOutput: b\nInput: c", "incomplete_instance"),
        ("Input: a\nOutput: b\nOutput: c\nInput: d", "mixed_order"),
        ("Input: a\nOutput:", "no_usable_instances"),
        ("I will explain. " * 20 + "\nInput: a\nOutput: b", "text_before_instances"),
    ],
)
def test_what_are_no_instances(answer: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_instances(answer)
    assert caught.value.reason == reason


def test_rouge_l_by_hand() -> None:
    """Lin 2004, section 3.1: the longest common subsequence of `police killed the gunman` and its variants."""
    reference = ["police", "killed", "the", "gunman"]
    assert rouge_l(reference, ["police", "kill", "the", "gunman"]) == 3 / 4
    assert rouge_l(reference, ["the", "gunman", "kill", "police"]) == 2 / 4
    assert rouge_l(reference, []) == 0 and rouge_l(reference, reference) == 1
    assert rouge_l(["a", "b", "c", "d", "e", "f"], ["a", "x", "c"]) == pytest.approx(4 / 9)


def test_options_are_checked() -> None:
    for wrong in ({"shown": 0}, {"new": 0}, {"instances": 0}, {"max_similarity": 0.0}):
        with pytest.raises(ConfigError):
            SelfInstruct(**wrong)
