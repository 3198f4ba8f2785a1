"""A synthesis over a server that fails, killed twice, ends with the bytes of a calm one, and pays for nothing twice."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from e2e.running import interrupt_when, kill_when, tilth
from tilth.storage import Dataset, write_dataset
from tilth.synthesis.result import SYNTHESIS
from tilth.teacher.fault_plan import FaultKind, FaultPlan
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Request
from tilth.types import Document

pytestmark = pytest.mark.slow

RECIPE = f"{Path(__file__).parents[1] / 'toy_recipe.py'}:toy"
N = 160
IN_FLIGHT = 32
FAULTS: tuple[FaultKind, ...] = (
    "overloaded", "server_error", "disconnect", "cut", "malformed", "no_choices", "slow", "empty"
)  # fmt: skip
WORDS = [
    "ground",
    "clay",
    "water",
    "root",
    "stone",
    "field",
    "plough",
    "seed",
    "rain",
    "worm",
    "leaf",
    "frost",
    "wind",
    "river",
    "sand",
    "lime",
    "ash",
]


def answer(request: Request, sample: int) -> str:
    """Words that the document decides; some documents get answers that fail at the parser or at a gate."""
    found = re.search(r"Document (\d+) ", request.messages[-1].content)
    n = int(found[1]) if found else 0
    if n % 17 == 3:
        return "I'm sorry, but I cannot help with that."
    return " ".join(WORDS[(n * 7 + i * (1 + n % 5)) % len(WORDS)] for i in range(8 + n % 30)) + f" {n}."


@pytest.fixture
def source(tmp_path: Path) -> Path:
    documents = [Document.make(f"Document {i} says {i * 13} things about soil.", f"corpus/{i}.txt") for i in range(N)]
    write_dataset(tmp_path / "data", documents, made_by="test", shard_bytes=2000)
    assert len(Dataset.open(tmp_path / "data").shards) > 2
    return tmp_path / "data"


def results(out: Path) -> Mapping[str, bytes]:
    """What must be the same bytes; what it cost is each run's own."""
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.suffix in (".parquet", ".json")}
    del found["step.json"]
    result = json.loads(found.pop(SYNTHESIS))
    for name in ("seconds", "spending"):
        del result[name]
    return found | {SYNTHESIS: json.dumps(result).encode()}


def words(server: LoopbackServer, out: str) -> tuple[str, ...]:
    limits = ("--max-in-flight", str(IN_FLIGHT), "--languages", "en", "de", "la", "--min-words", "14")
    return (
        "synthesize",
        RECIPE,
        "data",
        "--teacher",
        f"{server.url}#m",
        "--out",
        out,
        "--cache",
        f"{out}-cache",
        *limits,
    )


def test_kills_and_faults_change_nothing(source: Path, tmp_path: Path) -> None:
    with LoopbackServer(answer, model="m") as calm:
        tilth(*words(calm, "calm"), "--workers", "1", cwd=tmp_path)
    assert sum(calm.answered.values()) == len(calm.answered) > N
    plan = FaultPlan(rate=0.3, kinds=FAULTS, slow_seconds=0.05, retry_after=0.01)
    with LoopbackServer(answer, model="m", latency=0.02, faults=plan, log=tmp_path / "log") as rough:
        told = rough.answered
        kill_when(lambda: sum(told.values()) > 50, *words(rough, "rough"), cwd=tmp_path)
        kill_when(lambda: sum(told.values()) > 130, *words(rough, "rough"), cwd=tmp_path)
        code, said = interrupt_when(lambda: sum(told.values()) > 200, *words(rough, "rough"), cwd=tmp_path)
        assert code == 130 and "Stopped" in said
        done = tilth(*words(rough, "rough"), "--workers", "2", cwd=tmp_path)
    assert len(rough.faults_sent) == len(FAULTS)
    assert told.keys() == calm.answered.keys()  # nothing lost
    # An answer that a client went away from, or that was cut, is generated again; all others were paid for once.
    again = sum(told.values()) - len(told)
    lost = sum(rough.faults_sent[kind] for kind in ("cut", "slow", "empty", "malformed", "no_choices"))
    assert again <= 3 * IN_FLIGHT + lost
    assert results(tmp_path / "calm") == results(tmp_path / "rough")
    kept = Dataset.open(tmp_path / "rough" / "samples", verify=True).n_documents
    assert 0 < kept < 2 * N and "Dataset" in done.stdout
    second = json.loads((tmp_path / "rough" / SYNTHESIS).read_text())["spending"][0]
    assert second["cached"] > 150 and second["requests"] < 150
