"""Single stages as steps over files that the user names: what the verbs of the command line run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tilth.assay.config import AssayConfig
from tilth.curation.config import CurationConfig
from tilth.errors import ConfigError
from tilth.files import sha256_file
from tilth.improve.config import LoopConfig
from tilth.listing import split_glob
from tilth.model.config import ModelConfig
from tilth.paths import is_url
from tilth.recipes import assay_steps, step_functions
from tilth.sources import Source
from tilth.steps import RECORD, Input, Step
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.result import SYNTHESIS
from tilth.synthesis.topic_config import TopicConfig
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig

_CORPUS_NAME = re.compile(r"[\w.+-]+")


def curate(
    corpus: Sequence[str], config: CurationConfig, exclude: tuple[str, ...] = (), *, follow_links: bool = False
) -> Step:
    """Curates files, folders, globs or URLs, each `PATH` or `NAME=PATH`: the name enters the ids of its documents.

    What the config's `decontaminate` and `against` name become inputs of the step: their content is its identity.
    Raises: ConfigError if two of them have one name, or are one; DataError if a quality classifier is not there.
    """
    if config.quality_classifier is not None:
        from tilth.curation.quality import pinned

        config = pinned(config)
    inputs: dict[str, Input] = {}
    paths: dict[str, str] = {}
    for word in corpus:
        name, path = named_corpus(word)
        if name in paths and _is_same(paths[name], path):
            raise ConfigError(f"The corpus `{path}` is given twice.", fix="Give it once.")
        if name in paths:
            raise ConfigError(
                f"Two corpora are called `{name}`: {paths[name]} and {path}.",
                fix=f"Give one of them another name: `{name}-2={path}`.",
            )
        folder, include = _divided(path)
        inputs[name], paths[name] = Source(folder, exclude, follow_links, include), path
    for field in step_functions.COMPARED:
        compared: tuple[str, ...] = getattr(config, field)
        inputs |= {f"{field}/{number}": _made(path) for number, path in enumerate(compared)}
    config = replace(config, **dict.fromkeys(step_functions.COMPARED, ()))
    return Step("curate", step_functions.curate, config, inputs, version=step_functions.CURATE_VERSION)


def _is_same(path: str, other: str) -> bool:
    """Whether two paths as they were given lead to one place."""
    return path == other or (not is_url(path) and not is_url(other) and Path(path).resolve() == Path(other).resolve())


def _divided(path: str) -> tuple[str, str]:
    """Returns folder and glob of a corpus; a path that exists, and a URL, is no glob."""
    return (path, "") if is_url(path) or Path(path).exists() else split_glob(path)


def named_corpus(word: str) -> tuple[str, str]:
    """Returns name and path of `NAME=PATH`, or of `PATH`, whose name is its last component (before a glob)."""
    name, equals, path = word.partition("=")
    if equals and path and _CORPUS_NAME.fullmatch(name) and not Path(word).exists():
        return name, path
    last = word.rstrip("/").rpartition("/")[2] if "://" in word else Path(_divided(word)[0]).absolute().resolve().name
    return last or "corpus", word


def tokenizer(dataset: Path, config: TokenizerConfig, extend: Path | None = None) -> Step:
    """Trains a tokenizer on a dataset, continuing from the tokenizer `extend` if there is one."""
    inputs: dict[str, Input] = {"train": _made(dataset)}
    if extend is not None:
        inputs["extend"] = _made(extend)
    return Step("tokenizer", step_functions.train_tokenizer, config, inputs)


def train(
    dataset: Path, tokenizer: Path, model: ModelConfig, training: TrainConfig, held_out: Path | None = None
) -> Step:
    """Pretrains a model on a dataset."""
    inputs: dict[str, Input] = {"train": _made(dataset), "tokenizer": _made(tokenizer)}
    if held_out is not None:
        inputs["held_out"] = _made(held_out)
    config = step_functions.Pretraining(model=model, training=training)
    return Step("pretrain", step_functions.pretrain, config, inputs, version=step_functions.PRETRAIN_VERSION)


def synthesize(
    recipe: str,
    dataset: Path | None,
    teachers: Mapping[str, Mapping[str, Any]],
    config: SynthesisConfig,
    options: object | None = None,
) -> Step:
    """Runs a recipe over a dataset; `teachers` are their identities by name, where they are is in `Context.endpoints`.

    What the gates compare with (`decontaminate`, `against`) becomes an input, as in `curate`, and so does a folder that
    an option names (`FOLDERS` of the options' class).
    """
    from tilth.synthesis.define import load_recipe
    from tilth.synthesis.prompt_files import is_built_in, load_prompts

    loaded = load_recipe(recipe)
    inputs: dict[str, Input] = {} if dataset is None else {step_functions.DOCUMENTS: _made(dataset)}
    for field in step_functions.COMPARED:
        compared: tuple[str, ...] = getattr(config.gates, field)
        inputs |= {f"{field}/{number}": _made(path) for number, path in enumerate(compared)}
    bare = replace(config.gates, **dict.fromkeys(step_functions.COMPARED, ()))
    options = loaded.options() if options is None else options
    folders = {field: getattr(options, field) for field in getattr(options, "FOLDERS", ()) if getattr(options, field)}
    inputs |= {step_functions.option_input(field): _made(path) for field, path in folders.items()}
    settings = step_functions.Synthesis(
        recipe=recipe,
        recipe_version=loaded.version,
        recipe_sha256="" if is_built_in(loaded) else sha256_file(Path(inspect.getfile(loaded.fn))),
        prompts={name: file.sha256 for name, file in load_prompts(loaded).items()},
        options=replace(cast(Any, options), **dict.fromkeys(folders, "")),
        config=replace(config, gates=bare),
        teachers=tuple((name, dict(identity)) for name, identity in teachers.items()),
    )
    return Step("synthesize", step_functions.synthesize, settings, inputs, version=step_functions.SYNTHESIZE_VERSION)


def seeds(dataset: Path, topics: str, per_topic: int) -> Step:
    """Searches a dataset by topics: `topics` is a file of them, or `builtin`."""
    from tilth.synthesis.search import BUILT_IN, read_topics

    read_topics(topics)  # what is wrong with the file is told now
    inputs: dict[str, Input] = {step_functions.DOCUMENTS: _made(dataset)}
    if topics != BUILT_IN:
        inputs[step_functions.TOPICS_FILE] = Source(topics)
    search = step_functions.SeedSearch(per_topic=per_topic)
    return Step("seeds", step_functions.search_seeds, search, inputs, version=step_functions.SEEDS_VERSION)


def topics(dataset: Path, config: TopicConfig) -> Step:
    """Groups the documents of a dataset by topic."""
    inputs: dict[str, Input] = {step_functions.DOCUMENTS: _made(dataset)}
    return Step("topics", step_functions.group_topics, config, inputs, version=step_functions.TOPICS_VERSION)


def improve(
    config: LoopConfig,
    *,
    model: Path | None = None,
    tokenizer: Path | None = None,
    text: Path | None = None,
    held_out: Path | None = None,
) -> Step:
    """Runs the self-improving loop, from a given model and with real text where there are any.

    The file of a family of the user's own is an input: with other code, it is another step.
    """
    from tilth.improve.family import family_file

    given = {"model": model, "tokenizer": tokenizer, "text": text, "held_out": held_out}
    inputs: dict[str, Input] = {name: _made(path) for name, path in given.items() if path is not None}
    if (file := family_file(config.task)) is not None:
        inputs["task"] = Source(str(file))
    return Step("improve", step_functions.improve, config, inputs, version=step_functions.IMPROVE_VERSION)


def assay(
    dataset: Path,
    source: Path,
    held_out: Path,
    config: AssayConfig,
    *,
    fresh: Path | None = None,
    models: Sequence[Path] = (),
    tokenizer: Path | None = None,
) -> Step:
    """Measures what a dataset is worth beside its source; the result of the synthesis run that made it is an input."""
    given = {"dataset": dataset, "source": source, "held_out": held_out, "fresh": fresh, "tokenizer": tokenizer}
    inputs: dict[str, Input] = {name: _made(path) for name, path in given.items() if path is not None}
    inputs |= {f"{assay_steps.MODEL}{number}": _made(folder) for number, folder in enumerate(models)}
    for folder in (dataset, dataset.parent):
        if "synthesis" not in inputs and (folder / SYNTHESIS).is_file():
            inputs["synthesis"] = Source(str(folder / SYNTHESIS))
    return Step("assay", assay_steps.assay, config, inputs, version=assay_steps.ASSAY_VERSION)


def export(model: Path, tokenizer: Path) -> Step:
    """Writes a model as a Hugging Face folder."""
    inputs = {"model": _made(model), "tokenizer": _made(tokenizer)}
    return Step("export", step_functions.export, {}, inputs, version=step_functions.EXPORT_VERSION)


def _made(path: Path | str) -> Source:
    """A folder that an earlier verb wrote: what it holds is its identity, not when it was made."""
    return Source(str(path), exclude=(f"*/{RECORD}",))
