"""AutoCoA for verl: chain-of-action rollouts that are exact to the token.

Importing this package loads neither torch nor verl. The public names below are resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import AutoCoAError
    from .limits import Limits
    from .loop import rollout
    from .protocol import AUTOCOA, SEARCH_R1, Protocol
    from .rewards import RewardConfig, score
    from .tokenization import Codec
    from .trajectory import Role, Segment, Source, StopReason, Trajectory


__version__ = "0.1.0"


_HOMES = {
    "AutoCoAError": "errors",
    "Limits": "limits",
    "rollout": "loop",
    "AUTOCOA": "protocol",
    "SEARCH_R1": "protocol",
    "Protocol": "protocol",
    "RewardConfig": "rewards",
    "score": "rewards",
    "Codec": "tokenization",
    "Role": "trajectory",
    "Segment": "trajectory",
    "Source": "trajectory",
    "StopReason": "trajectory",
    "Trajectory": "trajectory",
}

__all__ = [
    "AUTOCOA",
    "SEARCH_R1",
    "AutoCoAError",
    "Codec",
    "Limits",
    "Protocol",
    "RewardConfig",
    "Role",
    "Segment",
    "Source",
    "StopReason",
    "Trajectory",
    "__version__",
    "rollout",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
