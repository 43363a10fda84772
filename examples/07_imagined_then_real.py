"""The same rollout three times: the policy imagines the observation, asks a tool for real, hears a recorded answer.

    python examples/07_imagined_then_real.py

The policy is a script, every token is one character. What decides is `routing`; loop, mask and reward never change.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from autocoa_plugin import AUTOCOA, Codec, rollout, score
from autocoa_plugin.answering import Phase, RoutingSettings, WorldModelSettings
from autocoa_plugin.cassette.header import Header
from autocoa_plugin.cassette.tape import Tape
from autocoa_plugin.environments.cassette import CassetteEnvironment
from autocoa_plugin.environments.router import Router, build_policy
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.ledger import entry_of
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment

QUESTION = "Where was the author of The Jungle Book born?<think>"
SEARCH = "Kipling wrote it. <begin_search>Rudyard Kipling birthplace</end_search>"
IMAGINED = " Kipling was born in Lahore. \\boxed{Bombay}"  # wrong, and it tries to answer for the policy
ANSWERS = {place: f"In {place}.</think> \\boxed{{{place}}}.<eos>" for place in ("Lahore", "Bombay")}
DOCUMENTS = {"Rudyard Kipling birthplace": "Kipling was born in Bombay."}


async def main() -> None:
    codec = Codec(CharTokenizer(), AUTOCOA)
    tape = str(Path(tempfile.mkdtemp()) / "run.cassette")
    recorded = Tape.record(tape, Header(protocol="autocoa", backend="script", top_k=1, corpus="one sentence"))
    real = CassetteEnvironment(recorded, mode="record", tool=ScriptedEnvironment(DOCUMENTS))
    imagined = build_world_model(WorldModelSettings(author="self"))
    phases = (Phase("world_model", steps=80), Phase("real", steps=16))
    policy = build_policy(RoutingSettings(policy="steps", phases=phases), budget=None)
    curriculum = Router({"real": real, "world_model": imagined}, policy, validation="real")
    replay = CassetteEnvironment(Tape.play(tape), mode="replay")

    runs = (
        ("step 80, imagined", curriculum, 80, [SEARCH, IMAGINED, ANSWERS["Lahore"]]),
        ("step 81, real", curriculum, 81, [SEARCH, ANSWERS["Bombay"]]),
        ("step 81, replayed offline", replay, 81, [SEARCH, ANSWERS["Bombay"]]),
    )
    for title, environment, step, turns in runs:
        engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
        metadata = {"global_step": step, "split": "train", "uid": "question 1"}
        options = {"engine": engine, "environment": environment, "codec": codec, "metadata": metadata}
        trajectory = await rollout(codec.encode(QUESTION), **options)
        cost, reward = entry_of(trajectory), score(trajectory, "Bombay", AUTOCOA)
        print(f"\n{title}: answer {reward.answer!r}, reward {reward.total}")
        print(f"calls: {cost.real_calls} real, {cost.replayed_calls} replayed, {cost.simulated_calls} imagined")
        for segment in trajectory.segments:
            if segment.role == "observation":
                trained, is_real = int(segment.is_trained), int(segment.is_real_observation)
                print(f"{segment.source:12} loss {trained}  real {is_real}  {segment.text!r}")
    real.close()
    replay.close()


if __name__ == "__main__":
    asyncio.run(main())
