"""A made-up run with the shapes and magnitudes of a real one: the files of every step, as the step would write them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any, TypeAlias

from tilth.report import RunResults, collect

Files: TypeAlias = dict[str, dict[str, Any]]
"""Folder -> name of a file -> what it holds as JSON; of `metrics.jsonl` a list of its lines."""

HOSTILE = (
    "<script>alert('x')</script> & \"quotes\" \x00\x1b[31m \ud800 \u202e &lt;b&gt; {{ 7*7 }} https://example.org/a.js"
)

LEDGER: dict[str, Any] = {
    "inputs": [{"name": "python standard library", "files": 3412, "bytes": 48_233_112}],
    "stages": [
        {
            "stage": "read",
            "documents_in": 3412,
            "documents_out": 3398,
            "bytes_in": 48_233_112,
            "bytes_out": 48_001_001,
        },
        {
            "stage": "extract",
            "documents_in": 3398,
            "documents_out": 3391,
            "bytes_in": 48_001_001,
            "bytes_out": 47_000_001,
        },
        {
            "stage": "language",
            "documents_in": 3391,
            "documents_out": 3310,
            "bytes_in": 47_000_001,
            "bytes_out": 45_900_100,
        },
        {
            "stage": "quality",
            "documents_in": 3310,
            "documents_out": 2204,
            "bytes_in": 45_900_100,
            "bytes_out": 31_200_000,
        },
        {
            "stage": "exact_dedup",
            "documents_in": 2204,
            "documents_out": 2204,
            "bytes_in": 31_200_000,
            "bytes_out": 31_200_000,
        },
        {
            "stage": "minhash_dedup",
            "documents_in": 2204,
            "documents_out": 2011,
            "bytes_in": 31_200_000,
            "bytes_out": 28_100_000,
        },
    ],
    "rejects": [
        {
            "stage": "read",
            "reason": "empty",
            "documents": 14,
            "bytes": 0,
            "examples": [{"source": "email/mime/__init__.py", "detail": "0 bytes", "excerpt": ""}],
        },
        {"stage": "extract", "reason": "binary", "documents": 7, "bytes": 1_001_000, "examples": []},
        {
            "stage": "language",
            "reason": "unknown_language",
            "documents": 81,
            "bytes": 1_099_901,
            "examples": [
                {
                    "source": "encodings/cp037.py",
                    "detail": "confidence 0.21",
                    "excerpt": "decoding_table = (\n    '\\x00'     #  0x00 -> NULL\n",
                }
            ],
        },
        {
            "stage": "quality",
            "reason": "too_few_words",
            "documents": 702,
            "bytes": 1_200_000,
            "examples": [
                {
                    "source": "test/__init__.py",
                    "detail": "12 words, at least 50 asked",
                    "excerpt": "# Dummy file to make this directory a package.\n",
                },
                {
                    "source": "lib2to3/pgen2/__init__.py",
                    "detail": "19 words, at least 50 asked",
                    "excerpt": '"""The pgen2 package."""\n',
                },
            ],
        },
        {
            "stage": "quality",
            "reason": "repeated_lines",
            "documents": 404,
            "bytes": 13_500_100,
            "examples": [
                {
                    "source": "pydoc_data/topics.py",
                    "detail": "0.41 of lines repeat, at most 0.30 allowed",
                    "excerpt": HOSTILE,
                }
            ],
        },
        {
            "stage": "minhash_dedup",
            "reason": "near_duplicate",
            "documents": 193,
            "bytes": 3_100_000,
            "examples": [
                {
                    "source": "idlelib/idle_test/test_a.py",
                    "detail": "like idlelib/idle_test/test_b.py",
                    "excerpt": "import unittest\nfrom test.support import requires\n",
                }
            ],
        },
    ],
    "dead_letters": [{"stage": "read", "source": "broken.json.gz", "error": "EOFError: compressed file ended early"}],
    "n_dead_letters": 3,
    "languages": {"en": 1987, "de": 14, "fr": 6, "": 4},
    "kinds": {"code": 1544, "prose": 467},
    "split": {"by": "file", "threshold": 0.04, "seed": 0},
    "train": {"documents": 1931, "bytes": 26_900_000},
    "held_out": {"documents": 80, "bytes": 1_200_000},
}

PIECES = [
    "def",
    " read",
    "_text",
    "(",
    "path",
    ")",
    " ->",
    " str",
    ":",
    "\n",
    "   ",
    ' """',
    "Return",
    "s",
    " the",
    " text",
    " of",
    " a",
    " file",
    ",",
    " dec",
    "oded",
    " as",
    " UTF",
    "-",
    "8",
    '."""',
    "\n",
    "   ",
    " return",
    " path",
    ".",
    "read",
    "_",
    "text",
    "(",
    "encoding",
    '="',
    "utf",
    "-",
    "8",
    '")',
]

