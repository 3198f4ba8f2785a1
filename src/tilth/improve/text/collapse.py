"""Collapse and its cure: models trained, generation after generation, on the samples of the one before.

Generation 0 is trained on real text. Every later generation trains a new model, from scratch and for as many tokens,
on the training set of its arm, and draws a synthetic set of the original's size. Arms share generation 0. Unit of work:
one generation of an arm with a seed; `generation.json` marks it as done, so a killed experiment continues and ends with
the same bytes (seconds aside).
Source: Shumailov et al. 2024 (2305.17493), Gerstgrasser et al. 2024 (2404.01413; `accumulate`), Kazdan et al. 2024
(2410.16713; `accumulate_subsample`), Feng et al. 2024 (2406.07515; `verified`, with the criterion of Azadi et al. 2019,
1810.06758: the ratio of real text's density to the generator's).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tilth import execute
from tilth.assay.experiment import EXPERIMENT_RESULT, Example, Experiment
from tilth.errors import DivergedError
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.improve.fine_tune import one_thread
from tilth.improve.text.collapse_result import collapse_experiment
from tilth.improve.text.config import COLLAPSE_ARMS, CollapseArm, CollapseConfig
from tilth.improve.text.corpora import CORPORA, HELD_OUT, OTHER, original_name, read_text, write_corpora
from tilth.improve.text.generations import (
    Generation,
    GenerationRecord,
    n_in_set,
    read_record,
    read_samples,
    read_verifier,
    run_generation,
    train_verifier,
)
from tilth.improve.text.passages import first_tokens, n_tokens, random_tokens
from tilth.improve.text.sampling import bits_of
from tilth.model import load_model
from tilth.model.device import resolve_device
from tilth.results import read_result, write_result
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

EXAMPLE_SAMPLES = 4
"""Samples of a generation that are shown."""
VERIFIER = "verifier.json"
REAL_SHARE = 0.1
"""Real text in the training sets of the arm `real_10`."""
SELECTED: tuple[CollapseArm, ...] = ("verified", "likely")
"""Arms that a verifier chooses for."""
DOUBLED: tuple[CollapseArm, ...] = ("double", *SELECTED)
"""Arms that draw twice as many samples."""
_FIRST, _SET, _GENERATION = 1, 2, 3
_ARM_KEYS: dict[CollapseArm, int] = {
    "replace": 1, "double": 2, "verified": 3, "real_10": 4, "accumulate_subsample": 5, "accumulate": 6, "real": 7,
    "likely": 8,
}  # fmt: skip
"""Keys of the streams of chance, written out so that another arm does not change the others' results."""


