"""The gates of a run, from its config."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tilth.curation.decontamination import evaluation_index, keep_evaluation_index
from tilth.curation.near_duplicates import earlier_index, keep_earlier_index
from tilth.synthesis.config import GateConfig
from tilth.synthesis.gates.contaminated import DecontaminationGate
from tilth.synthesis.gates.copied import CopyGate
from tilth.synthesis.gates.gate import Gate
from tilth.synthesis.gates.language import LanguageGate
from tilth.synthesis.gates.length import LengthGate
from tilth.synthesis.gates.near_duplicate import NearDuplicateGate
from tilth.synthesis.gates.verified import VerifierGate


def make_gates(config: GateConfig, *, work: Path | None = None, instructions: Sequence[str] = ()) -> list[Gate]:
    """Returns the gates that need no teacher, in the order of `gate.ORDER`, up to `decontamination`.

    `work`: folder of this run, in which the indexes of evaluation sets and earlier datasets are kept from run to run,
    and most of that of the samples; None: all is in memory. `instructions`: texts of the recipe's prompt files, which a
    sample must not repeat.
    Raises: DataError for an evaluation set or a dataset that cannot be read.
    """
    threshold = config.near_duplicate_threshold
    against, sets = config.against, config.decontaminate
    if work is not None:
        against = (keep_earlier_index(against, work, threshold=threshold),) if against else ()
        sets = (keep_evaluation_index(sets, work),) if sets else ()
    gates: list[Gate] = [
        LengthGate(config.min_words, config.max_words),
        LanguageGate(config.languages),
        CopyGate(config.max_copied, instructions),
        NearDuplicateGate(
            threshold,
            folder=None if work is None else work / f"near_duplicates-{threshold}",
            earlier=earlier_index(against, threshold=threshold) if against else None,
        ),
    ]
    if sets:
        gates.append(DecontaminationGate(evaluation_index(sets)))
    return gates


def make_verifier(config: GateConfig, *, allow_files: bool = False) -> VerifierGate | None:
    """Returns the last gate, or None where the config has it off.

    `allow_files`: whether a sample may name a verifier in a file of code, which is right for a recipe of one's own.
    """
    if not config.verify:
        return None
    registry = importlib.import_module("tilth.synthesis.verify.registry")
    return VerifierGate(partial(registry.verifier, allow_files=allow_files))
