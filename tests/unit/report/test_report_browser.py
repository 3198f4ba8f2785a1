"""The page's script in a real browser: crosshair by pointer and keys, CSV files, search, and the width on a phone.

A driver is added to the script of a page, and the hash in its policy is made anew, so all runs under the policy.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.report import collect, render
from unit.report.made_up_run import RUN, write_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on PATH to run the page's script in"),
]

DRIVER = """
addEventListener("load", async () => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const out = { blocked: [] };
  addEventListener("securitypolicyviolation", (event) => out.blocked.push(event.violatedDirective));
  try {
    document.documentElement.style.width = "WIDTHpx";  // no window of a browser is as narrow as a phone
    all("details").forEach((one) => { one.open = true; });
    out.width = [document.body.scrollWidth, document.body.clientWidth];
    await new Promise((done) => setTimeout(done, 100));
    out.scrolling = all("main *").filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
      && getComputedStyle(one).overflowX === "auto" && one.tabIndex !== 0).map((one) => one.outerHTML.slice(0, 200));

    const chart = all("figure.chart")[1];
    const svg = all("svg", chart).find((one) => one.getClientRects().length);
    svg.scrollIntoView();
    await new Promise((done) => setTimeout(done, 50));
    const box = svg.getBoundingClientRect();
    const [, , start, end] = svg.dataset.x.split(" ").map(Number);
    const at = (share) => box.left + (start + share * (end - start)) / svg.viewBox.baseVal.width * box.width;
    const point = (type, x, kind) => svg.dispatchEvent(new PointerEvent(type, {
      clientX: x, clientY: box.top + 50, pointerType: kind, bubbles: true }));
    point("pointermove", at(0.5), "mouse");
    out.pointed = all(".tip dt, .tip dd").map((one) => one.textContent);
    out.dots = all(".cross circle", svg).length;
    point("pointerleave", 0, "mouse");
    out.left = document.querySelector(".tip").hidden;
    point("pointerdown", at(1), "touch");
    out.touched = all(".tip dt, .tip dd").map((one) => one.textContent);
    point("pointerleave", 0, "touch");
    out.stays = !document.querySelector(".tip").hidden;
    svg.dispatchEvent(new Event("blur"));

    svg.focus();
    out.focused = document.activeElement === svg;
    const spoken = chart.querySelector("[aria-live]");
    out.spoken = ["Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "Escape"].map((key) => {
      svg.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      return spoken.textContent;
    });
    out.escaped = document.querySelector(".tip").hidden;

    const files = [];
    const texts = [];
    URL.createObjectURL = (blob) => { texts.push(blob.text()); return "blob:x"; };
    HTMLAnchorElement.prototype.click = function () { files.push(this.download); };
    all(".csv").forEach((button) => button.click());
    out.files = files;
    out.csv = (await Promise.all(texts))[files.indexOf("training-held-out-text.csv")];
    out.figures = all("figure[data-csv]").length;

    const finder = document.querySelector(".finder");
    const names = () => all("li code", finder).map((one) => one.textContent);
    const state = () => finder.querySelector(".state").textContent;
    const [before, after] = all(".pager button", finder);
    const query = finder.querySelector("input");
    const reason = finder.querySelector("select");
    const set = (control, value, type) => { control.value = value; control.dispatchEvent(new Event(type)); };
    out.found = [[state(), names().length, before.disabled]];
    after.click();
    out.found.push([state(), names().length, before.disabled]);
    after.click();
    out.found.push([state(), names().length, after.disabled]);
    set(query, "cp1006", "input");
    out.one = [state(), names(), finder.querySelector(".measure").textContent, finder.querySelector("pre").textContent];
    set(query, "no such name", "input");
    out.none = state();
    query.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    set(reason, "0", "change");
    out.filtered = [state(), names()];
    out.hostile = [finder.querySelector("pre").textContent, all("img, script", finder).length, window.evil];
  } catch (error) {
    out.error = String(error.stack);
  }
  document.body.replaceChildren(JSON.stringify(out));
});
"""
EVIL = "</script><img src=x onerror='window.evil = 1'><script>window.evil = 2</script>"


def with_driver(page: str, driver: str) -> str:
    """The page with more in its script, and with the hash of that in its policy."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    longer = script + driver
    old, new = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (script, longer))
    assert page.count(old) == 1
    return page.replace(script, longer).replace(old, new)


