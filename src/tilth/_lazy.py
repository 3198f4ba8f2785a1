"""Names of a package that load their module at first use (PEP 562), so that `import tilth` stays light."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def attach(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Returns a module-level `__getattr__` for `package`, and sets its `__dir__`, so that completion shows the names.

    `modules` maps a public name to the module that holds it (`{"train": "tilth.training.loop"}`); a name that
    maps to itself as a module (`{"curation": "tilth.curation"}`) gives that module.
    """

    def __getattr__(name: str) -> object:  # noqa: N807
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        target = modules[name]
        module = importlib.import_module(target)
        return module if target == f"{package}.{name}" and not hasattr(module, name) else getattr(module, name)

    namespace = vars(sys.modules[package])
    namespace["__dir__"] = lambda: sorted({*namespace, *modules})
    return __getattr__
