"""The main job as a user meets it: run, run again, change a field, ask why, look, chat."""

import json
from pathlib import Path

import pytest

from e2e.running import RECIPE, interrupt_when, tilth

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    place = tmp_path_factory.mktemp("main_job")
    done = tilth("run", RECIPE, "--corpus", str(corpus), cwd=place)
    assert "Report:" in done.stderr
    assert "Report:  runs/latest" not in done.stderr
    assert f"Report:  runs/{corpus.name}/report.html" in done.stderr
    assert f"Chat:    tilth chat runs/{corpus.name}/export" in done.stderr
    return place


def only(place: Path, step: str) -> Path:
    (folder,) = (place / "runs" / step).glob("????????????????")
    return folder


def test_a_second_run_does_nothing(place: Path, corpus: Path) -> None:
    def files() -> dict[Path, int]:  # of steps: a run's page is written again
        found = (place / "runs").glob("*/????????????????/**/*")
        return {path: path.stat().st_mtime_ns for path in found if path.is_file()}

    before = files()
    done = tilth("run", RECIPE, "--corpus", str(corpus), cwd=place)
    assert "Everything is cached" in done.stderr
    assert before
    assert files() == before
    assert len(list((place / "runs").glob("*/run.json"))) == 2  # the run, and `latest`, the link to it


def test_a_changed_field_reruns_what_depends_on_it(place: Path, corpus: Path) -> None:
    words = (RECIPE, "--corpus", str(corpus), "--tokens", "20000")
    plan = tilth("plan", *words, cwd=place).stdout
    states = {line.split()[0]: line.split()[1] for line in plan.splitlines() if line.strip() and "─" not in line}
    assert {step for step, state in states.items() if state == "cached"} == {"curate", "tokenizer"}
    assert {step for step, state in states.items() if state == "will"} == {
        "pretrain", "samples", "nearest", "baselines", "improve", "export", "report",
    }  # fmt: skip
    why = tilth("why", "samples", *words, cwd=place).stdout
    assert "pretrain: training.tokens 40000 -> 20000" in why
    assert "is cached" in tilth("why", "curate", *words, cwd=place).stdout


def test_ls_and_show_lead_back_to_the_source(place: Path, corpus: Path) -> None:
    assert corpus.name in tilth("ls", cwd=place).stdout
    listed = tilth("ls", "--steps", cwd=place).stdout
    assert all(step in listed for step in ("curate", "tokenizer", "pretrain", "improve", "report"))
    model = only(place, "pretrain") / "model"
    shown = tilth("show", str(model), cwd=place).stdout
    assert "from    tokenizer: tokenizer" in shown
    assert f"from    {corpus.name}: files" in shown
    assert f"tilth run {RECIPE} --corpus {corpus}" in tilth("show", "runs/latest", cwd=place).stdout
    import pyarrow.parquet as pq

    row = pq.read_table(next((only(place, "curate") / "train").glob("*.parquet"))).slice(0, 1).to_pylist()[0]
    document = tilth("show", str(model), "--id", row["id"], cwd=place).stdout
    assert row["source"] in document
    assert tilth("show", str(model), "--id", "no-such-id", cwd=place, check=False).returncode == 2


def test_the_model_chats_and_exports_to_hugging_face(place: Path) -> None:
    folder = place / "runs" / "latest" / "export"
    words = ("chat", str(folder), "--prompt", "import ", "--max-tokens", "8", "--temperature", "0")
    said = tilth(*words, cwd=place).stdout
    assert said.startswith("import ")
    assert said == tilth(*words, cwd=place).stdout
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("<|endoftext|>import ", return_tensors="pt")["input_ids"]
    tokens = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    assert said.rstrip("\n") == "import " + tokenizer.decode(tokens, skip_special_tokens=True).rstrip("\n")


def test_the_loop_continues_the_pretrained_model_and_the_export_says_which_model_it_is(place: Path) -> None:
    loop = json.loads((only(place, "improve") / "improve.json").read_text())
    shape = json.loads((only(place, "pretrain") / "model" / "model.json").read_text())
    assert loop["task"] == "sort"
    assert loop["n_params"] == json.loads((only(place, "pretrain") / "summary.json").read_text())["n_params"]
    vote = loop["seeds"][0]["arms"]["vote"]
    assert len(vote["held_out_bits_per_byte"]) == 3
    assert shape
    card = (place / "runs" / "latest" / "export" / "README.md").read_text()
    assert "Which model" in card
    assert "bits per byte on held-out text after the loop" in card
    page = (only(place, "report") / "report.html").read_text()
    assert "the vote arm came from" in page


def test_the_page_of_the_run_has_its_name_and_its_command(place: Path, corpus: Path) -> None:
    page = (place / "runs" / "latest" / "report.html").read_text()
    assert f"<h1>{corpus.name}</h1>" in page
    assert f"<code>tilth run {RECIPE} --corpus {corpus}</code>" in page


def test_the_report_stands_alone(place: Path) -> None:
    page = (only(place, "report") / "report.html").read_text()
    assert "<script src" not in page
    assert "<link" not in page
    baselines = json.loads((only(place, "baselines") / "baselines.json").read_text())["bits_per_byte"]
    assert {"model before", "model", "5-gram", "zstd -19"} <= baselines.keys()
    assert baselines["model"] < baselines["model before"]


def test_ctrl_c_says_that_the_same_command_continues(corpus: Path, tmp_path: Path) -> None:
    words = ("run", RECIPE, "--corpus", str(corpus))
    code, said = interrupt_when(
        lambda: any(tmp_path.glob("runs/improve/*.partial/**/*.safetensors")), *words, cwd=tmp_path
    )
    assert code == 130
    assert "the same command continues with the rest" in said
    assert "Traceback" not in said
    assert "report.html" in tilth(*words, cwd=tmp_path).stderr
