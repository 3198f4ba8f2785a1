"""Beam search against `transformers`' generate on the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tilth.inference.beam import BeamParams, beam_search
from tilth.model import load_model
from tilth.model.config import ModelConfig
from tilth.model.hf import to_hf_config

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("n_beams", [2, 5])
def test_sequences_and_scores_are_equal(tmp_path: Path, n_beams: int, length_penalty: float) -> None:
    config = ModelConfig(vocab_size=10, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, context_length=64)
    torch.manual_seed(3)
    # Larger weights than at the start of a training, so that the distributions are not flat.
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**to_hf_config(config), initializer_range=0.15)
    ).eval()
    theirs.save_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 10, (length,), generator=generator).tolist() for length in (4, 9, 6, 4)]
    params = BeamParams(n_beams=n_beams, max_tokens=12, length_penalty=length_penalty, stop_tokens=(1,))
    ours = beam_search(load_model(tmp_path), prompts, params)
    ended: set[str] = set()
    for prompt, result in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        settings = transformers.GenerationConfig(
            max_new_tokens=12, do_sample=False, num_beams=n_beams, num_return_sequences=n_beams, eos_token_id=1,
            bos_token_id=None, pad_token_id=0, length_penalty=length_penalty, early_stopping=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        expected = theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        for index, hypothesis in enumerate(result.hypotheses):
            row = expected.sequences[index, len(prompt) :].tolist()
            assert list(hypothesis.tokens) == row[: len(hypothesis.tokens)]
            assert set(row[len(hypothesis.tokens) :]) <= {0, 1}
            assert hypothesis.score == pytest.approx(expected.sequences_scores[index].item(), abs=1e-4)
            assert sum(hypothesis.logprobs) / len(hypothesis.tokens) ** length_penalty == pytest.approx(
                hypothesis.score, abs=1e-4
            )
            ended.add(hypothesis.finish_reason)
        assert len(result.hypotheses) == n_beams
    assert "stop" in ended
