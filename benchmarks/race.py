"""Bits per byte after equal CPU seconds of training: the main job beside nanochat, nanoGPT and `transformers`' Llama.

    git clone https://github.com/karpathy/nanochat PEERS/nanochat
    git clone https://github.com/karpathy/nanoGPT PEERS/nanoGPT
    python benchmarks/race.py --nanochat PEERS/nanochat --nanogpt PEERS/nanoGPT [--budgets 60 420] [--seeds 0 1 2]

Text, vocabulary (4,096 tokens) and held-out excerpt are those of `tilth run quickstart`, made once. Each training is a
process of its own on one thread, and its budget is CPU seconds of that process from the first batch on: batches,
forward, backward, optimizer. The schedule follows the same clock. What a peer compiles (nanochat's optimizer) is
compiled before. All texts are scored by `tilth.training.held_out.text_loss`: each document alone, windows of the
model's context that overlap by half. A peer's learning rate and batch are chosen first, among those in `PEERS`, by the
shortest budget and seed 0, on documents that are taken out of the training text (`validation`); what is reported is
measured on the held-out excerpt. Results are kept in the folder `--data`, and what is there is not run again, but for
tilth's own where its code has changed since. A peer whose code is not given is left out, with a line.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

VOCABULARY, WIDTH, LAYERS, HEADS = 4096, 128, 4, 2
"""Shape that all share; each has its own feed-forward, embeddings and context."""
EXCERPT_BYTES = 200_000
PEERS: dict[str, list[dict[str, float]]] = {
    "nanochat": [
        {"rate": rate, "batch_tokens": batch, "context": context}
        for rate, batch, context in (
            (16, 1024, 256),
            (32, 1024, 256),
            (16, 2048, 256),
            (16, 1024, 128),
            (32, 1024, 128),
            (32, 1024, 64),
        )
    ],
    "nanoGPT": [
        {"rate": rate, "batch_tokens": batch, "context": context}
        for rate, batch, context in ((3e-3, 768, 64), (1.5e-3, 768, 64), (6e-3, 768, 64), (3e-3, 1536, 64))
    ],
    "Llama": [
        {"rate": rate, "batch_tokens": batch, "context": context}
        for rate, batch, context in ((3e-3, 512, 256), (6e-3, 512, 256), (3e-3, 1024, 256))
    ],
}
"""Settings tried of each peer. nanochat's rate multiplies all its rates, after its own scaling by batch and width."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training."""

    name: str
    budget: float
    """CPU seconds."""
    seed: int
    settings: Mapping[str, float]
    same_kernels: bool = False
    """Whether a peer runs with the process settings that tilth makes for itself (`tilth.training.cpu`)."""
    code: str = ""
    """Of tilth's own: the digest of what trains it, so that changed code is run again."""

    @property
    def key(self) -> str:
        """What tells jobs apart in the file of results."""
        return json.dumps(vars(self), sort_keys=True)


Step = Callable[[Tensor, Tensor, float], None]
"""Takes inputs, targets `(rows, context)` and the share of the budget that is used; moves the weights."""


# Text


def make_data(folder: Path) -> None:
    """Curates this Python's text, trains the vocabulary, and writes documents and excerpts into `folder`."""
    from tilth import steps
    from tilth.execute import Context
    from tilth.recipes.quickstart import quickstart
    from tilth.storage import Dataset, write_dataset
    from tilth.training.held_out import held_out_excerpt

    context = Context(runs=folder / "runs")
    by_label = {step.label: step for step in steps.in_order(quickstart(vocab_size=VOCABULARY), context)}
    results = {result.step.label: result.folder for result in steps.run(by_label["tokenizer"], context)}
    documents = sorted(Dataset.open(results["curate"] / "train").documents(), key=lambda d: _hash(d.id))
    validation, n = [], 0
    while n < 2 * EXCERPT_BYTES:  # twice: the excerpt cuts the last document, and long ones weigh less
        validation.append(documents.pop(0))
        n += len(validation[-1].text.encode())
    excerpts = {
        "train": documents,
        "validation": held_out_excerpt(validation, EXCERPT_BYTES),
        "held_out": held_out_excerpt(Dataset.open(results["curate"] / "held_out").documents(), EXCERPT_BYTES),
    }
    (folder / "tokenizer").unlink(missing_ok=True)
    (folder / "tokenizer").symlink_to(results["tokenizer"].resolve())
    write_dataset(folder / "train", documents, made_by="benchmarks/race.py")
    for name, chosen in excerpts.items():
        (folder / f"{name}.json").write_text(json.dumps([[d.id, d.text] for d in chosen]))


