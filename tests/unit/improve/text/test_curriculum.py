"""The curriculum at a size of seconds: the text of each phase, its result, and its end."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tilth.assay.experiment import Experiment
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.improve.text.config import CURRICULUM_ARMS, CurriculumArm, CurriculumConfig
from tilth.improve.text.curriculum import (
    BROAD,
    MIXED,
    CurriculumRun,
    curriculum,
    domain_of,
    phase_texts,
    read_text,
    run_phase,
    write_corpora,
)
from tilth.improve.text.curriculum_result import PhaseRecord, curriculum_experiment
from tilth.improve.text.passages import n_tokens
from tilth.model import load_model
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import text_loss
from tilth.types import Document
from unit.improve.text.made_up_text import documents, write_text
from unit.improve.text.test_collapse import files_without_seconds, killed_run

CONFIG = CurriculumConfig(
    first_tokens=4000, second_tokens=2000, passage_bytes=120, held_out_bytes=800, points=2,
    d_model=16, n_layers=1, n_heads=2, context_length=32, global_batch_tokens=256, seeds=(0,),
)  # fmt: skip
CONTEXT = Context(workers=1)
Text = tuple[Dataset, Dataset, Path]
Done = tuple[Path, Experiment, CurriculumRun]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return write_text(tmp_path_factory.mktemp("text"))


def run(out: Path, text: Text, config: CurriculumConfig = CONFIG) -> Experiment:
    return curriculum(config, out, train=text[0], held_out=text[1], tokenizer=text[2], context=CONTEXT)


@pytest.fixture(scope="module")
def done(text: Text, tmp_path_factory: pytest.TempPathFactory) -> Done:
    out = tmp_path_factory.mktemp("curriculum")
    result = run(out, text)
    return out, result, CurriculumRun(config=CONFIG, seed=0, out=out, tokenizer_folder=text[2], context=CONTEXT)


def test_the_result_is_what_was_written(done: Done) -> None:
    out, result, _ = done
    written = json.loads((out / "experiment.json").read_text())
    assert [arm["name"] for arm in written["arms"]] == list(CURRICULUM_ARMS) and not written["ended"]
    read = read_result(Experiment, out / "experiment.json")
    assert [p.x for p in read.points] == [p.x for p in result.points]
    for arm in CURRICULUM_ARMS:
        points = [p for p in read.points if p.arm == arm]
        assert [p.x for p in points] == sorted({p.x for p in points}) and len(points) == 5
        assert points[-1].x == pytest.approx(6000, abs=512)
        flops = [p.flops for p in points]
        assert flops == sorted(flops) and len({p.flops for p in read.points if p.x == points[-1].x}) == 1
    assert len(read.findings) == len(CURRICULUM_ARMS)


def test_both_domains_are_measured_and_forgetting_is_the_change_on_the_first(done: Done) -> None:
    out, result, seed = done
    model = load_model(seed.folder("replay_10") / "model")
    last = max((p for p in result.points if p.arm == "replay_10"), key=lambda p: p.x)
    for name in ("first", "second"):
        measured = text_loss(model, seed.tokenizer, read_text(out, f"{name}-held-out")).bits_per_byte
        assert last.values[name] == pytest.approx(measured, rel=1e-5)
    assert last.values["mean"] == pytest.approx((last.values["first"] + last.values["second"]) / 2)
    before = next(p for p in result.points if p.arm == "replay_10" and p.x == pytest.approx(4000, abs=256))
    assert last.values["forgetting"] == pytest.approx(last.values["first"] - before.values["first"])
    assert np.isnan(before.values["forgetting"])


def test_narrow_text_is_learned_in_the_second_phase(done: Done) -> None:
    _, result, _ = done
    assert result.final("no_replay", "second").mean < result.final("first_only", "second").mean - 0.1


def test_only_the_models_at_the_end_stay(done: Done) -> None:
    out, _, seed = done
    assert {path.parent for path in out.rglob("model.safetensors")} == {
        seed.folder(arm) / "model" for arm in CURRICULUM_ARMS
    }
    assert not list(out.rglob("training"))


# The text of each phase


def tokens_of(documents: list[Document], tokenizer: Tokenizer, name: str | None = None) -> int:
    return sum(n_tokens([d for d in documents if name in (None, domain_of(d, "kind"))], tokenizer))


def test_phases_hold_what_they_should(done: Done) -> None:
    seed = done[2]
    texts, tokenizer = seed.texts, seed.tokenizer
    for name, found in texts.items():
        wanted = CONFIG.first_tokens if name in (BROAD, MIXED) else CONFIG.second_tokens
        assert tokens_of(found, tokenizer) == pytest.approx(wanted, abs=130), name
    for arm, share in (("no_replay", 0.0), ("replay_10", 0.1), ("replay_30", 0.3), ("first_only", 1.0)):
        assert tokens_of(texts[arm], tokenizer, "first") == pytest.approx(share * 2000, abs=70)
    assert tokens_of(texts[BROAD], tokenizer, "second") == 0
    assert 700 < tokens_of(texts[MIXED], tokenizer, "second") < 2000


def test_replay_is_text_of_the_first_phase_and_one_phase_has_the_same_text(done: Done) -> None:
    texts = done[2].texts
    broad = {d.id for d in texts[BROAD]}
    replayed = {d.id for d in texts["replay_30"] if domain_of(d, "kind") == "first"}
    assert replayed and replayed <= broad
    assert not {d.id for d in texts["first_only"]} & broad
    both = sorted(d.id for d in (*texts[MIXED], *texts["one_phase"]))
    assert both == sorted(d.id for d in (*texts[BROAD], *texts["no_replay"]))


def test_texts_of_other_seeds_differ(done: Done) -> None:
    seed = done[2]
    first, second = (read_text(seed.out, name) for name in ("first", "second"))
    other = phase_texts(first, second, seed.tokenizer, CONFIG, np.random.default_rng(1))
    assert [d.id for d in other[BROAD]] != [d.id for d in seed.texts[BROAD]]


def test_a_text_of_which_little_is_held_out_is_measured_on_whole_training_documents_besides(
    text: Text, tmp_path: Path
) -> None:
    train, held_out, tokenizer = text
    short = [replace(d, text=d.text[:60]) if domain_of(d, "kind") == "second" else d for d in held_out]
    little = write_dataset(tmp_path / "little", short, made_by="test")
    write_corpora(tmp_path / "out", train, little, Tokenizer.load(tokenizer), CONFIG)
    for name in ("first", "second"):
        measured = read_text(tmp_path / "out", f"{name}-held-out")
        assert sum(len(d.text.encode()) for d in measured) >= CONFIG.held_out_bytes - CONFIG.passage_bytes
        assert {domain_of(d, "kind") for d in measured} == {name}
        learned = read_text(tmp_path / "out", name)
        assert learned and not {d.source for d in measured} & {d.source for d in learned}  # no document is in both


def test_held_out_passages_are_not_learned_from(text: Text, tmp_path: Path) -> None:
    train, held_out, tokenizer = text
    leaking = write_dataset(tmp_path / "leak", [*train, *held_out], made_by="test")
    write_corpora(tmp_path / "out", leaking, held_out, Tokenizer.load(tokenizer), CONFIG)
    for name in ("first", "second"):
        measured = {d.text for d in read_text(tmp_path / "out", f"{name}-held-out")}
        assert measured and not measured & {d.text for d in read_text(tmp_path / "out", name)}
        assert {domain_of(d, "kind") for d in read_text(tmp_path / "out", name)} == {name}


def test_domains_are_told_by_kind_or_by_corpus() -> None:
    code, prose = documents(1, seed=0, code=True)[0], documents(1, seed=0)[0]
    assert [domain_of(code, "kind"), domain_of(prose, "kind")] == ["first", "second"]
    names = ("first/a.txt", "first-1/a.txt", "second/a.txt", "second-1/b", "secondary/c")
    found = [domain_of(Document.make("text", source), "source") for source in names]
    assert found == ["first", "first", "second", "second", "first"]


# Ends


def test_an_arm_whose_loss_breaks_down_ends_and_the_others_go_on(done: Done, tmp_path: Path) -> None:
    shutil.copytree(done[0], tmp_path / "out")
    broken = replace(CONFIG, learning_rate=1e30, muon_learning_rate=1e30)
    seed = replace(done[2], out=tmp_path / "out", config=broken)
    shutil.rmtree(seed.folder("one_phase"))
    shutil.rmtree(seed.folder(MIXED))
    first = run_phase(seed, MIXED, None)
    assert "loss" in first.ended
    fine = read_result(PhaseRecord, seed.folder("no_replay") / "phase.json")
    broad = read_result(PhaseRecord, seed.folder(BROAD) / "phase.json")
    records: dict[tuple[int, CurriculumArm], list[PhaseRecord]] = {
        (0, "one_phase"): [first],
        (0, "no_replay"): [broad, fine],
    }
    result = curriculum_experiment(CONFIG, records, held_out=seed.held_out, n_params=1)
    assert [(e.arm, e.seed) for e in result.ended] == [("one_phase", 0)] and not result.last("one_phase", "first")
    assert result.last("no_replay", "first") and asdict(result)["ended"]


def test_settings_and_text_that_cannot_work_are_refused(text: Text, tmp_path: Path) -> None:
    for wrong in ({"seeds": (-1,)}, {"points": 0}, {"decay_fraction": 1.5}, {"global_batch_tokens": 8}):
        with pytest.raises(ConfigError):
            replace(CONFIG, **wrong)
    prose = write_dataset(tmp_path / "prose", documents(3, seed=5), made_by="test")
    with pytest.raises(DataError, match="no document of the first"):
        run(tmp_path / "out", (prose, prose, text[2]))
    with pytest.raises(DataError, match="tokens of the first of the two texts"):
        run(tmp_path / "much", text, replace(CONFIG, first_tokens=10**7))


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bytes(done: Done, text: Text, tmp_path: Path) -> None:
    killed_run("curriculum", text[2].parent, tmp_path / "out", done[1].seconds)
    assert files_without_seconds(tmp_path / "out") == files_without_seconds(done[0])
