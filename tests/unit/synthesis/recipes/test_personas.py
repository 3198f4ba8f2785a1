"""Personas from texts and from personas, and what a persona asks."""

from typing import cast

import numpy as np
import pytest

from answers_by_prompt import answers_by_prompt, cut_off
from tilth.errors import ConfigError
from tilth.synthesis.define import ParseError
from tilth.synthesis.recipes.demands import GROUPS, draw_demands
from tilth.synthesis.recipes.persona_tasks import (
    PersonaProblem,
    PersonaTask,
    parse_result,
    persona_problem,
    persona_task,
)
from tilth.synthesis.recipes.personas import (
    TO_PERSON,
    Personas,
    PersonaToPersona,
    parse_persona,
    persona_to_persona,
    personas,
)
from tilth.synthesis.trial import try_recipe
from tilth.synthesis.verify.instructions import Instructions
from tilth.types import Document, Message

LEEKS = Document.make("Leeks grow well in loose soil. " * 50, "garden#0")
FARMER = "A farmer near Ghent who grows leeks on heavy soil and wants to lose fewer of them to rust."
CLERK = "A night clerk in a small hotel who learns Danish and keeps a list of odd requests of guests."


def test_a_persona_of_a_text() -> None:
    answer = answers_by_prompt({"Leeks grow": f'Persona: "{FARMER}"'})
    trial = try_recipe(personas, [LEEKS], answer, Personas(characters=100), cells=[{"relation": "teaches"}])
    (draft,) = trial.drafts[0]
    assert (draft.text, draft.part, draft.span) == (FARMER, "teaches", (0, 92))
    asked = trial.requests[0].messages[-1].content
    assert asked.count("Leeks grow") == 3 and "would teach the subject of this text" in asked


