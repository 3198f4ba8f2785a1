"""The public surface, written down: it changes on purpose or not at all."""

import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

import tilth
from tilth.assay import ValueConfig
from tilth.cli import VERBS
from tilth.curation import CurationConfig
from tilth.execute import Context
from tilth.identity import canonical
from tilth.improve import LoopConfig
from tilth.improve.text.language_config import LanguageConfig
from tilth.recipes import BUILT_IN, load_recipe, singles
from tilth.recipes.step_functions import SeedSearch
from tilth.steps import in_order, needed_steps
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.topic_config import TopicConfig

EXPORTS = """ ConfigError Context DataError Dataset DependencyError Document ModelConfig
Problem Rollout Source Step StepError TilthError Tokenizer Transformer __version__ assay curation evaluation export
improve inference load_model model recipes report synthesis teacher tokenizer training
"""
VERB_LIST = (
    "run plan why report ls show compare check curate tokenize synthesize assay frontier train eval improve export chat"
)
STAGES = {
    "assay": "AssayCard AssayConfig Experiment Frontier LawConfig LawPoint PlateauConfig QualityLaw Value "
    "ValueConfig assay fit_law measure_law measure_plateau measure_value read_frontier text_diversity",
    "scaling": "ChinchillaFit Curve Plan TermFit bootstrap_terms fit_chinchilla fit_curve fit_terms predict_terms",
    "curation": "CurationConfig Drop Extraction Ledger Operator Outcome curate dedup extract identify judge read_file "
    "rules",
    "evaluation": "Baselines NgramModel Origins Surprise baselines bits_per_byte nearest ngram_bits_per_byte surprise "
    "train_ngram zstd_bits_per_byte",
    "export": "model_card to_hf",
    "improve": "ARMS AlphabetTokenizer Arm ArmResult Augmentable Augmentation Copy DEFAULT_ARMS FAMILIES LoopConfig "
    "LoopResult ProblemSource Reverse ReverseAddition SeedResult Start TaskFamily TextMix family_named improve verdict",
    "inference": "BeamParams BeamResult Checker Completion Engine Generation Hypothesis SamplingParams Solution "
    "TextStream TokenProbability TreeParams TreeResult beam_search generate_tokens search_tree",
    "model": "IGNORE_INDEX KVCache ModelConfig Projection Transformer load_model save_model",
    "recipes": "BUILT_IN BuiltIn load_recipe",
    "report": "RunResults collect render",
    "synthesis": "Ask BUILT_IN Draft GateConfig ParseError Parsed Recipe Rejected RouterConfig SynthesisConfig "
    "SynthesisResult TopicConfig UniquenessMeter cluster_topics load_recipe make_design preview "
    "read_topics recipe seeds_by_topic synthesize train_classifier try_recipe",
    "synthesis.verify": "CodeResult FAMILIES Isolation Limits ProblemSource TaskFamily VERIFIERS Verdict Verifier "
    "family isolation run_code verifier",
    "teacher": "AccessRefused Answer Asker Budget BudgetSpent DeadLetter FaultPlan Gateway GenerationParams "
    "HttpTeacher LocalTeacher LoopbackServer Price Reply Request RequestCache ScriptedTeacher Status "
    "Teacher TeacherFault TokenLogprob Usage open_teacher",
    "tokenizer": "ByteTokenizer CharacterTokenizer END_OF_TEXT EncodedPart StreamDecoder TieBreak Tokenizer "
    "TokenizerConfig Vocabulary WordTokenizer statistics",
    "training": "Batch EvalPoint Metrics Muon Schedule TextLoss TokenStream TrainConfig TrainPoint TrainResult "
    "Trainer TrainingSummary adamw first_model held_out_excerpt initial_model load_checkpoint make_optimizers "
    "muon next_token_loss read_metrics save_checkpoint text_loss train",
}
CONFIGS = {
    "tilth.curation.config:CurationConfig": "operators languages text_field max_document_bytes document_seconds "
    "max_dead_letters min_words max_words decontaminate decontaminate_by against quality_classifier min_quality "
    "near_duplicate_threshold shingle_words num_permutations held_out_fraction held_out_by shard_bytes seed",
    "tilth.tokenizer.config:TokenizerConfig": "vocab_size pattern special_tokens tie_break min_frequency "
    "max_token_length max_training_bytes weights superwords_from byte_fallback character_coverage",
    "tilth.model.config:ModelConfig": "vocab_size d_model n_layers n_heads n_kv_heads head_dim d_ff context_length "
    "rope_theta norm_eps tie_embeddings",
    "tilth.training.config:TrainConfig": "tokens max_epochs global_batch_tokens optimizer learning_rate "
    "muon_learning_rate schedule warmup_tokens decay_fraction weight_decay beta1 beta2 gradient_clip short_rows "
    "initial_embeddings seed eval_bytes held_out_points patience",
    "tilth.improve.config:LoopConfig": "task arms label_with rounds base_difficulty base_steps round_steps samples "
    "test_problems validation_problems d_model n_layers n_heads d_ff batch_size learning_rate muon_learning_rate "
    "warmup_fraction decay_fraction beta1 beta2 weight_decay gradient_clip newest_share augmentations "
    "min_agreement promote_at max_draws samples_per_problem label_noise text_share text_row_tokens "
    "held_out_bytes sampled_texts monitor max_text_loss_rise min_diversity max_fall_backs "
    "min_bits_per_label min_gain max_flops seeds",
    "tilth.assay.config:ValueConfig": "seeds depths vocab_size context_length before_tokens before_epochs arm_tokens "
    "replay batch_tokens learning_rate muon_learning_rate arm_rate held_out_bytes bootstrap",
    "tilth.improve.text.language_config:LanguageConfig": "seeds depth context_length passage_characters organic_bytes "
    "base_tokens arm_tokens prompts samples temperature max_copied "
    "max_similar max_repeated min_words pair_similarity pair_neighbours "
    "pair_epochs learning_rate test_bytes value",
    "tilth.improve.search_config:SearchConfig": "difficulty labelled base_steps rounds round_steps prompts "
    "replay_share samples tree_tokens per_problem min_agreement bits_share noise_share test_problems "
    "pass_problems pass_samples d_model n_layers n_heads d_ff batch_size learning_rate muon_learning_rate "
    "round_lr_multiplier arms seeds",
    "tilth.inference.beam:BeamParams": "n_beams max_tokens length_penalty stop_tokens",
    "tilth.inference.tree_search:TreeParams": "budget max_tokens stop_token max_solutions width",
    "tilth.improve.text.config:CollapseConfig": "generations set_tokens train_tokens verifier_sets passage_bytes "
    "held_out_bytes prompt_tokens temperature d_model n_layers n_heads context_length global_batch_tokens "
    "learning_rate muon_learning_rate seeds",
    "tilth.improve.text.config:CurriculumConfig": "first_tokens second_tokens split passage_bytes held_out_bytes "
    "points d_model n_layers n_heads context_length global_batch_tokens learning_rate muon_learning_rate "
    "warmup_fraction decay_fraction seeds",
    "tilth.inference.config:SamplingParams": "max_tokens temperature top_k top_p repetition_penalty seed stop_tokens "
    "token_healing",
    "tilth.synthesis.config:SynthesisConfig": "samples documents design router router_documents temperature "
    "max_answer_tokens gates budget reuse max_dead_letters seed",
    "tilth.synthesis.topic_config:TopicConfig": "topics sample_documents dimensions seed",
    "tilth.recipes.step_functions:SeedSearch": "per_topic",
    "tilth.synthesis.config:GateConfig": "min_words max_words languages max_copied near_duplicate_threshold "
    "decontaminate against critic critic_teacher min_score verify",
    "tilth.synthesis.config:Budget": "max_total_tokens max_money max_flops",
    "tilth.assay.plateau_config:PlateauConfig": "token_counts training prompt_tokens temperature candidates "
    "block_tokens verifier_tokens verifier_order max_overlap",
    "tilth.assay.law_runs:LawConfig": "token_counts training resamples",
    "tilth.execute:Context": "runs workers device executor progress jobs micro_batch_size checkpoint_seconds "
    "endpoints keys cache max_in_flight live",
    "tilth.steps:Step": "name fn config inputs version label",
}
IN_IDENTITIES = (
    "tilth.curation.config:CurationConfig",
    "tilth.tokenizer.config:TokenizerConfig",
    "tilth.model.config:ModelConfig",
    "tilth.training.config:TrainConfig",
    "tilth.improve.config:LoopConfig",
    "tilth.assay.config:ValueConfig",
    "tilth.improve.text.language_config:LanguageConfig",
    "tilth.improve.text.config:CollapseConfig",
    "tilth.improve.text.config:CurriculumConfig",
    "tilth.recipes.step_functions:Sampling",
    "tilth.synthesis.config:SynthesisConfig",
    "tilth.synthesis.topic_config:TopicConfig",
    "tilth.recipes.step_functions:SeedSearch",
)
"""Configs of steps. Their fields at default are no part of an identity, so a changed default goes unseen there."""
DEFAULTS: dict[str, dict[str, object]] = {
    "tilth.curation.config:CurationConfig": {
        "operators": ["extract", "language", "rules"],
        "languages": ["en"],
        "text_field": None,
        "max_document_bytes": 10000000,
        "document_seconds": 20.0,
        "max_dead_letters": 0.05,
        "min_words": 50,
        "max_words": 100000,
        "decontaminate": [],
        "decontaminate_by": "drop",
        "against": [],
        "quality_classifier": None,
        "min_quality": None,
        "near_duplicate_threshold": 0.8,
        "shingle_words": 5,
        "num_permutations": 128,
        "held_out_fraction": 0.02,
        "held_out_by": "document",
        "shard_bytes": 67108864,
        "seed": 0,
    },
    "tilth.tokenizer.config:TokenizerConfig": {
        "vocab_size": 8192,
        "pattern": "llama3",
        "special_tokens": ["<|endoftext|>"],
        "tie_break": "huggingface",
        "min_frequency": 1,
        "max_token_length": None,
        "max_training_bytes": 200000000,
        "weights": [],
        "superwords_from": None,
        "byte_fallback": False,
        "character_coverage": 0.9995,
    },
    "tilth.model.config:ModelConfig": {
        "d_model": 256,
        "n_layers": 4,
        "n_heads": 4,
        "n_kv_heads": None,
        "head_dim": None,
        "d_ff": None,
        "context_length": 256,
        "rope_theta": 10000.0,
        "norm_eps": 1e-05,
        "tie_embeddings": True,
    },
    "tilth.training.config:TrainConfig": {
        "tokens": 3000000,
        "max_epochs": 16.0,
        "global_batch_tokens": 1024,
        "optimizer": "muon",
        "learning_rate": 0.02,
        "muon_learning_rate": 0.02,
        "schedule": "wsd",
        "warmup_tokens": 20000,
        "decay_fraction": 0.9,
        "weight_decay": 0.1,
        "beta1": 0.8,
        "beta2": 0.99,
        "gradient_clip": 1.0,
        "short_rows": None,
        "initial_embeddings": "bigrams",
        "seed": 0,
        "eval_bytes": 50000,
        "held_out_points": 12,
        "patience": 3,
    },
    "tilth.improve.config:LoopConfig": {
        "task": "reverse",
        "arms": ["baseline", "control", "flop_matched", "unfiltered", "gated_unfiltered", "noise", "vote", "oracle"],
        "label_with": "vote",
        "rounds": 8,
        "base_difficulty": 6,
        "base_steps": 700,
        "round_steps": 60,
        "samples": 1000,
        "test_problems": 200,
        "validation_problems": 100,
        "d_model": 64,
        "n_layers": 3,
        "n_heads": 4,
        "d_ff": 160,
        "batch_size": 64,
        "learning_rate": 0.006,
        "muon_learning_rate": 0.02,
        "warmup_fraction": 0.125,
        "decay_fraction": 0.5,
        "beta1": 0.9,
        "beta2": 0.98,
        "weight_decay": 0.01,
        "gradient_clip": 1.0,
        "newest_share": 0.25,
        "augmentations": 4,
        "min_agreement": 3,
        "promote_at": 0.5,
        "max_draws": 4,
        "samples_per_problem": 16,
        "label_noise": 0.2,
        "text_share": 0.3,
        "text_row_tokens": 128,
        "held_out_bytes": 20000,
        "sampled_texts": 32,
        "monitor": True,
        "max_text_loss_rise": 0.1,
        "min_diversity": 0.5,
        "max_fall_backs": 2,
        "min_bits_per_label": 0.01,
        "min_gain": 0.02,
        "max_flops": None,
        "seeds": [0],
    },
    "tilth.assay.config:ValueConfig": {
        "seeds": [0, 1, 2],
        "depths": [1, 3],
        "vocab_size": 1024,
        "context_length": 128,
        "before_tokens": 200000,
        "before_epochs": 1,
        "arm_tokens": 200000,
        "replay": 0.5,
        "batch_tokens": 2048,
        "learning_rate": 0.02,
        "muon_learning_rate": 0.02,
        "arm_rate": 0.5,
        "held_out_bytes": 200000,
        "bootstrap": 1000,
    },
    "tilth.improve.text.language_config:LanguageConfig": {
        "seeds": [0, 1, 2],
        "depth": 2,
        "context_length": 256,
        "passage_characters": 800,
        "organic_bytes": 480000,
        "base_tokens": 600000,
        "arm_tokens": 200000,
        "prompts": 600,
        "samples": 2,
        "temperature": 1.0,
        "max_copied": 0.3,
        "max_similar": 0.6,
        "max_repeated": 0.3,
        "min_words": 8,
        "pair_similarity": 0.3,
        "pair_neighbours": 2,
        "pair_epochs": 1.0,
        "learning_rate": 0.01,
        "test_bytes": 150000,
        "value": {
            "seeds": [0, 1, 2],
            "depths": [2],
            "vocab_size": 1024,
            "context_length": 128,
            "before_tokens": 300000,
            "before_epochs": 2,
            "arm_tokens": 100000,
            "replay": 0.5,
            "batch_tokens": 2048,
            "learning_rate": 0.02,
            "muon_learning_rate": 0.02,
            "arm_rate": 0.5,
            "held_out_bytes": 100000,
            "bootstrap": 1000,
        },
    },
    "tilth.improve.text.config:CollapseConfig": {
        "generations": 5,
        "set_tokens": 60000,
        "train_tokens": 120000,
        "verifier_sets": 3.0,
        "passage_bytes": 128,
        "held_out_bytes": 60000,
        "prompt_tokens": 0,
        "temperature": 1.0,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 2,
        "context_length": 64,
        "global_batch_tokens": 1024,
        "learning_rate": 0.02,
        "muon_learning_rate": 0.02,
        "seeds": [0, 1, 2],
    },
    "tilth.improve.text.config:CurriculumConfig": {
        "first_tokens": 500000,
        "second_tokens": 250000,
        "split": "kind",
        "passage_bytes": 1000,
        "held_out_bytes": 60000,
        "points": 4,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 2,
        "context_length": 128,
        "global_batch_tokens": 2048,
        "learning_rate": 0.02,
        "muon_learning_rate": 0.02,
        "warmup_fraction": 0.05,
        "decay_fraction": 0.9,
        "seeds": [0, 1, 2],
    },
    "tilth.recipes.step_functions:Sampling": {
        "prompts": 4,
        "prompt_characters": 160,
        "max_tokens": 80,
        "temperature": 0.7,
        "seed": 0,
    },
    "tilth.synthesis.config:SynthesisConfig": {
        "samples": 1,
        "documents": None,
        "design": "weighted",
        "router": "fixed",
        "router_documents": 200,
        "temperature": None,
        "max_answer_tokens": None,
        "gates": {
            "min_words": 10,
            "max_words": 20000,
            "languages": None,
            "max_copied": 0.5,
            "near_duplicate_threshold": 0.8,
            "decontaminate": [],
            "against": [],
            "critic": "",
            "critic_teacher": None,
            "min_score": 3.0,
            "verify": True,
        },
        "budget": {"max_total_tokens": None, "max_money": None, "max_flops": None},
        "reuse": "exact",
        "max_dead_letters": 0.05,
        "seed": 0,
    },
    "tilth.synthesis.topic_config:TopicConfig": {
        "topics": None,
        "sample_documents": 20000,
        "dimensions": 64,
        "seed": 0,
    },
    "tilth.recipes.step_functions:SeedSearch": {"per_topic": 100},
}
"""Defaults of the fields that enter identities.

When you change one, raise the `version` of every step that uses the config (`recipes/`): without that, it is served
results made with the old default. A new field needs no version, if its default is what the step did before.
"""
VERSIONS = {
    "curate": 2,
    "tokenizer": 1,
    "pretrain": 4,
    "samples": 2,
    "nearest": 1,
    "baselines": 2,
    "improve": 3,
    "export": 3,
    "report": 1,
}
"""Versions of the steps: those of a released tilth are never given to other results."""
ALONE = {"synthesize": 1, "seeds": 1, "topics": 1}
"""Versions of steps that no recipe has."""
DEMONSTRATIONS = {"collapse": 2, "curriculum": 2, "language": 2}
"""Recipe -> version of the step that is its experiment."""
RECIPES = {
    "quickstart": "corpus depth vocab_size tokens rounds languages text_field operators min_words max_words seed",
    "plateau": "corpus seeds depth vocab_size languages effort",
    "easy-to-hard": "tasks effort rounds seeds",
    "language": "corpus vocab_size effort seeds",
    "countdown": "effort seeds",
    "code-tasks": "effort seeds",
    "collapse": "corpus generations prompt_tokens effort seeds",
    "curriculum": "corpus second effort seeds",
}


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
        # A submodule of the same name would replace the function as soon as something imports it.
        assert not inspect.ismodule(getattr(module, name)) or (stage, name) in {
            ("curation", "dedup"),
            ("curation", "rules"),
        }


