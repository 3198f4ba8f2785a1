"""The collapse experiment at a size of seconds: what each arm is trained on, its result, and its end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tilth.assay.experiment import Experiment
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.improve.text.collapse import (
    CollapseRun,
    collapse,
    one_set,
    run_arm,
    train_one_verifier,
    training_text,
    verified_set,
)
from tilth.improve.text.collapse_result import collapse_experiment
from tilth.improve.text.config import COLLAPSE_ARMS, CollapseArm, CollapseConfig
from tilth.improve.text.corpora import HELD_OUT, OTHER, divide, read_text
from tilth.improve.text.generations import GenerationRecord, read_record, read_samples, read_verifier
from tilth.improve.text.passages import n_tokens, passages_of
from tilth.improve.text.sampling import bits_of, sample_texts
from tilth.model import load_model
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import initial_model, text_loss
from tilth.types import Document
from unit.improve.text.made_up_text import write_text

CONFIG = CollapseConfig(
    generations=2, set_tokens=1500, train_tokens=3000, verifier_sets=1.5, passage_bytes=60, held_out_bytes=1500,
    d_model=16, n_layers=1, n_heads=2, context_length=48, global_batch_tokens=192, seeds=(0,),
)  # fmt: skip
CONTEXT = Context(workers=1)
CHOSEN: tuple[CollapseArm, ...] = ("verified", "likely")
Text = tuple[Dataset, Dataset, Path]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def done(text: Text, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Experiment, CollapseRun]:
    out = tmp_path_factory.mktemp("collapse")
    result = run(out, text)
    return out, result, CollapseRun(config=CONFIG, seed=0, out=out, tokenizer_folder=text[2], context=CONTEXT)


def run(out: Path, text: Text, config: CollapseConfig = CONFIG) -> Experiment:
    return collapse(config, out, train=text[0], held_out=text[1], tokenizer=text[2], context=CONTEXT)


Done = tuple[Path, Experiment, CollapseRun]


def test_the_result_is_what_was_written(done: Done) -> None:
    out, result, _ = done
    written = read_result(Experiment, out / "experiment.json")
    assert json.dumps(asdict(written), sort_keys=True) == json.dumps(asdict(result), sort_keys=True)
    assert [arm.name for arm in written.arms] == list(COLLAPSE_ARMS) and not written.ended
    assert {(p.arm, p.x) for p in written.points} == {(arm, x) for arm in COLLAPSE_ARMS for x in (0, 1, 2)}
    names = {measure.name for measure in written.measures}
    assert all(set(point.values) == names for point in written.points)
    assert all(np.isfinite(list(point.values.values())).all() for point in written.points)
    assert {example.title for example in written.examples} == {
        f"{arm}, seed 0, generation {number}" for arm in COLLAPSE_ARMS for number in (0, 2)
    }
    assert all(example.text.strip() for example in written.examples)
    assert [finding.split(":")[0] for finding in written.findings] == list(COLLAPSE_ARMS)


def test_generation_0_is_shared_and_measured_on_held_out_text(done: Done) -> None:
    out, result, seed = done
    first = {p.values["bits_per_byte"] for p in result.points if p.x == 0}
    assert len(first) == 1
    for arm in ("replace", "real"):
        model = load_model(seed.folder(arm, 2) / "model")
        measured = text_loss(model, seed.tokenizer, read_text(out, HELD_OUT)).bits_per_byte
        last = next(p for p in result.points if p.arm == arm and p.x == 2)
        assert last.values["bits_per_byte"] == pytest.approx(measured, rel=1e-6)


def test_what_is_left_are_samples_and_the_last_models(done: Done) -> None:
    out, _, seed = done
    assert {p.parent for p in out.rglob("model.safetensors") if "verifier" not in p.parts} == {
        seed.folder(arm, 2) / "model" for arm in COLLAPSE_ARMS
    } | {seed.folder("verified", number) / "model" for number in range(2)}  # with which its samples were chosen
    assert not list(out.glob("seed-*/**/training")) and not list(out.rglob("*.tmp"))
    for arm in COLLAPSE_ARMS:
        for number in range(3):
            sizes = sum(n_tokens(read_samples(seed.folder(arm, number)), seed.tokenizer))
            sets = 2 if number == 0 or arm in ("double", "verified", "likely") else 1
            assert 0.8 * sets * CONFIG.set_tokens < sizes < 1.3 * sets * CONFIG.set_tokens


# What arms are trained on


def ids(run: CollapseRun, arm: CollapseArm, number: int) -> list[str]:
    return [document.text for document in training_text(run, arm, number)[0]]


def texts_of(run: CollapseRun, arm: CollapseArm, number: int) -> list[str]:
    return [document.text for document in read_samples(run.folder(arm, number))]


def test_accumulate_keeps_everything(done: Done) -> None:
    seed = done[2]
    real = [document.text for document in seed.real]
    first = [document.text for document in one_set(seed, read_samples(seed.folder("accumulate", 0)))]
    assert ids(seed, "accumulate", 1) == [*real, *first]
    second = [document.text for document in one_set(seed, read_samples(seed.folder("accumulate", 1)))]
    assert ids(seed, "accumulate", 2) == [*real, *first, *second] and min(len(first), len(second)) > 20


def test_accumulate_subsample_is_a_random_part_of_it(done: Done) -> None:
    seed = done[2]
    drawn = training_text(seed, "accumulate_subsample", 2)[0]
    sources = {document.source for document in drawn}
    assert any(source.endswith("generation-0") for source in sources)
    assert any(source.endswith("generation-1") for source in sources)
    assert {d.text for d in drawn} & {d.text for d in seed.real}
    size = sum(n_tokens(drawn, seed.tokenizer))
    assert CONFIG.set_tokens <= size < CONFIG.set_tokens + 100


def test_replace_and_double_take_the_last_generation_alone(done: Done) -> None:
    seed = done[2]
    last = ids(seed, "replace", 2)  # as many tokens as the original, however the samples' text is divided into tokens
    assert last == texts_of(seed, "replace", 1)[: len(last)] and len(last) > 0.8 * len(texts_of(seed, "replace", 1))
    every = texts_of(seed, "double", 0)
    assert ids(seed, "double", 1) == every
    half = ids(seed, "replace", 1)
    assert half == every[: len(half)] and 0.4 < len(half) / len(every) < 0.6
    assert ids(seed, "real", 2) == [document.text for document in seed.real]


def test_real_10_has_a_tenth_of_real_text(done: Done) -> None:
    seed = done[2]
    found = training_text(seed, "real_10", 2)[0]
    real = {document.text for document in seed.real}
    of_real = [d for d in found if d.text in real and not d.source.startswith("seed-")]
    share = sum(n_tokens(of_real, seed.tokenizer)) / sum(n_tokens(found, seed.tokenizer))
    assert 0.08 < share < 0.14


def bits_per_token(run: CollapseRun, model: Path, documents: Sequence[Document]) -> list[float]:
    """By the library's measure of a text, one document at a time."""
    loaded = load_model(model)
    losses = [text_loss(loaded, run.tokenizer, [document]) for document in documents]
    sizes = [len(document.text.encode()) for document in documents]
    tokens = n_tokens(documents, run.tokenizer)
    return [loss.bits_per_byte * size / n for loss, size, n in zip(losses, sizes, tokens, strict=True)]


