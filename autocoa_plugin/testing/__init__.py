"""Contract tests and fakes that we ship, so that users test their tools, protocols and rewards as we do.

    def test_tide_keeps_the_rules_of_a_tool():
        check_tool(Tide(), ["Dover", "Brest"])        passes, or says in one sentence which rule was broken

One check per socket, in any test of yours: `check_tool`, `check_protocol`, `check_reward`, `check_metric`,
`check_author`, `check_routing_policy`, `check_retriever`. They need no pytest and no network of their own.
Fakes: `ScriptedEngine` and `ScriptedEnvironment` play scripts; `CharTokenizer` makes ids one can read: 97 is "a".
"""

from __future__ import annotations

from ..engines.scripted import ScriptedEngine
from ..environments.scripted import ScriptedEnvironment
from .fakes import BOS_ID, EOS_ID, CharTokenizer
from .judging import check_metric, check_reward
from .protocols import check_protocol
from .retrievers import check_retriever
from .sources import check_author, check_routing_policy
from .tools import check_tool

__all__ = [
    "BOS_ID",
    "EOS_ID",
    "CharTokenizer",
    "ScriptedEngine",
    "ScriptedEnvironment",
    "check_author",
    "check_metric",
    "check_protocol",
    "check_retriever",
    "check_reward",
    "check_routing_policy",
    "check_tool",
]
