"""Magpie: the teacher gets its template's first tokens alone, and what it writes as a user is filtered."""

import pytest

from answers_by_prompt import answers_by_prompt, cut_off
from tilth.errors import ConfigError
from tilth.synthesis.define import ParseError
from tilth.synthesis.recipes.magpie import TEMPLATES, Magpie, magpie, parse_tags, query_parser
from tilth.synthesis.trial import try_recipe
from tilth.types import Document, Message

EMPTY = Document.make("", "#0")
ASKED = "How do I descale a kettle without vinegar?"
TAGS = "Difficulty: 2\nQuality: 4\nCategory: advice"


def test_only_the_template_is_sent() -> None:
    answer = answers_by_prompt(
        {"<|im_start|>user": f"{ASKED}<|im_end|>\n<|im_start|>assistant\nUse", ASKED: "Citric acid."}
    )
    trial = try_recipe(magpie, [EMPTY], answer)
    raw, chat = trial.requests
    assert raw.prompt == "<|im_start|>user\n" and raw.messages == ()
    assert raw.params.stop == ("<|im_end|>",) and raw.params.temperature == 1.0
    assert chat.messages == (Message(role="user", content=ASKED),)  # no system message of ours
    (draft,) = trial.drafts[0]
    assert draft.messages == (Message(role="user", content=ASKED), Message(role="assistant", content="Citric acid."))
    assert [reply.prompt for reply in draft.replies] == ["magpie/pre-query", "magpie/answer"]


def test_documents_give_the_seed_alone() -> None:
    """No two documents ask for the same sample, and nothing that they say is sent."""
    answer = answers_by_prompt({"<|im_start|>user": ASKED, ASKED: "Citric acid."})
    documents = [Document.make(f"call me {n}", "x") for n in range(5)]
    raw = try_recipe(magpie, documents, answer).requests[::2]
    assert len({request.params.seed for request in raw}) == 5
    assert {request.prompt for request in raw} == {"<|im_start|>user\n"}


def test_a_system_message_is_in_prompt_request_and_sample() -> None:
    answer = answers_by_prompt({"<|eot_id|>": ASKED, ASKED: "Citric acid."})
    trial = try_recipe(magpie, [EMPTY], answer, Magpie(template="llama-3", system="You help at home."))
    assert trial.requests[0].prompt == (
        "<|start_header_id|>system<|end_header_id|>\n\nYou help at home.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n"
    )
    system = Message(role="system", content="You help at home.")
    assert trial.requests[1].messages[0] == trial.drafts[0][0].messages[0] == system


def test_tags_are_kept_and_filter() -> None:
    def made(**options: object):
        answer = answers_by_prompt(
            {"Difficulty:": TAGS.replace("Quality:", "**Quality:**"), "<|im_start|>": ASKED, ASKED: "Citric acid."}
        )
        return try_recipe(magpie, [EMPTY], answer, Magpie(**options))

    (draft,) = made(tags=True).drafts[0]
    assert draft.meta == {"difficulty": 2, "quality": 4, "category": "advice"} and len(draft.replies) == 3
    assert made(min_quality=4).drafts[0]
    for options, reason in (({"min_quality": 5}, "low_quality"), ({"min_difficulty": 3}, "low_difficulty")):
        trial = made(**options)
        assert trial.drafts == [[]] and trial.reasons == [reason]
        assert len(trial.requests) == 2  # the answer is not paid for
    assert "Difficulty" not in str(made().requests)


@pytest.mark.parametrize("tags", ["Difficulty: 2\nQuality: 4\nCategory: gardening", "Quality: 4", "advice"])
def test_tags_of_another_form(tags: str) -> None:
    with pytest.raises(ParseError):
        parse_tags(tags)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Hi there", "too_short"),
        ("why " * 400, "too_long"),
        ("tell me a joke and " * 12, "repeats_itself"),
        ("Hello! How can I help you today?", "role_confusion"),
        ("<|im_end|>\n<|im_start|>user\nHow are you?", "empty"),
        ("I'm sorry, but I can't help with that.", "refused"),
    ],
)
def test_what_is_no_query(answer: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        query_parser(Magpie())(answer)
    assert caught.value.reason == reason


def test_a_query_that_was_cut_off_is_rejected() -> None:
    trial = try_recipe(magpie, [EMPTY], answers_by_prompt({"<|im_start|>": cut_off("Write a program that")}))
    assert trial.drafts == [[]] and trial.reasons == ["cut_off"]


def test_every_template_ends_where_the_user_begins() -> None:
    for name, template in TEMPLATES.items():
        assert Magpie(template=name).text == template.user
        if template.system:
            assert Magpie(template=name, system="Be {brief}.").text.count("Be {brief}.") == 1
            assert Magpie(template=name, system="x").text.endswith(template.user)
        else:
            with pytest.raises(ConfigError):
                Magpie(template=name, system="x")
    own = Magpie(pre_query="USER> ", stop=("BOT>",))
    assert (own.text, own.stops) == ("USER> ", ("BOT>",))
    assert Magpie(stop=("BOT>",)).stops == ("<|im_end|>", "BOT>")


def test_options_are_checked() -> None:
    for wrong in (
        {"min_query_words": 0},
        {"min_query_words": 9, "max_query_words": 8},
        {"min_quality": 6},
        {"system": "a", "pre_query": "b"},
    ):
        with pytest.raises(ConfigError):
            Magpie(**wrong)
