"""The one door to every language model: clients, cache, budgets, admission, ledger."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.teacher.budget import Budget
    from tilth.teacher.cache import RequestCache
    from tilth.teacher.gateway import Gateway
    from tilth.teacher.status import Status

__all__ = ["Budget", "Gateway", "RequestCache", "Status"]

__getattr__ = attach(
    __name__,
    {
        "Budget": "tilth.teacher.budget",
        "Gateway": "tilth.teacher.gateway",
        "RequestCache": "tilth.teacher.cache",
        "Status": "tilth.teacher.status",
    },
)