def test_verbs() -> None:
    assert list(VERBS) == VERB_LIST.split()


def load(path: str) -> type:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", CONFIGS)
def test_config_fields(path: str) -> None:
    assert [field.name for field in dataclasses.fields(load(path))] == CONFIGS[path].split()


def defaults(config: type) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            found[field.name] = canonical(field.default, defaults=True)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = canonical(field.default_factory(), defaults=True)
    return found


@pytest.mark.parametrize("path", IN_IDENTITIES)
def test_a_changed_default_is_a_changed_version(path: str) -> None:
    assert defaults(load(path)) == DEFAULTS[path]


def test_versions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    target = load_recipe("quickstart")(corpus=str(tmp_path))
    steps = in_order(target, Context(runs=tmp_path / "runs"))
    assert {step.name: step.version for step in steps} == VERSIONS
    alone = [singles.improve(LoopConfig()), singles.curate([str(tmp_path)], CurationConfig())]
    alone.append(singles.synthesize("wrap", tmp_path, {}, SynthesisConfig()))
    alone += [singles.seeds(tmp_path, "builtin", 1), singles.topics(tmp_path, TopicConfig())]
    names = ("improve", "curate", "synthesize", "seeds", "topics")
    assert {step.name: step.version for step in alone} == {name: (VERSIONS | ALONE)[name] for name in names}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_versions_of_demonstrations(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    target = load_recipe(name)(corpus=str(tmp_path), effort=0.01, seeds=(100,))
    versions = {step.name: step.version for step in in_order(target, Context(runs=tmp_path / "runs"))}
    step = f"{name}-experiment"
    assert versions[step] == DEMONSTRATIONS[name] and versions.keys() - {step} <= VERSIONS.keys()


def test_every_config_of_a_step_is_in_the_list(tmp_path: Path) -> None:
    listed = {load(path) for path in IN_IDENTITIES}
    used: set[type] = set()

    def visit(value: object) -> None:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            used.add(type(value))
            for field in dataclasses.fields(value):
                visit(getattr(value, field.name))

    (tmp_path / "a.txt").write_text("text")
    for name in ("quickstart", *DEMONSTRATIONS):
        target = load_recipe(name)(corpus=str(tmp_path))
        for step in in_order(target, Context(runs=tmp_path / "runs")):
            visit(step.config)
    # Configs without a default of their own, which only tie others together, need no list.
    assert {config for config in used if defaults(config)} | {
        SynthesisConfig,
        SeedSearch,
        TopicConfig,
        ValueConfig,
        LanguageConfig,
    } == listed


def test_a_run_can_have_the_name_of_any_recipe() -> None:
    steps = {step.name for name in BUILT_IN for step in needed_steps(load_recipe(name)())}
    assert not steps & BUILT_IN.keys()


def test_recipes() -> None:
    assert {name: " ".join(inspect.signature(load_recipe(name)).parameters) for name in BUILT_IN} == RECIPES
