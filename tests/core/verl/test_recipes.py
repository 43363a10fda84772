"""Recipes compose from the package, pass verl's own validation, and say what is wrong before Ray starts."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import pyarrow as pa
import pyarrow.parquet as pq
from composed import compose_recipe
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from ray.exceptions import RayTaskError
from verl.utils.config import validate_config
from verl.utils.dataset.rl_dataset import get_dataset_class

import autocoa_plugin.verl_adapters.plugin  # noqa: F401  -- registers ${autocoa.file:...}
from autocoa_plugin.answering import CassetteSettings, Phase, RoutingSettings, SearchSettings, WorldModelSettings
from autocoa_plugin.assembly import build_real
from autocoa_plugin.environments.cassette import CassetteEnvironment
from autocoa_plugin.errors import ConfigError, DataError, TrainingError
from autocoa_plugin.settings import Settings
from autocoa_plugin.verl_adapters import plugin, preflight
from autocoa_plugin.verl_adapters.preflight import check_author
from autocoa_plugin.verl_adapters.prompt_dataset import needs_golds
from autocoa_plugin.verl_adapters.record_dataset import settings_of_data
from autocoa_plugin.verl_adapters.resume import describe_experiment
from autocoa_plugin.verl_adapters.runtime import settings_of

ROOT = Path(__file__).parents[3]
RL = ["actor_rollout_ref.model.path=org/model", "data.train_files=a.parquet", "data.val_files=b.parquet"]
CORPUS = ["autocoa.search.corpus=corpus.jsonl"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working folder in which every file of the tinyworld setting exists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCOA_TINYWORLD", str(tmp_path))
    for name in ("train.parquet", "val.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Paris", "text": "A city ."}\n')
    (tmp_path / "model").mkdir()
    return ["hardware=cpu", "setting=tinyworld", f"actor_rollout_ref.model.path={tmp_path}/model"]


RL_RECIPES = {"rl_stage1_simulated": 80, "rl_stage2_real": 16, "rl_curriculum": 96}


@pytest.mark.parametrize("recipe", RL_RECIPES)
@pytest.mark.parametrize(
    "overrides",
    [["hardware=node8"], ["hardware=cpu", "setting=tinyworld"], ["hardware=cpu"], ["setting=tinyworld"]],
    ids=["node8", "cpu-tinyworld", "cpu", "node8-tinyworld"],
)
def test_the_rl_recipes_pass_verls_own_validation_on_every_hardware(recipe, overrides):
    config = compose_recipe(recipe, [*RL, *CORPUS, *overrides])
    OmegaConf.resolve(config)
    validate_config(
        config=config, use_reference_policy=bool(config.actor_rollout_ref.actor.use_kl_loss), use_critic=False
    )
    settings = settings_of(config)
    settings.routing.check_steps(config.trainer.total_training_steps)
    assert Path(config.actor_rollout_ref.rollout.agent.agent_loop_config_path).is_file()
    assert config.trainer.v1.trainer_mode == "autocoa_sync" and config.trainer.experiment_name == recipe
    assert config.actor_rollout_ref.actor.ppo_mini_batch_size == config.data.train_batch_size
    # what the next stage starts from is written, whatever the overlay
    assert config.trainer.save_freq > 0 and "hf_model" in config.actor_rollout_ref.actor.checkpoint.save_contents
    assert get_dataset_class(config.data).__name__ == "PromptDataset" and config.data.shuffle is False


@pytest.mark.parametrize("recipe", RL_RECIPES)
def test_the_rl_recipes_hold_the_papers_values(recipe):
    config = compose_recipe(recipe, [*RL, *CORPUS])
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert (config.data.train_batch_size, rollout.n, rollout.temperature) == (48, 5, 0.6)
    assert (config.data.max_prompt_length, config.data.max_response_length) == (1024, 8192)
    assert (actor.optim.lr, actor.kl_loss_coef, actor.kl_loss_type) == (7e-7, 0.001, "low_var_kl")
    assert (config.autocoa.search.top_k, config.autocoa.limits.max_actions) == (3, 10)
    assert config.algorithm.norm_adv_by_std_in_grpo is False
    assert config.data.shuffle is False and config.trainer.total_training_steps == RL_RECIPES[recipe]


def test_who_answers_in_training_is_what_tells_the_rl_recipes_apart():
    routing = {
        recipe: settings_of(compose_recipe(recipe, [*RL, *CORPUS, "hardware=cpu", "setting=tinyworld"])).routing
        for recipe in RL_RECIPES
    }
    simulated, real, curriculum = routing.values()
    assert simulated == RoutingSettings(environment="world_model")
    assert real == RoutingSettings() and real.validation == "real"
    assert curriculum == RoutingSettings(policy="steps", phases=(Phase("world_model", 80), Phase("real", 16)))
    assert not simulated.calls and not real.imagines and curriculum.calls and curriculum.imagines


def test_the_rl_recipes_differ_in_nothing_else():
    def shared(recipe):
        config = compose_recipe(recipe, [*RL, *CORPUS])
        for key in (
            "autocoa.routing",
            "autocoa.world_model",
            "trainer.total_training_steps",
            "trainer.experiment_name",
        ):
            OmegaConf.update(config, key, None, merge=False, force_add=True)
        return OmegaConf.to_container(config)

    first, *others = [shared(recipe) for recipe in RL_RECIPES]
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("where", "recipe"),
    [(str(ROOT / "recipes"), "rl_stage1_simulated"), ("pkg://autocoa_plugin.recipes", "rl_curriculum")],
    ids=["folder", "package"],
)
@pytest.mark.timeout(120)
def test_verls_own_program_composes_the_rl_recipes_from_a_clone_and_from_an_install(tmp_path, where, recipe):
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-path", where, "--config-name", recipe]
    shown = [*command, *RL, *CORPUS, f"hydra.run.dir={tmp_path}", "--cfg", "job", "--package", "trainer"]
    done = subprocess.run(shown, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert f"total_training_steps: {RL_RECIPES[recipe]}" in done.stdout, done.stderr[-2000:]


SFT = ["model.path=org/model", "data.train_files=a.parquet"]
SFT_RECIPES = {
    "sft_stage1_contrastive": "tinyworld_sft1",
    "sft_stage2_masked": "tinyworld_sft2",
    "sft_stage3_world_model": "tinyworld_sft3",
}


@pytest.mark.parametrize("recipe", SFT_RECIPES)
@pytest.mark.parametrize("hardware", ["node8", "cpu"])
def test_the_supervised_recipes_become_verls_own_configuration_objects(recipe, hardware):
    from verl.utils.config import omega_conf_to_dataclass

    overlays = [f"hardware_sft={hardware}"] + ([f"setting={SFT_RECIPES[recipe]}"] if hardware == "cpu" else [])
    config = compose_recipe(recipe, [*SFT, *overlays])
    OmegaConf.resolve(config)
    for part in ("engine", "optim", "checkpoint"):
        omega_conf_to_dataclass(config[part])
    settings = settings_of_data(config.data)
    assert settings.observation_loss == ("trained" if "stage3" in recipe else "masked")
    assert config.trainer.device == ("cpu" if hardware == "cpu" else "cuda") and config.engine.strategy == "fsdp2"
    assert {"model", "optimizer", "extra", "hf_model"} == set(config.checkpoint.save_contents)


def test_the_supervised_recipes_hold_the_papers_values():
    pairs, masked, world_model = (compose_recipe(name, SFT) for name in SFT_RECIPES)
    assert (pairs.optim.lr, pairs.data.train_batch_size, pairs.data.max_length) == (5e-6, 16, 6144)
    assert pairs.autocoa.contrastive.alpha == 0.2 and pairs.autocoa.contrastive.reference == "none"
    for config in (masked, world_model):
        assert (config.optim.lr, config.data.train_batch_size, config.data.max_length) == (5e-5, 32, 8192)
        assert dict(config.autocoa.mix) == {"coa": 5, "cot": 1}
    assert {config.trainer.total_epochs for config in (pairs, masked, world_model)} == {2}
    assert {config.optim.lr_scheduler_type for config in (pairs, masked, world_model)} == {"cosine"}


def test_a_good_configuration_passes_and_its_index_is_built_once(files, tmp_path):
    config = compose_recipe("rl_stage2_real", files)
    preflight.check(config)
    (built,) = tmp_path.glob("corpus.jsonl.index")
    stamp = built.stat().st_mtime_ns
    preflight.check(config)
    assert built.stat().st_mtime_ns == stamp


JUDGE = "{use: llm_judge, weight: 1, arguments: {url: 'http://127.0.0.1:9/v1'}}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+autocoa.limits.max_action=3", r"unknown key limits.max_action \(did you mean 'max_actions'\?\)"),
        ("autocoa.protocol=autocao", "did you mean 'autocoa'"),
        ("actor_rollout_ref.model.path=./nowhere", r"actor_rollout_ref.model.path=./nowhere does not exist"),
        ("data.train_files=nowhere.parquet", "data.train_files=nowhere.parquet does not exist"),
        ("autocoa.search.corpus=nowhere.jsonl", "autocoa.search.corpus=nowhere.jsonl does not exist"),
        ("actor_rollout_ref.model.path=???", "actor_rollout_ref.model.path is not set"),
        ("+autocoa.routing.polcy=fixed", r"unknown key routing.polcy \(did you mean 'policy'\?\)"),
        ("autocoa.routing.policy=step", r"routing.policy must be one of .* got 'step' \(did you mean 'steps'\?\)"),
        ("autocoa.routing.policy=steps", "routing.phases is required for routing.policy=steps"),
        ("autocoa.observation_weight=0.1", r"observation_weight=0.1 needs observation_loss=cross_entropy"),
        ("autocoa.scorecard={queries: nowhere.jsonl}", "autocoa.scorecard.queries=nowhere.jsonl does not exist"),
        ("autocoa.cassette={path: a, mode: rec}", r"cassette.mode must be one of .* \(did you mean 'record'\?\)"),
        ("autocoa.reward.metric=f2", r"reward.metric must be one of .*, got 'f2'"),
        ("+autocoa.reward.parts.f1=nan", "reward.parts.f1: a weight must be finite, got nan"),
        ("autocoa.reward.metric=gone.py:near", "autocoa.reward.metric: there is no file .*gone.py"),
        ("+autocoa.reward.parts.x={use: 'gone.py:x', weight: 1}", r"autocoa.reward.parts.x: there is no file"),
        (f"+autocoa.reward.parts.judge={JUDGE}", r"autocoa.reward.parts.judge: the judge: .*; start a server with"),
        (
            "reward.custom_reward_function.path=gone.py",
            "reward.custom_reward_function.path=gone.py cannot be loaded: FileNotFoundError: .*gone.py",
        ),
        (
            "reward.custom_reward_function={path: pkg://json, name: compute}",
            "path=pkg://json cannot be loaded: AttributeError: .*compute",
        ),
        ("reward.reward_manager.name=dapo", "would be ignored by the agent loop 'autocoa': use autocoa.reward"),
        ("reward.reward_model.enable=true", "reward.reward_model.enable=True would be ignored"),
        ("custom_reward_function.path=a.py", "would be ignored .*: give reward.custom_reward_function.path"),
        (
            "actor_rollout_ref.rollout.multi_turn.tool_config_path=tools.yaml",
            "tool_config_path=tools.yaml would be ignored by .*'autocoa': name the tools under autocoa.tools",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(files, override, message):
    refused("rl_stage2_real", [*files, override], message)


UNCERTAIN = ["~autocoa.routing.environment", "autocoa.routing.policy=uncertainty"]
CHAT = ["autocoa.world_model.author=model", "autocoa.world_model.url=http://127.0.0.1:9/v1"]


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        (
            "rl_curriculum",
            ["trainer.total_training_steps=97"],
            r"routing.phases cover 96 steps \(80 world_model \+ 16 real\), but trainer.total_training_steps is 97",
        ),
        (
            "rl_curriculum",
            ["autocoa.routing.phases=[{environment: world_model, steps: 80}, {environment: reel, steps: 16}]"],
            r"routing.phases\[1\].environment must be one of .* got 'reel' \(did you mean 'real'\?\)",
        ),
        ("rl_curriculum", ["autocoa.routing.policy=fixed"], "routing.phases must be left out for routing.policy=fixed"),
        (
            "rl_stage1_simulated",
            ["autocoa.observation_loss=cross_entropy", "autocoa.observation_weight=0.1"],
            "routing never asks the real tool in training",
        ),
        (
            "rl_stage1_simulated",
            ["autocoa.world_model.author=frozen"],
            "world_model.url is required for world_model.author=frozen",
        ),
        (
            "rl_stage1_simulated",
            ["autocoa.world_model.url=http://127.0.0.1:9/v1"],
            "world_model.url must be left out for world_model.author=self",
        ),
        ("rl_stage1_simulated", ["autocoa.search=null"], "search is required when tools include 'search'"),
        (
            "rl_stage1_simulated",
            [*UNCERTAIN, "actor_rollout_ref.rollout.calculate_log_probs=false"],
            r"policy=uncertainty reads log-probabilities, but .*calculate_log_probs=false",
        ),
        ("rl_stage1_simulated", [*UNCERTAIN, *CHAT], r"world_model.author=model gives none: use of=query, or"),
        ("rl_stage2_real", ["autocoa.first_prompt=-1"], "first_prompt must be >= 0, got -1"),
        ("rl_stage2_real", ["autocoa.first_prompt=48", "data.shuffle=true"], "needs data.shuffle=false"),
        (
            "rl_stage2_real",
            ["autocoa.first_prompt=48", "data.custom_cls.path=null"],
            r"first_prompt=48 is not looked at by verl's own data set: give data.custom_cls.path=pkg://autocoa_plugin",
        ),
        ("rl_stage2_real", ["autocoa.first_prompt=48", "data.autocoa=null"], r"which is told 0: .* data.autocoa: \$"),
    ],
)
def test_settings_that_contradict_one_another_are_named_in_one_sentence(files, recipe, overrides, message):
    refused(recipe, [*files, *overrides], message)


def refused(recipe, overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        preflight.check(compose_recipe(recipe, overrides))
    assert "\n" not in str(caught.value)


def test_a_gold_answer_that_nobody_can_read_ends_the_launch_with_its_row(files, tmp_path):
    rows = [{"reward_model": {"ground_truth": truth}} for truth in ([["a"]], None)]
    pq.write_table(pa.Table.from_pylist(rows[::-1]), tmp_path / "golds.parquet")
    overrides = [*files, f"data.train_files={tmp_path}/golds.parquet"]
    message = r"^data.train_files=\S+/golds.parquet: row 2: reward_model.ground_truth: gold answers must be text"
    with pytest.raises(DataError, match=message):
        preflight.check(compose_recipe("rl_stage2_real", overrides))


@pytest.mark.parametrize(
    "reward",
    [
        ["+autocoa.reward.answer_weight=0", "+autocoa.reward.parts.brevity={use: 'OWN:brevity', weight: 1}"],
        ["reward.custom_reward_function.path=OWN"],
    ],
)
def test_where_no_gold_answer_is_needed_the_column_may_hold_anything(files, tmp_path, reward):
    (tmp_path / "own.py").write_text(
        "def brevity(judged):\n    return 1.0\nbrevity.needs_golds = False\ndef compute_score(**_):\n    return 1.0\n"
    )
    pq.write_table(pa.Table.from_pylist([{"reward_model": {"ground_truth": [["a"]]}}]), tmp_path / "golds.parquet")
    own = [each.replace("OWN", f"{tmp_path}/own.py") for each in reward]
    config = compose_recipe("rl_stage2_real", [*files, f"data.train_files={tmp_path}/golds.parquet", *own])
    preflight.check(config)
    assert not needs_golds(config.data) and needs_golds(compose_recipe("rl_stage2_real", files).data)


def test_what_others_reward_is_part_of_what_a_run_is_made_with_by_its_content(files, tmp_path):
    def made_with(folder, text, weight=1):
        folder.mkdir(exist_ok=True)
        (folder / "own.py").write_text(text)
        own = f"+autocoa.reward.parts.f={{use: '{folder}/own.py:f', weight: {weight}}}"
        config = compose_recipe("rl_stage2_real", [*files, own, "+autocoa.reward.parts.f1=0.3"])
        return describe_experiment(config, "rl", preflight.check(config))

    text = "def f(judged):\n    return 1.0\n"
    first = made_with(tmp_path / "a", text)
    assert first == made_with(tmp_path / "b", text) and str(tmp_path / "a") not in str(first).replace(str(files), "")
    assert first["autocoa.reward.parts.f1"] == 0.3
    for changed in (made_with(tmp_path / "c", text + "# changed\n"), made_with(tmp_path / "b", text, weight=2)):
        assert [key for key in changed if changed[key] != first[key]] != []


def test_a_judge_of_the_reward_is_asked_once_before_the_launch_for_its_model(files, server):
    judge = f"+autocoa.reward.parts.judge={{use: llm_judge, weight: 1, arguments: {{url: '{server.url}', model: sft}}}}"
    refused(
        "rl_stage2_real",
        [*files, judge],
        r"autocoa.reward.parts.judge: the judge: .* serves \['sft3'\], asked for 'sft' \(did you mean 'sft3'\?\)",
    )
    preflight.check(compose_recipe("rl_stage2_real", [*files, judge.replace("model: sft", "model: sft3")]))
    assert [path for path, _ in server.asked] == ["/v1/models"] * 2


def test_what_our_loop_ignores_another_loop_may_read(files):
    other = ["actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent", "reward.reward_manager.name=dapo"]
    preflight.check(compose_recipe("rl_stage2_real", [*files, *other]))


@pytest.mark.parametrize("recipe", RL_RECIPES)
def test_the_rl_recipes_pass_as_they_are(files, recipe):
    preflight.check(compose_recipe(recipe, files))


def test_a_run_whose_length_the_data_decide_is_left_to_the_trainer(files):
    preflight.check(compose_recipe("rl_curriculum", [*files, "trainer.total_training_steps=null"]))


def test_a_simulated_stage_without_a_search_tool_is_validated_in_its_own_world(files):
    preflight.check(
        compose_recipe("rl_stage1_simulated", [*files, "autocoa.search=null", "autocoa.routing.validation=world_model"])
    )


class Models(BaseHTTPRequestHandler):
    """Answers GET with `status` and `text` of its server."""

    def do_GET(self) -> None:
        """Answer and remember what was asked."""
        self.server.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(self.server.text.encode())  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server():
    """A server that lists one model, "sft3"."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Models) as serving:
        vars(serving).update(asked=[], status=200, text='{"data": [{"id": "sft3", "max_model_len": 256}]}')
        vars(serving)["url"] = f"http://127.0.0.1:{serving.server_port}/v1"
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def frozen(url, **changes):
    return WorldModelSettings(author="frozen", url=url, **changes)


