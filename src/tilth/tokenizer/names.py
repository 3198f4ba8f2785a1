"""Known tokenizers by name: how they cut text and which special tokens they have.

A rank file says neither, so the published ones are recognized by the SHA-256 of their content. What a name means comes
from its publisher (tiktoken, Meta, Microsoft, Qwen, Hugging Face); nothing here is guessed from how a vocabulary looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tilth.errors import ConfigError

FILE_NAME = "tokenizer.json"
"""The usual name of the file that holds a whole tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a name says of a tokenizer."""

    pattern: str
    """Name of the split pattern; "" for SentencePiece, which has none."""
    special_tokens: dict[str, int] = field(default_factory=dict[str, int])


def _numbered(first_id: int, tokens: Sequence[str]) -> dict[str, int]:
    return {token: first_id + i for i, token in enumerate(tokens)}


def _reserved(prefix: str, first: int, count: int) -> list[str]:
    return [f"<|{prefix}reserved_special_token_{i}|>" for i in range(first, first + count)]


_LLAMA3 = [
    "<|begin_of_text|>", "<|end_of_text|>", *_reserved("", 0, 2), "<|finetune_right_pad_id|>", "<|step_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>",
    *_reserved("", 2, 244),
]  # fmt: skip
_LLAMA4_NAMED = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>", *_reserved("text_post_train_", 0, 6),
    "<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>", *_reserved("text_post_train_", 8, 61),
    "<|image_start|>", "<|image_end|>", *_reserved("vision_", 0, 2), "<|tile_x_separator|>", "<|tile_y_separator|>",
    *_reserved("vision_", 2, 4), "<|image|>", *_reserved("vision_", 6, 1), "<|patch|>", *_reserved("vision_", 7, 1041),
    *_reserved("reasoning_", 0, 8), "<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>",
]  # fmt: skip
_LLAMA4 = [*_LLAMA4_NAMED, *_reserved("", 0, 2048 - len(_LLAMA4_NAMED))]
_PHI3 = [
    "<|endoftext|>", "<|assistant|>", *(f"<|placeholder{i}|>" for i in range(1, 5)), "<|system|>", "<|end|>",
    "<|placeholder5|>", "<|placeholder6|>", "<|user|>",
]  # fmt: skip
_SMOLLM2 = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>",
    "<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>",
    "<jupyter_code>", "<jupyter_output>", "<jupyter_script>", "<empty_output>",
]  # fmt: skip

KNOWN = {
    "gpt2": Known(pattern="gpt2", special_tokens={"<|endoftext|>": 50256}),
    "cl100k": Known(
        pattern="cl100k",
        special_tokens=_numbered(100257, ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"])
        | {"<|endofprompt|>": 100276},
    ),
    "o200k": Known(pattern="o200k", special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
    "llama2": Known(pattern="", special_tokens={"<unk>": 0, "<s>": 1, "</s>": 2}),
    "llama3": Known(pattern="llama3", special_tokens=_numbered(128000, _LLAMA3)),
    "llama4": Known(pattern="o200k", special_tokens=_numbered(200000, _LLAMA4)),
    "phi3": Known(pattern="", special_tokens={"<unk>": 0, "<s>": 1, "</s>": 2} | _numbered(32000, _PHI3)),
    "qwen2": Known(pattern="qwen2", special_tokens=_numbered(151643, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])),
    "smollm2": Known(pattern="smollm2", special_tokens=_numbered(0, _SMOLLM2)),
}
"""Tokenizers by name. Several that share a vocabulary's beginning have their own special tokens."""

RANK_FILES = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": "gpt2",  # r50k_base.tiktoken
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": "cl100k",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": "o200k",
    "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55": "llama3",
    "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed": "llama4",
}
"""Names of published rank files by the SHA-256 of their content."""


def known(name: str) -> Known:
    """What is known by that name.

    Raises: ConfigError for another name.
    """
    if name not in KNOWN:
        raise ConfigError(f"No tokenizer is known by the name {name!r}.", fix=f"Use one of {', '.join(KNOWN)}.")
    return KNOWN[name]
