"""Answers that have to follow a set of verifiable instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.verify.instruction_checks import CHECKS, follows
from tilth.synthesis.verify.verdict import Verdict, failed, passed
from tilth.types import Problem


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """The answer follows all instructions; the score is the share that it follows."""

    constraints: tuple[dict[str, object], ...] = ()
    """Each with `id`, such as `punctuation:no_comma`, and its arguments as IFEval's data calls them."""
    loose: bool = False
    """An instruction also counts as followed if the answer follows it without its first or last line, or without
    asterisks: IFEval's loose accuracy."""

    def __post_init__(self) -> None:
        if not self.constraints:
            raise ConfigError(
                "The verifier `instructions` has no constraints.", fix='Give some: [{"id": "punctuation:no_comma"}].'
            )
        for constraint in self.constraints:
            kind, arguments = split(constraint)
            follows("x", kind, arguments)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Checks each instruction."""
        variants = loose_variants(answer) if self.loose else [answer]
        broken: list[str] = []
        for constraint in self.constraints:
            kind, arguments = split(constraint)
            if not any(follows(variant, kind, arguments) for variant in variants):
                broken.append(kind)
        total = len(self.constraints)
        if not broken:
            return passed(f"{total} of {total} instructions")
        kept = total - len(broken)
        return failed(f"{kept} of {total} instructions; not {', '.join(broken)}", kept / total)


def split(constraint: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Returns a constraint's kind and arguments; those that are None, as in IFEval's data, are left out.

    Raises: ConfigError.
    """
    kind = str(constraint.get("id"))
    arguments = {name: value for name, value in constraint.items() if name != "id" and value is not None}
    if kind not in CHECKS:
        raise ConfigError(f"There is no instruction `{kind[:80]}`.", fix=f"There are: {', '.join(sorted(CHECKS))}.")
    return kind, arguments


def loose_variants(answer: str) -> list[str]:
    """Returns an answer without its first line, its last line or both, each with and without asterisks."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(text.replace("*", "") for text in cut)]
