"""RL stages 1 and 2 in one run of verl's trainer on a CPU: three steps imagined, one real, on a server that counts.

One run (about two minutes), many properties; its last step is then replayed from the cassette with the server gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the extra verl")
pytest.importorskip("vllm", reason="needs the extra cpu")

from omegaconf import OmegaConf

from autocoa_plugin.assembly import build_real
from autocoa_plugin.dump import read_dump
from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.cassette import CassetteEnvironment
from autocoa_plugin.errors import ReplayError
from autocoa_plugin.ledger import Ledger, LedgerEntry, entry_of
from autocoa_plugin.limits import Limits
from autocoa_plugin.loop import rollout
from autocoa_plugin.retrieval.index_build import open_or_build
from autocoa_plugin.retrieval.server import RetrievalServer, serving
from autocoa_plugin.rewards import score
from autocoa_plugin.runs.process import read_steps
from autocoa_plugin.settings import Settings, load_settings
from autocoa_plugin.stages.plan import StagePlan
from autocoa_plugin.stages.run import run_stages
from autocoa_plugin.testing import ScriptedEngine
from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, load_tokenizer
from autocoa_plugin.tinyworld.world_files import Files, build
from autocoa_plugin.tokenization import Codec
from autocoa_plugin.trajectory import Role, Source, Trajectory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
CONTEXT = 256  # setting/tinyworld: max_model_len
SIMULATED, REAL = (1, 2, 3), 4
PROMPTS, SAMPLES = 4, 4
WEIGHT, CARD_EVERY = 0.1, 2
PHASES = "[{environment:world_model,steps:3},{environment:real,steps:1}]"

# stage 2 teaches the policy to search, stage 3 what an observation looks like
DATA = StageConfig(
    cot=TrajectorySet(200, clean(0.5, 0.4, 0.1)),
    coa=TrajectorySet(1000, clean(0.4, 0.4, 0.2)),
    coa_stage3=TrajectorySet(400, clean(0.6, 0.3, 0.1)),
    pairs=PairSet(count=20),
    replay=400,
)
SHORT = ("sft3:trainer.total_training_steps=30", "sft3:optim.lr=5e-4")


@contextmanager
def served(server: RetrievalServer) -> Iterator[str]:
    """Serve in a thread; yields the URL for clients."""
    ready, url = threading.Event(), []
    loop, end = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with serving(server.app) as base:
            url.append(f"{base}/retrieve")
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        yield url[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


def train_stages(world: Files, folder: Path) -> Path:
    plan = StagePlan(
        folder=folder,
        model=world.base,
        stages=("sft2", "sft3"),
        data=world.folder,
        hardware="cpu",
        setting="tinyworld",
        seed=5,
        overrides=SHORT,
    )
    return run_stages(plan, report=lambda line: print(line, flush=True))[-1].checkpoint


def curriculum_command(model: Path, folder: Path, url: str) -> list[str]:
    overrides = {
        "hardware": "cpu",
        "setting": "tinyworld",
        "actor_rollout_ref.model.path": model,
        "actor_rollout_ref.rollout.seed": 5,
        "actor_rollout_ref.rollout.n": SAMPLES,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 8,
        "data.train_batch_size": PROMPTS,
        "data.seed": 5,
        "trainer.default_local_dir": folder / "rl",
        "trainer.total_training_steps": REAL,
        "trainer.test_freq": -1,
        "trainer.save_freq": -1,
        "trainer.val_before_train": "false",
        "trainer.logger": "[console,file]",
        "hydra.run.dir": folder / "hydra",
        "autocoa.routing.phases": PHASES,
        "autocoa.search.backend": "search_r1",
        "++autocoa.search.url": url,
        "++autocoa.search.price_per_1000": 5.0,
        "autocoa.observation_loss": "cross_entropy",
        "autocoa.observation_weight": WEIGHT,
        "autocoa.scorecard": f"{{queries:{folder / 'world' / 'scorecard.jsonl'},every:{CARD_EVERY},limit:3}}",
        "++autocoa.cassette.path": folder / "run.cassette",
        "++autocoa.cassette.mode": "record",
    }
    recipe = ["--config-path", "pkg://autocoa_plugin.recipes", "--config-name", "rl_curriculum"]
    return [
        *(sys.executable, "-m", "verl.trainer.main_ppo", *recipe),
        *(f"{key}={value}" for key, value in overrides.items()),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run: rl/trajectories/, rl/ledger.json, metrics.jsonl, served.json, run.cassette; no server."""
    folder = tmp_path_factory.mktemp("curriculum")
    world = build(folder / "world", BuildConfig(seed=5, stages=DATA))
    model = train_stages(world, folder / "stages")
    server, log = RetrievalServer(open_or_build(world.corpus, world.index)), folder / "rl.log"
    env = {
        "AUTOCOA_TINYWORLD": str(world.folder),
        "VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl"),
        "AUTOCOA_WITNESS": str(folder / "witness"),
        "VERL_USE_EXTERNAL_MODULES": "witness",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
    }
    (folder / "witness").mkdir()
    with served(server) as url, log.open("w", encoding="utf-8") as output:
        print(f"\ncurriculum ... log: {log}", flush=True)
        command = curriculum_command(model, folder, url)
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}).returncode
    assert status == 0, log.read_text(encoding="utf-8", errors="replace")[-6000:]
    (folder / "served.json").write_text(json.dumps({"model": str(model), "queries": server.stats.queries}))
    return folder