TOKENIZER: dict[str, Any] = {
    "vocab_size": 8192,
    "pattern": "llama-bpe",
    "fingerprint": "9f2c4e77aa0153bd",
    "bytes_per_token": 3.8713,
    "used_tokens": 7511,
    "training_bytes": 26_900_000,
    "longest_tokens": [
        "                                ",
        "----------------",
        " representation",
        " implementation",
        HOSTILE[:24],
    ],
    "example": {
        "text": "".join(PIECES),
        "pieces": [{"text": text, "id": 256 + 37 * index % 7900} for index, text in enumerate(PIECES)],
    },
}


def metrics() -> list[dict[str, Any]]:
    """Returns 600 steps of a falling loss with some noise, and the held-out text read every 60 steps."""
    lines: list[dict[str, Any]] = []
    for step in range(601):
        tokens = step * 8192
        loss = 4.3 + 4.8 * math.exp(-step / 88)
        noise = 0.16 * math.sin(step * 12.9898) * math.cos(step * 78.233)
        if step % 60 == 0:
            bits = 1.6234 + 1.7878 * (math.exp(-step / 90) - math.exp(-600 / 90)) / (1 - math.exp(-600 / 90))
            lines.append(
                {
                    "step": step,
                    "tokens": tokens,
                    "held_out_bits_per_byte": bits,
                    "held_out_nats_per_token": bits * 3.8713 * math.log(2),
                }
            )
        rate = 3e-3 * min(1, (step + 1) / 40) * (1 if step < 480 else (601 - step) / 121)
        lines.append(
            {
                "step": step,
                "tokens": tokens,
                "loss": loss + noise,
                "learning_rate": rate,
                "grad_norm": 0.4 + 4 * math.exp(-step / 30) + abs(noise),
                "seconds": 0.4 * step,
            }
        )
    return lines


SUMMARY: dict[str, Any] = {
    "n_params": 1_312_256,
    "tokens": 4_915_200,
    "steps": 600,
    "flops": 4.61e13,
    "seconds": 251.3,
    "bits_per_byte_before": 3.4112,
    "bits_per_byte_after": 1.6234,
    "tokens_per_second": 19_559.0,
}

SAMPLES = [
    {
        "prompt": "The purpose of this module is",
        "before": " ulalle== \ufffd\ufffd impl Nonetestype\x07 wwx",
        "after": "The purpose of this module is to provide a simple interface to the files.\nIt returns a list.",
    },
    {
        "prompt": "def add(a, b):\n",
        "before": '))) forwardonic the""" impl impl',
        "after": '    """Add two numbers."""\n    return a + b\n',
    },
    {"prompt": HOSTILE, "before": HOSTILE, "after": HOSTILE * 2},
]

BASELINES: dict[str, Any] = {
    "held_out_bytes": 1_200_000,
    "held_out_documents": 80,
    "bits_per_byte": {"model before": 3.4112, "model": 1.6234, "5-gram": 1.9412, "zstd -19": 1.8104},
    "notes": {
        "5-gram": "Interpolated 5-gram over bytes, counted on the training documents.",
        "zstd -19": "Level 19 with the training documents as a dictionary.",
    },
}