def _hash(text: str) -> str:
    return hashlib.sha256(f"validation {text}".encode()).hexdigest()


def read_documents(folder: Path, name: str) -> list[Any]:
    from tilth.types import Document

    return [Document(id=i, text=text, source=name) for i, text in json.loads((folder / f"{name}.json").read_text())]


def chunks(
    documents: list[Any], tokenizer: Any, *, rows: int, context: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields inputs and targets `(rows, context)`: documents in random order, joined and cut, the pieces shuffled."""
    generator = np.random.default_rng(seed)
    ids = tokenizer.encode_batch([d.text for d in documents], disallowed_special=())
    arrays = [np.array([tokenizer.end_of_text, *i], dtype=np.int64) for i in ids]
    while True:
        text = np.concatenate([arrays[i] for i in generator.permutation(len(arrays))])
        starts = generator.permutation((len(text) - 1) // context) * context
        for begin in range(0, len(starts) - rows + 1, rows):
            block = np.stack([text[s : s + context + 1] for s in starts[begin : begin + rows]])
            yield torch.from_numpy(block[:, :-1].copy()), torch.from_numpy(block[:, 1:].copy())


# Contestants


@dataclass
class Shape:
    """What `text_loss` reads of a model's config."""

    context_length: int


class Scored:
    """A peer as `text_loss` takes a model."""

    device = torch.device("cpu")
    training = True

    def __init__(self, model: nn.Module, context: int, logits: Callable[[Tensor], Tensor]) -> None:
        self.model, self.logits, self.config = model, logits, Shape(context)

    def eval(self) -> None:
        self.model.eval()

    def train(self, on: bool = True) -> None:
        self.model.train(on)

    @torch.no_grad()
    def token_losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        logits = self.logits(ids).float().flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="none").view(targets.shape)


def decayed(share: float, warmup: float, decay: float) -> float:
    """Returns the part of the peak rate after `share` of the budget: up, flat, linearly down to 0."""
    up = min(1.0, (share + 1e-9) / warmup) if warmup else 1.0
    return up * min(1.0, (1 - share) / decay)


def nanochat(settings: Mapping[str, float], budget: float) -> tuple[Scored, Step]:
    """nanochat's `GPT` and `MuonAdamW`, set up as in `scripts/base_train.py`; windows "L", since others need a mask."""
    sys.path.insert(0, os.environ["RACE_NANOCHAT"])
    from nanochat.gpt import GPT, GPTConfig  # pyright: ignore

    context, tokens = int(settings["context"]), int(settings["batch_tokens"])
    config = GPTConfig(
        sequence_len=context,
        vocab_size=VOCABULARY,
        n_layer=LAYERS,
        n_head=HEADS,
        n_kv_head=HEADS,
        n_embd=WIDTH,
        window_pattern="L",
    )

    def build() -> tuple[Any, Any]:
        with contextlib.redirect_stdout(None):
            model = GPT(config)
            model.init_weights()
            scale = math.sqrt(tokens / 2**19) * settings["rate"]
            optimizer = model.setup_optimizer(
                unembedding_lr=0.008 * scale, embedding_lr=0.3 * scale, matrix_lr=0.02 * scale, scalar_lr=0.5 * scale
            )
        return model, optimizer

    model, optimizer = build()
    other, compiled = build()  # compiles the optimizer's kernels for these shapes
    ids = torch.zeros(1, context, dtype=torch.int64)
    for _ in range(2):
        other(ids, ids).backward()
        compiled.step()
    taken = 0

    def step(inputs: Tensor, targets: Tensor, share: float) -> None:
        nonlocal taken
        model(inputs, targets).backward()
        warm = 0.85 + 0.12 * min(1.0, taken / 400)
        left = (1 - share) / 0.65
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * decayed(share, 0.01, 0.65)
            if group["kind"] == "muon":
                group["momentum"] = warm if left >= 1 else min(warm, 0.90 + 0.07 * left)
        optimizer.step()
        model.zero_grad(set_to_none=True)
        taken += 1

    return Scored(model, context, model), step


