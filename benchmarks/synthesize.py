"""What a synthesis run costs around its teacher: CPU seconds for 1,000 requests, by stage, and memory at three sizes.

A run is `tilth.synthesis.synthesize` with all its default gates, a request cache and 500 requests in flight, in a
process of its own. Its teacher answers at once, from sentences of the corpus in the form that the prompt asks for, or,
with `--http`, from a process of its own over real HTTP. Each run is made twice: fresh, and again into another folder,
when every answer comes from the cache.

    python benchmarks/synthesize.py openstax.jsonl.zst                    # stages: recipes wrap and finephrase
    python benchmarks/synthesize.py openstax.jsonl.zst --sizes 1000 10000 50000     # one request a document
    python benchmarks/synthesize.py openstax.jsonl.zst --http --fingerprint

The corpus is JSONL with `text`, plain or compressed; without one it is the reference manual that Python brings.
`--fingerprint` prints a hash of all that a run leaves, to hold two versions of the code against each other. Stages are
timed by wrapped functions, in the thread's own CPU time; `rest` is all else: the event loop, the gateway, hashing
requests, commits.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tilth.execute import Context
from tilth.storage import write_dataset
from tilth.synthesis import synthesize
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.define import load_recipe
from tilth.teacher.request import Answer, Price, Request, Usage
from tilth.types import Document, document_id

SENTENCE = re.compile(r"[A-Z][^.!?\n]{30,180}[.!?]")
STAGES = {
    "passages": [
        ("tilth.synthesis.recipes.wrap", "split_passages"),
        ("tilth.synthesis.recipes.finephrase", "first_characters"),
    ],
    "render prompt": [("tilth.synthesis.prompt_files", "PromptFile.render")],
    "parse": [("tilth.synthesis.ask", "DocumentAsk._parsed")],
    "sample and lineage": [("tilth.synthesis.generate", "make_candidate")],
    "gate length": [("tilth.synthesis.gates.length", "LengthGate.judge")],
    "gate language": [("tilth.synthesis.gates.language", "LanguageGate.judge")],
    "gate copy": [("tilth.synthesis.gates.copied", "CopyGate.judge")],
    "gate near_duplicate": [("tilth.synthesis.gates.near_duplicate", "NearDuplicateGate.judge")],
    "uniqueness meter": [("tilth.synthesis.gates.uniqueness", "UniquenessMeter.add")],
    "judged files": [("tilth.synthesis.write", "JudgedFiles.append")],
    "cache: look up": [("tilth.teacher.cache", "RequestCache.answer")],
    "cache: write": [("tilth.teacher.cache", "RequestCache._write_batch")],
    "verify and write": [("tilth.synthesis.write", "finish_shard"), ("tilth.synthesis.run", "finish_shard")],
}  # fmt: skip


# The corpus and the teacher


def texts_of(path: Path) -> list[str]:
    with pa.input_stream(str(path), compression="detect") as file:
        return [json.loads(line)["text"] for line in file.read().decode().splitlines()]


def make_dataset(folder: Path, texts: Sequence[str]) -> None:
    documents = [
        Document(id=document_id("benchmark", text), text=text, source=str(number), language="en")
        for number, text in enumerate(texts)
    ]
    write_dataset(folder, documents, made_by="benchmark")


class Script:
    """Plausible answers in the form that the prompt asks for, of sentences from anywhere in the corpus."""

    def __init__(self, corpus: Path) -> None:
        self.sentences = [found for text in texts_of(corpus) for found in SENTENCE.findall(text)]

    def __call__(self, request: Request, sample: int) -> str:
        asked = request.messages[-1].content
        rng = random.Random(hashlib.blake2b(asked.encode(), digest_size=8).digest())
        if "Problem:" in asked:
            a, b = rng.randint(2, 90), rng.randint(2, 90)
            said = " ".join(rng.choices(self.sentences, k=4))
            return f"Problem: {said} Add {a} and {b}.\nSolution: {said} {a} + {b} = {a + b}.\nAnswer: {a + b}"
        if "Question:" in asked:
            pairs = [rng.choices(self.sentences, k=2) for _ in range(1 if "Markdown" in asked else 4)]
            said = "\n\n".join(f"Question: {question[:-1]}?\nAnswer: {answer}" for question, answer in pairs)
            rows = "".join(f"| {a} | {b} |\n" for a, b in (rng.choices(self.sentences, k=2) for _ in range(4)))
            return f"| Name | Value |\n|---|---|\n{rows}\n{said}" if "Markdown" in asked else said
        if "tutorial" in asked:
            steps = [" ".join(rng.choices(self.sentences, k=3)) for _ in range(5)]
            return "\n".join([steps[0], "", *(f"{number}. {step}" for number, step in enumerate(steps[1:], 1))])
        return " ".join(rng.choices(self.sentences, k=10))


class Instant:
    """A teacher that answers at once."""

    name, endpoint, n_params, price = "instant", "instant:", None, Price()

    def __init__(self, script: Script) -> None:
        self.script, self.seconds = script, 0.0

    @property
    def identity(self) -> dict[str, object]:
        return {"kind": "instant"}

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        began = time.thread_time()
        text = self.script(request, first_sample)
        usage = Usage(prompt_tokens=len(request.messages[-1].content) // 4, completion_tokens=len(text) // 4)
        found = [Answer(text=text, finish_reason="stop", usage=usage) for _ in range(n)]
        self.seconds += time.thread_time() - began
        return found

    async def embed(self, texts: Sequence[str]) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


@functools.cache
def _script() -> Script:
    return Script(Path(os.environ["BENCHMARK_CORPUS"]))


def answer(request: Request, sample: int) -> str:
    """The server's script."""
    return _script()(request, sample)


