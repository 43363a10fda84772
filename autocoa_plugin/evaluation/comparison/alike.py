"""May two runs be compared? Yes when their fingerprints differ in the model only, or in what the user lets vary."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...errors import ConfigError, nearest
from ..fingerprint import PARTS, Fingerprint, differences

Differences = Mapping[str, tuple[Any, Any]]
"""What differs, as "part.key": (first, second)."""

_CONTROL = ("world", "prompt")
_LONGEST_VALUE = 40


def check_vary(vary: Sequence[str], first: Fingerprint, second: Fingerprint) -> None:
    """Raise `ConfigError` for a name that is neither a part nor a "part.key" of either fingerprint."""
    keys = [f"{part}.{key}" for part in PARTS for each in (first, second) for key in getattr(each, part)]
    known = dict.fromkeys([*PARTS, *keys])
    for name in vary:
        if name not in known:
            raise ConfigError(
                f"--vary {name}: must be one of {', '.join(PARTS)}, or a key of one (world.top_k){nearest(name, known)}"
            )


def check_control(first: Fingerprint, second: Fingerprint) -> None:
    """Raise `ConfigError` unless the second run, and only the second, has no environment."""
    for name, fingerprint, wanted in (("A", first, False), ("B", second, True)):
        environment = fingerprint.world.get("environment")
        if (environment == "none") is not wanted:
            needed = "B must be the run without a tool" if wanted else "A must be the run with a tool"
            raise ConfigError(f"--control: {needed}, but world.environment of {name} is {environment!r}")


def unlike(
    first: Fingerprint, second: Fingerprint, *, vary: Collection[str] = (), control: bool = False
) -> Differences:
    """Tell the differences that forbid a comparison; a closed-book control must have the same model."""
    allowed = {*vary, *(_CONTROL if control else ("model",))}
    found = differences(first, second, but=())
    return {key: values for key, values in found.items() if not {key, key.partition(".")[0]} & allowed}


def refuse(found: Differences) -> None:
    """Raise `ConfigError` in one line that lists what differs and how to allow it; nothing when nothing does."""
    if found:
        parts = dict.fromkeys(key.partition(".")[0] for key in found)
        allow = " ".join(f"--vary {part}" for part in parts)
        raise ConfigError(
            f"A and B are not alike: {'; '.join(difference_lines(found))} (allow it with {allow}, or --force)"
        )


def difference_lines(found: Differences) -> list[str]:
    """Spell differences: "world.top_k: 3 against 5"."""
    return [f"{key}: {_short(left)} against {_short(right)}" for key, (left, right) in found.items()]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