def test_verified_keeps_what_is_likelier_as_real_text_than_as_the_generators_own(done: Done) -> None:
    run = done[2]
    samples = read_samples(run.folder("verified", 1))
    kept, flops = verified_set(run, "verified", 2, samples)
    assert kept == training_text(run, "verified", 2)[0] and flops > 0
    in_order = iter(samples)
    assert all(document in in_order for document in kept)
    size = sum(n_tokens(kept, run.tokenizer))
    assert CONFIG.set_tokens <= size < CONFIG.set_tokens + 50 < sum(n_tokens(samples, run.tokenizer))
    by_verifier = bits_per_token(run, run.verifier_folder / "training" / "model", samples)
    by_generator = bits_per_token(run, run.folder("verified", 1) / "model", samples)
    ratios = {one.id: own - real for one, own, real in zip(samples, by_generator, by_verifier, strict=True)}
    left = {one.id for one in samples} - {one.id for one in kept}
    assert left and min(ratios[one.id] for one in kept) >= max(ratios[name] for name in left) - 1e-4


def test_likely_keeps_what_the_verifier_gives_the_fewest_bits_per_byte(done: Done) -> None:
    run = done[2]
    samples = read_samples(run.folder("likely", 1))
    kept, _ = verified_set(run, "likely", 2, samples)
    assert kept == training_text(run, "likely", 2)[0]
    verifier = read_verifier(run.verifier_folder, CONTEXT)
    bits = {one.id: text_loss(verifier, run.tokenizer, [one]).bits_per_byte for one in samples}
    left = {one.id for one in samples} - {one.id for one in kept}
    assert left and max(bits[one.id] for one in kept) <= min(bits[name] for name in left) + 1e-4


