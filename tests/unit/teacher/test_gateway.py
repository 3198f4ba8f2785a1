"""The gateway asks once, pays once, tries again, keeps to its budget, and says what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.errors import ConfigError, StepError
from tilth.progress import Bar
from tilth.synthesis import result
from tilth.teacher import Budget, Gateway, RequestCache
from tilth.teacher.faults import (
    AccessRefused,
    BadAnswer,
    BudgetSpent,
    ConnectionFault,
    DeadLetter,
    Overloaded,
    RequestRefused,
    ServerFault,
    TeacherFault,
    TimedOut,
)
from tilth.teacher.ledger import Spending
from tilth.teacher.request import Answer, Price, Reply, Request, Usage
from unit.teacher.controlled import Controlled, answer, request, run, text_for

Work = Callable[[Gateway], Awaitable[Any]]


def with_gateway(work: Work, *teachers: Controlled, cache: Path | None = None, **options: Any) -> Any:
    """Runs `work` with a gateway; the clock jumps where there is no cache, whose thread does not know of it."""

    async def opened() -> Any:
        held = None if cache is None else RequestCache(cache)
        try:
            named = {teacher.name: teacher for teacher in teachers}
            async with Gateway(named, cache=held, **{"backoff_seconds": 0.001 if cache else 0.5, **options}) as gateway:
                return await work(gateway)
        finally:
            if held is not None:
                held.close()

    return run(opened(), jumping=cache is None)


def texts(replies: list[Reply]) -> list[str]:
    return [reply.text for reply in replies]


def failing(*faults: BaseException | None) -> Callable[[int], Coroutine[Any, Any, None]]:
    """The first calls fail so."""

    async def before(call: int) -> None:
        if call < len(faults) and (fault := faults[call]) is not None:
            raise fault

    return before


# Cache.


def test_a_second_run_pays_nothing_and_gets_the_same(tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> tuple[list[Reply], list[Spending]]:
        return await gateway.ask(request(), recipe="r", n=3), gateway.spending()

    first, second = (
        Controlled(price=Price(prompt=1e6, completion=1e6), n_params=7),
        Controlled(price=Price(prompt=1e6, completion=1e6), n_params=7),
    )
    replies, (paid,) = with_gateway(work, first, cache=tmp_path / "c.sqlite")
    again, (free,) = with_gateway(work, second, cache=tmp_path / "c.sqlite")
    assert texts(replies) == [text_for(request(), i) for i in range(3)]
    assert [reply.answer for reply in again] == [reply.answer for reply in replies]
    assert [reply.key for reply in again] == [reply.key for reply in replies]
    assert [(r.sample, r.cached, r.teacher) for r in again] == [(i, True, "teacher") for i in range(3)]
    assert not any(reply.cached for reply in replies)
    assert first.calls == [("question", 0, 3)] and second.calls == []
    expected = {"recipe": "r", "teacher": "teacher", "prompt_tokens": 30, "completion_tokens": 15, "money": 45}
    assert paid == Spending(**expected, flops=630, requests=3, paid_money=45)  # type: ignore[arg-type]
    assert free == Spending(**expected, flops=630, cached=3)  # type: ignore[arg-type]


def test_only_missing_samples_are_asked_neighbours_in_one_call(tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> list[str]:
        await gateway.ask(request(), recipe="r", first_sample=2, n=1)
        return texts(await gateway.ask(request(), recipe="r", n=5))

    teacher = Controlled()
    assert with_gateway(work, teacher, cache=tmp_path / "c") == [text_for(request(), i) for i in range(5)]
    assert teacher.calls == [("question", 2, 1), ("question", 0, 2), ("question", 3, 2)]


def test_other_parameters_are_asked_again_unless_the_prompt_is_to_serve(tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> list[str]:
        await gateway.ask(request(temperature=0.1), recipe="r")
        await gateway.ask(request("another"), recipe="r")
        return [reply.key for reply in await gateway.ask(request(temperature=0.9), recipe="r", n=2)]

    exact, same = Controlled(), Controlled()
    keys = with_gateway(work, exact, cache=tmp_path / "a")
    kept = with_gateway(work, same, cache=tmp_path / "b", reuse="same_prompt")
    assert exact.calls == [("question", 0, 1), ("another", 0, 1), ("question", 0, 2)]
    assert same.calls == [("question", 0, 1), ("another", 0, 1), ("question", 1, 1)]
    assert kept[0] != keys[0] and kept[1] == keys[1]  # the key is that of the answer


def test_the_very_request_goes_before_the_same_prompt(tmp_path: Path) -> None:
    async def fill(gateway: Gateway) -> None:
        for temperature in (0.1, 0.2, 0.3, 0.4):
            await gateway.ask(request(temperature=temperature), recipe="r")

    async def read(gateway: Gateway) -> list[bool]:
        every = [await gateway.ask(request(temperature=each), recipe="r") for each in (0.1, 0.2, 0.3, 0.4)]
        keys = [await gateway.ask(request(temperature=each), recipe="r") for each in (0.7, 0.8)]
        assert len({replies[0].key for replies in every}) == 4
        assert keys[0][0].key == keys[1][0].key == min(replies[0].key for replies in every)
        return [replies[0].cached for replies in every]

    teacher = Controlled()
    with_gateway(fill, teacher, cache=tmp_path / "c")
    assert with_gateway(read, teacher, cache=tmp_path / "c", reuse="same_prompt") == [True] * 4
    assert len(teacher.calls) == 4


def test_equal_requests_in_flight_are_asked_once() -> None:
    async def wait(_: int) -> None:
        await asyncio.sleep(1)

    async def work(gateway: Gateway) -> None:
        asked = [gateway.ask(request(), recipe=recipe, n=n) for recipe, n in (("a", 2), ("b", 3), ("b", 1))]
        first, second, third = await asyncio.gather(*asked)
        assert texts(first) == texts(second)[:2] and texts(third) == texts(second)[:1]
        assert [reply.cached for reply in [*first, *second]] == [False, False, True, True, False]
        a, b = gateway.spending()
        assert (a.requests, a.cached, b.requests, b.cached) == (2, 0, 1, 3)
        assert gateway.status().done == 6

    teacher = Controlled(wait)
    with_gateway(work, teacher)
    assert teacher.calls == [("question", 0, 2), ("question", 2, 1)]


def test_who_joined_gets_the_answer_though_the_first_was_cancelled() -> None:
    async def wait(_: int) -> None:
        await asyncio.sleep(10)

    async def work(gateway: Gateway) -> None:
        first, second = (asyncio.ensure_future(gateway.ask(request(), recipe="r")) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        assert texts(await second) == [text_for(request(), 0)]
        assert len(teacher.calls) == 1 and teacher.cancelled == 0
        third = asyncio.ensure_future(gateway.ask(request("other"), recipe="r"))
        await asyncio.sleep(1)
        third.cancel()
        await asyncio.sleep(0)
        fourth = gateway.ask(request("other"), recipe="r")  # does not join what is about to end
        assert texts(await fourth) == [text_for(request("other"), 0)]
        assert teacher.cancelled == 1 and gateway.status().in_flight == gateway.status().waiting == 0

    teacher = Controlled(wait)
    with_gateway(work, teacher)


def test_closing_ends_what_is_under_way_and_closes_the_teachers() -> None:
    async def wait(_: int) -> None:
        await asyncio.sleep(100)

    async def work(gateway: Gateway) -> list[asyncio.Task[Any]]:
        asks = [asyncio.ensure_future(gateway.ask(request(str(i)), recipe="r")) for i in range(20)]
        await asyncio.sleep(1)
        assert gateway.status().in_flight == 4 and gateway.status().waiting == 16
        await gateway.aclose()
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(each, StepError) and "closed" in str(each) for each in results)
        with pytest.raises(StepError, match="closed"):
            await gateway.ask(request(), recipe="r")
        return asks

    teacher = Controlled(wait)
    with_gateway(work, teacher, max_in_flight=4)
    assert teacher.closed and teacher.cancelled == 4


def test_a_cancelled_run_has_kept_all_that_had_landed(tmp_path: Path) -> None:
    async def some(call: int) -> None:
        await asyncio.sleep(0 if call < 10 else 100)

    async def work(gateway: Gateway) -> None:
        asks = [asyncio.ensure_future(gateway.ask(request(str(i)), recipe="r")) for i in range(14)]
        while len(teacher.calls) < 14 or teacher.in_flight > 4:
            await asyncio.sleep(0.001)
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)

    teacher = Controlled(some)
    with_gateway(work, teacher, cache=tmp_path / "c")
    with RequestCache(tmp_path / "c") as cache:
        assert len(cache) == 10


def test_an_answer_is_on_the_disk_before_it_is_handed_on(tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> None:
        for i in range(20):
            (reply,) = await gateway.ask(request(str(i)), recipe="r")
            with RequestCache(tmp_path / "c") as other:
                assert other.answer(bytes.fromhex(reply.key)) == reply.answer

    with_gateway(work, Controlled(), cache=tmp_path / "c")


def test_after_a_wait_it_looks_what_another_process_has_paid_for(tmp_path: Path) -> None:
    async def slow(_: int) -> None:
        await asyncio.sleep(0.2)

    async def work(gateway: Gateway) -> list[Spending]:
        other = Controlled()
        blocker = asyncio.ensure_future(gateway.ask(request("blocker"), recipe="r"))
        waiting = asyncio.ensure_future(gateway.ask(request(), recipe="r", n=2))
        await asyncio.sleep(0)
        with RequestCache(tmp_path / "c") as cache:
            async with Gateway({"teacher": other}, cache=cache) as elsewhere:
                await elsewhere.ask(request(), recipe="r", n=1)
        assert [reply.cached for reply in await waiting] == [True, False]
        await blocker
        return gateway.spending()

    teacher = Controlled(slow)
    (line,) = with_gateway(work, teacher, cache=tmp_path / "c", max_in_flight=1)
    assert teacher.calls == [("blocker", 0, 1), ("question", 1, 1)]
    assert (line.requests, line.cached) == (2, 1)


def test_when_answers_cannot_be_kept_nothing_more_is_asked(tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> None:
        await gateway.ask(request("first"), recipe="r")
        assert gateway.cache is not None and gateway.cache._writer is not None
        (pages,) = gateway.cache._writer.execute("PRAGMA page_count").fetchall()[0]
        gateway.cache._writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        long = "".join(chr(0x4E00 + (i * 7919) % 20000) for i in range(50_000))
        with pytest.raises(StepError, match="full"):
            await gateway.ask(request(long), recipe="r")
        with pytest.raises(StepError, match="full"):
            await gateway.ask(request("third"), recipe="r")
        gateway.cache._writer.execute("PRAGMA max_page_count = 100000").fetchall()

    teacher = Controlled()
    with_gateway(work, teacher, cache=tmp_path / "c")
    assert len(teacher.calls) == 2


# Tries.


def test_it_tries_again_and_ends_in_a_dead_letter_with_the_raw_answer() -> None:
    async def work(gateway: Gateway) -> None:
        assert texts(await gateway.ask(request("a"), recipe="r")) == [text_for(request("a"), 0)]
        with pytest.raises(DeadLetter, match="not JSON") as caught:
            await gateway.ask(request("b"), recipe="r")
        letter = caught.value
        assert (letter.tries, letter.fault.raw, letter.teacher) == (4, "half of it", "teacher")
        with pytest.raises(DeadLetter, match="too long") as caught:
            await gateway.ask(request("c"), recipe="r")
        assert caught.value.tries == 1
        (line,) = gateway.spending()
        assert (line.requests, line.retries, line.dead_letters) == (1, 5, 2)
        assert texts(await gateway.ask(request("b"), recipe="r")) == [text_for(request("b"), 0)]
        assert gateway.status().done == 4 and gateway.status().dead_letters == 2

    bad = [BadAnswer("It is not JSON.", raw="half of it")] * 4
    teacher = Controlled(failing(ServerFault("500"), BadAnswer("?"), None, *bad, RequestRefused("too long")))
    with_gateway(work, teacher, max_tries=4)


def test_waits_double_and_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(gateway: Gateway) -> None:
        monkeypatch.setattr(gateway._jitter, "uniform", lambda low, high: (waits.append(high), low)[1])
        with pytest.raises(DeadLetter):
            await gateway.ask(request(), recipe="r")

    waits: list[float] = []
    with_gateway(work, Controlled(failing(*[ServerFault("500")] * 12)))
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_retry_after_holds_for_the_whole_endpoint() -> None:
    times: list[float] = []

    async def busy(call: int) -> None:
        times.append(asyncio.get_running_loop().time())
        if call == 0:
            raise Overloaded("429", retry_after=30)

    async def work(gateway: Gateway) -> None:
        first = asyncio.ensure_future(gateway.ask(request("a"), recipe="r"))
        await asyncio.sleep(1)
        await asyncio.gather(first, *(gateway.ask(request(str(i)), recipe="s") for i in range(3)))

    said: list[str] = []
    with_gateway(work, Controlled(busy), say=said.append)
    assert times[0] == 0 and min(times[1:]) == 30 and max(times) < 31
    assert said == ["endpoint asks to wait 30 seconds."]


def test_what_an_endpoint_asks_for_beyond_the_longest_pause_is_said_so() -> None:
    async def busy(call: int) -> None:
        if call == 0:
            raise Overloaded("429", retry_after=1e9)

    async def work(gateway: Gateway) -> None:
        await gateway.ask(request("a"), recipe="r")

    said: list[str] = []
    with_gateway(work, Controlled(busy), say=said.append)
    assert said == ["endpoint asks to wait 1000000000 seconds; the next try is in 600."]


def test_answers_that_are_none_are_said_once_while_they_are_tried_again() -> None:
    async def page(call: int) -> None:
        if call < 40:
            raise BadAnswer("The answer is not JSON.")

    async def work(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.ask(request(str(i)), recipe="r") for i in range(8)))

    said: list[str] = []
    with_gateway(work, Controlled(page, name="m"), say=said.append)
    assert said == ["`m` answers, but: The answer is not JSON. A request is tried 12 times."]


def test_an_outage_costs_the_waiting_requests_no_tries() -> None:
    """Ten minutes without a server: most of a thousand requests have not been tried at all by then."""

    async def down(_: int) -> None:
        if asyncio.get_running_loop().time() < 600:
            raise ConnectionFault("No connection.")

    async def work(gateway: Gateway) -> int:
        results = await asyncio.gather(*(gateway.ask(request(str(i)), recipe="r") for i in range(1000)))
        assert 600 <= asyncio.get_running_loop().time() < 720
        return len(results)

    said: list[str] = []
    teacher = Controlled(down)
    assert with_gateway(work, teacher, say=said.append) == 1000
    assert len(teacher.calls) < 1000 + 16 * 16
    assert said[0] == "endpoint does not answer: the next try is in 8 seconds."


def test_a_try_that_takes_too_long_is_given_up_and_lowers_the_limit() -> None:
    async def hangs(call: int) -> None:
        await asyncio.sleep(1000 if call == 0 else 1)

    async def work(gateway: Gateway) -> None:
        assert gateway.status().limits == {"endpoint": 16}
        await gateway.ask(request(), recipe="r")
        assert asyncio.get_running_loop().time() >= 21
        assert gateway.status().limits == {"endpoint": 11}

    with_gateway(work, Controlled(hangs), request_seconds=20)


def test_a_teacher_with_a_limit_of_its_own_may_take_longer() -> None:
    async def slow(call: int) -> None:
        await asyncio.sleep(2000)

    patient = Controlled(slow)
    patient.timeout = 3000.0  # type: ignore[attr-defined]
    assert texts(with_gateway(lambda gateway: gateway.ask(request(), recipe="r"), patient)) == ["question -> 0"]
    with pytest.raises(DeadLetter, match="600 seconds"):
        with_gateway(lambda gateway: gateway.ask(request(), recipe="r"), Controlled(slow), max_tries=1)


def test_an_answer_that_cannot_be_used_counts_against_the_budget() -> None:
    def too_long() -> BadAnswer:
        fault = BadAnswer("too long")
        fault.usage = Usage(prompt_tokens=10, completion_tokens=1000)
        return fault

    teacher = Controlled(failing(*[too_long() for _ in range(20)]), price=Price(completion=1e6))

    async def ask(gateway: Gateway) -> Spending:
        with pytest.raises(BudgetSpent):
            await gateway.ask(request(max_tokens=100), recipe="r")
        return gateway.spending()[0]

    line = with_gateway(ask, teacher, budget=Budget(max_total_tokens=2500), max_tries=20)
    assert len(teacher.calls) == 3  # 2 x 1,010 tokens, and then no room for another 100 and the prompt
    assert (line.requests, line.paid_money, line.money) == (0, 3000, 0)


def test_the_lowest_limit_of_an_endpoints_teachers_holds_from_the_start() -> None:
    async def wait(call: int) -> None:
        await asyncio.sleep(1)

    many, few = Controlled(wait, name="many"), Controlled(wait, name="few")
    few.max_in_flight = 4  # type: ignore[attr-defined]

    async def ask(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.ask(request(f"{i}"), recipe="r", teacher="many") for i in range(20)))

    with_gateway(ask, many, few)
    assert many.most_in_flight == 4


def test_overload_lowers_the_limit_and_other_faults_do_not() -> None:
    async def work(gateway: Gateway) -> None:
        await gateway.ask(request("a"), recipe="r")
        assert gateway.status().limits["endpoint"] == 16
        await gateway.ask(request("b"), recipe="r")
        assert gateway.status().limits["endpoint"] == 11

    with_gateway(work, Controlled(failing(ServerFault("500"), None, Overloaded("429"), None)))


def test_fewer_samples_than_asked_for_are_kept_and_the_rest_asked_again() -> None:
    class Stingy(Controlled):
        async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
            answers = await super().answer(request, n=n, first_sample=first_sample)
            return [] if len(self.calls) == 2 else answers[:2]

    async def work(gateway: Gateway) -> list[str]:
        return texts(await gateway.ask(request(), recipe="r", n=5))

    teacher = Stingy()
    assert with_gateway(work, teacher) == [text_for(request(), i) for i in range(5)]
    assert teacher.calls == [("question", 0, 5), ("question", 2, 3), ("question", 2, 3), ("question", 4, 1)]


def test_a_refused_user_ends_the_run() -> None:
    async def work(gateway: Gateway) -> None:
        asks = [gateway.ask(request(str(i)), recipe="r") for i in range(50)]
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(each, AccessRefused) and each.fix == "Set it." for each in results)
        with pytest.raises(AccessRefused, match="No key"):
            await gateway.ask(request("later"), recipe="r")

    async def refused(_: int) -> None:
        await asyncio.sleep(1)
        raise AccessRefused("No key.", fix="Set it.")

    teacher = Controlled(refused)
    with_gateway(work, teacher, max_in_flight=5)
    assert len(teacher.calls) == 5


def test_an_error_of_ours_is_no_fault_to_try_again() -> None:
    async def work(gateway: Gateway) -> None:
        with pytest.raises(ZeroDivisionError):
            await gateway.ask(request(), recipe="r")

    teacher = Controlled(failing(ZeroDivisionError()))
    with_gateway(work, teacher)
    assert len(teacher.calls) == 1


@pytest.mark.parametrize(("fault", "place"), [(BadAnswer("?"), 2), (ServerFault("500"), 5)])
def test_what_was_begun_is_ended_first_unless_the_server_is_down(fault: TeacherFault, place: int) -> None:
    async def first_fails(call: int) -> None:
        await asyncio.sleep(10)
        if call == 0:
            raise fault

    async def work(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.ask(request(str(i)), recipe="r") for i in range(5)))

    teacher = Controlled(first_fails)
    with_gateway(work, teacher, max_in_flight=1)
    texts_of_calls = [text for text, _, _ in teacher.calls]
    assert texts_of_calls[0] == "0" and texts_of_calls.index("0", 1) == place


# Fairness and budgets.


def test_a_recipe_with_few_requests_does_not_wait_for_one_with_many() -> None:
    async def second(_: int) -> None:
        await asyncio.sleep(1)

    async def work(gateway: Gateway) -> None:
        many = [asyncio.ensure_future(gateway.ask(request(f"m{i}"), recipe="many")) for i in range(2000)]
        await asyncio.sleep(0.5)
        await asyncio.gather(*(gateway.ask(request(f"f{i}"), recipe="few") for i in range(10)))
        assert asyncio.get_running_loop().time() < 7
        await asyncio.gather(*many)
        assert teacher.most_in_flight == 4

    teacher = Controlled(second)
    with_gateway(work, teacher, max_in_flight=4)


def test_the_limit_grows_to_its_maximum() -> None:
    async def second(_: int) -> None:
        await asyncio.sleep(1)

    async def work(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.ask(request(str(i)), recipe="r") for i in range(3000)))

    teacher = Controlled(second)
    with_gateway(work, teacher, max_in_flight=300)
    assert teacher.most_in_flight == 300


PRICED = Price(prompt=1e6, completion=1e6)


@pytest.mark.parametrize(
    ("budget", "field"),
    [(Budget(max_total_tokens=1000), "tokens"), (Budget(max_money=1000), "money"), (Budget(max_flops=14000), "flops")],
)
def test_a_budget_is_never_exceeded_and_used_up(budget: Budget, field: str, tmp_path: Path) -> None:
    """An answer takes 15 tokens, and is thought to take up to 200 or so before it is there."""

    async def work(gateway: Gateway) -> int:
        asks = [gateway.ask(request(str(i), max_tokens=30), recipe="r") for i in range(100)]
        results = await asyncio.gather(*asks, return_exceptions=True)
        spent = [each for each in results if isinstance(each, BudgetSpent)]
        assert all(isinstance(each, list | BudgetSpent) for each in results)
        assert f"max_{field}" in str(spent[0].fix)
        assert getattr(gateway.status(), field) == 15 * teacher.calls.__len__() * (14 if field == "flops" else 1)
        return len(results) - len(spent)

    teacher = Controlled(price=PRICED, n_params=7)
    answered = with_gateway(work, teacher, cache=tmp_path / "c", budget=budget)
    assert answered == len(teacher.calls) and 50 < answered <= 1000 // 15

    async def again(gateway: Gateway) -> None:
        every = [await gateway.ask(request(*each[:1], max_tokens=30), recipe="r") for each in teacher.calls]
        assert all(replies[0].cached for replies in every)
        with pytest.raises(BudgetSpent):
            await gateway.ask(request("new", max_tokens=30), recipe="r")

    with_gateway(again, Controlled(price=PRICED, n_params=7), cache=tmp_path / "c", budget=Budget(max_total_tokens=0))


# Embeddings.


def test_embeddings_are_asked_once_and_come_back_bit_by_bit(tmp_path: Path) -> None:
    wanted = [f"text {i}" for i in range(100)]

    async def work(gateway: Gateway) -> Any:
        return await gateway.embed([*wanted, *wanted[:3]], recipe="r"), gateway.spending()

    first, second = Controlled(), Controlled()
    vectors, (paid,) = with_gateway(work, first, cache=tmp_path / "c")
    again, (free,) = with_gateway(work, second, cache=tmp_path / "c")
    assert [len(each) for each in first.embedded] == [64, 36] and second.embedded == []
    assert vectors.shape == (103, 2) and vectors.dtype == np.float32
    assert vectors.tobytes() == again.tobytes()
    assert (vectors[:3] == vectors[100:]).all() and vectors[1, 0] == 6
    assert (paid.requests, paid.cached, free.requests, free.cached) == (100, 0, 0, 100)
    assert paid.prompt_tokens == free.prompt_tokens == 10 * 2 + 90 * 2
    assert with_gateway(lambda gateway: gateway.embed([], recipe="r"), Controlled()).shape == (0, 0)


# What it says.


def test_spending_has_the_fields_of_the_result_of_a_synthesis() -> None:
    assert [each.name for each in fields(Spending)] == [each.name for each in fields(result.Spending)]


def test_lines_are_by_recipe_and_teacher() -> None:
    async def work(gateway: Gateway) -> None:
        for recipe, teacher in (("b", "small"), ("a", "small"), ("a", "big"), ("a", "big")):
            await gateway.ask(request(recipe), recipe=recipe, teacher=teacher)
        assert [(line.recipe, line.teacher, line.requests) for line in gateway.spending()] == [
            ("a", "big", 2),
            ("a", "small", 1),
            ("b", "small", 1),
        ]
        for wrong in (None, "other"):
            with pytest.raises(ConfigError, match="teacher") as caught:
                await gateway.ask(request(), recipe="a", teacher=wrong)
            assert "small, big" in str(caught.value.fix)

    with_gateway(work, Controlled(name="small"), Controlled(name="big", endpoint="elsewhere"))


def test_two_teachers_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="one name"):
        Gateway({"a": Controlled(name="x"), "b": Controlled(name="x")}, cache=None)


class Recorded:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.total: float | None = None
        self.done = 0.0
        self.facts: dict[str, Any] = {}
        self.calls = 0

    @contextmanager
    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Generator[Bar]:
        self.total = total
        yield self

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.calls += 1
        self.done += amount
        self.facts = dict(facts)

    def say(self, line: str) -> None:
        raise AssertionError(line)


def test_a_bar_shows_all_that_is_done_and_what_it_costs() -> None:
    async def second(_: int) -> None:
        await asyncio.sleep(0.01)

    async def work(gateway: Gateway) -> None:
        progress = Recorded()
        with gateway.shown(progress, expected=200):
            await asyncio.gather(*(gateway.ask(request(str(i)), recipe="r") for i in range(100)))
        assert (progress.total, progress.done) == (200, 100)
        assert progress.facts == {"in_flight": 0.0, "cost": "1500.00 spent, 1500.00 to come"}
        assert progress.calls < 20
        assert gateway.status_line().startswith("100/200 requests · 0 in flight · ")

    with_gateway(work, Controlled(second, price=PRICED), max_in_flight=4)


def test_answers_are_what_the_teacher_said(tmp_path: Path) -> None:
    strange = 'line\u2028 \ud83d "quoted" \x00 \U0001f331 ' * 50

    async def work(gateway: Gateway) -> str:
        (reply,) = await gateway.ask(request(strange), recipe="r")
        return reply.text

    for _ in range(2):
        assert with_gateway(work, Controlled(), cache=tmp_path / "c") == answer(f"{strange} -> 0").text


def test_time_outs_of_the_clients_lower_the_limit() -> None:
    async def work(gateway: Gateway) -> None:
        await gateway.ask(request(), recipe="r")
        assert gateway.status().limits["endpoint"] == 11

    with_gateway(work, Controlled(failing(TimedOut("No answer in time."))))