def test_relations_are_spread_over_documents() -> None:
    documents = [Document.make(f"text {n}", "x") for n in range(60)]
    trial = try_recipe(personas, documents, lambda request, sample: FARMER)
    assert {drafts[0].part for drafts in trial.drafts} == set(personas.axes["relation"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("A farmer.", "too_short"),
        ("A farmer " + "who grows leeks " * 40, "too_long"),
        (f"{FARMER}\n\n{CLERK}", "several_paragraphs"),
        ("I am a farmer near Ghent who grows leeks on heavy soil.", "first_person"),
        ("A farmer who would read this text because it is about the leeks that she grows.", "mentions_the_text"),
        ("I'm sorry, but I can't help with that.", "refused"),
    ],
)
def test_what_is_no_persona(answer: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_persona(answer)
    assert caught.value.reason == reason


def test_each_hop_starts_at_the_persona_before() -> None:
    answer = answers_by_prompt(
        {FARMER: CLERK, CLERK: "A baker who rises at two and whose oven is older than the town."}
    )
    trial = try_recipe(persona_to_persona, [Document.make(FARMER, "p#0")], answer, PersonaToPersona(hops=2))
    first, second = trial.drafts[0]
    assert first.text == CLERK and second.text.startswith("A baker")
    assert (len(first.replies), len(second.replies)) == (1, 2)  # all that a persona was made from
    relations = [draft.meta["relation"] for draft in (first, second)]
    assert len(set(relations)) == 2
    for request, relation in zip(trial.requests, relations, strict=True):
        assert TO_PERSON[str(relation)] in request.messages[-1].content


def test_no_relation_comes_twice_in_a_chain() -> None:
    documents = [Document.make(f"{FARMER} {n}", "p") for n in range(5)]
    trial = try_recipe(persona_to_persona, documents, lambda request, sample: CLERK, PersonaToPersona(hops=6))
    for drafts in trial.drafts:
        assert len({draft.meta["relation"] for draft in drafts}) == len(drafts) == 6


def test_a_chain_keeps_what_was_described_before_it_broke() -> None:
    answer = answers_by_prompt({FARMER: CLERK, CLERK: cut_off("A bak")})
    trial = try_recipe(persona_to_persona, [Document.make(FARMER, "p#0")], answer)
    assert [draft.text for draft in trial.drafts[0]] == [CLERK] and trial.reasons == ["cut_off"]


@pytest.mark.parametrize("task", ["maths", "instruction", "code", "knowledge"])
def test_a_persona_sets_a_task_that_is_answered(task: str) -> None:
    question = "How many leeks can I plant in a row of 12 metres, 15 centimetres apart?"
    answer = answers_by_prompt(
        {"description of a person": f"Question: {question}", question: "81 leeks.\n\n```\n81\n```"}
    )
    cell = {"task": task, "level": "school"}
    trial = try_recipe(persona_task, [Document.make(FARMER, "p#0")], answer, PersonaTask(min_followed=0), cells=[cell])
    (draft,) = trial.drafts[0]
    assert draft.messages == (
        Message(role="user", content=question),
        Message(role="assistant", content="81 leeks.\n\n```\n81\n```"),
    )
    assert draft.part == task and len(draft.replies) == 2
    assert [reply.prompt for reply in draft.replies] == [f"persona-task/{task}", "persona-task/answer"]
    # The answer is asked for with the question alone: the persona's description is not in it.
    assert FARMER not in trial.requests[1].messages[-1].content


def test_the_demands_of_an_instruction_stand_in_prompt_and_meta() -> None:
    answer = answers_by_prompt({"description of a person": "Write to my seed merchant, please.", "seed": "Dear Sir"})
    documents = [Document.make(f"{FARMER} {n}", "p") for n in range(20)]
    cells = [{"task": "instruction", "level": "school"}] * 20
    trial = try_recipe(persona_task, documents, answer, PersonaTask(constraints=2, min_followed=0), cells=cells)
    counts = set()
    for (draft,), request in zip(trial.drafts, trial.requests[::2], strict=True):
        checks = draft.meta["constraints"]
        counts.add(len(checks))
        assert request.messages[-1].content.count("\n- ") == len(checks)
        assert all(":" in check["id"] for check in checks)
    assert counts == {1, 2}


def test_answers_that_do_not_follow_the_demands_are_rejected() -> None:
    """Each demand is checked by the verifier of that name, with the arguments that the prompt says."""
    answer = answers_by_prompt(
        {"description of a person": "Write to my seed merchant, please.", "seed": "Dear Sir, no."}
    )
    documents = [Document.make(f"{FARMER} {n}", "p") for n in range(40)]
    cells = [{"task": "instruction", "level": "school"}] * 40
    trial = try_recipe(persona_task, documents, answer, PersonaTask(constraints=1), cells=cells)
    kept = {drafts[0].meta["constraints"][0]["id"] for drafts in trial.drafts if drafts}
    assert kept <= {
        "length_constraints:number_words",
        "length_constraints:number_sentences",
        "keywords:forbidden_words",
    }
    assert 0 < sum(bool(drafts) for drafts in trial.drafts) < 40
    assert set(trial.reasons) == {"demands_not_met"}
    assert any("punctuation:no_comma" in part.detail for part in trial.rejected)


def test_every_demand_is_one_that_the_verifier_knows() -> None:
    for group in GROUPS:
        for maker in group:
            demand = maker(np.random.default_rng(0))
            Instructions(constraints=(dict(demand.check),))  # raises for wrong names and arguments


def test_no_demand_asks_for_a_word_that_another_forbids() -> None:
    rng = np.random.default_rng(0)
    drawn = [demand for _ in range(500) for demand in draw_demands(rng, 5)]
    forbidden = {word for demand in drawn for word in cast("list[str]", demand.check.get("forbidden_words", []))}
    endings = {str(demand.check["end_phrase"]).lower() for demand in drawn if "end_phrase" in demand.check}
    assert forbidden and len(endings) > 3
    assert not {word for ending in endings for word in ending.rstrip(".!").split()} & forbidden


def test_demands_are_of_different_groups() -> None:
    for seed in range(30):
        names = [demand.check["id"] for demand in draw_demands(np.random.default_rng(seed), 5)]
        assert len(names) == len(set(names)) == len(GROUPS)


def solved(*answers: str):
    return answers_by_prompt(
        {"Solve the problem": list(answers), "description of a person": "A row of 12 metres holds how many leeks?"}
    )


def test_a_problem_has_the_answer_that_most_solutions_have() -> None:
    answer = solved("Answer: 80.0", "So 81.\nAnswer: 81", "It is\n**Answer:** 80")
    trial = try_recipe(persona_problem, [Document.make(FARMER, "p#0")], answer, cells=[{"level": "expert"}])
    (draft,) = trial.drafts[0]
    assert (draft.prompt, draft.answer) == ("A row of 12 metres holds how many leeks?", "80")
    assert draft.meta == {"level": "expert", "agree": 2, "solutions": 3}
    assert len(draft.replies) == 3  # the problem, and the solutions that agree
    assert "experience of someone" in trial.requests[0].messages[-1].content


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["Answer: 1", "Answer: 2", "Answer: 3"], "no_agreement"),
        (["Answer: none", "Answer: none", "Answer: 3"], "unsolvable"),
        (["Answer: 1", "about one", "one"], "no_agreement"),
        (["it is one", "about one", "one"], "no_agreement"),
    ],
)
def test_problems_without_a_sure_answer_are_rejected(answers: list[str], reason: str) -> None:
    trial = try_recipe(persona_problem, [Document.make(FARMER, "p#0")], solved(*answers))
    assert trial.drafts == [[]] and reason in trial.reasons


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("1,200", "1200"),
        ("-3", "-3"),
        ("−3.50", "-3.5"),
        ("+7", "7"),
        ("-0", "0"),
        ("100000", "100000"),
        ("none", "none"),
        ("$1,234.50", "1234.5"),
        ("\\(42\\)", "42"),
        ("$\\boxed{42}$", "42"),
        ("**42**", "42"),
    ],
)
def test_results_in_plain_digits(line: str, value: str) -> None:
    assert parse_result(f"Because.\nAnswer: {line}") == value


@pytest.mark.parametrize("line", ["12 metres", "about 12", "1/2", "12 or 13", "nan", "1e5", "50%"])
def test_what_is_no_result(line: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_result(f"Answer: {line}")
    assert caught.value.reason == "no_answer"


def test_options_are_checked() -> None:
    for make in (
        lambda: Personas(characters=0),
        lambda: PersonaToPersona(hops=7),
        lambda: PersonaTask(constraints=0),
        lambda: PersonaTask(min_followed=1.1),
        lambda: PersonaProblem(solutions=2, min_agree=3),
    ):
        with pytest.raises(ConfigError):
            make()
