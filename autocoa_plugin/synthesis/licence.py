"""Under which licence the questions of a synthesis stand, as far as that is known here.

stated by the user  >  a named set's (`questions.sets`)  >  what `autocoa prepare` has noted beside a file  >  nothing
"""

from __future__ import annotations

import json
from pathlib import Path

from ..questions.files import named_sets
from ..questions.prepare import CARD

NOT_STATED = "not stated"
# names of the Hugging Face hub that are not just ours in lower case with hyphens
_HUB_NAMES = frozenset(
    (
        "apache-2.0",
        "mit",
        "cc-by-4.0",
        "cc-by-3.0",
        "cc-by-sa-4.0",
        "cc-by-sa-3.0",
        "cc-by-nc-4.0",
        "cc0-1.0",
        "unknown",
    )
)


def licences_of(questions: str, stated: str | None) -> dict[str, str]:
    """Licences by what they are of: a set's label, or "questions"; {} where nothing is known."""
    if stated is not None:
        return {"questions": stated}
    return {each.label: each.licence for each in named_sets(questions)} or _noted_beside(Path(questions))


def hub_licences(licences: dict[str, str]) -> list[str]:
    """The licences under the names of the Hugging Face hub: "other" for one it may not know, "unknown" for none."""
    names = sorted({"-".join(licence.lower().split()) for licence in licences.values()})
    return list(dict.fromkeys(name if name in _HUB_NAMES else "other" for name in names)) or ["unknown"]


def _noted_beside(file: Path) -> dict[str, str]:
    try:
        licences = json.loads((file.parent / CARD).read_text(encoding="utf-8"))[file.stem]["licences"]
        return {str(label): str(licence) for label, licence in licences.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such note, or not about this file
        return {}