def test_the_server_of_a_frozen_author_is_asked_once_before_the_launch(files, server, monkeypatch):
    monkeypatch.setenv("WORLD_KEY", "secret")
    overrides = ["autocoa.world_model.author=frozen", f"autocoa.world_model.url={server.url}"]
    key = "+autocoa.world_model.api_key_env=WORLD_KEY"
    preflight.check(compose_recipe("rl_stage1_simulated", [*files, *overrides, key]))
    assert server.asked == [("/v1/models", "Bearer secret")]


def test_a_server_that_nobody_will_ask_is_not_asked(files):
    overrides = ["+autocoa.world_model.author=frozen", "+autocoa.world_model.url=http://127.0.0.1:9/v1"]
    preflight.check(compose_recipe("rl_stage2_real", [*files, *overrides]))


@pytest.mark.parametrize("author", ["frozen", "model"])
def test_a_server_that_is_down_is_named_with_what_to_start(author):
    with socket.socket() as taken:  # bound and not listening: nothing else gets the port, and connecting is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(
            ConfigError, match=rf"world_model.author={author}: .*{url}.* start a server with a ch"
        ) as told:
            check_author(WorldModelSettings(author=author, url=url))
    assert "vllm serve" in str(told.value) and "\n" not in str(told.value)


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ConfigError, match=r"did not answer in time \(0.2 s\); start a server"):
            check_author(frozen(url), timeout_s=0.2)


