"""What judges the samples of a run, from its config: gates, critic, verifier, router, meter of uniqueness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tilth.errors import ConfigError
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.gates import UniquenessMeter, make_critic, make_gates
from tilth.synthesis.gates.gate import CriticGate, Gate
from tilth.synthesis.generate import Plan
from tilth.synthesis.router import Router, RouterConfig, make_router
from tilth.teacher.request import Asker, Teacher


def gates_of(plan: Plan, work: Path | None) -> list[Gate]:
    """Returns the gates that ask nobody, in order; with `work`, what they remember is mostly on disk."""
    lines = [line for file in plan.prompts.values() for line in file.instructions]
    return make_gates(plan.config.gates, work=work, instructions=lines)


def critic_of(config: SynthesisConfig, teachers: Sequence[str]) -> CriticGate | None:
    """Returns the critic; it is the first teacher where none is named. Raises: ConfigError for an unknown teacher."""
    named = config.gates.critic_teacher
    if named is not None and named not in teachers:
        raise ConfigError(
            f"The critic `{named}` is none of the teachers: {', '.join(teachers)}.",
            fix="Give it with `--teacher`, too, after the one that writes.",
        )
    return make_critic(replace(config.gates, critic_teacher=named or teachers[0]))


def router_of(
    config: SynthesisConfig, teachers: Mapping[str, Teacher], asker: Asker, gates: Sequence[Gate], folder: Path | None
) -> Router | None:
    """Returns what chooses among the teachers, None where the first answers.

    A critic that is named judges the answers, and writes none itself. Without one, answers are worth how likely their
    teacher finds them where `critic` is `reward`, else what the gates without a memory make of them.
    """
    if config.router == "fixed":
        return None
    from tilth.synthesis.rewards import GateReward, LogprobReward, RubricReward

    critic = config.gates.critic_teacher
    writing = {name: teacher for name, teacher in teachers.items() if name != critic}
    reward = LogprobReward() if config.gates.critic == "reward" else GateReward(gates)
    if critic is not None:
        reward = RubricReward(critic)
    router = RouterConfig(kind=config.router, train_documents=config.router_documents, seed=config.seed)
    return make_router(router, writing, asker, reward=reward, folder=folder)


def meter_for(documents: int, work: Path | None) -> UniquenessMeter:
    """Returns a meter with a point for about every twentieth of a small run, and for every 100 samples of a large."""
    return UniquenessMeter(min(max(documents // 20, 10), 100), work=work)