SURPRISE: dict[str, Any] = {
    "order": 5,
    "documents": 2,
    "bytes": 9000,
    "model_bits": 14_600.0,
    "ngram_bits": 17_400.0,
    "passages": [
        {
            "document_id": "0" * 32,
            "source": "json/decoder.py",
            "kind": "code",
            "first_token": 301,
            "bytes": 35,
            "tokens": [
                {"text": "def", "model_bits": 0.2, "ngram_bits": 0.9, "alternatives": {"def": 0.87, "class": 0.06}},
                {"text": " read", "model_bits": 9.5, "ngram_bits": 15.1, "alternatives": {" __": 0.04, " get": 0.31}},
                {"text": "(\n", "model_bits": 3.0, "ngram_bits": 1.2, "alternatives": {"(": 0.5, HOSTILE: 0.1}},
                {"text": "日", "model_bits": 21.0, "ngram_bits": 21.1, "tokens": 3, "alternatives": {"⟨E6⟩": 0.2}},
                {"text": HOSTILE[:20], "model_bits": 30.0, "ngram_bits": 24.0, "alternatives": {}},
            ],
        },
    ],
    "by_context": [
        {"least": 0, "most": 15, "bytes": 100, "model_bits": 260.0, "ngram_bits": 240.0},
        {"least": 16, "most": 255, "bytes": 1900, "model_bits": 3300.0, "ngram_bits": 3800.0},
        {"least": 256, "most": 1200, "bytes": 7000, "model_bits": 11_000.0, "ngram_bits": 13_300.0},
    ],
}

NEAREST: dict[str, Any] = {
    "least_bytes": 16,
    "searched_documents": 1931,
    "searched_bytes": 26_900_000,
    "train_bytes": 26_900_000,
    "windows": 30_000,
    "held_out_share": 0.25,
    "samples": [
        {
            "text": " to provide a simple interface to the files.\nIt returns a list.",
            "verbatim_share": 0.6,
            "spans": [
                {
                    "start": 4,
                    "end": 30,
                    "documents": 3,
                    "document_id": "1" * 32,
                    "source": "shelve.py",
                    "position": 1204,
                    "before": "The goal is to ",
                    "after": " the database" + HOSTILE,
                },
                {
                    "start": 22,
                    "end": 43,
                    "documents": 1,
                    "document_id": "2" * 32,
                    "source": HOSTILE,
                    "position": 0,
                    "before": "",
                    "after": "",
                },
            ],
            "near": [
                {
                    "document_id": "3" * 32,
                    "source": "fileinput.py",
                    "position": 400,
                    "similarity": 0.7123,
                    "text": HOSTILE,
                }
            ],
        },
        {"text": '    """Add two numbers."""\n    return a + b\n', "verbatim_share": 0.0, "spans": [], "near": []},
        {"text": "not what the model wrote", "verbatim_share": 0.0, "spans": [], "near": []},
    ],
}


def arm(reach: float, growth: float, purity: float, kept: float, *, rounds: int = 8) -> dict[str, Any]:
    """Returns an arm whose accuracy falls around length `reach`, moved on by `growth` in every round."""
    rows = [
        [round(200 / (1 + math.exp((n - reach - growth * r) / 0.9))) / 200 for n in range(1, 17)]
        for r in range(rounds + 1)
    ]
    generated = [1000 if growth else 0] * rounds
    return {
        "accuracy": rows,
        "generated": generated,
        "kept": [round(g * kept * 0.97**r) for r, g in enumerate(generated)],
        "label_accuracy": [purity**r * 0.98 if growth else None for r in range(rounds)],
        "train_flops": 2.089e12,
        "generation_flops": 1.2e11 if growth else 0.0,
        "seconds": 95.2,
    }


LOOP: dict[str, Any] = {
    "task": "reverse",
    "base_difficulty": 6,
    "difficulties": list(range(1, 17)),
    "rounds": 8,
    "test_problems": [200] * 16,
    "validation_problems": [200] * 16,
    "n_params": 147_840,
    "seeds": [
        {
            "seed": 0,
            "base_flops": 1.6e12,
            "base_seconds": 52.0,
            "arms": {
                "baseline": arm(8.4, 0, 1, 0) | {"train_flops": 0.0, "seconds": 0.0},
                "control": arm(8.4, 0, 1, 0) | {"train_flops": 1.272e12, "seconds": 63.0},
                "unfiltered": arm(8.4, 0.1, 0.6, 1.0),
                "vote": arm(8.4, 0.55, 0.97, 0.6),
                "oracle": arm(8.4, 1.0, 1.0, 0.8),
            },
            "examples": [
                {
                    "prompt": "qwertyuiopasd=",
                    "answer": "dsapoiuytrewq",
                    "outputs": {
                        "baseline": "",
                        "control": "dsapoi",
                        "unfiltered": HOSTILE,
                        "vote": "dsapoiuytreq",
                        "oracle": "dsapoiuytrewq",
                    },
                },
            ],
        }
    ],
}