@pytest.mark.parametrize(
    ("status", "text", "message"),
    [
        (404, "<html>\nno\n</html>", "HTTP 404.*usually ends in /v1"),
        (401, "no key", "HTTP 401: no key"),
        (500, "broken", "HTTP 500: broken"),
        (200, "hello", "something else than JSON: hello"),
        (200, '{"data": [{"id": "a"}, {"id": "b"}]}', r"serves \['a', 'b'\]: name one of them"),
    ],
)
def test_an_answer_of_the_server_that_is_no_list_of_one_model_is_said(server, status, text, message):
    server.status, server.text = status, text
    with pytest.raises(ConfigError, match=message) as told:
        check_author(frozen(server.url))
    assert "\n" not in str(told.value)


def test_a_model_that_the_server_does_not_serve_is_named_with_the_nearest(server):
    check_author(frozen(server.url, model="sft3"))
    with pytest.raises(ConfigError, match=r"serves \['sft3'\], asked for 'sft' \(did you mean 'sft3'\?\)"):
        check_author(frozen(server.url, model="sft"))


def test_a_missing_key_is_named_by_its_variable(server, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="api_key_env=NO_SUCH_KEY: there is no such variable"):
        check_author(frozen(server.url, api_key_env="NO_SUCH_KEY"))


