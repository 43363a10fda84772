"""Import hook: run a function on a module right after its import.

    after_import("verl.utils.distributed", spell_gloo_once)      not imported yet: waits
                                                                 imported already: runs now

verl loads plugins in every process it starts, so a plugin must not import what that process may never need.
What is done to the modules stands with the callers (`cpu.patches`, `plugin`, `resume`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import wrapt


def after_import(module_name: str, action: Callable[[ModuleType], None]) -> None:
    """Call `action(module)` once: now if the module is imported, else right after its import.

    An exception of `action` leaves through the `import` statement that triggered it.
    """
    wrapt.register_post_import_hook(action, module_name)
