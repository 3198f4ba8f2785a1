"""Families of the package `reasoning-gym`, as `reasoning_gym:NAME`: its generators, its levels, its scorers.

A problem names the level and the seed that it was drawn with, from which the package makes it again to score an
answer. Scorers run in the sandbox, since some hand answers to `eval` or to sympy's parser; to those, answers are only
given if they consist of numbers, operators, known functions and single letters.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.verify.family_base import Family
from tilth.synthesis.verify.math_expression import CONSTANTS, FUNCTIONS
from tilth.synthesis.verify.sandbox import Limits, run_code
from tilth.synthesis.verify.verdict import Verdict, failed, passed
from tilth.types import Problem

PREFIX = "reasoning_gym:"
ANSWER_TOKENS = 2_000
"""Room for an answer: the package does not say how long they are."""
_LIMITS = Limits(seconds=20, memory_bytes=1 << 32)
_EVALUATES = re.compile(r"parse_expr|(?<![\w.])eval\(|sympify|(?<![\w.])exec\(|S\(answer")
_HARMLESS = re.compile(r"[\w\s+\-*/^().,=|&~<>!]*", re.ASCII)
_SCORE = """
import json, sys
request = json.loads(sys.stdin.read())
from reasoning_gym.factory import DATASETS, create_curriculum, CURRICULA
{entry}
dataset, item = entry(request["name"], request["level"], request["seed"], DATASETS, CURRICULA, create_curriculum)
print(json.dumps([item["question"], float(dataset.score_answer(request["answer"], item))]))
"""


def entry(name: str, level: int, seed: int, datasets: Any, curricula: Any, create_curriculum: Any) -> tuple[Any, Any]:
    """Returns a data set of the package with one item, and the item; also runs in the sandbox, from its source."""
    kind, config_kind = datasets[name]
    if name in curricula:
        curriculum = create_curriculum(name)
        curriculum.set_global_level(level)
        config = curriculum.generate_configuration({"seed": seed, "size": 1})
    else:
        config = config_kind(seed=seed, size=1)
    dataset = kind(config)
    return dataset, dataset[0]


class ReasoningGym(Family):
    """One of the package's data sets; difficulty n is level n - 1 of its curriculum, where it has one.

    Raises: DependencyError where the package is not installed; ConfigError for an unknown name.
    """

    def __init__(self, name: str) -> None:
        self.data_set = name.partition(":")[0]
        self.name = PREFIX + self.data_set
        if self.data_set not in _factory().DATASETS:
            raise ConfigError(
                f"The package `reasoning-gym` has no data set `{self.data_set[:80]}`.",
                fix=f"It has: {', '.join(sorted(_factory().DATASETS))}.",
            )

    def n_problems(self, difficulty: int) -> int:
        """A guess: the package does not say how many there are."""
        return 10_000

    def answer_tokens(self, difficulty: int) -> int:
        """Room for an answer."""
        return ANSWER_TOKENS

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws a seed and has the package make the item.

        Raises: ConfigError where the package cannot make items of that level.
        """
        level, seed = difficulty - 1, int(rng.integers(2**31))
        item = self._item(level, seed)
        options = json.dumps({"level": level, "seed": seed})
        answer = item["answer"]
        return Problem.make(
            str(item["question"]),
            answer=None if answer is None else str(answer),
            verifier=f"{self.name}:{options}",
            difficulty=difficulty,
        )

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Has the package score the answer, in the sandbox. Raises: StepError where there is no isolation."""
        try:
            options: Any = json.loads(problem.verifier.removeprefix(f"{self.name}:"))
            level, seed = int(options["level"]), int(options["seed"])
        except (ValueError, KeyError, TypeError):
            return failed(f"the problem is none of the family {self.name}")
        if self._evaluates and not harmless(answer):
            return failed("holds more than an expression")
        request = json.dumps({"name": self.data_set, "level": level, "seed": seed, "answer": answer})
        code = _SCORE.replace("{entry}", "from typing import Any\n" + inspect.getsource(entry))
        packages = [path for path in sys.path if path.rstrip("/").endswith(("site-packages", "dist-packages"))]
        done = run_code(code, stdin=request, limits=_LIMITS, packages=packages)
        if not done.ok:
            return failed(f"the scorer ended: {done.reason} {done.detail}"[:200])
        question, score = json.loads(done.stdout.splitlines()[-1])
        if question != problem.prompt:
            return failed("the prompt is not the one that its seed gives")
        return passed("score 1") if score >= 1 else failed(f"score {score:g}", max(0.0, score))

    def _item(self, level: int, seed: int) -> Any:
        factory = _factory()
        try:
            return entry(self.data_set, level, seed, factory.DATASETS, factory.CURRICULA, factory.create_curriculum)[1]
        except (AssertionError, ValueError) as error:
            raise ConfigError(
                f"`{self.name}` has no problems of difficulty {level + 1}: {error}.", fix="Ask for easier ones."
            ) from None

    @property
    def _evaluates(self) -> bool:
        """Whether the scorer may evaluate what an answer says."""
        module = inspect.getmodule(_factory().DATASETS[self.data_set][0])
        return module is None or _EVALUATES.search(inspect.getsource(module)) is not None


def harmless(answer: str) -> bool:
    """Whether a text is made of numbers, operators, known functions and single letters only."""
    if len(answer) > ANSWER_TOKENS or not _HARMLESS.fullmatch(answer):
        return False
    known = {*FUNCTIONS, *CONSTANTS, "asin", "acos", "atan", "True", "False", "and", "or", "not"}
    return all(len(word) == 1 or word in known for word in re.findall(r"[A-Za-z_]\w*", answer))


@lru_cache(maxsize=1)
def _factory() -> Any:
    if importlib.util.find_spec("reasoning_gym") is None:
        raise DependencyError(
            "Families `reasoning_gym:...` need the package `reasoning-gym`.",
            fix="Install it: pip install reasoning-gym.",
        )
    return importlib.import_module("reasoning_gym.factory")
