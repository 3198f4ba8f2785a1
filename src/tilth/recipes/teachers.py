"""The teachers of a step, opened from what the machine knows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tilth.errors import StepError
from tilth.execute import Context
from tilth.teacher.request import Teacher


def open_teachers(identities: Mapping[str, Mapping[str, Any]], context: Context) -> dict[str, Teacher]:
    """Returns the teachers by name; `Context.endpoints` says how each is opened (as `--teacher` does).

    Raises: StepError if one cannot be found, or answers as another than the step was built for.
    """
    from tilth.teacher.teachers import open_teacher

    found: dict[str, Teacher] = {}
    # A teacher's name may be what it was opened by, which is to be read as on the command line.
    others = replace(context, endpoints={k: v for k, v in context.endpoints.items() if k not in identities})
    for name, identity in identities.items():
        if name not in context.endpoints:
            raise StepError(f"Where the teacher `{name}` is, is not known.", fix="Name it with `--teacher`.")
        found[name] = open_teacher(context.endpoints[name], others)
        if dict(found[name].identity) != dict(identity):
            raise StepError(
                f"The teacher `{name}` is another one now: {dict(found[name].identity)}, not {dict(identity)}.",
                fix="Give the command again.",
            )
    return found
