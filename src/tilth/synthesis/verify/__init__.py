"""Verifiers of answers, task families with adjustable difficulty, and the sandbox that code runs in.

`verifier(name)` gives what judges an answer; `family(name)` what proposes problems; `run_code` runs code that nobody
has read. Nothing of an answer is ever evaluated by Python in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.synthesis.verify.registry import FAMILIES, VERIFIERS, family, verifier
    from tilth.synthesis.verify.sandbox import CodeResult, Isolation, Limits, isolation, run_code
    from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily
    from tilth.synthesis.verify.verdict import Verdict, Verifier

__all__ = [
    "FAMILIES",
    "VERIFIERS",
    "CodeResult",
    "Isolation",
    "Limits",
    "ProblemSource",
    "TaskFamily",
    "Verdict",
    "Verifier",
    "family",
    "isolation",
    "run_code",
    "verifier",
]

__getattr__ = attach(
    __name__,
    {
        "FAMILIES": "tilth.synthesis.verify.registry",
        "VERIFIERS": "tilth.synthesis.verify.registry",
        "CodeResult": "tilth.synthesis.verify.sandbox",
        "Isolation": "tilth.synthesis.verify.sandbox",
        "Limits": "tilth.synthesis.verify.sandbox",
        "ProblemSource": "tilth.synthesis.verify.task_family",
        "TaskFamily": "tilth.synthesis.verify.task_family",
        "Verdict": "tilth.synthesis.verify.verdict",
        "Verifier": "tilth.synthesis.verify.verdict",
        "family": "tilth.synthesis.verify.registry",
        "isolation": "tilth.synthesis.verify.sandbox",
        "run_code": "tilth.synthesis.verify.sandbox",
        "verifier": "tilth.synthesis.verify.registry",
    },
)