def nanogpt(settings: Mapping[str, float], budget: float) -> tuple[Scored, Step]:
    """nanoGPT's `GPT` and AdamW, without dropout, as its README advises for a CPU; a linear decay to 0 in place of its
    cosine to a tenth."""
    sys.path.insert(0, os.environ["RACE_NANOGPT"])
    from model import GPT, GPTConfig  # pyright: ignore

    context = int(settings["context"])
    with contextlib.redirect_stdout(None):
        model = GPT(
            GPTConfig(
                block_size=context,
                vocab_size=VOCABULARY,
                n_layer=LAYERS,
                n_head=HEADS,
                n_embd=WIDTH,
                dropout=0.0,
                bias=False,
            )
        )
        optimizer = model.configure_optimizers(0.1, settings["rate"], (0.9, 0.99), "cpu")

    def logits(ids: Tensor) -> Tensor:
        return model(ids, ids)[0]  # without targets it gives the last position only

    return Scored(model, context, logits), _adamw_step(model, optimizer, lambda x, y: model(x, y)[1], settings["rate"])


def llama(settings: Mapping[str, float], budget: float) -> tuple[Scored, Step]:
    """`transformers`' Llama with a feed-forward of 8/3 of the width, and torch's AdamW."""
    from transformers import LlamaConfig, LlamaForCausalLM

    context = int(settings["context"])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=352,
            max_position_embeddings=context,
            tie_word_embeddings=True,
        )
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["rate"], betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )

    def logits(ids: Tensor) -> Tensor:
        return model(input_ids=ids, use_cache=False).logits

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits(inputs).flatten(0, 1), targets.flatten())

    return Scored(model, context, logits), _adamw_step(model, optimizer, loss, settings["rate"])


def _adamw_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[Tensor, Tensor], Tensor], rate: float
) -> Step:
    def step(inputs: Tensor, targets: Tensor, share: float) -> None:
        loss(inputs, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * decayed(share, 0.02, 0.98)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


CONTESTANTS = {"nanochat": nanochat, "nanoGPT": nanogpt, "Llama": llama}


# One training


def train_peer(job: Job, folder: Path) -> dict[str, float]:
    from tilth.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "tokenizer")
    model, step = CONTESTANTS[job.name](job.settings, job.budget)
    context = int(job.settings["context"])
    batches = chunks(
        read_documents(folder, "train"),
        tokenizer,
        rows=int(job.settings["batch_tokens"]) // context,
        context=context,
        seed=job.seed,
    )
    first = next(batches)  # tokenizing all of the text once is not counted
    used, tokens = 0.0, 0
    while used < job.budget:
        started = time.process_time()
        inputs, targets = first if not tokens else next(batches)
        step(inputs, targets, used / job.budget)
        tokens += inputs.numel()
        used += time.process_time() - started
    n_params = sum(p.numel() for p in model.model.parameters())
    return measured(model, tokenizer, folder) | {"tokens": tokens, "cpu_seconds": used, "n_params": n_params}


