"""Synthetic data: recipes over documents and a teacher, with parsers, gates, verifiers and full lineage."""
