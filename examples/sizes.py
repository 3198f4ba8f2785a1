"""A recipe of your own: tokenizers of several sizes on one corpus, a table of what each needs, and a report on all.

With a folder `texts` that holds text of any kind:

    tilth plan examples/sizes.py:sizes --corpus texts --vocab-sizes 512 1k
    tilth run examples/sizes.py:sizes --corpus texts --vocab-sizes 512 1k --jobs 2
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tilth import Context, Source, Step
from tilth.curation import CurationConfig
from tilth.errors import ConfigError
from tilth.recipes import step_functions
from tilth.steps import Counts, Inputs
from tilth.tokenizer import Tokenizer, TokenizerConfig


def sizes(*, corpus: str, vocab_sizes: tuple[int, ...] = (512, 1024), languages: tuple[str, ...] = ("en",)) -> Step:
    """Train tokenizers of several sizes, write a table, and report on all.

    Args:
        corpus: File, folder or URL with text.
        vocab_sizes: Tokens of each vocabulary.
        languages: Languages to keep.
    """
    if len(vocab_sizes) < 2:
        raise ConfigError(f"`--vocab-sizes` names {len(vocab_sizes)} sizes.", fix="Give two or more to compare.")
    # Building steps runs nothing. A step is its function, its config and its inputs: equal ones run once.
    curate = Step("curate", step_functions.curate, CurationConfig(languages=languages), {"texts": Source(corpus)})
    data = {"train": curate / "train", "held_out": curate / "held_out"}
    tokenizers = {
        f"tokenizer-{n}": Step(
            "tokenizer", step_functions.train_tokenizer, TokenizerConfig(vocab_size=n), data, label=f"tokenizer-{n}"
        )
        for n in vocab_sizes
    }
    table = Step("sizes-table", write_table, {}, {"train": curate / "train", **tokenizers})
    shown = {step.label: step for step in (curate, *tokenizers.values(), table)}
    return Step("report", step_functions.write_report, {"name": "sizes"}, shown)


def write_table(config: Mapping[str, object], inputs: Inputs, out: Path, context: Context) -> Counts:
    """A step function: reads its inputs, writes into `out`, and returns what it counted."""
    from tilth import Dataset  # what is heavy is imported where it is used: `tilth plan` stays quick

    texts = [document.text for document in Dataset.open(inputs["train"]).documents()]
    rows = ["tokenizer,tokens"]
    names = [name for name in inputs.folders if name != "train"]
    for name in names:
        tokenizer = Tokenizer.load(inputs[name])
        rows.append(f"{name},{sum(len(tokenizer.encode(text)) for text in texts)}")
    (out / "sizes.csv").write_text("\n".join(rows) + "\n")
    return {"tokenizers": len(names)}
