"""The main job with everything small: the same chain, in seconds."""

from tilth.curation import CurationConfig
from tilth.improve.config import LoopConfig
from tilth.model.config import ModelConfig
from tilth.recipes.quickstart import chain
from tilth.steps import Step
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig


def tiny(*, corpus: str, depth: int = 2, vocab_size: int = 512, tokens: int = 40_000, seed: int = 0) -> Step:
    """The main job in seconds.

    Args:
        corpus: Path of the text.
        depth: Layers of the model; its width follows from it.
        vocab_size: Tokens in the vocabulary.
        tokens: Training budget in tokens.
        seed: Seed of everything that is drawn by chance.
    """
    return chain(
        corpus,
        name="tiny",
        curation=CurationConfig(held_out_fraction=0.1, shard_bytes=50_000),
        tokenizer=TokenizerConfig(vocab_size=vocab_size),
        model=ModelConfig(vocab_size=vocab_size, d_model=16 * depth, n_layers=depth, n_heads=depth, context_length=64),
        training=TrainConfig(
            tokens=tokens,
            global_batch_tokens=1024,
            warmup_tokens=2048,
            seed=seed,
        ),
        loop=LoopConfig(
            task="sort",
            arms=("baseline", "control", "flop_matched", "unfiltered", "vote"),
            base_difficulty=3,
            base_steps=20,
            rounds=2,
            round_steps=5,
            samples=20,
            test_problems=10,
            validation_problems=10,
            batch_size=16,
            text_row_tokens=64,
            held_out_bytes=2000,
            sampled_texts=4,
            seeds=(seed,),
        ),
    )
