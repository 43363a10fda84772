"""Run a function on a module right after that module is imported, whoever imports it.

    after_import("verl.utils.distributed", spell_gloo_once)      not imported yet: waits
                                                                 imported already: runs now

verl loads plugins in every process it starts, so a plugin must not import what that process may never need.
What is done to the modules stands with the callers (`cpu.patches`, `cpu.registration`).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


class _ThenLoader(Loader):
    """The loader of a module, followed by the actions that waited for it."""

    def __init__(self, loader: Loader, waiting: dict[str, list[Action]]) -> None:
        self._loader = loader
        self._waiting = waiting

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for action in self._waiting.pop(module.__name__, []):
            action(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # resource readers, get_source of tracebacks


class _Waiting(MetaPathFinder):
    """First finder on `sys.meta_path`; steps aside for every module nobody waits for."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}
        self._searching: set[str] = set()

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self.actions or fullname in self._searching:
            return None
        self._searching.add(fullname)  # the search below comes by here again
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenLoader(spec.loader, self.actions)
        return spec


_WAITING = _Waiting()


def after_import(module_name: str, action: Action) -> None:
    """Call `action(module)` once: now if the module is imported, else right after its import.

    An exception of `action` leaves through the `import` statement that triggered it.
    """
    if module_name in sys.modules:
        action(sys.modules[module_name])
        return
    if _WAITING not in sys.meta_path:
        sys.meta_path.insert(0, _WAITING)
    _WAITING.actions.setdefault(module_name, []).append(action)
