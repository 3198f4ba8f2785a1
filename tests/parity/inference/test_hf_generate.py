"""Greedy decoding against `transformers`' generate on the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tilth.inference import SamplingParams, generate_tokens
from tilth.model import load_model
from tilth.model.config import ModelConfig
from tilth.model.hf import to_hf_config

transformers = pytest.importorskip("transformers")


def test_greedy_tokens_are_equal(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=200, d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, context_length=64)
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**to_hf_config(config))).eval()
    theirs.save_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 200, (length,), generator=generator).tolist() for length in (4, 17, 9, 30)]
    ours = generate_tokens(load_model(tmp_path), prompts, SamplingParams(max_tokens=25, temperature=0))
    for prompt, result in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        # Llama's default config names a token of its own as the end; here nothing ends a text.
        settings = transformers.GenerationConfig(
            max_new_tokens=25, do_sample=False, eos_token_id=None, bos_token_id=None, pad_token_id=0
        )
        expected = theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert list(result.tokens) == expected[0, len(prompt) :].tolist()
