"""The contrastive stage on verl's trainer against plain transformers and plain loops: one rank and two, however cut.

One start per number of ranks runs all cases (`pair_ranks.py`); the launcher is then run as users run it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import pair_ranks
import torch
from pair_ranks import BAD_TOKEN, PAIRS, VOCABULARY, make_pair
from tokenizer_families import FAMILIES

from autocoa_plugin.verl_adapters.contrastive import displacement as history
from autocoa_plugin.verl_adapters.contrastive import reference

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ENVIRONMENT = {"VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1"}
CASES = [name for name, _ in pair_ranks.cases()]
TOLERANCE = 1e-5
Step = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama in `model/`, and the same with one NaN embedding in `damaged/`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("pairs")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    # weights ten times the usual size: the sides differ, and no gradient vanishes
    config = LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=2, initializer_range=0.2, **sizes)
    model = LlamaForCausalLM(config)
    for name in ("model", "damaged"):
        model.save_pretrained(folder / name)
        FAMILIES["byte_bpe"]().save_pretrained(folder / name)
        model.get_input_embeddings().weight.data[BAD_TOKEN] = torch.nan
    return folder


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def trained(request: pytest.FixtureRequest, folder: Path) -> dict[str, Step]:
    """What the trainer did in each case, by case."""
    done = torchrun(request.param, pair_ranks.__file__, str(folder))
    assert done.returncode == 0, done.stderr[-6000:]
    return torch.load(folder / f"{request.param}.pt", weights_only=False)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    """The model as transformers loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "model")


