"""From drafts to samples: their text, their id, and the lineage that leads back to the source document's bytes.

A sample's lineage is its source document's, with one more entry, of the stage `synthesize`: recipe and version, the
dataset, id and span of the source, the cell of the design, each answer that it was made from (prompt file with version,
teacher, parameters, key in the request cache, tokens), and what each gate measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from tilth.curation.conversation import chat_text
from tilth.errors import ConfigError
from tilth.synthesis.define import Draft, Parsed, Recipe
from tilth.synthesis.prompt_files import rendered
from tilth.synthesis.source_documents import SeedDocument
from tilth.teacher.request import GenerationParams
from tilth.types import Message, Sample, document_id

STAGE = "synthesize"
"""Stage of the lineage's entry."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A sample before the gates."""

    sample: Sample
    part: str = ""
    prompt: str = ""
    """The rendered prompt of its last answer."""
    keeps_id: bool = False
    """It is the source document itself, annotated or edited."""


def make_candidate(
    recipe: Recipe, seed: SeedDocument, draft: Draft, *, dataset: str, cell: Mapping[str, str]
) -> Candidate:
    """Returns the sample of a draft; `dataset` is the fingerprint of the source dataset, or empty.

    Raises: ConfigError if the draft is not of the recipe's shape, or a field holds something else than it is to.
    """
    _check(recipe, draft)
    document = seed.document
    entry = _entry(recipe, seed, draft, dataset, cell)
    text = draft.text or _text(recipe, draft)
    sample = Sample(
        id=document.id if draft.keeps_id else document_id(recipe.name, _content(text, draft)),
        text=text,
        source=document.source if draft.keeps_id else f"{recipe.name}/{document.source}",
        url=document.url,
        language=str(draft.meta["language"]) if draft.meta.get("language") else document.language,
        meta=_meta(seed, draft),
        messages=draft.messages,
        prompt=draft.prompt,
        chosen=draft.chosen,
        rejected=draft.rejected,
        answer=draft.answer,
        verifier=draft.verifier,
        scores={name: float(value) for name, value in draft.scores.items()},
        lineage=(*seed.lineage, entry),
    )
    prompt = rendered(draft.replies[-1].reply.request) if draft.replies else ""
    # What a server answers is JSON, which can hold halves of surrogate pairs; a dataset is UTF-8.
    found = Candidate(sample=sample, part=draft.part, prompt=prompt, keeps_id=draft.keeps_id)
    return candidate_from_row(json.loads(_utf8(json.dumps(candidate_row(found), ensure_ascii=False))))


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _check(recipe: Recipe, draft: Draft) -> None:
    if draft.keeps_id and recipe.shape != "annotation":
        raise ConfigError(
            f"The recipe `{recipe.name}` has the shape `{recipe.shape}` and returned a draft that keeps the document's "
            "id.",
            fix="Declare the shape `annotation`, or leave `keeps_id` out.",
        )
    needed = {
        "chat": ("messages",),
        "preference": ("chosen", "rejected"),
        "problem": ("prompt", "verifier"),
    }.get(recipe.shape, ())
    for name in _wrong_fields(draft):
        raise ConfigError(
            f"The recipe `{recipe.name}` returned a draft whose `{name}` is {str(getattr(draft, name))[:80]!r}.",
            fix=f"Give it as `Draft.{name}` declares it; `meta` must be JSON.",
        )
    missing = [name for name in needed if not getattr(draft, name)]
    if recipe.shape == "preference" and not (draft.prompt or draft.messages):
        missing.insert(0, "prompt")
    if missing:
        raise ConfigError(
            f"The recipe `{recipe.name}` has the shape `{recipe.shape}` and returned a draft without "
            f"{', '.join(f'`{name}`' for name in missing)}.",
            fix="Set them in `Draft(...)`, or declare another shape.",
        )


def _wrong_fields(draft: Draft) -> Iterator[str]:
    """Yields the fields of a user's recipe that no dataset could hold."""
    for name in ("text", "part", "prompt", "chosen", "rejected", "answer", "verifier"):
        if not isinstance(getattr(draft, name), str | None) or (
            name in ("text", "part") and getattr(draft, name) is None
        ):
            yield name
    if not all(isinstance(message, Message) for message in draft.messages):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield "messages"
    for name, write in (("scores", _as_numbers), ("meta", _as_json)):
        try:
            write(getattr(draft, name))
        except (TypeError, ValueError, AttributeError, RecursionError):
            yield name


def _as_numbers(scores: Mapping[str, Any]) -> None:
    for value in scores.values():
        float(value)