def rows(run: Path, step: int | None = None) -> list[dict[str, Any]]:
    return list(read_dump(run / "rl" / "trajectories", "train", step))


def ledger(run: Path) -> Ledger:
    return Ledger.load(run / "rl" / "ledger.json")


def metrics(run: Path, step: int) -> dict[str, float]:
    lines = read_steps(run / "metrics.jsonl")
    return {key: value for row in lines if row["step"] == step for key, value in row["data"].items()}


def test_the_server_was_asked_in_the_last_step_only(run):
    entries = ledger(run).entries
    assert {step for split, step in entries if split == "train"} == {*SIMULATED, REAL}
    assert [entries["train", step].real_calls for step in SIMULATED] == [0, 0, 0]
    assert entries["train", REAL].real_calls > 0


def test_the_ledger_says_what_the_server_counted(run):
    counted = json.loads((run / "served.json").read_text())["queries"]
    total = ledger(run).total()
    print(f"{counted} real calls, {total.simulated_calls} simulated ones in {total.trajectories} trajectories")
    assert total.real_calls == counted
    assert total.cost == pytest.approx(counted * 5.0 / 1000)


def test_in_simulated_steps_the_world_model_answered_every_action_that_could_be_executed(run):
    for step in SIMULATED:
        entry = ledger(run).entries["train", step]
        assert entry.simulated_calls > 0 and entry.cached_calls == entry.replayed_calls == 0
        assert entry.simulated_calls + entry.notices == entry.actions


def test_in_the_real_step_tool_and_cache_answered_every_action_that_could_be_executed(run):
    entry = ledger(run).entries["train", REAL]
    assert entry.simulated_calls == entry.replayed_calls == entry.sampled_observation_tokens == 0
    assert entry.real_calls + entry.cached_calls + entry.notices == entry.actions


def test_the_ledger_is_the_sum_of_the_dumped_trajectories(run):
    for step in (*SIMULATED, REAL):
        entries = [entry_of(row["trajectory"]) for row in rows(run, step)]
        expected, entry = sum(entries, LedgerEntry()), ledger(run).entries["train", step]
        assert entry.trajectories == PROMPTS * SAMPLES
        assert vars(entry) == pytest.approx(vars(expected))


def test_verls_metrics_say_what_the_ledger_says(run):
    book = ledger(run)
    for step in (*SIMULATED, REAL):
        entry, logged = book.entries["train", step], metrics(run, step)
        so_far = [each.real_calls for (_, number), each in book.entries.items() if number <= step]
        assert logged["autocoa/simulated_calls/sum"] == entry.simulated_calls
        assert logged["autocoa/run/real_calls"] == sum(so_far)
    assert metrics(run, REAL)["autocoa/run/cost"] == pytest.approx(book.total().cost)


def test_the_actor_trained_on_no_token_that_was_imagined(run):
    files = sorted((run / "witness").glob("trained.*.jsonl"))
    trained = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    masks = {tuple(row["input_ids"]): row["response_mask"] for row in trained}
    imagined = 0
    for trajectory in (row["trajectory"] for row in rows(run)):
        mask = iter(masks[*trajectory.prompt_ids, *trajectory.response_ids])
        for segment in trajectory.segments:
            expected = int(segment.role is not Role.OBSERVATION and segment.source is Source.POLICY)
            assert [next(mask) for _ in segment.ids] == [expected] * len(segment.ids)
            if segment.role is Role.OBSERVATION and segment.source is Source.POLICY:
                imagined += len(segment.ids)
    assert imagined > 0  # otherwise the test has shown nothing


def test_imagined_observations_are_never_taken_for_real_ones(run):
    for step in SIMULATED:
        assert not any(sum(row["trajectory"].observation_mask) for row in rows(run, step))
        assert not metrics(run, step).get("autocoa/observation_tokens")
    # counted by the trainer from the masks that it was given, and here from the roles that were dumped
    expected = sum(
        len(segment.ids)
        for row in rows(run, REAL)
        for segment in row["trajectory"].segments
        if segment.call is not None and segment.call.outcome == "ok"
    )
    assert metrics(run, REAL)["autocoa/observation_tokens"] == expected > 0