def record(path, protocol="tinyworld", corpus="corpus.jsonl"):
    """An empty tape of the tinyworld search tool."""
    settings = Settings(
        protocol=protocol,
        search=SearchSettings(corpus=str(corpus), top_k=1),
        cassette=CassetteSettings(path=str(path)),
    )
    tools = build_real(settings)
    assert tools is not None and isinstance(tools.parts["search"], CassetteEnvironment)
    tools.close()


def test_a_replay_needs_its_tape_and_not_the_search_tool(files, tmp_path):
    tape = [f"autocoa.cassette={{path: {tmp_path}/run.cassette, mode: replay}}"]
    refused("rl_stage2_real", [*files, *tape], "run.cassette")
    record(tmp_path / "run.cassette")
    (index,) = tmp_path.glob("corpus.jsonl.index")
    shutil.rmtree(index)
    preflight.check(compose_recipe("rl_stage2_real", [*files, *tape]))
    assert not index.exists()


def test_a_tape_of_another_protocol_or_corpus_is_refused(files, tmp_path):
    tape = f"autocoa.cassette={{path: {tmp_path}/run.cassette, mode: record_missing}}"
    record(tmp_path / "run.cassette", protocol="autocoa")
    refused("rl_stage2_real", [*files, tape], "protocol")
    (tmp_path / "run.cassette").unlink()
    record(tmp_path / "run.cassette")
    preflight.check(compose_recipe("rl_stage2_real", [*files, tape]))
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Rome", "text": "A city ."}\n')
    refused("rl_stage2_real", [*files, tape], "corpus")


