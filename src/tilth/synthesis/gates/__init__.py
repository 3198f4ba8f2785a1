"""Gates: what a sample must pass before it is kept, cheap checks first (`gate.ORDER`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.synthesis.gates.build import make_gates, make_verifier
    from tilth.synthesis.gates.critic import make_critic
    from tilth.synthesis.gates.gate import ORDER, CriticGate, Gate, Pass
    from tilth.synthesis.gates.uniqueness import UniquenessMeter, diversity_line

__getattr__ = attach(
    "tilth.synthesis.gates",
    {
        "CriticGate": "tilth.synthesis.gates.gate",
        "Gate": "tilth.synthesis.gates.gate",
        "ORDER": "tilth.synthesis.gates.gate",
        "Pass": "tilth.synthesis.gates.gate",
        "UniquenessMeter": "tilth.synthesis.gates.uniqueness",
        "diversity_line": "tilth.synthesis.gates.uniqueness",
        "make_critic": "tilth.synthesis.gates.critic",
        "make_gates": "tilth.synthesis.gates.build",
        "make_verifier": "tilth.synthesis.gates.build",
    },
)

__all__ = [
    "ORDER",
    "CriticGate",
    "Gate",
    "Pass",
    "UniquenessMeter",
    "diversity_line",
    "make_critic",
    "make_gates",
    "make_verifier",
]
