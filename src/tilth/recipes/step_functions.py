"""What steps run: each function calls one stage on the inputs it is given and leaves the results where others look.

The names of inputs are the same everywhere: `train` and `held_out` are datasets, `tokenizer` a folder with
`tokenizer.json`, `pretrain` the output of training, `model` a folder of weights. Heavy modules are imported inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilth.curation.config import CurationConfig
from tilth.errors import DataError
from tilth.execute import Context
from tilth.improve.config import LoopConfig
from tilth.model.config import ModelConfig
from tilth.progress import SILENT
from tilth.steps import Counts, Inputs
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.topic_config import TopicConfig
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig

if TYPE_CHECKING:
    from tilth.storage import Dataset

Nothing = Mapping[str, Any]
"""The config of a step that has nothing to set."""


def write_documentation(config: Mapping[str, str], inputs: Inputs, out: Path, context: Context) -> Counts:
    """Writes the Python installation's documentation as text files."""
    from tilth.recipes.python_text import write_python_text

    return {"files": write_python_text(out / "text")}


CURATE_VERSION = 2
"""Raised when the same text is curated to other documents."""
COMPARED = ("decontaminate", "against")
"""Fields of `CurationConfig` whose paths are inputs, named `<field>/<number>`."""


def curate(config: CurationConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Curates all files of all inputs but the `COMPARED`; the name of an input is that of its corpus."""
    from tilth.curation import curate
    from tilth.files import list_files

    compared = _compared(inputs)
    names = [name for found in compared.values() for name in found]
    paths = {field: tuple(_path_of(inputs, name) for name in found) for field, found in compared.items()}
    config = replace(config, **{field: (*getattr(config, field), *found) for field, found in paths.items()})
    corpora = {name: source.files() for name, source in inputs.sources.items() if name not in names}
    corpora |= {name: list_files(str(folder)) for name, folder in inputs.folders.items() if name not in names}
    files = [replace(file, corpus=name) for name, found in corpora.items() for file in found]
    ledger = curate(files, out, config, context)
    n_bytes = sum(file.bytes for file in files)
    return {
        "source_bytes": n_bytes,
        "documents_in": ledger.table()[0][2],
        "documents_out": ledger.documents_kept,
        "dead_letters": ledger.n_dead_letters,
    }


def _compared(inputs: Inputs) -> dict[str, list[str]]:
    """Returns the names of the inputs of each of `COMPARED`, in the order of their numbers."""
    names = [name.partition("/") for name in (*inputs.sources, *inputs.folders)]
    numbers = {
        field: sorted(int(rest) for first, slash, rest in names if slash and first == field) for field in COMPARED
    }
    return {field: [f"{field}/{number}" for number in found] for field, found in numbers.items()}


def _path_of(inputs: Inputs, name: str) -> str:
    return inputs.sources[name].path if name in inputs.sources else str(inputs.folders[name])


def train_tokenizer(config: TokenizerConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Trains a tokenizer on the training text, and measures it on the held-out text where there is one.

    With an input `extend`, training continues from that tokenizer.
    """
    from tilth.results import write_result
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer, statistics
    from tilth.tokenizer.result import STATISTICS

    train = open_documents(inputs["train"])
    extend = Tokenizer.load(inputs["extend"]) if "extend" in inputs else None
    # So that progress shows the share that is read.
    most_bytes = min(train.n_bytes, config.max_training_bytes or train.n_bytes)
    fields = vars(replace(config, max_training_bytes=max(most_bytes, 1)))
    tokenizer = Tokenizer.train(train.documents(), **fields, extend=extend, progress=context.progress)
    tokenizer.save(out)
    if "held_out" in inputs:
        held_out = Dataset.open(inputs["held_out"])
        write_result(out / STATISTICS, statistics(tokenizer, texts(held_out), training_bytes=train.n_bytes))
    return {"vocab_size": tokenizer.vocab_size, "bytes": train.n_bytes}


PRETRAIN_VERSION = 4
"""Goes up whenever equal configs and inputs give other weights."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """The model and how it is trained."""

    model: ModelConfig
    training: TrainConfig


def pretrain(config: Pretraining, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Trains a model, tokenizing on the fly."""
    from tilth.model import save_model
    from tilth.recipes.live_samples import live_samples
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer
    from tilth.training import first_model, train

    tokenizer, text = Tokenizer.load(inputs["tokenizer"]), open_documents(inputs["train"])
    save_model(first_model(config.model, config.training, text, tokenizer), out / "initial_model")
    held_out = Dataset.open(inputs["held_out"]) if "held_out" in inputs else None
    save_model(first_model(config.model, config.training, text, tokenizer), out / "initial_model")
    result = train(
        config.model,
        config.training,
        text,
        tokenizer,
        out,
        held_out=held_out,
        watch=live_samples(context, tokenizer, [held_out, text]),
        context=replace(context, device=torch_device(context)),
    )
    summary = result.summary
    return {"tokens": summary.tokens, "steps": summary.steps, "flops": summary.flops}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Continuations of held-out passages, by the model before and after training."""

    prompts: int = 4
    """Passages, one from each of the first held-out documents that are long enough."""
    prompt_characters: int = 160
    """Length of a passage; it begins and ends with a line."""
    max_tokens: int = 80
    """Tokens to continue by."""
    temperature: float = 0.7
    """Sampling temperature."""
    seed: int = 0
    """Seed of the draw."""


SAMPLE_VERSION = 2
"""Goes up whenever equal configs and inputs give other text."""


def sample(config: Sampling, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Lets the model before and after training continue the same passages."""
    from tilth.inference import Engine, SamplingParams
    from tilth.inference.result import SAMPLES, TextSample
    from tilth.model import load_model
    from tilth.results import write_result
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(inputs["tokenizer"])
    device = torch_device(context)
    models = {name: load_model(inputs["pretrain"] / name, device=device) for name in ("initial_model", "model")}
    room = models["model"].config.context_length // 2
    # The end of a passage, where the context has no room for all of it.
    prompts = [
        tokenizer.decode(tokenizer.encode_ordinary(passage)[-room:])
        for passage in passages(Dataset.open(inputs["held_out"]), config)
    ]
    params = SamplingParams(max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed)
    before, after = (
        [completion.text for completion in Engine(model, tokenizer).generate(prompts, params)]
        for model in models.values()
    )
    samples = [TextSample(prompt=p, before=b, after=a) for p, b, a in zip(prompts, before, after, strict=True)]
    write_result(out / SAMPLES, samples)
    return {"samples": len(samples)}


def passages(dataset: Dataset, config: Sampling) -> list[str]:
    """Returns whole lines from a third into each of the first documents, past their headers and licences."""
    found: list[str] = []
    for text in texts(dataset):
        begin = text.find("\n", len(text) // 3) + 1
        end = text.rfind("\n", begin, begin + config.prompt_characters)
        if begin and end - begin > config.prompt_characters // 2:
            found.append(text[begin:end].strip("\n"))
        if len(found) == config.prompts:
            break
    return found


BASELINES_VERSION = 2
"""Goes up whenever equal configs and inputs give other results."""


def measure_baselines(config: Mapping[str, int], inputs: Inputs, out: Path, context: Context) -> Counts:
    """Measures the model's bits per byte, before and after training, and those of a 5-gram model and of zstd.

    Passages of the held-out text are scored token by token as well, by the trained model and the 5-gram model.
    """
    from tilth.evaluation import baselines, surprise, train_ngram
    from tilth.model import load_model
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

    folder, device = inputs["pretrain"], torch_device(context)
    model = load_model(folder / "model", device=device)
    tokenizer, train = Tokenizer.load(inputs["tokenizer"]), Dataset.open(inputs["train"])
    held_out = Dataset.open(inputs["held_out"])
    ngram = train_ngram(tokenizer, train)
    measured = baselines(
        models={"model before": load_model(folder / "initial_model", device=device), "model": model},
        tokenizer=tokenizer,
        train=train,
        held_out=held_out,
        out=out,
        max_bytes=config["max_bytes"],
        curve_bytes=config.get("curve_bytes"),
        ngram=ngram,
        progress=context.progress,
    )
    surprise(model=model, ngram=ngram[0], tokenizer=tokenizer, documents=held_out.documents(), out=out)
    return {"held_out_bytes": measured.held_out_bytes}


def find_nearest(config: Nothing, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Finds the training documents that are nearest to the samples of the trained model."""
    from tilth.evaluation import nearest
    from tilth.files import read_json
    from tilth.inference.result import SAMPLES, TextSample
    from tilth.model import load_model
    from tilth.results import decode
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

    path = inputs["samples"] / SAMPLES
    samples = decode(tuple[TextSample, ...], read_json(path), str(path))
    found = nearest(
        samples=[sample.after for sample in samples],
        model=load_model(inputs["pretrain"] / "model"),  # only its embeddings are read
        tokenizer=Tokenizer.load(inputs["tokenizer"]),
        train=Dataset.open(inputs["train"]),
        held_out=Dataset.open(inputs["held_out"]),
        out=out,
    )
    return {"samples": len(samples), "searched_bytes": found.searched_bytes, "windows": found.windows}


SYNTHESIZE_VERSION = 1
"""Goes up whenever equal configs, inputs and answers give other samples, whatever the recipe."""
DOCUMENTS = "documents"
"""Name of the input that a synthesis works on."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A recipe, what decides its answers, and how it is run."""

    recipe: str
    """Name of a built-in one, or `file.py:name`."""
    recipe_version: int
    recipe_sha256: str
    """Of the file of one's own recipe; empty for a built-in one."""
    prompts: Mapping[str, str]
    """Prompt file -> SHA-256."""
    options: object
    """The recipe's."""
    config: SynthesisConfig
    teachers: tuple[tuple[str, Mapping[str, Any]], ...]
    """Names and identities, in their order: the first one answers. Where they are is in `Context.endpoints`."""


def option_input(field: str) -> str:
    """Returns the name of the input that an option of a recipe names the folder of."""
    return f"option/{field}"


def _with_folders(options: Any, inputs: Inputs) -> Any:
    """Returns options with the folders that are inputs of the step."""
    found = {field: option_input(field) for field in getattr(options, "FOLDERS", ())}
    paths = {field: _path_of(inputs, name) for field, name in found.items() if name in inputs.sources}
    return replace(options, **paths) if paths else options


def synthesize(config: Synthesis, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Runs a recipe over the dataset `documents`, or without one, through the request cache.

    The cache is in `Context.cache`, by default `<runs>/cache`. Raises: StepError if a teacher is another one now.
    """
    from tilth.recipes.teachers import open_teachers
    from tilth.storage import Dataset
    from tilth.synthesis.define import load_recipe
    from tilth.synthesis.run import synthesize

    paths = {field: tuple(_path_of(inputs, name) for name in names) for field, names in _compared(inputs).items()}
    settings = replace(config.config, gates=replace(config.config.gates, **paths))
    context = replace(context, cache=context.cache or context.runs / "cache")
    elsewhere = replace(context, progress=SILENT, live=None)  # what can go to another machine
    result = synthesize(
        Dataset.open(inputs[DOCUMENTS]) if DOCUMENTS in inputs else None,
        out,
        load_recipe(config.recipe),
        partial(open_teachers, dict(config.teachers), elsewhere) if config.teachers else (),
        settings,
        context,
        options=_with_folders(config.options, inputs),
    )
    return {
        "documents": result.documents_done,
        **({} if result.complete else {"documents_left": result.documents - result.documents_done}),
        "samples": result.samples_kept,
        "bytes": result.bytes_kept,
        "requests": sum(one.requests for one in result.spending),
        "money": sum(one.money for one in result.spending),
        "flops": sum(one.flops for one in result.spending),
    }


SEEDS_VERSION = TOPICS_VERSION = 1
"""Raised when equal documents and topics give other seeds, or other groups."""
TOPICS_FILE = "topics"
"""Input with a file of topics; without it, those that come with tilth."""


@dataclass(frozen=True, kw_only=True)
class SeedSearch:
    """Search a dataset for the documents that say most about each of a list of topics."""

    per_topic: int = 100
    """Most documents of a topic."""


def search_seeds(config: SeedSearch, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Writes the best documents of each topic, with the topic in their `meta`."""
    from tilth.storage import Dataset
    from tilth.synthesis.search import BUILT_IN, read_topics, seeds_by_topic

    topics = read_topics(_path_of(inputs, TOPICS_FILE) if TOPICS_FILE in inputs.sources else BUILT_IN)
    seeds = seeds_by_topic(Dataset.open(_path_of(inputs, DOCUMENTS)), topics, out, per_topic=config.per_topic)
    return {"documents": seeds.n_documents, "bytes": seeds.n_bytes}


def group_topics(config: TopicConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Groups a dataset by topic, and writes it with the topic in each document's `meta`."""
    import asyncio

    from tilth.storage import Dataset
    from tilth.synthesis.topics import cluster_topics

    dataset, _ = asyncio.run(cluster_topics(Dataset.open(_path_of(inputs, DOCUMENTS)), out, config))
    return {"documents": dataset.n_documents, "bytes": dataset.n_bytes}


IMPROVE_VERSION = 3
"""Goes up whenever equal configs and inputs give other results, or a default of `LoopConfig` changes."""


def improve(config: LoopConfig, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Runs the self-improving loop with all its arms.

    Inputs, each where there is one: `model` to be trained further, `tokenizer`, and the datasets `text` (mixed into
    every batch) and `held_out`.
    """
    from tilth.improve import Start, TextMix, improve
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

    # Models this small are quicker on the CPU than on any accelerator: they go there only when told to.
    device = "cpu" if context.device == "auto" else context.device
    start, text = Start(), None
    if "model" in inputs:
        start = replace(start, model=inputs["model"])
    if "tokenizer" in inputs:
        start = replace(start, tokenizer=Tokenizer.load(inputs["tokenizer"]))
    if "text" in inputs:
        text = TextMix(train=Dataset.open(inputs["text"]), held_out=Dataset.open(inputs["held_out"]))
    result = improve(config, out, replace(context, device=device), start=start, text=text)
    return {"flops": result.flops}


EXPORT_VERSION = 3
"""Goes up whenever equal inputs give other files."""


def export(config: Nothing, inputs: Inputs, out: Path, context: Context) -> Counts:
    """Writes a model and its tokenizer as a Hugging Face folder; with an input `held_out`, prompts to try, too.

    With an input `improve`, the model that the loop made is written in its place, if it did not get worse at text.
    """
    from tilth.evaluation import Baselines
    from tilth.export import to_hf
    from tilth.inference.prompts import opening_prompts, write_prompts
    from tilth.model import load_model
    from tilth.results import read_result
    from tilth.storage import Dataset
    from tilth.tokenizer import Tokenizer

    model, tokenizer = load_model(inputs["model"]), Tokenizer.load(inputs["tokenizer"])
    measured = read_result(Baselines, inputs["baselines"]).bits_per_byte if "baselines" in inputs else {}
    facts = held_out_facts(measured)
    if "improve" in inputs:
        from tilth.improve.chosen_model import choose_model

        choice = choose_model(model, inputs["improve"], tokenizer, Dataset.open(inputs["held_out"]))
        context.progress.say(f"export: {choice.why}")
        model = choice.model
        facts = held_out_facts(measured, after_loop=choice.improved) | {"Which model": choice.why}
    to_hf(model, tokenizer, out, facts=facts)
    if "held_out" in inputs:
        write_prompts(out, opening_prompts(texts(Dataset.open(inputs["held_out"]))))
    return {"parameters": model.config.n_params}


def held_out_facts(measured: Mapping[str, float], *, after_loop: bool = False) -> dict[str, str | float]:
    """Returns lines of a model card; figures from before the loop are not those of the model that it made."""
    shown = {"model": "the pretrained model before the loop"} if after_loop else {}
    return {
        f"Bits per byte on held-out text, {shown.get(name, name)}": round(value, 4) for name, value in measured.items()
    }


def write_report(config: Mapping[str, str], inputs: Inputs, out: Path, context: Context) -> Counts:
    """Writes the report on all steps that are inputs; an input `export` is the model that the chat command names."""
    from tilth.report import collect, render

    chat = f"tilth chat {inputs['export']}" if "export" in inputs else None
    run = collect(inputs.folders.values(), name=config["name"], chat_command=chat)
    return {"bytes": render(run, out / "report.html").stat().st_size}


def torch_device(context: Context) -> str:
    """Returns the device to run models on; `auto` is the first accelerator there is, or the CPU.

    Raises: ConfigError if the device is not there.
    """
    from tilth.model.device import resolve_device

    return resolve_device(context.device)


def texts(dataset: Dataset) -> Iterator[str]:
    """Yields the documents' texts in order."""
    return (document.text for document in dataset.documents())


def open_documents(folder: Path) -> Dataset:
    """Opens a dataset that there is something to learn from.

    Raises: DataError if it is empty.
    """
    from tilth.storage import Dataset

    dataset = Dataset.open(folder)
    if not dataset.n_documents:
        raise DataError(f"{folder} holds no document{_why_empty(folder)}.", fix=_more_text(folder))
    return dataset


def _why_empty(folder: Path) -> str:
    """Returns what the ledger beside a dataset says about how little was kept."""
    from tilth.curation.result import LEDGER, Ledger
    from tilth.results import read_result

    if not (folder.parent / LEDGER).is_file():
        return ""
    ledger = read_result(Ledger, folder.parent / LEDGER)
    kept = ledger.train.bytes + ledger.held_out.bytes
    why = f": curation kept {kept:,} bytes of text in all, too few to hold a part out"
    return why if folder.name == "held_out" else f": curation kept {kept:,} bytes of text in all"


def _more_text(folder: Path) -> str:
    return f"Give more text. {folder.parent / 'ledger.json'} says what was dropped and why."
