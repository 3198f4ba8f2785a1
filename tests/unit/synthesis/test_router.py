"""Routers: which teacher answers, the same whatever order answers arrive in and whenever a run is killed."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tilth.errors import ConfigError
from tilth.results import read_result
from tilth.synthesis.learned_router import Contest, TeacherClassifier, train_classifier
from tilth.synthesis.rewards import GateReward, LogprobReward, RubricReward, parse_score
from tilth.synthesis.router import LOG, RouterConfig, make_router
from tilth.synthesis.routing_result import ROUTER, RouterResult
from tilth.teacher.faults import BudgetSpent, DeadLetter, ServerFault
from tilth.teacher.request import Answer, Price, Reply, Request, TokenLogprob, Usage
from tilth.types import Document, Message


@dataclass
class Model:
    """A teacher as far as a router looks at it."""

    name: str
    n_params: int | None = 1_000_000
    price: Price = field(default_factory=Price)


@dataclass
class Pool:
    """An `Asker` over teachers whose quality for a request is a function; answers arrive in a random order."""

    quality: Callable[[str, str], float]
    chaos: random.Random = field(default_factory=lambda: random.Random(0))
    broken: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    budget: int = 10**9
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        assert teacher is not None
        text = request.messages[-1].content
        if len(self.asked) >= self.budget:
            raise BudgetSpent("The budget is spent.")
        self.asked.append((teacher, text))
        for _ in range(self.chaos.randrange(5)):
            await asyncio.sleep(0)
        if (teacher, text) in self.broken:
            raise DeadLetter(ServerFault("500"), tries=1, key="k", teacher=teacher)
        answer = f"{self.quality(teacher, text)} by {teacher} for {text}"
        return [
            Reply(
                answer=Answer(text=answer, finish_reason="stop", usage=Usage(prompt_tokens=5, completion_tokens=5)),
                request=request,
                key=f"{teacher}/{text}/{sample}",
                teacher=teacher,
                sample=sample,
            )
            for sample in range(first_sample, first_sample + n)
        ]


class Written:
    """The reward that stands at the beginning of an answer."""

    name, needs_logprobs = "written", False

    async def __call__(self, request: Request, reply: Reply, document: Document, asker: Any) -> float:
        return float(reply.text.split()[0])


def documents(n: int, language: str = "en") -> list[Document]:
    return [Document(id=f"d{i}", text=f"text {i}", source="s", language=language) for i in range(n)]


def question(document: Document, word: str = "question") -> Request:
    return Request(messages=(Message(role="user", content=f"{word} {document.text}"),))


async def run(
    router: Any, work: Sequence[Document], *, word: Callable[[int], str] = lambda i: "question", n: int = 1
) -> list[str]:
    """Runs all documents at once, with two requests each, as an engine does; returns who answered."""
    winners: list[str] = [""] * len(work)

    async def one(index: int, document: Document) -> None:
        async with router.document(document, index) as asker:
            asking = [asker.ask(question(document, f"{word(index)} {part}"), recipe="r", n=n) for part in ("a", "b")]
            winners[index] = ",".join(reply.teacher for replies in await asyncio.gather(*asking) for reply in replies)

    await asyncio.gather(*(one(index, document) for index, document in enumerate(work)))
    return winners


def two_models(big: int = 10_000_000) -> dict[str, Any]:
    return {"small": Model("small"), "big": Model("big", n_params=big)}


def test_fixed_asks_the_first_teacher_and_writes_no_log(tmp_path: Path) -> None:
    pool = Pool(lambda teacher, text: 1.0)
    router = make_router(RouterConfig(), two_models(), pool, folder=tmp_path)
    assert set(asyncio.run(run(router, documents(3)))) == {"small,small"}
    assert {teacher for teacher, _ in pool.asked} == {"small"}
    assert [row.answers for row in router.close().teachers] == [6, 0]


def test_best_keeps_the_answer_of_the_highest_reward_and_the_first_on_a_tie() -> None:
    pool = Pool(lambda teacher, text: 5.0 if (teacher == "big") == ("text 1" in text) else 4.0)
    router = make_router(RouterConfig(kind="best"), two_models(), pool, reward=Written())
    small, big = ",".join(["small"] * 4), ",".join(["big"] * 4)
    assert asyncio.run(run(router, documents(3), n=2)) == [small, big, small]
    tie = make_router(RouterConfig(kind="best"), two_models(), Pool(lambda teacher, text: 1.0), reward=Written())
    assert asyncio.run(run(tie, documents(1))) == ["small,small"]


def test_the_table_says_what_the_bigger_teacher_was_worth(tmp_path: Path) -> None:
    rewards = {"small": [3.0, 5.0, 4.0, 2.0], "big": [4.0, 5.0, 6.0, 5.0]}
    pool = Pool(lambda teacher, text: rewards[teacher][int(text.split()[-1])])
    router = make_router(RouterConfig(kind="best"), two_models(), pool, reward=Written(), folder=tmp_path)
    asyncio.run(run(router, documents(4)))
    result = router.close()
    (worth,) = result.worth
    assert (worth.dearer, worth.cheaper, worth.pairs) == ("big", "small", 8)
    assert worth.gain == pytest.approx(1.5) and worth.cost_ratio == pytest.approx(10)
    assert worth.low < 1.5 < worth.high and worth.wins == pytest.approx((3 + 0.5) / 4)
    small, big = result.teachers
    assert (small.wins, big.wins) == (2, 6)
    assert small.mean_reward == pytest.approx(3.5)
    assert small.reward_per_flop == pytest.approx(28 / (8 * 2 * 1e6 * 10))
    assert read_result(RouterResult, tmp_path / ROUTER).worth == result.worth


def test_a_teacher_that_fails_takes_no_part_unless_all_fail() -> None:
    first = "question a text 0"
    pool = Pool(lambda teacher, text: 9.0 if teacher == "big" else 1.0, broken={("big", first)})
    router = make_router(RouterConfig(kind="best"), two_models(), pool, reward=Written())
    assert asyncio.run(run(router, documents(1))) == ["small,big"]
    pool = Pool(lambda teacher, text: 1.0, broken={("big", first), ("small", first)})
    router = make_router(RouterConfig(kind="best"), two_models(), pool, reward=Written())
    with pytest.raises(DeadLetter):
        asyncio.run(run(router, documents(1)))


def words(index: int) -> str:
    return "code function python" if index % 2 else "story dragon castle"


def by_subject(teacher: str, text: str) -> float:
    return 8.0 if (teacher == "big") == ("code" in text) else 3.0


def test_learned_asks_one_teacher_after_the_training_documents(tmp_path: Path) -> None:
    pool = Pool(by_subject)
    config = RouterConfig(kind="learned", train_documents=30)
    router = make_router(config, two_models(), pool, reward=Written(), folder=tmp_path)
    winners = asyncio.run(run(router, documents(60), word=words))
    assert winners[30:] == ["big,big" if i % 2 else "small,small" for i in range(30, 60)]
    assert len(pool.asked) == 30 * 2 * 2 + 30 * 2
    result = router.close()
    assert result.trained_on == 60 and result.agreement == 1.0 and result.always_best < 0.8
    classifier = TeacherClassifier.load(tmp_path)
    assert classifier.predict("[user]\ncode function python a text 99", "en") == "big"
    assert not list(tmp_path.glob("*.pkl"))


def test_the_learned_router_leaves_ties_out_and_can_be_one_sided() -> None:
    contests = [Contest(prompt=f"p{i}", bucket="en", winner="small", margin=float(i > 3)) for i in range(10)]
    classifier = train_classifier(contests, ("big", "small"))
    assert classifier.trained_on == 6 and classifier.predict("anything", "de") == "small"


def test_language_decides_where_words_do_not() -> None:
    contests = [
        Contest(prompt="the same", bucket=language, winner={"en": "small", "de": "big"}[language], margin=1.0)
        for language in ("en", "de") * 20
    ]
    classifier = train_classifier(contests, ("small", "big"))
    assert (classifier.predict("the same", "de"), classifier.predict("the same", "en")) == ("big", "small")


def bandit(pool: Pool, folder: Path | None = None, big: int = 10_000_000, **options: Any) -> Any:
    config = RouterConfig(kind="bandit", block_documents=8, **options)
    return make_router(config, two_models(big), pool, reward=Written(), folder=folder)


def test_the_bandit_finds_the_teacher_of_more_value_per_flop() -> None:
    def quality(teacher: str, text: str) -> float:
        return 4.0 + int(text.split()[-1]) % 2 + (2.0 if teacher == "big" else 0.0)

    cheap = Counter(asyncio.run(run(bandit(Pool(quality)), documents(120))))
    assert cheap["small,small"] > 100  # 6.5 / 10 is less than 4.5 / 1
    dear = Counter(asyncio.run(run(bandit(Pool(quality), big=1_200_000), documents(120))))
    assert dear["big,big"] > 80  # 6.5 / 1.2 is more than 4.5 / 1
    floor = Counter(asyncio.run(run(bandit(Pool(quality), floor=5.5), documents(120))))
    assert floor["big,big"] > 80  # what the small one writes is worth nothing


def test_the_bandit_learns_each_language_apart() -> None:
    work = [Document(id=f"d{i}", text=f"text {i}", source="s", language="de" if i % 2 else "en") for i in range(160)]
    winners = asyncio.run(
        run(
            bandit(Pool(lambda teacher, text: 6.0 if (int(text.split()[-1]) % 2 == 1) == (teacher == "big") else 1.0),
                   big=1_000_000),
            work,
        )
    )  # fmt: skip
    late = winners[80:]
    assert Counter(late[1::2])["big,big"] > 30 and Counter(late[0::2])["small,small"] > 30


@pytest.mark.parametrize("kind", ["best", "learned", "bandit"])
def test_the_order_of_arrival_does_not_show(kind: str, tmp_path: Path) -> None:
    def outcome(chaos: int) -> tuple[list[str], bytes, bytes]:
        folder = tmp_path / f"{kind}{chaos}"
        folder.mkdir()
        pool = Pool(lambda teacher, text: float(hash_of(teacher + text)), chaos=random.Random(chaos))
        config = RouterConfig(kind=kind, train_documents=24, block_documents=8)  # pyright: ignore
        router = make_router(config, two_models(2_000_000), pool, reward=Written(), folder=folder)
        winners = asyncio.run(run(router, documents(48), word=words))
        router.close()
        return winners, (folder / ROUTER).read_bytes(), (folder / LOG).read_bytes()

    assert outcome(1) == outcome(2) == outcome(3)


def hash_of(text: str) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(text)) % 10


@pytest.mark.parametrize("kind", ["learned", "bandit"])
@pytest.mark.parametrize("replay", [True, False])
def test_a_killed_run_ends_as_a_calm_one(kind: str, replay: bool, tmp_path: Path) -> None:
    config = RouterConfig(kind=kind, train_documents=24, block_documents=8)  # pyright: ignore

    def quality(teacher: str, text: str) -> float:
        return float(hash_of(teacher + text))

    def router(folder: Path, pool: Pool) -> Any:
        folder.mkdir(exist_ok=True)
        return make_router(config, two_models(2_000_000), pool, reward=Written(), folder=folder)

    calm = router(tmp_path / "calm", Pool(quality))
    expected = asyncio.run(run(calm, documents(48), word=words))
    calm.close()
    killed = router(tmp_path / "killed", Pool(quality, budget=70 if kind == "bandit" else 110))
    with pytest.raises(BudgetSpent):
        asyncio.run(run(killed, documents(48), word=words))
    with (tmp_path / "killed" / LOG).open("a") as log:
        log.write('{"index": 47, "ans')  # cut off while it was written
    again = router(tmp_path / "killed", Pool(quality, chaos=random.Random(9)))
    done = set(again.observed)
    assert 0 < len(done) < 48
    if replay:
        assert asyncio.run(run(again, documents(48), word=words)) == expected
    else:
        asyncio.run(run_some(again, documents(48), [i for i in range(48) if i not in done]))
    again.close()
    for name in (ROUTER, LOG):
        assert (tmp_path / "calm" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.parametrize("kind", ["learned", "bandit"])
def test_a_budget_that_a_recipe_survives_ends_those_that_wait(kind: str, tmp_path: Path) -> None:
    config = RouterConfig(kind=kind, train_documents=16, block_documents=8)  # pyright: ignore
    pool = Pool(lambda teacher, text: float(hash_of(teacher + text)), budget=70)
    router = make_router(config, two_models(), pool, reward=Written(), folder=tmp_path)
    ends: Counter[str] = Counter()

    async def one(index: int, document: Document) -> None:
        try:
            async with router.document(document, index) as asker:
                try:
                    for part in ("a", "b", "c"):
                        await asker.ask(question(document, part), recipe="r")
                    ends["whole"] += 1
                except BudgetSpent:
                    ends["cut"] += 1
        except BudgetSpent:
            ends["waited"] += 1

    async def every() -> None:
        await asyncio.wait_for(asyncio.gather(*(one(i, d) for i, d in enumerate(documents(60)))), 20)

    asyncio.run(every())
    assert ends["waited"] > 20 and ends["cut"] > 0 and ends.total() == 60
    router.close()
    logged = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert len(logged) == ends["whole"]  # what was cut short is not taken for a whole document


async def run_some(router: Any, work: Sequence[Document], chosen: Sequence[int]) -> None:
    async def one(index: int) -> None:
        async with router.document(work[index], index) as asker:
            for part in ("a", "b"):
                await asker.ask(question(work[index], f"{words(index)} {part}"), recipe="r")

    await asyncio.gather(*(one(index) for index in chosen))


def test_a_named_teacher_is_not_routed() -> None:
    pool = Pool(lambda teacher, text: 1.0)
    router = make_router(RouterConfig(kind="best"), two_models(), pool, reward=Written())

    async def ask() -> None:
        async with router.document(documents(1)[0], 0) as asker:
            await asker.ask(question(documents(1)[0]), recipe="critic", teacher="big")

    asyncio.run(ask())
    assert pool.asked == [("big", "question text 0")] and router.result().worth == ()


def test_mistakes() -> None:
    pool = Pool(lambda teacher, text: 1.0)
    with pytest.raises(ConfigError, match="one teacher"):
        make_router(RouterConfig(kind="best"), {"a": Model("a")}, pool, reward=Written())  # pyright: ignore
    with pytest.raises(ConfigError, match="compare"):
        make_router(RouterConfig(kind="best"), two_models(), pool)
    with pytest.raises(ConfigError, match="teacher"):
        make_router(RouterConfig(), {}, pool)
    with pytest.raises(ConfigError, match="router"):
        RouterConfig(kind="other")  # pyright: ignore[reportArgumentType]


# Rewards


def reply_of(text: str, finish: Any = "stop", logprobs: Any = None) -> Reply:
    usage = Usage(prompt_tokens=1, completion_tokens=1)
    answer = Answer(text=text, finish_reason=finish, usage=usage, logprobs=logprobs)
    return Reply(answer=answer, request=question(documents(1)[0]), key="k", teacher="small")


@pytest.mark.parametrize(
    ("text", "score"),
    [("Fine.\nScore: 7", 7.0), ("**Score: 10**", 10.0), ("Score: 3\nBut then", None), ("Score: 11", None), ("", None)],
)
def test_scores_are_in_the_last_line(text: str, score: float | None) -> None:
    found = parse_score(text)
    assert math.isnan(found) if score is None else found == score


def test_the_rubric_asks_the_critic_and_not_about_broken_answers() -> None:
    class Critic:
        prompts: list[str] = []  # noqa: RUF012

        async def ask(self, request: Request, *, recipe: str, teacher: str | None = None, **_: Any) -> list[Reply]:
            assert (recipe, teacher) == ("reward", "judge")
            self.prompts.append(request.messages[-1].content)
            return [reply_of("It is short.\nScore: 6")]

    critic, reward, document = Critic(), RubricReward("judge"), documents(1)[0]
    given = asyncio.run(reward(question(document), reply_of("An answer."), document, critic))  # pyright: ignore
    assert given == 6.0 and "question text 0" in critic.prompts[0] and "An answer." in critic.prompts[0]
    cut = asyncio.run(reward(question(document), reply_of("An", "length"), document, critic))  # pyright: ignore
    assert cut == 0.0 and len(critic.prompts) == 1


def test_log_probabilities_as_a_reward() -> None:
    reward, document = LogprobReward(), documents(1)[0]
    tokens = tuple(TokenLogprob(token="a", logprob=math.log(p)) for p in (0.5, 0.125))
    found = asyncio.run(reward(question(document), reply_of("a a", logprobs=tokens), document, Pool(lambda *_: 0)))
    assert found == pytest.approx(0.25)
    none = asyncio.run(reward(question(document), reply_of("a a"), document, Pool(lambda *_: 0)))
    assert math.isnan(none)


def test_a_reward_that_needs_log_probabilities_has_them_asked_for() -> None:
    seen: list[int | None] = []

    class Asker(Pool):
        async def ask(self, request: Request, **arguments: Any) -> list[Reply]:
            seen.append(request.params.logprobs)
            return await super().ask(request, **arguments)

    asker = Asker(lambda teacher, text: 1.0)
    router = make_router(RouterConfig(kind="best"), two_models(), asker, reward=LogprobReward())
    asyncio.run(run(router, documents(1)))
    assert set(seen) == {0}


def test_gates_as_a_reward_leave_out_the_one_with_a_memory() -> None:
    from tilth.curation.operators import Drop
    from tilth.synthesis.gates.gate import Pass

    class Short:
        def __init__(self, name: str) -> None:
            self.name = name

        def judge(self, sample: Any, seed: Document) -> Any:
            return Pass() if self.name == "length" and len(sample.text) > 5 else Drop("short")

    reward, document = GateReward([Short("length"), Short("near_duplicate")]), documents(1)[0]
    for text, expected in (("long enough", 1.0), ("no", 0.0), ("", 0.0)):
        given = asyncio.run(reward(question(document), reply_of(text), document, Pool(lambda *_: 0)))
        assert given == expected


def test_the_log_is_plain_json(tmp_path: Path) -> None:
    router = make_router(
        RouterConfig(kind="best"), two_models(), Pool(lambda *_: math.nan), reward=Written(), folder=tmp_path
    )
    asyncio.run(run(router, documents(2)))
    router.close()
    rows = [
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
        for line in (tmp_path / LOG).read_text().splitlines()
    ]
    assert [row["index"] for row in rows] == [0, 1] and rows[0]["answers"][0]["reward"] is None