def test_the_actors_loss_has_the_observation_term_where_observations_are_real_only(run):
    for step in SIMULATED:
        assert "actor/observation_loss" not in metrics(run, step)
    real = metrics(run, REAL)
    assert real["actor/observation_loss"] == pytest.approx(WEIGHT * real["actor/observation_nats"])
    # one on-policy update: the actor's log-probabilities before it are those of the trainer's own measure
    assert real["actor/observation_nats"] == pytest.approx(real["autocoa/observation_nats"], rel=1e-3)


def test_the_scorecard_was_measured_before_training_and_every_second_step(run):
    entries = ledger(run).entries
    cards = sorted(step for split, step in entries if split == "scorecard")
    assert cards == [0, CARD_EVERY, 2 * CARD_EVERY]
    for step in (0, *SIMULATED, REAL):
        has_card = any(name.startswith("scorecard/train/") for name in metrics(run, step))
        assert has_card == (step in cards)
    # three queries of each group; later cards find the answers in the cache
    assert [entries["scorecard", step].real_calls for step in cards] == [6, 0, 0]
    assert len(list((run / "rl" / "scorecards").glob("*.json"))) == len(cards)


@pytest.fixture(scope="module")
def tape(run: Path) -> Iterator[tuple[Settings, CassetteEnvironment, Codec]]:
    """The run's own settings and tokenizer, and its tape in the place of the tool."""
    config = OmegaConf.load(run / "hydra" / ".hydra" / "config.yaml")
    own: Any = OmegaConf.to_container(config.autocoa, resolve=True)
    own = {**own, "routing": {}, "cassette": {**own["cassette"], "mode": "replay", "on_miss": "error"}}
    settings = load_settings(own, max_response_tokens=config.data.max_response_length)
    tools = build_real(settings)
    assert tools is not None
    environment = tools.parts["search"]
    assert isinstance(environment, CassetteEnvironment)
    yield (
        settings,
        environment,
        Codec(load_tokenizer(json.loads((run / "served.json").read_text())["model"]), TINYWORLD),
    )
    tools.close()


def play(tape: tuple[Settings, CassetteEnvironment, Codec], prompt_ids: Sequence[int], turns: list[Any]) -> Trajectory:
    settings, environment, codec = tape
    engine = ScriptedEngine(turns, max_context_tokens=CONTEXT)
    return asyncio.run(rollout(prompt_ids, engine=engine, environment=environment, codec=codec, limits=settings.limits))


def turns_of(trajectory: Trajectory, limits: Limits) -> list[Generation]:
    """What the policy sampled, call by call: whatever stands between two insertions.

    A run that is longer than a turn may be is a turn that was cut inside an answer, and the answer's completion; what
    follows an answer's injected opening is one call, however long.
    """
    turns, n_response, is_forced = [], 0, False
    for sampled, segments in groupby(trajectory.segments, key=lambda segment: segment.is_trained):
        parts = list(segments)
        ids = tuple(token for part in parts for token in part.ids)
        if sampled:
            logprobs = tuple(value for part in parts for value in part.logprobs or ())
            budget = min(limits.max_response_tokens, CONTEXT - len(trajectory.prompt_ids))
            cut = min(limits.max_turn_tokens, budget - limits.answer_reserve_tokens - n_response)
            is_two = len(ids) > cut > 0 and not is_forced
            for part in (slice(None, cut), slice(cut, None)) if is_two else (slice(None),):
                turns.append(Generation(ids[part], logprobs[part], FinishReason.STOP))
        n_response, is_forced = n_response + len(ids), parts[-1].source is Source.TEMPLATE
    return turns


def test_the_recorded_step_replays_without_the_server_to_identical_observations_and_rewards(run, tape):
    replayed_calls = 0
    for row in rows(run, REAL):
        recorded = row["trajectory"]
        replayed = play(tape, recorded.prompt_ids, turns_of(recorded, tape[0].limits))
        assert replayed.response_ids == recorded.response_ids
        assert [(each.role, each.source, each.ids, each.text) for each in replayed.segments] == [
            (each.role, each.source, each.ids, each.text) for each in recorded.segments
        ]
        assert replayed.response_mask == recorded.response_mask
        assert replayed.observation_mask == recorded.observation_mask
        reward = score(replayed, row["info"]["golds"], TINYWORLD, tape[0].reward)
        assert (reward.total, reward.parts) == (row["reward"], row["reward_parts"])
        assert replayed.counts.real_calls == replayed.counts.cached_calls == 0
        replayed_calls += replayed.counts.replayed_calls
    entry = ledger(run).entries["train", REAL]
    assert replayed_calls == entry.real_calls + entry.cached_calls > 0


def test_a_query_that_was_not_recorded_ends_the_replay(run, tape):
    turn = tuple(tape[2].encode("<think> First <begin_search> country country country </end_search>"))
    with pytest.raises(ReplayError, match="country country country"):
        play(tape, rows(run, REAL)[0]["trajectory"].prompt_ids, [turn])