def measured(model: Any, tokenizer: Any, folder: Path) -> dict[str, float]:
    """Returns the bits per byte on both excerpts."""
    from tilth.training.held_out import text_loss

    excerpts = ("validation", "held_out")
    return {name: text_loss(model, tokenizer, read_documents(folder, name)).bits_per_byte for name in excerpts}


def train_tilth(job: Job, folder: Path) -> dict[str, float]:
    """Trains what `tilth run quickstart` trains, with the parts of its trainer; only the schedule's clock differs."""
    from tilth import steps
    from tilth.execute import Context
    from tilth.recipes.quickstart import quickstart
    from tilth.recipes.step_functions import Pretraining
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer
    from tilth.training.bigrams import start_from_bigrams
    from tilth.training.cpu import fast_cpu
    from tilth.training.optim import make_optimizers
    from tilth.training.pretraining import initial_model
    from tilth.training.schedule import Schedule
    from tilth.training.stream import TokenStream
    from tilth.training.trainer import next_token_loss

    recipe = quickstart(vocab_size=VOCABULARY, depth=LAYERS, seed=job.seed)
    by_label = {step.label: step for step in steps.in_order(recipe, Context(runs=folder / "runs"))}
    pretraining = by_label["pretrain"].config
    assert isinstance(pretraining, Pretraining)
    model_config = _changed(pretraining.model, job.settings)
    config = _changed(pretraining.training, job.settings)
    dataset, tokenizer = Dataset.open(folder / "train"), Tokenizer.load(folder / "tokenizer")
    # A schedule of 1,000 steps of which each is a thousandth of the budget, whatever the number of real steps.
    schedule = Schedule(
        steps=1000,
        warmup_steps=1000 * config.warmup_tokens / config.tokens,
        decay_fraction=config.decay_fraction,
        shape=config.schedule,
    )
    model = initial_model(model_config, job.seed)
    parameters = list(model.parameters())
    optimizers = make_optimizers(model, config)
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    peaks = [group["lr"] for group in groups]
    rows = config.global_batch_tokens // model_config.context_length
    stream = TokenStream(
        dataset,
        tokenizer,
        context_length=model_config.context_length,
        batch_size=rows,
        seed=job.seed,
        short_batches=sys.maxsize,
        short_length=config.short_rows,
    )
    tokens = 0
    with fast_cpu():
        began = time.process_time()
        if config.initial_embeddings == "bigrams" and model.head is not None:
            start_from_bigrams(model, dataset, tokenizer, seed=job.seed)
        while (used := time.process_time() - began) < job.budget:
            share = used / job.budget
            if share >= 0.5:
                stream.short_batches = 0
            batch = stream.next_batch()
            next_token_loss(model, batch.normalized()).backward()
            nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
            for group, peak in zip(groups, peaks, strict=True):
                group["lr"] = peak * schedule.at(1000 * share)
            for optimizer in optimizers.values():
                optimizer.step()
                optimizer.zero_grad()
            tokens += batch.n_tokens
    counts = {"tokens": tokens, "cpu_seconds": used, "n_params": model_config.n_params}
    return measured(model, tokenizer, folder) | counts


def _changed(config: Any, settings: Mapping[str, Any]) -> Any:
    """Returns a config with the settings that it has fields for."""
    return replace(config, **{key: value for key, value in settings.items() if hasattr(config, key)})


def run_job(job: Job, folder: Path) -> dict[str, float]:
    from tilth.training.cpu import fast_cpu

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(job.seed)
    if job.name == "tilth":
        return train_tilth(job, folder)
    with fast_cpu() if job.same_kernels else contextlib.nullcontext():
        return train_peer(job, folder)


# All of them