def opened(page: Path, *, width: int, height: int) -> dict[str, Any]:
    """What the driver found in the page, in a window of that size."""
    assert BROWSER is not None
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [f"--user-data-dir={page.parent / 'browser'}", f"--window-size={width},{height}", "--dump-dom"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", page.as_uri()], capture_output=True, timeout=240, check=True
    )
    (body,) = re.findall(r"<body[^>]*>(\{.*\})</body>", done.stdout.decode(), re.S)
    return json.loads(html.unescape(body))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    run = copy.deepcopy(RUN)
    run["curate"]["ledger.json"]["rejects"][4]["examples"][0]["excerpt"] = "a line of text\n" * 99
    run["curate"]["ledger.json"]["kept_examples"] = [
        {"source": "folder/" + "long_name_" * 9, "id": "1", "excerpt": "text", "bytes": 4, "split": "train"}
    ]
    folders = write_run(run, root / "runs")
    rows: list[dict[str, object]] = [
        {
            "id": f"{n:04x}",
            "source": f"encodings/cp{990 + n}.py",
            "stage": "rules",
            "reason": "repeated",
            "detail": f"{n + 6.2:.1f}% > 5%",
            "excerpt": f"text {n}",
            "bytes": 10,
        }
        for n in range(50)
    ]
    rows.append({"id": "x", "source": EVIL, "stage": "read", "reason": "binary", "excerpt": EVIL, "bytes": 1})
    (folders[0] / "rejects").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folders[0] / "rejects" / "0.parquet")
    return render(collect(folders, name="quickstart"), root / "page.html")


@pytest.fixture(scope="module", params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def found(request: pytest.FixtureRequest, page: Path) -> dict[str, Any]:
    width, height = request.param
    driven = page.with_name(f"{width}.html")
    driver = DRIVER.replace("WIDTH", str(width))
    driven.write_text(with_driver(page.read_text(encoding="utf-8"), driver), encoding="utf-8")
    out = opened(driven, width=width, height=height)
    assert "error" not in out, out["error"]
    return out


def test_nothing_is_blocked_and_the_page_does_not_scroll_sideways(found: dict[str, Any]) -> None:
    assert found["blocked"] == []
    needed, given = found["width"]
    assert needed == given
    assert found["scrolling"] == [], "each box that scrolls can be reached with the keyboard"


def test_pointer_and_finger_show_the_values_of_all_series(found: dict[str, Any]) -> None:
    # 5 of 10 measurements: 2.4576 M tokens.
    assert found["pointed"][:2] == ["tokens trained on", "2.46M"]
    assert found["pointed"][2:] == ["model", "1.68", "5-gram", "1.94", "zstd -19", "1.81"]
    assert found["dots"] == 3 and found["left"]
    assert found["touched"][:4] == ["tokens trained on", "4.92M", "model", "1.62"] and found["stays"]


def test_arrow_keys_move_the_crosshair_and_say_the_values(found: dict[str, Any]) -> None:
    assert found["focused"] and found["escaped"]
    home, second, third, back, end, _ = found["spoken"]
    assert home == "tokens trained on 0: model 3.41, 5-gram 1.94, zstd -19 1.81"
    assert second.startswith("tokens trained on 492k: model 2.5") and back == second != third
    assert end == "tokens trained on 4.92M: model 1.62, 5-gram 1.94, zstd -19 1.81"


def test_every_chart_gives_its_numbers_as_a_file(found: dict[str, Any]) -> None:
    assert len(found["files"]) == found["figures"] > 10
    assert len(set(found["files"])) == len(found["files"])
    assert all(re.fullmatch(r"[\w-]+\.csv", name) for name in found["files"])
    first, second, *_ = found["csv"].splitlines()
    assert first == "tokens trained on,model,5-gram,zstd -19"
    assert second == "0,3.4112,1.9412,1.8104"


def test_drops_are_searched_filtered_and_paged(found: dict[str, Any]) -> None:
    assert found["found"] == [["1–20 of 51", 20, True], ["21–40 of 51", 20, False], ["41–51 of 51", 11, True]]
    assert found["one"] == ["1–1 of 1", ["encodings/cp1006.py"], "22.2% > 5%", "text 16"]
    assert found["none"].startswith("Nothing found.")
    assert found["filtered"] == ["1–1 of 1", [EVIL]]


def test_text_of_a_corpus_stays_text_in_the_browser(found: dict[str, Any]) -> None:
    excerpt, elements, evil = found["hostile"]
    assert excerpt == EVIL and elements == 1, "the only element is the data itself"
    assert evil is None
