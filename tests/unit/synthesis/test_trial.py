"""Trying a recipe out without a network."""

from tilth.synthesis.trial import try_recipe
from tilth.teacher.faults import ServerFault
from tilth.teacher.request import Request
from tilth.types import Document
from toy_recipe import Toy, scripted, toy

DOCUMENTS = [Document.make(f"Text {i} about soil.", f"corpus/{i}.txt") for i in range(3)]


def test_drafts_and_requests_of_each_document() -> None:
    result = try_recipe(toy, DOCUMENTS, scripted)
    assert [len(drafts) for drafts in result.drafts] == [2, 2, 2] and len(result.requests) == 6
    assert not result.rejected and not result.lost


def test_equal_seeds_ask_the_same_and_others_do_not() -> None:
    def requests(seed: int) -> tuple[Request, ...]:
        return try_recipe(toy, DOCUMENTS, scripted, seed=seed).requests

    assert requests(1) == requests(1) != requests(2)


def test_options_reach_the_recipe() -> None:
    shouted = try_recipe(toy, DOCUMENTS, scripted, Toy(shout=True))
    assert all(drafts[1].text.isupper() for drafts in shouted.drafts)


def test_faults_and_rejects_are_of_their_document() -> None:
    def answer(request: Request, sample: int) -> str:
        if "Text 1" in request.messages[-1].content:
            raise ServerFault("500", raw="raw")
        return "" if "Text 2" in request.messages[-1].content else scripted(request, sample)

    result = try_recipe(toy, DOCUMENTS, answer)
    assert [len(drafts) for drafts in result.drafts] == [2, 0, 0]
    assert [[part.raw for part in one.lost] for one in result.attempts] == [[], ["raw"], []]
    assert result.reasons == ["empty"]