def torchrun(ranks: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run(
        [*command, *arguments],
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=200,
    )


def settings_of(case: str) -> dict[str, Any]:
    """The contrastive settings of a case, read off its overrides."""
    pairs = [each.split("=") for each in dict(pair_ranks.cases())[case]]
    given = {key.rpartition(".")[2]: value for key, value in pairs if "contrastive" in key}
    numbers = {"alpha": 0.2, "beta": 1.0, "margin": 0.0, "replay_per_pair": 0}
    numbers |= {key: float(value) for key, value in given.items() if key in numbers}
    return {**numbers, "normalise": given.get("normalise", "mean"), "reference": given.get("reference", "none")}


def token_log_probs(model: Any, ids: torch.Tensor) -> Iterator[torch.Tensor]:
    """log p(token t | tokens before it) for t = 1, 2, ... of one sequence, alone in its batch."""
    log_probs = torch.log_softmax(model(input_ids=ids[None]).logits[0], dim=-1)
    for position in range(1, len(ids)):
        yield log_probs[position - 1, ids[position]]


def weighted(model: Any, row: dict[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
    """Sum of weight * log-probability of a row, and the sum of its weights."""
    total, weights = torch.zeros(()), row["loss_mask"].tolist()
    for weight, log_prob in zip(weights[1:], token_log_probs(model, row["input_ids"]), strict=True):
        total = total + weight * log_prob
    return total, sum(weights[1:])


def plain_step(model: Any, case: str) -> Step:
    """Loss, gradients and measures of all pairs in one batch, without verl and without our losses."""
    settings, losses, sides, replay = settings_of(case), [], [], [(torch.zeros(()), 0.0)]
    for index in range(PAIRS):
        rows = [weighted(model, row) for row in make_pair(index, int(settings["replay_per_pair"]))["rows"]]
        means = [total / count for total, count in rows[:2]]
        chosen, rejected = means if settings["normalise"] == "mean" else (total for total, _ in rows[:2])
        # a reference has the weights of this very model: it cancels the values, not the gradient
        shift = (chosen - rejected).detach() if settings["reference"] == "initial" else 0.0
        difference = settings["beta"] * (chosen - rejected - shift - settings["margin"])
        losses.append(torch.log1p(torch.exp(-difference)) - settings["alpha"] * chosen)
        sides.append([*means, chosen - rejected - shift])
        replay += rows[2:]
    pair_loss = sum(losses, torch.zeros(())) / PAIRS
    replay_loss = -sum(total for total, _ in replay) / (sum(count for _, count in replay) or 1.0)
    model.zero_grad()
    (pair_loss + replay_loss).backward()
    return {
        "gradients": {name: parameter.grad.clone() for name, parameter in model.named_parameters()},
        "losses": (pair_loss.item(), replay_loss.item()),
        "sides": [[value.item() for value in row] for row in sides],
    }


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_equal_plain_transformers(case: str, trained: dict[str, Step], model: Any) -> None:
    step, plain = trained[case], plain_step(model, case)
    pair_loss, replay_loss = plain["losses"]
    assert step["metrics"]["loss"] == pytest.approx(pair_loss + replay_loss, abs=TOLERANCE)
    assert step["metrics"]["contrastive/loss"] == pytest.approx(pair_loss, abs=TOLERANCE)
    assert step["metrics"].get("contrastive/replay_loss", 0.0) == pytest.approx(replay_loss, abs=TOLERANCE)
    assert step["gradients"].keys() == plain["gradients"].keys()
    for name, gradient in plain["gradients"].items():
        assert gradient.abs().max() > 1e-3, f"the gradient of {name} shows nothing"
        torch.testing.assert_close(step["gradients"][name], gradient, rtol=0, atol=TOLERANCE, msg=f"{case}: {name}")


@pytest.mark.parametrize("case", [case for case in CASES if case != "reference"])
def test_measures_are_plain_means_over_all_pairs(case: str, trained: dict[str, Step], model: Any) -> None:
    chosen, rejected, margins = zip(*plain_step(model, case)["sides"], strict=True)
    expected = {
        "chosen_logp": sum(chosen) / PAIRS,
        "rejected_logp": sum(rejected) / PAIRS,
        "margin": sum(margins) / PAIRS,
        "pair_accuracy": sum(margin > 0 for margin in margins) / PAIRS,
        "displacement": 0.0,
    }
    found = trained[case]["metrics"]
    assert all(isinstance(found[f"contrastive/{name}"], float) for name in expected)
    assert {name: found[f"contrastive/{name}"] for name in expected} == pytest.approx(expected, abs=TOLERANCE)
    share = found["contrastive/real_token_share"]
    assert share == 1.0 if "packed" in case else 0.5 < share < 1.0


@pytest.mark.parametrize("case", CASES)
def test_a_pair_stays_in_one_micro_batch_of_several(case: str, trained: dict[str, Step]) -> None:
    batches = trained[case]["micro_batches"]  # of rank 0
    size = 2 + int(settings_of(case)["replay_per_pair"])
    assert len(batches) > 1
    for rows in batches:
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        assert all(group == [group[0]] * size for group in groups)
    assert len({row for rows in batches for row in rows}) == sum(len(rows) for rows in batches) / size


def test_the_reference_is_the_likelihood_under_the_starting_weights(trained: dict[str, Step], model: Any) -> None:
    measured = trained["reference"]["reference"]
    plain = [row[:2] for row in plain_step(model, "static-padded-replay0")["sides"]]
    torch.testing.assert_close(measured, torch.tensor(plain), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("trained", [1], ids=["1 rank"], indirect=True)  # two ranks: the launcher's test
def test_a_loss_that_is_not_finite_names_the_row_with_the_damaged_token(trained: dict[str, Step]) -> None:
    assert trained["damaged"]["error"].startswith("the log-likelihood of row 'pair-5' is not finite; ")


def launch(folder: Path, name: str, *overrides: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    """Start stage 1 as users do, on the fake pairs."""
    return torchrun(
        ranks,
        "-m",
        "autocoa_plugin.verl_adapters.contrastive",
        *pair_ranks.base_overrides(folder, name),
        f"hydra.run.dir={folder}/hydra",
        "trainer.logger=[file]",
        *overrides,
        VERL_FILE_LOGGER_PATH=str(folder / f"{name}.jsonl"),
    )


def test_a_resumed_launch_keeps_its_reference_and_its_history(folder: Path) -> None:
    run = folder / "runs" / "launched"
    overrides = [
        "data.train_batch_size=4",
        "data.use_dynamic_bsz=true",
        "data.max_token_len_per_gpu=60",
        "data.val_files=fake",
        "optim.lr=1e-2",
        "+autocoa.contrastive.reference=initial",
        "checkpoint.save_contents=[model,optimizer,extra]",
        "trainer.resume_mode=auto",
        "trainer.save_freq=2",
        "trainer.test_freq=2",
    ]
    done = launch(folder, "launched", *overrides, "trainer.total_training_steps=3")
    assert done.returncode == 0, done.stderr[-6000:]
    first = (run / reference.REFERENCE_FILE).read_text()
    assert [line["step"] for line in lines(run / history.HISTORY_FILE)] == [1, 2, 3]
    logged = {line["step"]: line["data"] for line in lines(folder / "launched.jsonl") if "train/loss" in line["data"]}
    # at the start nothing is preferred more than under the starting weights, so P(chosen) alone adds to log 2
    assert logged[1]["contrastive/loss"] == pytest.approx(math.log(2) - 0.2 * logged[1]["contrastive/chosen_logp"])
    assert logged[3]["contrastive/margin"] > 0.01
    validated = [line["data"]["val/loss"] for line in lines(folder / "launched.jsonl") if "val/loss" in line["data"]]
    assert len(validated) == 2 and all(math.isfinite(loss) for loss in validated)

    done = launch(folder, "launched", *overrides, "trainer.total_training_steps=5")
    assert done.returncode == 0, done.stderr[-6000:]
    assert (run / reference.REFERENCE_FILE).read_text() == first
    assert [line["step"] for line in lines(run / history.HISTORY_FILE)] == [1, 2, 3, 4, 5]
    resumed = [line["step"] for line in lines(folder / "launched.jsonl") if "train/loss" in line["data"]]
    assert resumed == [4, 5]


def test_the_launcher_ends_with_one_sentence_when_a_loss_is_not_finite(folder: Path) -> None:
    done = launch(folder, "nan", f"model.path={folder}/damaged", "data.use_dynamic_bsz=false")
    told = [line for line in done.stderr.splitlines() if line.startswith("autocoa: ")]
    assert done.returncode != 0
    assert len(told) == 1 and told[0].startswith("autocoa: the log-likelihood of row 'pair-5' is not finite; ")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
