"""The main job with everything small: the same chain, in seconds."""

from tilth.curation import CurationConfig
from tilth.improve.config import LoopConfig
from tilth.model.config import ModelConfig
from tilth.recipes.quickstart import chain
from tilth.steps import Step
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig


def tiny(*, corpus: str, vocab_size: int = 512, tokens: int = 40_000, seed: int = 0) -> Step:
    """The main job in seconds.

    Args:
        corpus: Where the text is.
        vocab_size: Tokens in the vocabulary.
        tokens: Training budget in tokens.
        seed: Seed of everything that is drawn by chance.
    """
    return chain(
        corpus,
        curation=CurationConfig(held_out_fraction=0.1, shard_bytes=50_000),
        tokenizer=TokenizerConfig(vocab_size=vocab_size),
        model=ModelConfig(vocab_size=vocab_size, d_model=32, n_layers=2, n_heads=2, context_length=64),
        training=TrainConfig(
            tokens=tokens,
            global_batch_tokens=1024,
            warmup_tokens=2048,
            seed=seed,
        ),
        loop=LoopConfig(
            base_difficulty=3,
            base_steps=60,
            rounds=2,
            round_steps=10,
            samples=50,
            test_problems=20,
            validation_problems=10,
            d_model=16,
            n_layers=1,
            n_heads=2,
            d_ff=32,
            batch_size=32,
            seeds=(seed,),
        ),
    )
