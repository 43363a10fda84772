"""The files that the pages under test are made from: a small dump with one trajectory of every kind, and a hostile one.

id       step split  question  sample  observation             ends           correct  reward
qorvia   1    train  QORVIA    0       real                    answered       yes       1.0
qorvia   1    train  QORVIA    1       imagined, wrongly       answered       no        0.0
qorvia   1    train  QORVIA    2       cached                  max_actions    no       -0.1  forced
river    2    train  RIVER     0       replayed, "zephyrine"   answered       yes       1.0
river    2    train  RIVER     1       none                    answered       no        0.0
castle   2    val    CASTLE    0       the tool failed         timeout        no       -0.1  no answer
moor     2    val    MOOR      0       a notice                answered       yes       1.0
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Role, Trajectory, score
from autocoa_plugin.dump import dump_row
from autocoa_plugin.runs.files import json_line
from autocoa_plugin.trajectory import Call, Counts, Origin, Outcome, Segment, Source, StopReason

QORVIA = "Who rules the capital of Qorvia ?"
RIVER = "Which river passes Grenland ?"
CASTLE = "Who built Kaxford castle ?"
MOOR = "Where is the moor ?"
REAL = "Qorvia : the capital of Qorvia is Tolm , ruled by Ada ."
IMAGINED = "Qorvia : the capital of Qorvia is Brug , ruled by Bob ."
ONLY_IN_AN_OBSERVATION = "zephyrine"

HOSTILE = (
    "<script>window.pwned=1</script></script></style></textarea></title></template>--><!--<script>"
    '<img src=x onerror="window.pwned=2">"><svg onload=window.pwned=3>\'><iframe srcdoc="<script>top.pwned=4</script>">'
    '<a href="javascript:window.pwned=5">javascript:window.pwned=6</a><base href="https://example.invalid/">'
    "${window.pwned=7} {{title}} {{ 7 * 7 }} {% raw %} /*{{css}}*/ /*{{js}}*/ <!--{{data}}--> ]]> &lt;b&gt; "
    "\u202e drow \u2066 \x1b[31m \x00 \u2028 \u2029 \ufeff end"
)
"""Everything that might break out of HTML, a script, JSON, a template or a line."""


@dataclass(frozen=True)
class Turn:
    """An action and its observation."""

    query: str
    text: str
    origin: str = "real"
    outcome: str = "ok"
    error: str | None = None
    tool: str = "search"


def trajectory(
    question: str,
    turns: list[Turn],
    answer: str | None,
    *,
    stop: StopReason = StopReason.ANSWERED,
    forced: bool = False,
    thought: str = "I need a fact .",
) -> Trajectory:
    """A finished rollout in which the policy thinks, acts for each turn, and answers (None: it does not)."""
    tags, observed = AUTOCOA.tools[0].action, AUTOCOA.tools[0].observation
    segments, said = [], f"<think>\n{thought} "
    for turn in turns:
        outcome, origin = Outcome(turn.outcome), Origin(turn.origin)
        call = Call(turn.tool, turn.query, outcome, origin, seconds=0.25, cost=0.001, error=turn.error)
        head, body, tail = f"\n\n{observed.open}", f" {turn.text} {observed.close}", "\n\n"
        segments += [
            _segment(Role.THOUGHT, Source.POLICY, said),
            _segment(Role.ACTION, Source.POLICY, f"{tags.open} {turn.query} {tags.close}"),
        ]
        if (
            turn.origin == "world_model"
        ):  # the loop opens it, the policy writes and closes it, the loop adds white space
            segments.append(_segment(Role.OBSERVATION, Source.ENVIRONMENT, head))
            segments.append(_segment(Role.OBSERVATION, Source.POLICY, body, call))
            segments.append(_segment(Role.OBSERVATION, Source.ENVIRONMENT, tail))
        else:
            segments.append(_segment(Role.OBSERVATION, Source.ENVIRONMENT, head + body + tail, call))
        said = "So that is it . "
    closes = answer is not None and not forced
    segments.append(_segment(Role.THOUGHT, Source.POLICY, said + "\n</think>" * closes))
    if forced:
        segments.append(_segment(Role.ANSWER, Source.TEMPLATE, AUTOCOA.forced_answer_in_thought))
        segments.append(_segment(Role.ANSWER, Source.POLICY, f"{answer}}}"))
    elif answer is not None:
        segments.append(_segment(Role.ANSWER, Source.POLICY, f"\n\n\\boxed{{{answer}}}"))
    return Trajectory(
        prompt_ids=tuple(encode(f"<|user|>{question}<|assistant|>")),
        segments=tuple(segments),
        stop_reason=stop,
        protocol="autocoa",
        counts=Counts(actions=len(turns), turns=len(turns) + 1),
        forced_answer=forced,
    )


def encode(text: str) -> list[int]:
    """The ids of a text; the tokenizer keeps every byte."""
    return FAMILIES["byte_bpe"]().encode(text, add_special_tokens=False)


def _segment(role: Role, source: Source, text: str, call: Call | None = None) -> Segment:
    ids = encode(text)
    # 0, -0.5, ... -3: every colour of the scale
    logprobs = tuple(-0.5 * (number % 7) for number in range(len(ids))) if source is Source.POLICY else None
    return Segment(role, source, tuple(ids), text, logprobs, call)


def row(played: Trajectory, question: str, gold: str, *, uid: str, step: int, split: str, session: int = 0) -> dict:
    """A row as training dumps it."""
    info = {"golds": [gold], "data_source": "made", "session": session, "question": question, "extra_info": {}}
    return dump_row(played, score(played, gold, AUTOCOA), step=step, split=split, uid=uid, info=info)


def write_dump(folder: Path) -> Path:
    """The seven trajectories above."""
    asked = "capital of Qorvia"
    qorvia = [
        trajectory(QORVIA, [Turn(asked, REAL)], "Ada"),
        trajectory(QORVIA, [Turn(asked, IMAGINED, "world_model")], "Bob"),
        trajectory(QORVIA, [Turn(asked, REAL, "cache")], "Cid", stop=StopReason.MAX_ACTIONS, forced=True),
    ]
    found = f"Grenland : the {ONLY_IN_AN_OBSERVATION} river Ondel passes it ."
    river = [
        trajectory(RIVER, [Turn("river of Grenland", found, "replay")], "Ondel"),
        trajectory(RIVER, [], "Irk", thought="I recall the river . " * 40),
    ]
    failed = Turn("Kaxford castle", "error : the tool failed .", "real", "error", "ToolUnavailableError: no connection")
    castle = trajectory(CASTLE, [failed], None, stop=StopReason.TIMEOUT)
    notice = Turn("", "error : empty query .", "notice", "refused")
    moor = trajectory(MOOR, [notice], "Grenland")
    _write(
        folder / "train" / "step_000001.a-1.jsonl",
        [row(each, QORVIA, "Ada", uid="qorvia", step=1, split="train", session=n) for n, each in enumerate(qorvia)],
    )
    _write(
        folder / "train" / "step_000002.a-1.jsonl",
        [row(each, RIVER, "Ondel", uid="river", step=2, split="train", session=n) for n, each in enumerate(river)],
    )
    _write(
        folder / "val" / "step_000002.a-1.jsonl",
        [
            row(castle, CASTLE, "Ada", uid="castle", step=2, split="val"),
            row(moor, MOOR, "Grenland", uid="moor", step=2, split="val"),
        ],
    )
    return folder


def write_hostile_dump(folder: Path) -> Path:
    """Two samples of one prompt with `HOSTILE` in every text, one imagined, and in fields that nobody knows."""
    turn = Turn(HOSTILE, HOSTILE, error=HOSTILE, tool=HOSTILE, outcome="error")
    real = trajectory(HOSTILE, [replace(turn, outcome="ok")], HOSTILE, thought=HOSTILE)
    imagined = trajectory(HOSTILE, [replace(turn, origin="world_model")], HOSTILE, thought=HOSTILE)
    rows = []
    for number, each in enumerate((real, imagined)):
        made = row(each, HOSTILE, HOSTILE, uid=HOSTILE, step=1, split=HOSTILE, session=number)
        made["info"]["data_source"] = HOSTILE
        made["format_errors"] = [HOSTILE]
        made["reward_parts"][HOSTILE] = 1.0
        rows.append({**made, HOSTILE: HOSTILE, "unknown": {HOSTILE: [HOSTILE]}})
    _write(folder / "train" / "step_000001.a-1.jsonl", rows)
    return folder


def write_hostile_verl_dump(folder: Path) -> Path:
    """A dump of verl's own (`rollout_data_dir`), of text only."""
    output = f"<think> {HOSTILE} <search> {HOSTILE} </search>\n\n<information> {HOSTILE} </information> {HOSTILE}"
    made = {"input": HOSTILE, "output": output, "gts": HOSTILE, "score": 0.0, "step": 1, HOSTILE: HOSTILE}
    _write(folder / "1.jsonl", [made, {**made, "score": 1.0, "gts": {"target": [HOSTILE]}}])
    return folder


def write_tokenizer(folder: Path) -> Path:
    """The tokenizer of all dumps here."""
    FAMILIES["byte_bpe"]().save_pretrained(folder)
    return folder


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(map(json_line, rows)), encoding="utf-8")