# One run, in a process of its own


def timed(spent: dict[str, float]) -> None:
    """Wraps the functions of `STAGES`, so that each adds its CPU seconds to `spent`."""
    for stage, functions in STAGES.items():
        for module, name in functions:
            owner: Any = __import__(module, fromlist=["_"])
            *path, last = name.split(".")
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, last, _timed(getattr(owner, last), stage, spent))


def _timed(fn: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.thread_time()
        try:
            return fn(*args, **kwargs)
        finally:
            spent[stage] = spent.get(stage, 0.0) + time.thread_time() - began

    return timed


def run(options: argparse.Namespace) -> dict[str, Any]:
    spent: dict[str, float] = {}
    if options.stages:
        timed(spent)
    if options.url:
        from tilth.teacher.http import HttpTeacher

        teacher: Any = HttpTeacher(options.url, "scripted")
    else:
        teacher = Instant(Script(options.corpus))
    recipe = load_recipe(options.recipe)
    gates: Any = None
    # The first use of a library's model, and what Python itself takes, are no part of a request.
    from tilth.curation.language import identify

    identify("The pressure of the air is lower on a mountain.")
    base, cpu, wall = _rss(), time.process_time(), time.perf_counter()
    peak = _Peak()
    result = synthesize(
        options.dataset,
        options.out,
        recipe,
        teacher,
        SynthesisConfig(),
        Context(cache=options.cache, max_in_flight=500, workers=1),
        options=_one_request(recipe) if options.one_request else None,
        gates=gates,
    )
    script = getattr(teacher, "seconds", 0.0)
    cpu, wall = time.process_time() - cpu - script, time.perf_counter() - wall
    requests = sum(line.requests + line.cached for line in result.spending)
    if options.stages:
        spent["rest"] = cpu - sum(spent.values())
    return {
        "cpu": cpu,
        "wall": wall,
        "requests": requests,
        "kept": result.samples_kept,
        "documents": result.documents,
        "base_mb": base,
        "peak_mb": peak.stop(),
        "stages": spent,
        "cache_mb": sum(path.stat().st_size for path in options.cache.iterdir()) / 1e6,
        "fingerprint": fingerprint(options.out),
    }


def _one_request(recipe: Any) -> Any:
    """Options with which a document of one passage takes one request."""
    return recipe.options(styles=("easy",), max_passage_tokens=2000, min_passage_tokens=0)


def _rss() -> float:
    return int(re.findall(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[0]) / 1e3


class _Peak:
    """The most anonymous memory of this process, looked at ten times a second: pages of files come and go."""

    def __init__(self) -> None:
        self._most, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            self._most = max(
                self._most, int(re.findall(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())[0]) / 1e3
            )

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return self._most


def fingerprint(out: Path) -> str:
    """A hash of all that a run leaves but its seconds and what was paid or cached."""
    digest = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name == "synthesis.json":
            found = json.loads(content)
            found.update(seconds=0, dataset="")
            for line in found["spending"]:
                line.update(requests=0, cached=0, retries=0, paid_money=0)
            content = json.dumps(found).encode()
        elif path.name == ".claim.json" or path.name.startswith("."):
            continue
        digest.update(f"{path.relative_to(out)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def child(options: argparse.Namespace, folder: Path, dataset: Path, recipe: str, name: str, *more: str) -> Any:
    command = [sys.executable, __file__, str(options.corpus), "--run", "--recipe", recipe, "--dataset", str(dataset)]
    command += ["--out", str(folder / name), "--cache", str(folder / "cache"), *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


# The measurements


def stages(options: argparse.Namespace, folder: Path, url: str | None) -> None:
    texts = texts_of(options.corpus)
    for recipe, n in (("wrap", options.documents), ("finephrase", 4 * options.documents)):
        dataset, place = folder / f"{recipe}-dataset", folder / recipe
        make_dataset(dataset, texts[:n])
        via = ["--url", url] if url else []
        whole = {name: child(options, place, dataset, recipe, name, *via) for name in ("fresh", "cached")}
        place = folder / f"{recipe}-stages"
        parts = {
            name: child(options, place, dataset, recipe, name, "--stages", *via) for name in ("fresh", "cached")
        }  # fmt: skip
        first = whole["fresh"]
        shown = f"{first['requests']:,} requests, {first['kept']:,} of their samples kept"
        print(f"\n`{recipe}`: {n} documents, {shown}{' (HTTP)' if url else ''}\n")
        if options.fingerprint:
            print("all that is left:", whole["fresh"]["fingerprint"], whole["cached"]["fingerprint"], "\n")
        print("| CPU s per 1,000 requests | fresh | from the cache |\n|---|---|---|")
        rows = {"**whole run**": [1000 * whole[name]["cpu"] / whole[name]["requests"] for name in whole]}
        for stage in [*STAGES, "rest"]:
            rows[stage] = [
                1000 * parts[name]["stages"].get(stage, 0.0) / parts[name]["requests"] for name in ("fresh", "cached")
            ]
        for stage, values in rows.items():
            print(f"| {stage} | {values[0]:.3f} | {values[1]:.3f} |")
        rate = [whole[name]["requests"] / whole[name]["wall"] for name in whole]
        print(f"| requests a second | {rate[0]:,.0f} | {rate[1]:,.0f} |", flush=True)


def sizes(options: argparse.Namespace, folder: Path) -> None:
    passages = [
        found for text in texts_of(options.corpus) for found in re.findall(r"[^\n].{600,1200}?[.\n]", text, re.S)
    ]
    rng = random.Random(0)
    print("| documents | | s wall | CPU s per 1,000 | MB before | peak MB (without files) | cache MB |")
    print("|---|---|---|---|---|---|---|")
    for n in options.sizes:
        place, dataset = folder / f"size-{n}", folder / f"dataset-{n}"
        make_dataset(dataset, [f"{rng.choice(passages)} {number}" for number in range(n)])
        for name in ("fresh", "cached"):
            found = child(options, place, dataset, "wrap", name, "--one-request")
            cpu = 1000 * found["cpu"] / found["requests"]
            memory = f"{found['base_mb']:.0f} | {found['peak_mb']:.0f} | {found['cache_mb']:.0f}"
            print(f"| {n:,} | {name} | {found['wall']:.1f} | {cpu:.3f} | {memory} |", flush=True)


def manual(folder: Path) -> Path:
    """Writes the reference that comes with Python as a corpus, for where none is given."""
    from pydoc_data.topics import topics

    path = folder / "manual.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in topics.values()))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--documents", type=int, default=30, help="whole documents for `wrap`; four times as many else")
    parser.add_argument("--sizes", type=int, nargs="*", help="measure memory and time at so many documents")
    parser.add_argument("--http", action="store_true", help="ask a server in another process")
    parser.add_argument("--fingerprint", action="store_true")
    for name in ("run", "stages", "one-request"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    for name in ("recipe", "url"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    for name in ("dataset", "out", "cache"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.corpus = options.corpus or manual(Path(folder))
        if options.sizes:
            sizes(options, Path(folder))
            return
        if not options.http:
            stages(options, Path(folder), None)
            return
        serve = [sys.executable, "-m", "tilth.teacher.loopback", "--until-stdin-closes", "--script"]
        server = subprocess.Popen(
            [*serve, f"{Path(__file__).resolve()}:answer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"BENCHMARK_CORPUS": str(options.corpus)},
        )
        assert server.stdin is not None and server.stdout is not None
        stages(options, Path(folder), server.stdout.readline().strip())
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    main()