def test_no_held_out_text_and_no_verifier_text_is_trained_on(done: Done, text: Text) -> None:
    """Held-out documents that are in the training text, too, are left out of all that is learned from."""
    out, _, seed = done
    held_out, other = ({d.text for d in read_text(out, name)} for name in (HELD_OUT, OTHER))
    real = {document.text for document in seed.real}
    assert len(held_out) > 5 and len(other) > 20 and len(real) > 20
    assert not held_out & other and not held_out & real and not other & real


def test_held_out_passages_are_removed_from_training_text(text: Text, tmp_path: Path) -> None:
    train, held_out, tokenizer = text
    leaking = write_dataset(tmp_path / "leak", [*train, *held_out], made_by="test")
    corpora = divide(leaking, held_out, Tokenizer.load(tokenizer), CONFIG)
    measured = {document.text for document in corpora.held_out}
    every = {p.text for p in passages_of(leaking, CONFIG.passage_bytes)}
    assert len(measured) > 5 and measured <= every
    assert not measured & {document.text for document in (*corpora.other, *corpora.pool)}


# Measures, cost, ends


def test_bits_of_documents_are_those_of_the_text_loss(text: Text) -> None:
    tokenizer = Tokenizer.load(text[2])
    model = initial_model(CONFIG.model(tokenizer.vocab_size), 0).eval()
    documents = [*list(text[1])[:2], *list(passages_of(text[1], 60))[:5]]
    bits, flops = bits_of(model, tokenizer, documents)
    for document, found in zip(documents, bits, strict=True):
        value = found / len(document.text.encode())
        assert value == pytest.approx(text_loss(model, tokenizer, [document]).bits_per_byte, rel=1e-5)
    assert flops > 0


def test_samples_begin_with_the_openings(text: Text) -> None:
    tokenizer = Tokenizer.load(text[2])
    model = initial_model(CONFIG.model(tokenizer.vocab_size), 0).eval()
    openings = [tokenizer.encode_ordinary(word) for word in ("soil", "plough")]
    found = sample_texts(model, tokenizer, 300, rng=np.random.default_rng(0), openings=openings)
    assert all(text.startswith(("soil", "plough")[i % 2]) for i, text in enumerate(found.texts))
    assert sum(found.tokens) >= 300 and found.bits_per_token > 0


def test_flops_grow_and_count_what_arms_use(done: Done) -> None:
    _, result, seed = done
    last = {p.arm: p.flops for p in result.points if p.x == 2}
    first = {p.arm: p.flops for p in result.points if p.x == 0}
    assert len(set(first.values())) == 1  # the samples of generation 0 cost whoever is trained on them
    assert last["real"] == pytest.approx(3 * first["real"])
    records = [read_record(seed.folder("replace", number)) for number in range(3)]
    assert all(records)
    shares = [r.set_flops / r.generation_flops for r in records if r]
    assert shares[0] == pytest.approx(0.5, abs=0.1) and shares[1] == pytest.approx(1)  # of two sets, and of one
    spent = sum(r.train_flops for r in records if r) + sum(r.set_flops for r in records[:2] if r)
    assert last["replace"] == pytest.approx(spent)
    assert last["real"] < last["replace"] < last["double"] < last["likely"] < last["verified"]
    choosing = {arm: [r.selection_flops for n in (1, 2) if (r := read_record(seed.folder(arm, n)))] for arm in CHOSEN}
    assert choosing["verified"][0] == pytest.approx(2 * choosing["likely"][0])  # of the same samples, by two models
    assert min(map(min, choosing.values())) > 0


