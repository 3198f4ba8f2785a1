"""The one door to every language model: clients, cache, budgets, admission, ledger."""