def ended(error, capsys):
    """Status and standard error of a job that ended with an error."""
    job = JobReturn(status=JobStatus.FAILED)
    job.return_value = error
    try:
        preflight.Preflight().on_job_end(OmegaConf.create(), job)
    except SystemExit as left:
        return left.code, capsys.readouterr().err
    return None, capsys.readouterr().err


def wrapped(error):
    """The error as Ray raises it in the process that waits for the task."""
    return RayTaskError("run", "Traceback (most recent call last):\n  File ...\n", error).as_instanceof_cause()


def test_an_error_of_ours_inside_ray_ends_in_one_sentence(capsys):
    ours = TrainingError("no answer on the tape for 'Paris'")
    for error in (ours, wrapped(ours), wrapped(wrapped(ours)), RayTaskError("run", "Traceback ...", ours)):
        assert ended(error, capsys) == (1, "autocoa: no answer on the tape for 'Paris'\n")


def test_an_error_that_is_not_ours_is_left_to_hydra(capsys):
    for error in (ValueError("theirs"), wrapped(ValueError("theirs")), None):
        assert ended(error, capsys) == (None, "")


@pytest.fixture
def sft_files(tmp_path):
    """Overrides of a supervised stage whose files exist."""
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.parquet").touch()
    return ["hardware_sft=cpu", f"model.path={tmp_path}/model", f"data.train_files={tmp_path}/rows.parquet"]


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("sft_stage2_masked", "data.train_files=null", r"data\.train_files is not set"),
        ("sft_stage2_masked", "model.path=./nowhere", r"model\.path=\./nowhere does not exist"),
        ("sft_stage2_masked", "autocoa.observation_loss=maskd", r"observation_loss .* \(did you mean 'masked'\?\)"),
        ("sft_stage2_masked", "+autocoa.observationloss=0.1", r"unknown key observationloss \(did you mean 'obs"),
        (
            "sft_stage2_masked",
            "data.max_token_len_per_gpu=512",
            r"512 is smaller .* 1 row of data.max_length=8192, 8192",
        ),
        ("sft_stage1_contrastive", "autocoa.contrastive.alpha=-1", "alpha must be >= 0, got -1"),
        ("sft_stage1_contrastive", "autocoa.contrastive.replay_per_pair=1", "data.replay_files is not set, but"),
        ("sft_stage1_contrastive", "autocoa.contrastive=null", "autocoa.contrastive is not set"),
        ("sft_stage1_contrastive", "data.replay_files=nowhere.jsonl", "data.replay_files=nowhere.jsonl does not exist"),
    ],
)
def test_what_is_wrong_with_a_supervised_stage_is_named_in_one_sentence(sft_files, recipe, override, message):
    kind = "pairs" if "stage1" in recipe else "sft"
    enough = ["data.max_token_len_per_gpu=65536"]
    preflight.check(compose_recipe(recipe, [*sft_files, *enough]), kind)
    with pytest.raises(ConfigError, match=message) as caught:
        preflight.check(compose_recipe(recipe, [*sft_files, *enough, override]), kind)
    assert "\n" not in str(caught.value)


