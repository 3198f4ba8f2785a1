"""From a sample back to the bytes that it was made of: what `tilth show DATASET --id X` prints.

Sample -> verdicts of the gates -> answers (prompt file and version, teacher, parameters, key in the request cache) ->
document and byte span of the source dataset -> that document's own lineage, and so on through datasets of samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tilth.errors import TilthError
from tilth.storage import Dataset
from tilth.synthesis.prompt_files import FOLDER
from tilth.synthesis.render import STAGE

_LONGEST = 600
"""Characters of a source text that are shown."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What one entry of a sample's lineage leads to, and the text there."""

    entry: Mapping[str, Any]
    text: str | None = None
    """The bytes of the span, or the whole document; None: the dataset is not at hand."""
    folder: str = ""
    """Of the source dataset, where it was found."""
    prompt_files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Prompt -> path of its file, where the file of that version is at hand."""


def origins(lineage: str | None, datasets: Sequence[Path | str]) -> list[Origin]:
    """Returns the entries of stage `synthesize` in a `lineage` column, the latest first, each with its source text.

    `datasets` are folders in which the source may be; one is taken if its fingerprint is the one that lineage names.
    """
    entries = cast("list[dict[str, Any]]", json.loads(lineage) if lineage else [])
    found: list[Origin] = []
    for entry in reversed(entries):
        if entry.get("stage") == STAGE:
            folder, text = _source(entry, datasets)
            found.append(Origin(entry=entry, text=text, folder=folder, prompt_files=_prompt_files(entry)))
    return found


def is_made(lineage: str | None) -> bool:
    """Whether a document was made by a synthesis, or from one that was."""
    return any(entry.get("stage") == STAGE for entry in cast("list[dict[str, Any]]", json.loads(lineage or "[]")))


def _source(entry: Mapping[str, Any], datasets: Iterable[Path | str]) -> tuple[str, str | None]:
    for folder in datasets:
        try:
            dataset = Dataset.open(folder)
            if dataset.fingerprint != entry.get("dataset"):
                continue
            text = _text(dataset, str(entry["source_id"]))
        except TilthError:  # it is not at hand, or not whole
            continue
        if text is not None:
            span = cast("list[int] | None", entry.get("span"))
            return str(folder), text if span is None else span_text(text, (span[0], span[1]))
    return "", None


def _text(dataset: Dataset, identifier: str) -> str | None:
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard, ["id", "text"]):
            ids = cast("list[str]", batch.column("id").to_pylist())
            if identifier in ids:
                return str(batch.column("text")[ids.index(identifier)].as_py())
    return None


def span_text(text: str, span: tuple[int, int]) -> str:
    """Returns the bytes of a span of a text."""
    return text.encode()[span[0] : span[1]].decode(errors="replace")


def _prompt_files(entry: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for answer in entry.get("answers", []):
        path = FOLDER / f"{answer['prompt']}.j2"
        if path.is_file() and path.read_text(encoding="utf-8").startswith(
            f"{{# version: {answer['prompt_version']} #}}"
        ):
            found[answer["prompt"]] = str(path)
    return found


def lines(origin: Origin) -> list[str]:
    """Returns an origin as lines for people."""
    entry = origin.entry
    recipe = f"{entry['recipe']}, version {entry['recipe_version']}"
    shown = [f"made by   {recipe}{', part ' + entry['part'] if entry.get('part') else ''}"]
    if entry.get("cell"):
        shown.append("cell      " + ", ".join(f"{axis}: {value}" for axis, value in entry["cell"].items()))
    for number, answer in enumerate(entry.get("answers", []), 1):
        shown += _answer_lines(number, answer, origin)
    shown += [f"gate      {_verdict(verdict)}" for verdict in entry.get("gates", [])]
    span = entry.get("span")
    where = f", bytes {span[0]:,} to {span[1]:,}" if span else ", all of it"
    shown.append(f"made of   document {entry['source_id']} ({entry['source']}){where}")
    if origin.text is None:
        missing = (
            f"the source dataset ({entry['dataset'][:16]}...) is not at hand: give the folder of the step that made "
            "it, too"
            if "dataset" in entry
            else "no dataset"
        )
        return [*shown, f"          {missing}"]
    shown.append(f"in        {origin.folder}")
    text = (
        origin.text
        if len(origin.text) <= _LONGEST
        else f"{origin.text[:_LONGEST]} ... ({len(origin.text):,} characters)"
    )
    return [*shown, *(f"        | {line}" for line in text.splitlines())]


def _answer_lines(number: int, answer: Mapping[str, Any], origin: Origin) -> list[str]:
    file = origin.prompt_files.get(answer["prompt"], "")
    params = ", ".join(f"{name} {value}" for name, value in answer["params"].items())
    model = f" ({answer['model']})" if answer.get("model") else ""
    prompt_tokens, tokens = answer["tokens"]
    return [
        f"answer {number}  prompt {answer['prompt']}, version {answer['prompt_version']}{f'  {file}' if file else ''}",
        f"          teacher {answer['teacher']}{model}, sample {answer['sample']}: {params}",
        f"          {prompt_tokens:,} tokens of prompt, {tokens:,} of answer; cache key {answer['key']}",
    ]


def _verdict(verdict: Mapping[str, Any]) -> str:
    limit = f" (limit {verdict['limit']:g})" if verdict.get("limit") is not None else ""
    measure = f" {verdict['measure']:.3g}{limit}" if verdict.get("measure") is not None else ""
    detail = f", {verdict['detail']}" if verdict.get("detail") else ""
    return f"{verdict['gate']}: passed{measure}{detail}"
