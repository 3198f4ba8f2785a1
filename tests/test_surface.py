"""The public surface, written down: it changes on purpose or not at all."""

import dataclasses
import importlib
import inspect

import pytest

import tilth
from tilth.cli import VERBS
from tilth.recipes import BUILT_IN, load_recipe

EXPORTS = """ ConfigError Context DataError Dataset DependencyError Document ModelConfig
Problem Rollout Source Step StepError TilthError Tokenizer Transformer __version__ curation evaluation export
improve inference load_model model recipes report tokenizer training
"""
VERB_LIST = "run plan why report ls show curate tokenize train eval improve export chat"
STAGES = {
    "curation": "CurationConfig Extraction Ledger curate dedup extract identify read_file rules",
    "evaluation": "Baselines NgramModel baselines bits_per_byte ngram_bits_per_byte train_ngram zstd_bits_per_byte",
    "export": "model_card to_hf",
    "improve": "ARMS AlphabetTokenizer Arm ArmResult Augmentable Augmentation LoopConfig LoopResult ProblemSource "
    "Reverse SeedResult TaskFamily improve",
    "inference": "Completion Engine Generation SamplingParams generate_tokens",
    "model": "IGNORE_INDEX KVCache ModelConfig Projection Transformer load_model save_model",
    "recipes": "BUILT_IN BuiltIn load_recipe",
    "report": "RunResults collect render",
    "tokenizer": "ByteTokenizer CharacterTokenizer END_OF_TEXT EncodedPart StreamDecoder TieBreak Tokenizer "
    "TokenizerConfig Vocabulary WordTokenizer statistics",
    "training": "Batch EvalPoint Metrics Muon Schedule TextLoss TokenStream TrainConfig TrainPoint TrainResult "
    "Trainer TrainingSummary adamw held_out_excerpt initial_model load_checkpoint make_optimizers "
    "muon next_token_loss read_metrics save_checkpoint text_loss train",
}
CONFIGS = {
    "tilth.curation.config:CurationConfig": "languages max_document_bytes min_words max_words near_duplicate_threshold "
    "shingle_words num_permutations held_out_fraction shard_bytes seed",
    "tilth.tokenizer.config:TokenizerConfig": "vocab_size pattern special_tokens tie_break min_frequency "
    "max_token_length max_training_bytes weights superwords_from byte_fallback character_coverage",
    "tilth.model.config:ModelConfig": "vocab_size d_model n_layers n_heads n_kv_heads head_dim d_ff context_length "
    "rope_theta norm_eps tie_embeddings",
    "tilth.training.config:TrainConfig": "tokens global_batch_tokens optimizer learning_rate muon_learning_rate "
    "schedule warmup_tokens decay_fraction weight_decay beta1 beta2 gradient_clip seed eval_bytes",
    "tilth.improve.config:LoopConfig": "rounds base_difficulty base_steps round_steps samples test_problems "
    "validation_problems d_model n_layers n_heads d_ff batch_size learning_rate warmup_fraction decay_fraction beta1 "
    "beta2 weight_decay gradient_clip newest_share augmentations min_agreement promote_at max_draws seeds",
    "tilth.inference.config:SamplingParams": "max_tokens temperature top_k top_p seed stop_tokens",
    "tilth.execute:Context": "runs workers device executor progress jobs micro_batch_size checkpoint_seconds "
    "eval_every_tokens",
    "tilth.steps:Step": "name fn config inputs version",
}
RECIPES = {"quickstart": "corpus depth vocab_size tokens rounds seed"}


def test_exports() -> None:
    assert sorted(tilth.__all__) == sorted(EXPORTS.split())
    for name in tilth.__all__:
        assert getattr(tilth, name) is not None


@pytest.mark.parametrize("stage", STAGES)
def test_stage_exports(stage: str) -> None:
    module = importlib.import_module(f"tilth.{stage}")
    assert sorted(module.__all__) == sorted(STAGES[stage].split())
    for name in module.__all__:
        assert getattr(module, name) is not None
        # A submodule of the same name would take the function's place as soon as something imports it.
        assert not inspect.ismodule(getattr(module, name)) or (stage, name) in {
            ("curation", "dedup"),
            ("curation", "rules"),
        }


def test_verbs() -> None:
    assert list(VERBS) == VERB_LIST.split()


@pytest.mark.parametrize("place", CONFIGS)
def test_config_fields(place: str) -> None:
    module, name = place.split(":")
    config = getattr(importlib.import_module(module), name)
    assert [field.name for field in dataclasses.fields(config)] == CONFIGS[place].split()


def test_recipes() -> None:
    assert {name: " ".join(inspect.signature(load_recipe(name)).parameters) for name in BUILT_IN} == RECIPES
