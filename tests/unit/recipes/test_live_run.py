"""`tilth run` and its page: there from the start, complete at the end, and honest about how a run ended."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tilth.cli import main
from tilth.files import read_json
from tilth.run_record import LIVE, PAGE

RECIPE = '''
from pathlib import Path
from tilth import Step

RUN = Path("runs/steps")

def first(config, inputs, out, context):
    page = (RUN / "report.html").read_text()
    assert "strict-dynamic" in page and "<title>steps" in page
    assert context.live == RUN / "live" / "first"
    with context.progress.bar("digging", 3) as bar:
        bar.advance(2)
    (out / "seen").write_text((RUN / "live" / "state.js").read_text())

def second(config, inputs, out, context):
    {second}

def steps() -> Step:
    """Two steps."""
    one = Step("one", first, {{}}, label="first")
    return Step("two", second, {{}}, {{"first": one}}, label="second")
'''


def ran(folder: Path, second: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(RECIPE.format(second=second))
    with pytest.raises(SystemExit) as ended:
        main(["run", "mine.py:steps", "--workers", "1"])
    return int(ended.value.code or 0)


def page_of(folder: Path) -> str:
    page = (folder / "runs/steps" / PAGE).read_text(encoding="utf-8")
    assert not re.search("strict-dynamic|tilthLive|data-part|live-steps", page)
    state = (folder / "runs/steps" / LIVE / "state.js").read_text()
    assert json.loads(state.removeprefix("window.tilthLive?.(").removesuffix(");\n"))["ended"] is True
    return page


def test_the_page_is_there_while_steps_run_and_complete_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(tmp_path, "pass", monkeypatch) == 0
    page = page_of(tmp_path)
    assert 'id="provenance"' in page and "The run" not in page
    assert "Report:  runs/steps/report.html" in capsys.readouterr().err
    # Done from the store, the page has the same bytes.
    assert ran(tmp_path, "pass", monkeypatch) == 0
    assert page_of(tmp_path) == page


def test_a_failed_run_says_so_on_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = 'from tilth.errors import DataError; raise DataError("Too <little> soil.", fix="Add some.")'
    assert ran(tmp_path, error, monkeypatch) == 2
    assert "The run failed. Too &lt;little&gt; soil. Add some. 1 of 2 steps are done." in page_of(tmp_path)
    assert read_json(tmp_path / "runs/steps/run.json")["status"] == "failed"


def test_a_stopped_run_says_so_on_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(tmp_path, "raise KeyboardInterrupt", monkeypatch) == 130
    assert "The run was stopped. 1 of 2 steps are done. The same command continues it." in page_of(tmp_path)


def test_a_page_that_cannot_be_rendered_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(tmp_path, '(out / "ledger.json").write_text("no JSON")', monkeypatch) == 0
    assert "No report: " in capsys.readouterr().err


def test_open_serves_the_page_as_long_as_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(tmp_path)
    fetch = (
        "import time, urllib.request\n"
        "    for _ in range(500):\n"
        '        if urls := Path("url").read_text().split():\n'
        "            break\n"
        "        time.sleep(0.02)\n"
        '    assert b"strict-dynamic" in urllib.request.urlopen(urls[0]).read()'
    )
    (tmp_path / "url").write_text("")
    monkeypatch.setattr("webbrowser.open", lambda url: (opened.append(url), (tmp_path / "url").write_text(url)))
    (tmp_path / "mine.py").write_text(RECIPE.format(second=fetch))
    with pytest.raises(SystemExit) as ended:
        main(["run", "mine.py:steps", "--workers", "1", "--open"])
    assert not ended.value.code
    assert opened and f"Page:    {opened[0]}" in capsys.readouterr().err
