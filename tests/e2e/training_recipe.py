"""The main job up to the trained model, in seconds."""

from tilth.curation import CurationConfig
from tilth.model.config import ModelConfig
from tilth.recipes import singles, step_functions
from tilth.recipes.step_functions import PRETRAIN_VERSION, Pretraining
from tilth.steps import Step
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig


def training(*, corpus: str, tokens: int = 60_000) -> Step:
    """From text to a model.

    Args:
        corpus: Path of the text.
        tokens: Training budget in tokens.
    """
    curate = singles.curate([corpus], CurationConfig(held_out_fraction=0.1))
    data = {"train": curate / "train", "held_out": curate / "held_out"}
    tokenizer = Step("tokenizer", step_functions.train_tokenizer, TokenizerConfig(vocab_size=300), data)
    model = ModelConfig(vocab_size=300, d_model=16, n_layers=1, n_heads=2, context_length=64)
    config = Pretraining(model=model, training=TrainConfig(tokens=tokens, global_batch_tokens=256, eval_bytes=2000))
    return Step("pretrain", step_functions.pretrain, config, {**data, "tokenizer": tokenizer}, version=PRETRAIN_VERSION)