def step(name: str, digit: int, seconds: float, inputs: dict[str, str], **counts: float) -> dict[str, Any]:
    """Returns the record of one step; its fingerprint is `digit` repeated."""
    return {
        "name": name,
        "label": name,
        "fingerprint": f"{digit:x}" * 16,
        "version": 1,
        "seconds": seconds,
        "outputs": {},
        "inputs": inputs,
        "config": {"seed": 0, "text": HOSTILE, "nested": {"d_model": 128}},
        "counts": counts,
        "git_commit": "5b1c0c7e9f",
        "tilth_version": "0.1.0",
        "finished_at": f"2026-11-21T10:{digit:02d}:31+00:00",
        "libraries": {"torch": "2.5.1", "pyarrow": "18.0.0"},
        "device": "cpu: 2 cores",
        "threads": 2,
    }


RUN: Files = {
    "curate": {"ledger.json": LEDGER, "step.json": step("curate", 1, 41.2, {}, documents=2011, bytes=28_100_000)},
    "tokenizer": {
        "statistics.json": TOKENIZER,
        "step.json": step("tokenizer", 2, 12.8, {"train": f"{'1' * 16}/train"}, tokens=8192),
    },
    "pretrain": {
        "summary.json": SUMMARY,
        "metrics.jsonl": metrics(),
        "step.json": step(
            "pretrain", 3, 251.3, {"train": f"{'1' * 16}/train", "tokenizer": "2" * 16}, flops=4.61e13, tokens=4_915_200
        ),
    },
    "samples": {"samples.json": SAMPLES, "step.json": step("samples", 4, 2.0, {"pretrain": "3" * 16})},
    "nearest": {
        "nearest.json": NEAREST,
        "step.json": step("nearest", 8, 3.1, {"train": f"{'1' * 16}/train", "samples": "4" * 16, "pretrain": "3" * 16})
        | {"input_steps": {"train": "curate", "samples": "samples", "pretrain": "pretrain"}},
    },
    "baselines": {
        "baselines.json": BASELINES,
        "surprise.json": SURPRISE,
        "step.json": step("baselines", 5, 33.0, {"pretrain": "3" * 16}, flops=2.1e12),
    },
    "improve": {"improve.json": LOOP, "step.json": step("improve", 6, 401.0, {}, flops=9.3e12)},
    "export": {"step.json": step("export", 7, 1.2, {"model": f"{'3' * 16}/model"})},
}


def write_run(run: Files, root: Path) -> list[Path]:
    """Writes the files of a run below `root`; returns its folders in order."""
    for folder, files in run.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            lines = value if name.endswith(".jsonl") else [value]
            (root / folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [root / folder for folder in run]


def collected(run: Files, root: Path) -> RunResults:
    """Writes a run below `root` and reads it back."""
    return collect(write_run(run, root), name="quickstart", chat_command="tilth chat runs/export/7777")


def with_seeds(run: Files) -> Files:
    """Returns the run with a second training of another seed, its samples and baselines, and a second tokenizer."""
    run = copy.deepcopy(run)
    second: Files = {
        f"{name} 2": copy.deepcopy(run[name]) for name in ("tokenizer", "pretrain", "samples", "baselines", "nearest")
    }
    for digit, (name, files) in enumerate(second.items(), 10):
        files["step.json"] |= {"fingerprint": f"{digit:x}" * 16}
        if name != "tokenizer 2":
            files["step.json"]["config"]["seed"] = 1
        if name in ("samples 2", "baselines 2", "nearest 2"):
            files["step.json"]["inputs"]["pretrain"] = "b" * 16
    second["tokenizer 2"]["step.json"]["label"] = "tokenizer of 4096"
    second["tokenizer 2"]["statistics.json"] |= {"vocab_size": 4096, "bytes_per_token": 3.4122, "used_tokens": 4011}
    for line in second["pretrain 2"]["metrics.jsonl"]:
        line |= {key: line[key] * 1.02 for key in line if key in ("loss", "held_out_bits_per_byte", "grad_norm")}
    second["pretrain 2"]["summary.json"] |= {"bits_per_byte_after": 1.6559}
    second["baselines 2"]["baselines.json"]["bits_per_byte"] |= {"model": 1.6559}
    return run | second
