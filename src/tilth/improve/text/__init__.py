"""The loop on text: what a model's own texts are worth, and what continued training on them does."""
