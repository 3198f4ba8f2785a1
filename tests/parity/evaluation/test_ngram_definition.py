"""The n-gram model against Chen & Goodman's definition, written out with dictionaries and recursion."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from tilth.evaluation import NgramModel

Gram = tuple[int, ...]


class ByDefinition:
    """Interpolated modified Kneser-Ney, one probability at a time."""

    def __init__(self, documents: list[list[int]], vocab_size: int, separator: int, order: int) -> None:
        self.vocab_size, self.separator, self.order = vocab_size, separator, order
        plain: Counter[Gram] = Counter()
        before: defaultdict[Gram, set[int]] = defaultdict(set)
        for document in documents:
            text = [separator, *document, separator]
            for n in range(1, order + 1):
                for start in range(len(text) - n + 1):
                    gram = tuple(text[start : start + n])
                    plain[gram] += 1
                    if start:
                        before[gram].add(text[start - 1])
        self.counts = {
            gram: count if len(gram) == order or (len(gram) > 1 and gram[0] == separator) else len(before[gram])
            for gram, count in plain.items()
        }
        self.discounts = {n: self._discounts(n) for n in range(1, order + 1)}
        self.followers: defaultdict[Gram, list[Gram]] = defaultdict(list)
        for gram in self.counts:
            self.followers[gram[:-1]].append(gram)

    def _discounts(self, n: int) -> list[float]:
        of_count = Counter(count for gram, count in self.counts.items() if len(gram) == n)
        n1, n2, n3, n4 = (of_count[count] for count in (1, 2, 3, 4))
        if min(n1, n2, n3, n4):
            y = n1 / (n1 + 2 * n2)
            taken = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if min(taken[1:]) > 0:
                return taken
        return [0.0, 0.5, 1.0, 1.5]

    def p(self, context: Gram, token: int) -> float:
        n = len(context) + 1
        lower = self.p(context[1:], token) if context else 1 / self.vocab_size
        total = sum(self.counts[gram] for gram in self.followers[context])
        if total == 0:
            return lower
        taken = self.discounts[n]
        rest = sum(taken[min(self.counts[gram], 3)] for gram in self.followers[context])
        count = self.counts.get((*context, token), 0)
        return (count - taken[min(count, 3)] + rest * lower) / total

    def token_losses(self, document: list[int]) -> list[float]:
        text = [self.separator, *document, self.separator]
        return [
            -math.log(self.p(tuple(text[max(0, index - self.order + 1) : index]), text[index]))
            for index in range(1, len(text))
        ]


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("n_documents", [3, 200])
def test_same_probabilities(order: int, n_documents: int) -> None:
    rng = np.random.default_rng(order)
    steps = rng.dirichlet(np.full(7, 0.3), size=7)

    def document() -> list[int]:
        tokens = [int(rng.integers(7))]
        for _ in range(int(rng.integers(0, 20))):
            tokens.append(int(rng.choice(7, p=steps[tokens[-1]])))
        return tokens[1:]

    train, held_out = [document() for _ in range(n_documents)], [document() for _ in range(30)]
    ours = NgramModel.fit(train, vocab_size=9, separator=8, order=order).token_losses(held_out)
    definition = ByDefinition(train, vocab_size=9, separator=8, order=order)
    expected = [loss for tokens in held_out for loss in definition.token_losses(tokens)]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