def test_an_arm_whose_loss_breaks_down_ends_and_the_others_go_on(done: Done, tmp_path: Path) -> None:
    shutil.copytree(done[0], tmp_path / "out")
    seed = replace(done[2], out=tmp_path / "out", config=replace(CONFIG, learning_rate=1e30, muon_learning_rate=1e30))
    shutil.rmtree(tmp_path / "out" / "seed-0" / "replace")
    found = run_arm(seed, "replace")
    assert len(found) == 2 and "is" in found[1].ended and "loss" in found[1].ended
    other = run_arm(seed, "real")  # was finished before
    assert len(other) == 3 and not other[-1].ended
    records: dict[tuple[int, CollapseArm], list[GenerationRecord]] = {(0, "replace"): found, (0, "real"): other}
    result = collapse_experiment(CONFIG, records, held_out=seed.held_out, n_params=1, verifier_flops=0.0, examples=())
    assert [(e.arm, e.seed, e.x) for e in result.ended] == [("replace", 0, 1)]
    assert not result.last("replace", "bits_per_byte") and result.last("real", "bits_per_byte")


def test_a_verifier_whose_loss_breaks_down_ends_only_the_arms_that_it_chooses_for(done: Done, tmp_path: Path) -> None:
    shutil.copytree(done[0], tmp_path / "out")
    broken = replace(CONFIG, learning_rate=1e30, muon_learning_rate=1e30)
    shutil.rmtree(tmp_path / "out" / "verifier")
    train_one_verifier(replace(done[2], out=tmp_path / "out", config=broken))
    run = replace(done[2], out=tmp_path / "out")
    for arm in ("verified", "likely"):
        found = run_arm(run, arm)
        assert len(found) == 2 and "verifier" in found[1].ended and "loss" in found[1].ended
    assert not run_arm(run, "double")[-1].ended


def test_an_arm_whose_samples_are_empty_ends(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's tokenizer decodes everything to blanks: as if it had learned to write nothing."""
    shutil.copytree(done[0], tmp_path / "out")
    seed = replace(done[2], out=tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "seed-0" / "replace")
    monkeypatch.setattr(seed.tokenizer, "decode", lambda ids: " ")
    found = run_arm(seed, "replace")
    assert len(found) == 2 and "0 of" in found[1].ended and "too few" in found[1].ended
    assert found[1].kept == 0 and found[1].drawn > 0


def test_settings_that_cannot_work_are_refused(text: Text, done: Done, tmp_path: Path) -> None:
    for wrong in ({"seeds": ()}, {"seeds": (1, 1)}, {"generations": 0}, {"temperature": 0.0}, {"prompt_tokens": 47}):
        with pytest.raises(ConfigError):
            replace(CONFIG, **wrong)
    with pytest.raises(ConfigError, match="effort"):
        CollapseConfig.from_effort(0)
    with pytest.raises(DataError, match="are needed"):
        run(tmp_path / "much", text, replace(CONFIG, set_tokens=10**6))
    with pytest.raises(ConfigError, match="another call"):
        run(done[0], text, replace(CONFIG, generations=3))


# Killed and run again

PROGRAM = """
import sys
from pathlib import Path
from tilth.execute import Context
from tilth.storage import Dataset
from unit.improve.text.test_{name} import CONFIG
from tilth.improve.text.{name} import {name}

if __name__ == "__main__":
    text, out = Path(sys.argv[1]), Path(sys.argv[2])
    print("start", flush=True)
    {name}(
        CONFIG, out, train=Dataset.open(text / "train"), held_out=Dataset.open(text / "held_out"),
        tokenizer=text / "tokenizer", context=Context(workers=1, checkpoint_seconds=0.05),
    )
"""


def files_without_seconds(folder: Path) -> dict[str, bytes]:
    """All files; of JSON, all but the seconds."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".json":
            value = json.loads(content)
            value.pop("seconds", None)
            content = json.dumps(value).encode()
        name = str(path.relative_to(folder))
        if not name.endswith((".jsonl", "summary.json")) and "checkpoint" not in name:  # of the verifier's training
            found[name] = content
    return found


def killed_run(name: str, text: Path, out: Path, undisturbed_seconds: float) -> None:
    """Runs an experiment that is killed again and again, and then once to its end."""
    arguments = [sys.executable, "-c", PROGRAM.format(name=name), str(text), str(out)]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    rng, kills = np.random.default_rng(0), 0
    for _ in range(4):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(rng.uniform(0.1, 0.5)) * undisturbed_seconds)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() != 0
    assert kills > 1
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment)


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bytes(done: Done, text: Text, tmp_path: Path) -> None:
    killed_run("collapse", text[2].parent, tmp_path / "out", done[1].seconds)
    assert files_without_seconds(tmp_path / "out") == files_without_seconds(done[0])
