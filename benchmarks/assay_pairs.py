"""The value of real datasets beside real controls: known cases and open questions, and what a measurement costs.

    python benchmarks/assay_pairs.py [PAIR ...] [--tokens N] [--seeds 0 1 2] [--depths 1 3] [--out FOLDER]
    python benchmarks/assay_pairs.py --cost

The texts are those of the tests' real data (`TILTH_TEST_DATA`). Each pair is a folder under `--out` with its datasets
and the measurement, which continues where it stopped; the tables are printed as Markdown.

rephrase   Genesis in the King James version (source), and the same verses in the World English Bible: a paraphrase by
           people, the closest to "a rephrase by a good model" at hand. Held out: later chapters of King James.
copies     the same source, and nine tenths of it again.
textbook   textbooks against mixed modern English (MASC: letters, blogs, news, essays) for held-out Wikipedia, for
           learners that have read other documents of MASC.
synthetic  samples of a small model that was trained on the source (textbooks), against new pages of textbooks. The
           source is about 400,000 tokens: with fewer `--tokens` the model has read more of it than the learners, and
           its samples tell them of the rest.
curated    SQLite's manual curated by `tilth curate`, against the same pages with their tags taken out and no more, for
           held-out curated pages.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import resource
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow as pa

from tilth.assay.config import ValueConfig
from tilth.assay.result import Value
from tilth.assay.value import measure_value
from tilth.curation import CurationConfig, curate
from tilth.execute import Context
from tilth.identity import fingerprint_of
from tilth.inference import SamplingParams, generate_tokens
from tilth.intervals import Interval
from tilth.model import ModelConfig
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, train
from tilth.types import Document

DATA = Path(os.environ.get("TILTH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
PIECE = 2000
"""Characters of a piece of a text that comes in one."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A dataset, and what it is measured beside."""

    dataset: Dataset
    source: Dataset
    held_out: Dataset
    fresh: Dataset
    config: ValueConfig = field(default_factory=ValueConfig)


def text_of(path: str) -> str:
    return pa.CompressedInputStream(pa.OSFile(str(DATA / path)), "zstd").read().decode()


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in io.StringIO(text_of(path))]


def dataset(folder: Path, texts: Iterable[str]) -> Dataset:
    """Writes texts as a dataset of a corpus named like the folder; one that is there is opened."""
    if (folder / "dataset.json").exists():
        return Dataset.open(folder)
    documents = [Document.make(text, source=folder.name, corpus=folder.name) for text in texts if text.strip()]
    return write_dataset(folder, documents, made_by="benchmarks/assay_pairs.py")


def part(text: str, shares: Sequence[float]) -> int:
    """Returns in which part a text is, by its hash; `shares` are the ends of all parts but the last."""
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
    return sum(place >= share for share in shares)


def pieces(text: str) -> list[str]:
    """Cuts a text at line breaks into pieces of about `PIECE` characters."""
    found = [""]
    for line in text.split("\n"):
        if len(found[-1]) >= PIECE:
            found.append("")
        found[-1] += line + "\n"
    return found


def genesis(work: Path, texts_of: Callable[[str, str], list[str]]) -> Pair:
    """The first half is the source, the next three tenths are fresh, the last fifth is held out: the story goes on."""
    both = {row["id"]: row["text"] for row in rows("genesis_parallel/genesis.jsonl.zst")}
    king_james, world_english = both["genesis/english-kjv.txt"], both["genesis/english-web.txt"]

    def between(text: str, first: float, end: float) -> str:
        return text[round(first * len(text)) : round(end * len(text))]

    # A little is left out between the parts, because the versions do not run quite side by side.
    return Pair(
        dataset=dataset(work / "dataset", texts_of(between(king_james, 0, 0.5), between(world_english, 0, 0.48))),
        source=dataset(work / "source", pieces(between(king_james, 0, 0.5))),
        fresh=dataset(work / "fresh", pieces(between(king_james, 0.52, 0.8))),
        held_out=dataset(work / "held_out", pieces(between(king_james, 0.82, 1))),
        config=ValueConfig(
            vocab_size=512, before_tokens=40_000, arm_tokens=40_000, batch_tokens=1024, held_out_bytes=40_000
        ),
    )


