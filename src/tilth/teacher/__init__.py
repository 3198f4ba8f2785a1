"""Teachers: one interface to every language model.

    teacher = open_teacher("http://localhost:8000/v1#MODEL", Context())  # or a model folder, or `scripted:echo`
    async with Gateway({"big": teacher}, cache=RequestCache("requests.sqlite")) as gateway:
        replies = await gateway.ask(Request(prompt="The"), recipe="mine", n=4)

A `Teacher` makes one try. The gateway around it has the request cache, budgets, adaptive concurrency, tries again, and
the ledger of what was asked and paid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.teacher.budget import Budget
    from tilth.teacher.cache import RequestCache
    from tilth.teacher.fault_plan import FaultPlan
    from tilth.teacher.faults import AccessRefused, BudgetSpent, DeadLetter, TeacherFault
    from tilth.teacher.gateway import Gateway
    from tilth.teacher.http import HttpTeacher
    from tilth.teacher.local import LocalTeacher
    from tilth.teacher.loopback import LoopbackServer
    from tilth.teacher.request import (
        Answer,
        Asker,
        GenerationParams,
        Price,
        Reply,
        Request,
        Teacher,
        TokenLogprob,
        Usage,
    )
    from tilth.teacher.scripted import ScriptedTeacher
    from tilth.teacher.status import Status
    from tilth.teacher.teachers import open_teacher

__getattr__ = attach(
    "tilth.teacher",
    {
        "AccessRefused": "tilth.teacher.faults",
        "Answer": "tilth.teacher.request",
        "Asker": "tilth.teacher.request",
        "Budget": "tilth.teacher.budget",
        "BudgetSpent": "tilth.teacher.faults",
        "DeadLetter": "tilth.teacher.faults",
        "FaultPlan": "tilth.teacher.fault_plan",
        "Gateway": "tilth.teacher.gateway",
        "GenerationParams": "tilth.teacher.request",
        "HttpTeacher": "tilth.teacher.http",
        "LocalTeacher": "tilth.teacher.local",
        "LoopbackServer": "tilth.teacher.loopback",
        "Price": "tilth.teacher.request",
        "Reply": "tilth.teacher.request",
        "Request": "tilth.teacher.request",
        "RequestCache": "tilth.teacher.cache",
        "ScriptedTeacher": "tilth.teacher.scripted",
        "Status": "tilth.teacher.status",
        "Teacher": "tilth.teacher.request",
        "TeacherFault": "tilth.teacher.faults",
        "TokenLogprob": "tilth.teacher.request",
        "Usage": "tilth.teacher.request",
        "open_teacher": "tilth.teacher.teachers",
    },
)

__all__ = [
    "AccessRefused",
    "Answer",
    "Asker",
    "Budget",
    "BudgetSpent",
    "DeadLetter",
    "FaultPlan",
    "Gateway",
    "GenerationParams",
    "HttpTeacher",
    "LocalTeacher",
    "LoopbackServer",
    "Price",
    "Reply",
    "Request",
    "RequestCache",
    "ScriptedTeacher",
    "Status",
    "Teacher",
    "TeacherFault",
    "TokenLogprob",
    "Usage",
    "open_teacher",
]
