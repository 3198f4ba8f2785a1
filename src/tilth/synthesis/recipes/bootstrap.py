"""Synthetic bootstrapped pairs: new documents from a model that learned how the corpus's documents relate.

The only recipe that needs no teacher: `prepare` trains one from a pretrained model (`synthesis/bootstrap.py`). Near
copies of the seed are dropped by the gate `copy`, near duplicates of each other by `near_duplicate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilth.synthesis.define import Ask, Draft, ParseError, recipe
from tilth.synthesis.recipes.bootstrap_options import Bootstrap
from tilth.teacher.request import GenerationParams
from tilth.types import Document

if TYPE_CHECKING:
    from tilth.execute import Context
    from tilth.storage import Dataset
    from tilth.teacher.request import Teacher

WORDS = 4
"""Words of a sequence that counts as repeated."""


def prepare(dataset: Dataset, work: Path, options: Bootstrap, context: Context) -> Teacher:
    """Trains the model of related documents; see `tilth.synthesis.bootstrap.prepare`."""
    from tilth.synthesis import bootstrap as training

    return training.prepare(dataset, work, options, context)


def parse_related(text: str, max_repeated: float) -> str:
    """Returns the document that was written. Raises: ParseError if it goes round in circles."""
    words = text.split()
    sequences = [tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
    repeated = 1 - len(set(sequences)) / len(sequences) if sequences else 0.0
    if repeated > max_repeated:
        raise ParseError("repetition", f"{repeated:.2f} > {max_repeated:g}")
    return text.strip()


@recipe(
    "bootstrap",
    version=1,
    shape="text",
    prompts=("related",),
    options=Bootstrap,
    params=GenerationParams(max_tokens=1024, temperature=1.0),
    allow_cut_off=True,  # a document may fill the model's context
    prepare=prepare,
    source="Synthetic bootstrapped pretraining (Yang et al. 2025)",
)
async def bootstrap(document: Document, ask: Ask) -> list[Draft]:
    """Related documents, by a model of your own that was trained on pairs of the corpus; no teacher is needed."""
    options: Bootstrap = ask.options
    related = await ask("related", {"text": document.text}, lambda text: parse_related(text, options.max_repeated))
    return [Draft(text=related.value, replies=(related,))]