def rephrase(work: Path) -> Pair:
    return genesis(work, lambda _, world_english: pieces(world_english))


def copies(work: Path) -> Pair:
    return genesis(work, lambda king_james, _: pieces(king_james)[: -len(pieces(king_james)) // 10])


def textbook(work: Path) -> Pair:
    prose = ("Psychology 2e", "Introduction to Sociology 3e", "Introduction to Philosophy", "American Government 4e")
    books = [row["text"] for row in rows("textbooks_openstax/openstax_ccby.jsonl.zst") if row["book"] in prose]
    mixed = [piece for row in rows("masc/masc.jsonl.zst") for piece in whole_or_pieces(row["text"])]
    articles = re.split(r"\n (?== [^=])", text_of("wikitext2/valid.txt.zst"))
    return Pair(
        dataset=dataset(work / "dataset", books),
        source=dataset(work / "source", [text for text in mixed if part(text, [0.5]) == 0]),
        fresh=dataset(work / "fresh", [text for text in mixed if part(text, [0.5]) == 1]),
        held_out=dataset(work / "held_out", articles),
    )


def whole_or_pieces(text: str) -> list[str]:
    return [text[start : start + 8000] for start in range(0, len(text), 8000)]


def synthetic(work: Path) -> Pair:
    pages = [row["text"] for row in rows("textbooks_openstax/openstax_ccby.jsonl.zst")]
    source = dataset(work / "source", [page for page in pages if part(page, [0.1, 0.6]) == 0])
    return Pair(
        dataset=dataset(work / "dataset", samples(source, work / "model")),
        source=source,
        fresh=dataset(work / "fresh", [page for page in pages if part(page, [0.1, 0.6]) == 1]),
        held_out=dataset(work / "held_out", [page for page in pages if part(page, [0.1, 0.6]) == 2]),
    )


def samples(source: Dataset, folder: Path) -> Iterable[str]:
    """Yields 1,600 samples of 100 tokens, at temperature 1, of a model of depth 3 that was trained on the source."""
    if (folder.parent / "dataset" / "dataset.json").exists():
        return
    tokenizer = Tokenizer.train((document.text for document in source), vocab_size=1024)
    shape = ModelConfig.from_depth(3, vocab_size=1024, context_length=128)
    model = train(
        shape, TrainConfig(tokens=300_000, global_batch_tokens=2048, seed=100), source, tokenizer, folder
    ).model
    separator = tokenizer.end_of_text
    assert separator is not None
    params = SamplingParams(max_tokens=100, stop_tokens=(separator,), seed=100)
    for made in generate_tokens(model, [[separator]] * 1600, params, batch_size=256):
        yield tokenizer.decode([token for token in made.tokens if token != separator])


def curated(work: Path) -> Pair:
    pages: dict[str, bytes] = {}
    with tarfile.open(
        fileobj=pa.CompressedInputStream(pa.OSFile(str(DATA / "html_debian/sqlite3_doc.tar.zst")), "zstd"), mode="r|"
    ) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".html") else None
            if stream is not None:
                pages[Path(member.name).name] = stream.read()
    sides = {name: part(name, [0.4, 0.8]) for name in pages}
    for side, name in enumerate(("source", "new", "held_out")):
        folder = work / "html" / name
        folder.mkdir(parents=True, exist_ok=True)
        for page in (page for page in pages if sides[page] == side):
            (folder / page).write_bytes(pages[page])
    config = CurationConfig(held_out_fraction=0.0)
    for name in ("new", "held_out"):
        curate(work / "html" / name, work / f"curated-{name}", config, Context(workers=1))
    return Pair(
        dataset=Dataset.open(work / "curated-new" / "train"),
        source=dataset(work / "source", [raw_text(pages[page]) for page in sorted(pages) if sides[page] == 0]),
        fresh=dataset(work / "fresh", [raw_text(pages[page]) for page in sorted(pages) if sides[page] == 1]),
        held_out=Dataset.open(work / "curated-held_out" / "train"),
    )


def raw_text(html: bytes) -> str:
    """Returns a page without its tags, and all else in it: menus, scripts, footers."""
    return unescape(re.sub(r"(?s)<[^>]*>", "", html.decode("utf-8", "replace")))


PAIRS: dict[str, Callable[[Path], Pair]] = {
    "rephrase": rephrase,
    "copies": copies,
    "textbook": textbook,
    "synthetic": synthetic,
    "curated": curated,
}


def shown(interval: Interval, digits: int = 2) -> str:
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def table(name: str, value: Value) -> str:
    """Returns the measurement as Markdown: mean losses of arms by size of learner, and the values."""
    names = [arm.arm for arm in value.learners[0].arms]
    lines = [
        f"### {name}: {value.verdict}",
        "",
        f"Held out: {value.held_out_documents} documents, {value.held_out_bytes:,} bytes; seeds {value.seeds}; "
        "bits per byte, mean over seeds.",
        "",
        f"| depth | parameters | before | {' | '.join(names)} | value | of noise | of word salad | bits removed |",
        f"|{'---|' * (len(names) + 7)}",
    ]
    for one in value.learners:
        means = [sum(one.before) / len(one.before), *(sum(arm.losses) / len(arm.losses) for arm in one.arms)]
        figures = " | ".join(f"{mean:.3f}" for mean in means)
        values = (one.value, one.noise_value, one.word_salad_value)
        lines.append(
            f"| {one.depth} | {one.n_params:,} | {figures} | {' | '.join(map(shown, values))} | "
            f"{shown(one.bits_removed, 3)} |"
        )
    return "\n".join([*lines, "", *(f"- {note}" for note in value.notes)])


def cost(out: Path) -> None:
    """Measures one seed of the smaller learner at three sizes; memory is the most that the process ever had."""
    pair = textbook(out / "textbook")
    print("| tokens before and in an arm | CPU seconds | peak memory |\n|---|---|---|")
    for tokens in (50_000, 100_000, 200_000):
        config = ValueConfig(seeds=(100,), depths=(1,), before_tokens=tokens, arm_tokens=tokens)
        began = time.process_time()
        measure(pair, out / f"cost-{tokens}", config, Context(workers=1))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {tokens:,} | {time.process_time() - began:.1f} | {peak:,.0f} MB |", flush=True)


def measure(pair: Pair, out: Path, config: ValueConfig, context: Context) -> Value:
    return measure_value(
        pair.dataset,
        out,
        source=pair.source,
        held_out=pair.held_out,
        fresh=pair.fresh,
        config=config,
        context=context,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", choices=[*PAIRS, []], default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--tokens", type=int, help="before the arms part and in each; bytes of held-out text; default: the defaults"
    )
    parser.add_argument("--out", type=Path, default=Path("assay-pairs"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    if options.cost:
        cost(options.out)
        return
    for name in options.pairs or PAIRS:
        began = time.process_time()
        pair = PAIRS[name](options.out / name)
        config = replace(pair.config, seeds=tuple(options.seeds), depths=tuple(options.depths))
        if options.tokens and pair.config == ValueConfig():
            config = replace(
                config, before_tokens=options.tokens, arm_tokens=options.tokens, held_out_bytes=options.tokens
            )
        made = time.process_time()
        folder = options.out / name / f"value-{fingerprint_of(config)}"
        value = measure(pair, folder, config, Context(workers=options.workers))
        print(table(name, value), flush=True)
        print(
            f"- {made - began:.0f} CPU seconds for the datasets, {time.process_time() - made:.0f} for the value.\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
