"""Experiments with text of the own model: what it is worth, what training on it does over generations, curricula."""
