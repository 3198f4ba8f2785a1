"""IFEval's 25 kinds of instructions: for each, an answer that follows it and one that just misses."""

from __future__ import annotations

import json

import pytest

from tilth.errors import ConfigError
from tilth.synthesis.verify import verifier
from tilth.synthesis.verify.instruction_checks import CHECKS, count_sentences, follows
from tilth.synthesis.verify.instruction_family import compatible
from tilth.types import Problem

ENGLISH = "The people of the town were still asleep when the morning train arrived at the station."
CASES: list[tuple[str, dict[str, object], str, str]] = [
    ("keywords:existence", {"keywords": ["Ant", "bee."]}, "an ANT, a bee.", "an ant, a bee"),
    ("keywords:frequency", {"keyword": "a", "relation": "at least", "frequency": 3}, "A aa", "A a"),
    ("keywords:frequency", {"keyword": "a", "relation": "less than", "frequency": 3}, "A a", "A aa"),
    ("keywords:forbidden_words", {"forbidden_words": ["ant", "c++"]}, "antler", "an Ant."),
    ("keywords:letter_frequency", {"letter": "q", "let_relation": "at least", "let_frequency": 2}, "qQ", "q"),
    ("language:response_language", {"language": "de"}, "Das Wetter ist heute schön und warm.", ENGLISH),
    ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "One. Two!", "Mr. One 1.5."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "a b!", "a b c"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "well"},
        'a\n\n"Well", b',
        "well a\n\nb",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b c]", "[a] (b)"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "x\np.p.s y", "x\nP.S. y"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "x\nP.S. y", "x\nPS y"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n  - b\n**c**", "* a\n* b\n* c"),
    ("detectable_format:constrained_response", {}, "So: My answer is no.", "my answer is no"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and * *"),
    ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}, "Part 1 Part2", "Part 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<a>>", "<< >>"),
    ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Do It"}, " do it now", "I do it"),
    ("startend:end_checker", {"end_phrase": "The END."}, 'so "the end."', "the end. ok"),
    ("startend:quotation", {}, ' "a" ', '"a'),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "A NEW day",
        "a NEW Day",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH.upper() + "x"),
    ("change_case:english_lowercase", {}, ENGLISH.lower(), ENGLISH),
    ("punctuation:no_comma", {}, "a; b", "a, b"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "good", "bad"), CASES)
def test_kinds(kind: str, arguments: dict[str, object], good: str, bad: str) -> None:
    assert follows(good, kind, arguments)
    assert not follows(bad, kind, arguments)


def test_all_kinds_are_tried() -> None:
    assert {kind for kind, *_ in CASES} == set(CHECKS)
    assert len(CHECKS) == 25


def verdict(options: object, answer: str):
    name = f"instructions:{json.dumps(options)}"
    return verifier(name).verify(Problem.make("?", verifier=name), answer)


def test_sets_of_instructions() -> None:
    both = [{"id": "punctuation:no_comma"}, {"id": "detectable_format:title", "num_bullets": None}]
    assert verdict({"constraints": both}, "<<a>> b").detail == "2 of 2 instructions"
    found = verdict({"constraints": both}, "<<a>>, b")
    assert (found.score, found.detail) == (0.5, "1 of 2 instructions; not punctuation:no_comma")
    assert verdict({"constraints": both}, "").score == 0


def test_loose_accuracy() -> None:
    constraint = [{"id": "combination:repeat_prompt", "prompt_to_repeat": "Do it"}]
    assert not verdict({"constraints": constraint}, "Sure:\n**Do it** then").passed
    assert verdict({"constraints": constraint, "loose": True}, "Sure:\n**Do it** then").passed


@pytest.mark.parametrize(
    ("constraints", "text"),
    [
        ([], "no constraints"),
        ([{"id": "no:such"}], "There is no instruction `no:such`"),
        ([{"id": "keywords:existence"}], "keywords"),
        ([{"id": "length_constraints:number_words", "relation": "about", "num_words": 3}], "relation 'about'"),
        ([{"id": "detectable_format:number_bullet_lists"}], "num_bullets"),
    ],
)
def test_settings_that_do_not_work(constraints: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        verdict({"constraints": constraints}, "x")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two? Three!", 3),
        ("Dr. Smith paid 3.50 dollars.", 1),
        ("No end", 1),
        ("", 0),
        ("...", 0),
        ('He said "Go!" Then he left.', 2),
        ("Title\n\nText.", 2),
        ("Wait... what?", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_compatible_kinds() -> None:
    assert not compatible("change_case:english_capital", "change_case:english_lowercase")
    assert not compatible("detectable_format:json_format", "detectable_format:title")
    assert compatible("punctuation:no_comma", "detectable_format:title")
    assert all(compatible(a, b) == compatible(b, a) for a in CHECKS for b in CHECKS)
