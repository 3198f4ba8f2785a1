"""The page of a run at work: there at once, refreshed as steps go on, without live parts at the end."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tilth.curation.result import LEDGER
from tilth.files import write_bytes, write_json
from tilth.inference.result import LIVE_SAMPLES
from tilth.progress import SILENT, BarState, RecordedProgress
from tilth.report import collect, render
from tilth.report.live import STATE, LivePage
from tilth.report.views.live import StepState, steps
from tilth.run_record import LIVE, PAGE, RunRecord
from unit.report.made_up_run import HOSTILE, RUN, metrics, write_run
from unit.report.made_up_run import LEDGER as MADE_UP_LEDGER

RECORD = RunRecord(
    name="my-novel",
    recipe="quickstart",
    command="tilth run quickstart --corpus 'my novel'",
    started_at="2026-01-02T03:04:05",
)
LIVE_PARTS = ("strict-dynamic", "tilthLive", "data-part", "live/state.js", "live-steps")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Lines:
    """A progress that keeps what is said."""

    bar = staticmethod(SILENT.bar)

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def page_of(folder: Path, labels: tuple[str, ...] = ("curate", "pretrain"), said: Lines | None = None) -> LivePage:
    folder.mkdir(exist_ok=True)
    return LivePage(folder, RECORD, labels, RecordedProgress(said or SILENT), every_seconds=0.02)


def state_of(folder: Path) -> dict[str, Any]:
    script = (folder / LIVE / STATE).read_text(encoding="ascii")
    return json.loads(script.removeprefix("window.tilthLive?.(").removesuffix(");\n"))


def until(found: Any, folder: Path) -> dict[str, Any]:
    """Waits for a state in which `found(state)` is true."""
    for _ in range(500):
        if found(state := state_of(folder)):
            return state
        time.sleep(0.02)
    raise AssertionError(f"not in {state_of(folder)}")


def test_the_page_is_there_at_once_and_names_the_run(tmp_path: Path) -> None:
    with page_of(tmp_path):
        page = (tmp_path / PAGE).read_text(encoding="utf-8")
        state = state_of(tmp_path)
    assert "<title>my-novel" in page and "tilth run quickstart --corpus &#39;my novel&#39;" in page
    assert all(part in page for part in LIVE_PARTS)
    assert [label in state["parts"]["steps"] for label in ("curate", "pretrain")] == [True, True]


def test_it_shows_what_steps_at_work_have_so_far(tmp_path: Path) -> None:
    sample = {"prompt": "The soil", "text": " is deep.", "tokens": 41_000, "seconds": 12.5}
    lines = metrics()[:40]
    with page_of(tmp_path) as page:
        assert not any(state_of(tmp_path)["parts"][key] for key in ("curation", "training", "samples"))
        page.started("curate", tmp_path / "curate")
        write_json(page.live / "curate" / LEDGER, MADE_UP_LEDGER)
        state = until(lambda state: state["parts"]["curation"], tmp_path)
        assert "3,412 documents read so far" in state["parts"]["curation"]
        page.started("pretrain", tmp_path / "pretrain")
        log = tmp_path / "pretrain.partial" / "metrics.jsonl"
        write_bytes(log, b"".join(json.dumps(line).encode() + b"\n" for line in lines[:20]))
        write_bytes(page.live / "pretrain" / LIVE_SAMPLES, json.dumps(sample).encode() + b"\n")
        first = until(lambda state: state["parts"]["training"] and state["parts"]["samples"], tmp_path)
        assert "is deep." in first["parts"]["samples"] and "after 41.0 k tokens" in first["parts"]["samples"]
        with log.open("ab") as file:  # the last line is not complete yet
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines[20:]) + b'{"step": 1')
        until(lambda state: state["parts"]["training"] != first["parts"]["training"], tmp_path)
        with (page.live / "pretrain" / LIVE_SAMPLES).open("ab") as file:
            file.write(json.dumps(sample | {"text": " grows wheat.", "tokens": 90_000}).encode() + b"\n")
        shown = until(lambda state: "wheat" in state["parts"]["samples"], tmp_path)["parts"]["samples"]
        assert shown.index("wheat") < shown.index("is deep.")


def test_a_finished_step_has_its_section_in_the_page(tmp_path: Path) -> None:
    folders = {folder.name: folder for folder in write_run(RUN, tmp_path / "steps")}
    curate = next(folder for folder in folders.values() if (folder / LEDGER).exists())
    with page_of(tmp_path / "run") as page:
        first = state_of(tmp_path / "run")["page"]
        page.started("curate", curate)
        page.finished("curate", curate, cached=False, seconds=2.5)
        until(lambda state: state["page"] > first, tmp_path / "run")
        text = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
        assert 'id="curation"' in text and all(part in text for part in LIVE_PARTS)


def test_the_final_page_has_no_live_part_and_open_pages_are_told(tmp_path: Path) -> None:
    folders = write_run(RUN, tmp_path / "steps")
    with page_of(tmp_path / "run") as page:
        (page.live / "curate").mkdir()
    render(collect(folders), tmp_path / "before.html")
    render(collect(folders), tmp_path / "run" / PAGE)
    page.end()
    text = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
    assert not [part for part in LIVE_PARTS if part in text]
    assert text == (tmp_path / "before.html").read_text(encoding="utf-8")
    assert state_of(tmp_path / "run") == {"ended": True, "started": RECORD.started_at}
    assert [path.name for path in (tmp_path / "run" / LIVE).iterdir()] == [STATE]


def test_text_from_a_corpus_stays_text(tmp_path: Path) -> None:
    ledger = json.loads(json.dumps(MADE_UP_LEDGER))
    for reject in ledger["rejects"]:
        reject["examples"] = [{"source": HOSTILE, "detail": HOSTILE, "excerpt": HOSTILE}]
    row = {"prompt": HOSTILE, "text": HOSTILE, "tokens": 1, "seconds": 1.0}
    with page_of(tmp_path) as page:
        page.started("curate", tmp_path / "curate")
        page.started("pretrain", tmp_path / "pretrain")
        page.progress.say(HOSTILE)
        write_bytes(page.live / "curate" / LEDGER, json.dumps(ledger).encode())
        write_bytes(page.live / "pretrain" / LIVE_SAMPLES, json.dumps(row).encode() + b"\n")
        state = until(lambda state: state["parts"]["curation"] and state["parts"]["samples"], tmp_path)
        script = (tmp_path / LIVE / STATE).read_bytes()
    for key in ("curation", "samples", "messages"):
        assert "&lt;script&gt;" in state["parts"][key]
        assert not re.search(r"<script|\x00|\x1b|[\ud800-\udfff]|\u202e", state["parts"][key])
    assert script.count(b"\n") == 1 and script.isascii()


def test_an_error_in_rendering_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    said = Lines()
    (tmp_path / "damaged").mkdir()
    write_bytes(tmp_path / "damaged" / LEDGER, b"no JSON")
    with page_of(tmp_path / "run", said=said) as page:
        page.started("curate", tmp_path / "damaged")
        page.finished("curate", tmp_path / "damaged", cached=False, seconds=1.0)
        for _ in range(200):
            if said.said:
                break
            time.sleep(0.02)
        page.started("pretrain", tmp_path / "pretrain")
        time.sleep(0.2)
    (line,) = said.said
    assert "ledger.json" in line and line.endswith("The run continues.")


def test_time_left_is_that_of_the_steps_whose_time_is_known() -> None:
    states = [
        StepState(label="curate", state="done", seconds=3.0),
        StepState(label="pretrain", state="at work", started_at=100.0),
        StepState(label="report"),
    ]

    def told(expected: dict[str, float], *bars: BarState) -> str:
        return steps(states, bars, expected, began=97.0, now=120.0).sentence

    begin = "At work: pretrain. 1 of 3 steps done, 23 s since the start"
    assert told({"pretrain": 60.0, "report": 10.0}) == f"{begin}, about 50 s left."
    assert told({"pretrain": 60.0}) == f"{begin}, at least 40 s left."
    assert told({}) == f"{begin}."
    training = BarState(name="train", unit="tokens", total=300, done=200, done_at_start=0, started_at=110.0)
    assert told({"pretrain": 60.0, "report": 10.0}, training) == f"{begin}, about 15 s left."


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")
def test_a_browser_shows_the_newest_state_from_the_file(tmp_path: Path) -> None:
    with page_of(tmp_path / "run") as page:
        pass
    (state,) = [state_of(tmp_path / "run")]
    evil = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
    state["parts"] |= {"steps": "<p>newest state</p>", "messages": evil}
    state["updated"] = 1.0
    write_bytes(page.live / STATE, f"window.tilthLive?.({json.dumps(state)});".encode())
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    address = (tmp_path / "run" / PAGE).as_uri()
    command = [
        str(CHROMIUM),
        *flags,
        "--virtual-time-budget=3000",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        address,
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<p>newest state</p>" in dom
    assert "This page is no longer updated" in dom
    assert "<title>my-novel" in dom, "a script or handler in the data ran"