@dataclass(frozen=True, kw_only=True)
class CollapseRun:
    """What all arms of one seed share."""

    config: CollapseConfig
    seed: int
    out: Path
    tokenizer_folder: Path
    context: execute.Context = field(default_factory=execute.Context)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all models."""
        return Tokenizer.load(self.tokenizer_folder)

    @cached_property
    def held_out(self) -> list[Document]:
        """The real text that every model is measured on."""
        return read_text(self.out, HELD_OUT)

    @cached_property
    def real(self) -> list[Document]:
        """The original text of this seed."""
        return read_text(self.out, original_name(self.seed))

    @property
    def verifier_folder(self) -> Path:
        """Of the one verifier of all seeds."""
        return self.out / "verifier"

    def folder(self, arm: CollapseArm, number: int) -> Path:
        """Returns the folder of a generation; generation 0 is the same for all arms."""
        seed = self.out / f"seed-{self.seed}"
        return seed / (f"{arm}/" if number else "") / f"generation-{number}"

    def generation(self, arm: CollapseArm, number: int) -> Generation:
        """Returns what generation `number` of an arm is made from."""
        folder = self.folder(arm, number)
        return Generation(
            folder=folder,
            config=self.config,
            tokenizer=self.tokenizer,
            held_out=self.held_out,
            reference=self.real,
            name=folder.relative_to(self.out).as_posix(),
            key=(self.seed, _GENERATION, _ARM_KEYS[arm], number) if number else (self.seed, _FIRST),
            sets=2 if number == 0 or arm in DOUBLED else 1,
            # The verifier's criterion needs the model that wrote the samples.
            keep_model=number in (0, self.config.generations) or arm == "verified",
        )


def collapse(
    config: CollapseConfig,
    out: Path | str,
    *,
    train: Dataset,
    held_out: Dataset,
    tokenizer: Path,
    context: execute.Context | None = None,
) -> Experiment:
    """Runs all arms with all seeds and writes `experiment.json`; called again, it continues.

    `tokenizer` is a tokenizer's folder. Samples stay as datasets, `seed-S/ARM/generation-G/samples`.
    Raises: ConfigError if `out` holds another experiment; DataError if there is too little text.
    """
    out, context = Path(out), context or execute.Context()
    machine = execute.Context(device=resolve_device(context.device), checkpoint_seconds=context.checkpoint_seconds)
    loaded = Tokenizer.load(tokenizer)
    identity = {
        "config": config,
        "train": train.fingerprint,
        "held_out": held_out.fingerprint,
        "tokenizer": loaded.fingerprint,
    }
    names = ("verifier", CORPORA, *(f"seed-{seed}" for seed in config.seeds))
    claim(out, identity, kind="collapse", outputs=(EXPERIMENT_RESULT, *names))
    clear_temporaries(out)
    write_corpora(out, train, held_out, loaded, config)
    runs = [
        CollapseRun(config=config, seed=seed, out=out, tokenizer_folder=tokenizer, context=machine)
        for seed in config.seeds
    ]
    shards = [(runs[0], True), *((run, False) for run in runs)]
    list(execute.map_shards(_first_shard, shards, context, name="first models", unit="models"))
    arms: list[tuple[CollapseRun, CollapseArm]] = [(run, arm) for run in runs for arm in COLLAPSE_ARMS]
    outcomes = execute.map_shards(_arm_shard, arms, context, name="arms", unit="arms")
    records: dict[tuple[int, CollapseArm], list[GenerationRecord]] = {
        (run.seed, arm): found for (run, arm), found in zip(arms, outcomes, strict=True)
    }
    result = collapse_experiment(
        config,
        records,
        held_out=read_text(out, HELD_OUT),
        n_params=config.model(loaded.vocab_size).n_params,
        verifier_flops=read_result(VerifierRecord, runs[0].verifier_folder / VERIFIER).flops,
        examples=[example for arm in COLLAPSE_ARMS for example in _examples(runs[0], arm, records)],
    )
    write_result(out / EXPERIMENT_RESULT, result)
    return result


def _first_shard(shard: tuple[CollapseRun, bool]) -> None:
    run, is_verifier = shard
    with one_thread():
        if is_verifier:
            train_one_verifier(run)
        else:
            run_generation(run.generation("real", 0), run.real, run.context)


def train_one_verifier(run: CollapseRun) -> None:
    """Trains the verifier of all seeds, unless that is done; one whose loss breaks down is recorded in words."""
    done = run.verifier_folder / VERIFIER
    if not done.exists():
        text = read_text(run.out, OTHER)
        try:
            flops = train_verifier(run.verifier_folder, run.config, run.tokenizer, text, run.context)
            record = VerifierRecord(flops=flops)
        except DivergedError as error:
            record = VerifierRecord(flops=0.0, ended=f"The verifier's training ended: {error.message}")
        write_result(done, record)


@dataclass(frozen=True, kw_only=True)
class VerifierRecord:
    """What the verifier took."""

    flops: float
    ended: str = ""
    """Why there is none, in words; empty: there is one."""


def _arm_shard(shard: tuple[CollapseRun, CollapseArm]) -> list[GenerationRecord]:
    return run_arm(*shard)


def run_arm(run: CollapseRun, arm: CollapseArm) -> list[GenerationRecord]:
    """Runs an arm, or continues it; returns its records from generation 0 on, the last one ended or not."""
    first = read_record(run.folder(arm, 0))
    assert first is not None
    # Of the samples of generation 0, of which there are two sets, most arms take one.
    records = [first if arm in DOUBLED else replace(first, generation_flops=first.set_flops)]
    verifier = read_result(VerifierRecord, run.verifier_folder / VERIFIER)
    if arm in SELECTED and verifier.ended and not first.ended:
        return [*records, GenerationRecord(ended=verifier.ended)]
    with one_thread():
        for number in range(1, run.config.generations + 1):
            if records[-1].ended:
                break
            one = run.generation(arm, number)
            text, flops = ([], 0.0) if read_record(one.folder) is not None else training_text(run, arm, number)
            found = run_generation(one, text, run.context, selection_flops=flops)
            records.append(found)
    return records


def training_text(run: CollapseRun, arm: CollapseArm, number: int) -> tuple[list[Document], float]:
    """Returns what generation `number` (from 1) of an arm is trained on, and the FLOPs of choosing it."""
    config, tokenizer = run.config, run.tokenizer
    rng = np.random.default_rng([run.seed, _SET, _ARM_KEYS[arm], number])
    if arm == "real":
        return run.real, 0.0
    if arm in ("accumulate", "accumulate_subsample"):
        every = [*run.real]
        for earlier in range(number):
            every += one_set(run, read_samples(run.folder(arm, earlier)))
        if arm == "accumulate":
            return every, 0.0
        return random_tokens(every, config.set_tokens, tokenizer, rng), 0.0
    last = read_samples(run.folder(arm, number - 1))
    if arm == "double":
        return last, 0.0
    if arm in SELECTED:
        return verified_set(run, arm, number, last)
    if arm == "real_10":
        n_real = round(REAL_SHARE * config.set_tokens)
        real = random_tokens(run.real, n_real, tokenizer, rng)
        return [*real, *first_tokens(last, config.set_tokens - n_real, tokenizer)], 0.0
    return one_set(run, last), 0.0


def one_set(run: CollapseRun, samples: Sequence[Document]) -> list[Document]:
    """Returns the first samples, as many tokens as the original text has."""
    return list(samples[: n_in_set(n_tokens(samples, run.tokenizer), run.config.set_tokens)])


def verified_set(
    run: CollapseRun, arm: CollapseArm, number: int, samples: Sequence[Document]
) -> tuple[list[Document], float]:
    """Returns the best samples, as many tokens as the original text has, in the order in which they were drawn, and the
    FLOPs of choosing them.

    `verified`: by log p_verifier - log p_generator for each token, which estimates how much likelier a sample is as
    real text than as the generator's own. `likely`: by the fewest bits per byte under the verifier, whatever the
    generator; that favours what is short, common and repetitive.
    """
    bits, flops = bits_of(read_verifier(run.verifier_folder, run.context), run.tokenizer, samples)
    tokens = n_tokens(samples, run.tokenizer)
    if arm == "verified":
        generator = load_model(run.folder(arm, number - 1) / "model", device=run.context.device)
        own, more = bits_of(generator, run.tokenizer, samples)
        cost, flops = (bits - own) / np.array(tokens), flops + more
    else:
        cost = bits / np.array([len(one.text.encode("utf-8", "surrogatepass")) for one in samples])
    order = np.argsort(cost, kind="stable")
    best = order[: n_in_set([tokens[index] for index in order], run.config.set_tokens)]
    return [samples[index] for index in np.sort(best)], flops


def _examples(
    run: CollapseRun, arm: CollapseArm, records: Mapping[tuple[int, CollapseArm], Sequence[GenerationRecord]]
) -> list[Example]:
    """Returns the first samples of generation 0 and of the last one that an arm reached."""
    last = max(n for n, record in enumerate(records[run.seed, arm]) if n == 0 or record.kept)
    found: list[Example] = []
    for number in dict.fromkeys((0, last)):
        folder = run.folder(arm, number)
        texts = (
            [document.text for document in read_samples(folder)[:EXAMPLE_SAMPLES]]
            if records[run.seed, arm][number].kept
            else []
        )
        found.append(Example(title=f"{arm}, seed {run.seed}, generation {number}", text="\n\n---\n\n".join(texts)))
    return found
