"""Your own reward: a metric and a part in a file, named in the settings, with their weights; every part is counted.

    python examples/12_own_reward.py

A recipe names them the same way: `autocoa.reward.metric=examples/12_own_reward.py:same_letters`.
"""

from __future__ import annotations

import asyncio

from autocoa_plugin import AUTOCOA, Codec, rollout
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.rewards import Judged
from autocoa_plugin.settings import load_settings
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment


def same_letters(answer: str | None, golds: tuple[str, ...]) -> float:
    """Share of letters that answer and gold answer have in common, the best over the gold answers."""
    found = set(answer or "")
    return max(len(found & set(gold)) / len(found | set(gold)) for gold in golds)


class Brevity:
    """1 for an answer without a thought, 0 for `per` characters of it and more; a part that needs no gold answer."""

    needs_golds = False

    def __init__(self, per: int = 100) -> None:
        self.per = per

    def __call__(self, judged: Judged) -> float:
        """The policy's own text: what a tool wrote is not held against it."""
        written = sum(len(each.text) for each in judged.trajectory.segments if each.is_trained)
        return max(0.0, 1 - written / self.per)


REWARD = {
    "metric": f"{__file__}:same_letters",
    "parts": {"f1": 0.3, "brevity": {"use": f"{__file__}:Brevity", "weight": 0.2, "arguments": {"per": 200}}},
}
ROLLOUTS = {
    "right": ["Who? <begin_search>Kipling birthplace</end_search>", "So.</think> \\boxed{Bombay}<eos>"],
    "nearly": ["I seem to remember that it was a city with another name today.</think> \\boxed{Mumbai}<eos>"],
    "nothing": ["I do not know.</think><eos>"],
}


async def main() -> None:
    rewarder = Rewarder(load_settings({"tools": [], "reward": REWARD}, max_response_tokens=400).reward)
    codec = Codec(CharTokenizer(), AUTOCOA)
    names = ("exact_match", "metric", "f1", "brevity", "format")
    print(f"{'':8} {'total':>6}  " + " ".join(f"{name:>11}" for name in names))
    for name, turns in ROLLOUTS.items():
        engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
        environment = ScriptedEnvironment({"Kipling birthplace": "Kipling was born in Bombay."})
        prompt_ids = codec.encode("Where was Kipling born?<think>")
        trajectory = await rollout(prompt_ids, engine=engine, environment=environment, codec=codec)
        reward = await rewarder.score(trajectory, ["Bombay"], AUTOCOA, question="Where was Kipling born?")
        print(f"{name:8} {reward.total:6.3f}  " + " ".join(f"{reward.parts[each]:11.3f}" for each in names))


if __name__ == "__main__":
    asyncio.run(main())