def test_a_pair_and_its_replay_must_fit_into_one_micro_batch(sft_files):
    overrides = [*sft_files, f"data.replay_files={sft_files[2].partition('=')[2]}", "data.max_length=100"]
    overrides += ["autocoa.contrastive.replay_per_pair=1", "data.max_token_len_per_gpu=299"]
    with pytest.raises(ConfigError, match=r"299 is smaller .* 3 rows of data.max_length=100, 300"):
        preflight.check(compose_recipe("sft_stage1_contrastive", overrides), "pairs")


def test_an_unsupported_verl_ends_the_launch_with_its_sentence(files, monkeypatch, capsys):
    monkeypatch.setattr(plugin, "STATUS", plugin.register("0.8.0"))
    with pytest.raises(SystemExit) as caught:
        preflight.Preflight().on_job_start(compose_recipe("rl_stage2_real", files))
    assert caught.value.code == 2
    assert "works with verl >=0.9.1,<0.10, but verl 0.8.0 is installed" in capsys.readouterr().err


def test_verls_own_launcher_ends_with_one_line_before_ray_starts(files):
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-path", str(ROOT / "recipes")]
    done = subprocess.run(
        [*command, "--config-name", "rl_stage2_real", *files, "+autocoa.limits.max_action=3"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("autocoa: ")]
    assert done.returncode == 2 and len(lines) == 1 and "did you mean 'max_actions'" in lines[0]
    assert "Traceback" not in done.stderr and "ray" not in done.stdout.lower()


def test_a_bad_row_ends_verls_own_sft_program_with_one_sentence(sft_files, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"schema_version": 1, "kind": "coa", "id": "a"}\n')
    code = (
        "from verl.trainer import sft_trainer as t\n"
        "from autocoa_plugin.testing import CharTokenizer\n"
        "t.run_sft = lambda c: t.create_sft_dataset(c.data.train_files, c.data, CharTokenizer(), None)\n"
        "t.main()"
    )
    command = [sys.executable, "-c", code, "--config-path", str(ROOT / "recipes"), "--config-name", "sft_stage2_masked"]
    overrides = ["hardware_sft=cpu", sft_files[1], f"data.train_files={tmp_path}/rows.jsonl"]
    folders = [f"trainer.default_local_dir={tmp_path}/run", f"hydra.run.dir={tmp_path}/hydra"]
    done = subprocess.run([*command, *overrides, *folders], capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stderr.splitlines() if line.startswith("autocoa: ")]
    assert done.returncode == 1 and len(lines) == 1 and "rows.jsonl:1: " in lines[0]
    assert "Traceback" not in done.stderr
