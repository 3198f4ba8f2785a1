"""Experiments with a model's own text: what training on it does over generations, curricula, languages."""