class Results:
    """Finished jobs, in a file of one line each."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        lines = path.read_text().splitlines() if path.exists() else []
        self.done: dict[str, dict[str, float]] = {entry["job"]: entry["result"] for entry in map(json.loads, lines)}

    def get(self, job: Job) -> dict[str, float]:
        """Returns the result of a job, which is run in a process of its own if it is not there."""
        if job.key not in self.done:
            command = [sys.executable, __file__, "--data", str(self.folder), "--job", job.key]
            finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            self.done[job.key] = json.loads(finished.stdout.splitlines()[-1])
            with self.path.open("a") as file:
                file.write(json.dumps({"job": job.key, "result": self.done[job.key]}) + "\n")
            print(f"  {job.name:<9} {job.key}  {self.done[job.key]}", file=sys.stderr, flush=True)
        return self.done[job.key]


def chosen_settings(name: str, budget: float, options: argparse.Namespace, results: Results) -> Mapping[str, float]:
    """Returns the settings of a peer that are best on the validation text after the shortest budget: for that one among
    all, for longer ones among those of the longest context, since a short one loses more the longer a training is."""
    shortest = min(options.budgets)
    longest_context = max(settings["context"] for settings in PEERS[name])
    tried: list[tuple[float, Mapping[str, float]]] = []
    for settings in PEERS[name]:
        if budget == shortest or settings["context"] == longest_context:
            job = Job(name=name, budget=shortest, seed=0, settings=settings, same_kernels=options.same_kernels)
            tried.append((results.get(job)["validation"], settings))
    return min(tried, key=lambda entry: entry[0])[1]


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanochat", type=Path, help="checkout of nanochat")
    parser.add_argument("--nanogpt", type=Path, help="checkout of nanoGPT")
    parser.add_argument("--budgets", type=float, nargs="+", default=[60.0], help="CPU seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=["tilth", *CONTESTANTS])
    parser.add_argument("--same-kernels", action="store_true", help="give peers tilth's process settings, too")
    parser.add_argument("--data", type=Path, default=Path("runs/race"), help="folder for text, vocabulary and results")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(run_job(Job(**json.loads(options.job)), options.data)))
        return
    options.data.mkdir(parents=True, exist_ok=True)
    if not (options.data / "held_out.json").exists():
        make_data(options.data)
    for name, path in (("NANOCHAT", options.nanochat), ("NANOGPT", options.nanogpt)):
        if path is not None:
            os.environ[f"RACE_{name}"] = str(path.resolve())
    results = Results(options.data / "results.jsonl", options.data)
    print("| | " + " | ".join(f"{budget:g} CPU s" for budget in options.budgets) + " | parameters |")
    print("|---|" + "---|" * (len(options.budgets) + 1))
    for name in options.only:
        if name != "tilth" and name != "Llama" and f"RACE_{name.upper()}" not in os.environ:
            print(f"{name} is left out: `--{name.lower()}` names no checkout of it.", file=sys.stderr)
            continue
        print(row(name, options, results), flush=True)


def code_digest() -> str:
    """Returns a digest of the code and the settings that train tilth's model."""
    import tilth

    root = Path(tilth.__file__).parent
    files = [*(root / "model").glob("*.py"), *(root / "training").glob("*.py"), root / "recipes" / "quickstart.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]


def row(name: str, options: argparse.Namespace, results: Results) -> str:
    cells: list[str] = []
    n_params = 0
    for budget in options.budgets:
        settings = {} if name == "tilth" else chosen_settings(name, budget, options, results)
        same_kernels = options.same_kernels and name != "tilth"
        code = code_digest() if name == "tilth" else ""
        job = Job(name=name, budget=budget, seed=0, settings=settings, same_kernels=same_kernels, code=code)
        found = [results.get(replace(job, seed=seed)) for seed in options.seeds]
        values = [result["held_out"] for result in found]
        n_params = int(found[0]["n_params"])
        tokens = statistics.mean(result["tokens"] for result in found)
        spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
        shown = "".join(f", {key} {value:g}" for key, value in settings.items())
        cells.append(f"{statistics.mean(values):.3f}{spread}, {tokens / 1e6:.2f}M tokens{shown}")
    return f"| {name} | " + " | ".join(cells) + f" | {n_params / 1e6:.2f}M |"


if __name__ == "__main__":
    main()
