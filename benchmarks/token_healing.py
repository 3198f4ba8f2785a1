"""What token healing gives: the share of prompts whose likeliest continuation begins as the text does.

Documents of a dataset that the model was not trained on are cut behind a space, inside a word, behind indentation, and
behind a whole word; the model continues them greedily, without and with healing.

    python benchmarks/token_healing.py MODEL DATASET
"""

from __future__ import annotations

import random
import sys

from tilth import Dataset, Tokenizer, load_model
from tilth.inference import Engine, SamplingParams

PROMPTS = 200
CHARACTERS = 3
KINDS = ("after a space", "inside a word", "after indentation", "after a whole word")


def kind_of(before: str, after: str) -> str | None:
    """What a text that is cut here ends in."""
    if before.endswith("    ") and before.rstrip(" ").endswith("\n") and after[0] != " ":
        return "after indentation"
    if before[-1] == " " and before[-2] != " " and after[0].isalpha():
        return "after a space"
    if before[-1].isalpha() and after[0].isalpha():
        return "inside a word"
    return "after a whole word" if before[-1].isalpha() and after[0] == " " else None


def cut(texts: list[str], engine: Engine) -> dict[str, list[tuple[str, str]]]:
    """Draws prompts with what follows them, by kind."""
    rng = random.Random(0)
    found: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    for _ in range(200_000):
        text, end = rng.choice(texts), rng.randrange(50, 400)
        before, after = text[:end], text[end : end + CHARACTERS]
        kind = kind_of(before, after)
        room = engine.model.config.context_length - 10
        if kind and len(found[kind]) < PROMPTS and len(engine.tokenizer.encode_ordinary(before)) < room:
            found[kind].append((before, after))
        if all(len(cuts) == PROMPTS for cuts in found.values()):
            break
    return found


def main(model: str, dataset: str) -> None:
    engine = Engine(load_model(model), Tokenizer.load(model))
    texts = [document.text for document in Dataset.open(dataset) if len(document.text) > 600]
    for kind, cuts in cut(texts, engine).items():
        prompts = [before for before, _ in cuts]
        shares: list[float] = []
        for healing in (False, True):
            params = SamplingParams(max_tokens=CHARACTERS + 1, temperature=0, token_healing=healing)
            completions = engine.generate(prompts, params)
            right = sum(done.text[:CHARACTERS] == after for done, (_, after) in zip(completions, cuts, strict=True))
            shares.append(right / max(1, len(cuts)))
        print(f"{kind:20} {len(cuts):4} prompts   without {shares[0]:.3f}   with {shares[1]:.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(*sys.argv[1:])
    else:  # it needs a model, which `make bench` does not have
        print(__doc__)