def _as_json(meta: Mapping[str, object]) -> None:
    json.dumps(dict(meta), allow_nan=False)


def _text(recipe: Recipe, draft: Draft) -> str:
    """What a training stream reads: of a preference the prompt and the chosen answer, without the rejected one."""
    turns = [{"role": message.role, "content": message.content} for message in draft.messages]
    if recipe.shape == "chat":
        return chat_text({"messages": turns}, ("messages",)) or ""
    if recipe.shape == "preference":
        asked = turns or [{"role": "user", "content": draft.prompt}]
        return chat_text({"messages": [*asked, {"role": "assistant", "content": draft.chosen}]}, ("messages",)) or ""
    return "\n\n".join(part for part in (draft.prompt, draft.answer) if part)


def _content(text: str, draft: Draft) -> str:
    """Returns what the id is a hash of."""
    rest = [draft.prompt, draft.chosen, draft.rejected, draft.answer, draft.verifier]
    turns = [[message.role, message.content] for message in draft.messages]
    return text if not turns and not any(rest) else json.dumps([text, turns, *rest])


def _meta(seed: SeedDocument, draft: Draft) -> dict[str, object]:
    """The draft's own; what is known of the source document is under `seed`, or beside it where it is the document."""
    known = {**seed.document.meta}
    if draft.keeps_id:
        return known | dict(draft.meta)
    known |= seed.extra
    return {**draft.meta, **({"seed": known} if known else {})}


def _entry(
    recipe: Recipe, seed: SeedDocument, draft: Draft, dataset: str, cell: Mapping[str, str]
) -> dict[str, object]:
    entry: dict[str, object] = {
        "stage": STAGE,
        "recipe": recipe.name,
        "recipe_version": recipe.version,
        "part": draft.part,
        "dataset": dataset,
        "source_id": seed.document.id,
        "source": seed.document.source,
        "span": None if draft.span is None else list(draft.span),
        "cell": dict(cell),
        "answers": [_answer(reply) for reply in draft.replies],
    }
    return {name: value for name, value in entry.items() if value not in (None, "", {}, [])}


def _answer(parsed: Parsed[Any]) -> dict[str, object]:
    reply, default = parsed.reply, GenerationParams()
    params = {
        field.name: getattr(reply.request.params, field.name)
        for field in fields(GenerationParams)
        if field.name == "max_tokens" or getattr(reply.request.params, field.name) != getattr(default, field.name)
    }
    model = reply.answer.model
    return {
        "prompt": parsed.prompt,
        "prompt_version": parsed.prompt_version,
        "teacher": reply.teacher,
        **({"model": model} if model and model != reply.teacher else {}),
        "params": params,
        "key": reply.key,
        "sample": reply.sample,
        "tokens": [reply.answer.usage.prompt_tokens, reply.answer.usage.completion_tokens],
    }


def with_verdicts(sample: Sample, verdicts: Sequence[Mapping[str, object]]) -> Sample:
    """Returns the sample with what gates measured added to its lineage's last entry."""
    last = dict(sample.lineage[-1])
    last["gates"] = [*cast("list[object]", last.get("gates", [])), *verdicts]
    return replace(sample, lineage=(*sample.lineage[:-1], last))


# As JSON


def sample_row(sample: Sample) -> dict[str, Any]:
    """Returns a sample as plain JSON data."""
    row: dict[str, Any] = {field.name: getattr(sample, field.name) for field in fields(Sample)}
    row["messages"] = [{"role": message.role, "content": message.content} for message in sample.messages]
    row["meta"], row["scores"], row["lineage"] = dict(sample.meta), dict(sample.scores), list(sample.lineage)
    return row


def sample_from_row(row: Mapping[str, Any]) -> Sample:
    """Returns the sample of `sample_row`."""
    changed: dict[str, Any] = dict(row)
    changed["messages"] = tuple(Message(role=turn["role"], content=turn["content"]) for turn in row["messages"])
    changed["lineage"] = tuple(row["lineage"])
    return Sample(**changed)


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """Returns a candidate as plain JSON data."""
    return {
        "sample": sample_row(candidate.sample),
        "part": candidate.part,
        "prompt": candidate.prompt,
        "keeps_id": candidate.keeps_id,
    }


def candidate_from_row(row: Mapping[str, Any]) -> Candidate:
    """Returns the candidate of `candidate_row`."""
    return Candidate(
        sample=sample_from_row(row["sample"]), part=row["part"], prompt=row["prompt"], keeps_id=row["keeps_id"]
    )
