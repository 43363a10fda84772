"""Settings of who answers an action: sockets of tools, world model, routing, search, cassette.

    search: {backend: index, corpus: corpus.jsonl}      the real search tool
    world_model: {author: self}                         who imagines an observation instead
    routing: {policy: steps, phases: [{environment: world_model, steps: 80}, {environment: real, steps: 16}]}
    cassette: {path: run.cassette, mode: record}        real observations on tape

Frozen dataclasses, each checked by itself; `settings.py` holds them together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .config import positive, require
from .errors import ConfigError
from .lookup import Plug, Socket

Name = Literal["real", "world_model"]
"""The two environments of a routed tool."""

Tools = tuple[str | Mapping[str, str | Plug], ...] | Mapping[str, str | Plug]
TOOLS = Socket("autocoa.tools", "a tool", methods=("answer",), takes="either")
AUTHORS = Socket("autocoa.authors", "a world-model author", methods=("imagine",))
ROUTING_POLICIES = Socket("autocoa.routing_policies", "a routing policy", methods=("choose",))
# the short names that are ours
TOOL_NAMES = ("search", "open_page", "calculate", "mcp")
SEARCHING = ("search", "open_page")  # those that ask what `search` names
AUTHOR_NAMES = ("self", "frozen", "model")
POLICY_NAMES = ("fixed", "steps", "probability", "uncertainty")


def own(value: str | Plug, names: Sequence[str], socket: Socket, key: str) -> str | None:
    """Return the short name of ours that stands in a socket; None when somebody else's object does.

    Raises `ConfigError` naming the nearest one for a name that is neither.
    """
    plug = Plug.of(value)
    if plug.use in names:
        return plug.use
    socket.path(plug.use, where=key, known=names)
    return None


@dataclass(frozen=True)
class WorldModelSettings:
    """World model: the author of imagined observations, and how they are sampled.

    `author`: "self" is the policy on its own server, "frozen" a checkpoint with the policy's tokenizer served at `url`
    (ids in, ids out), "model" any OpenAI-compatible chat model at `url` with the prompt `prompt` of `prompts.py`;
    otherwise an author of yours (`environments.authors.Author`), which is asked for `max_tokens` within `timeout_s`.
    `model` names the served model (None: the only one); `api_key_env` the environment variable that holds the key.
    `temperature` None is the policy's own of the same rollout. `max_tokens` bounds the body, None:
    `limits.max_observation_tokens`. `timeout_s` bounds one imagined observation, tries included.
    """

    author: str | Plug = "self"
    url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int | None = None
    prompt: str = "imagine_search"
    timeout_s: float = 60.0
    max_attempts: int = 4
    max_concurrency: int = 256

    def __post_init__(self) -> None:
        served = own(self.author, AUTHOR_NAMES, AUTHORS, "world_model.author") in ("frozen", "model")
        name = Plug.of(self.author).use
        _no_arguments(self.author, AUTHOR_NAMES, "world_model.author")
        require(served == bool(self.url), f"world_model.url {_needed(served)} for world_model.author={name}")
        require(0 < self.top_p <= 1, f"world_model.top_p must be in (0, 1], got {self.top_p!r}")
        require(self.top_k == -1 or self.top_k >= 1, f"world_model.top_k must be -1 or >= 1, got {self.top_k!r}")
        if self.temperature is not None:
            require(self.temperature >= 0, f"world_model.temperature must be >= 0, got {self.temperature!r}")
        for name in ("max_tokens", "max_attempts", "max_concurrency", "timeout_s"):
            value = getattr(self, name)
            if value is not None:
                positive(f"world_model.{name}", value)


@dataclass(frozen=True)
class Phase:
    """Phase of a routing schedule: `steps` training steps in one environment, at least one, else `ConfigError`."""

    environment: Name
    steps: int

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"a phase of routing.phases must have steps >= 1, got {self.steps!r}")


def spell_phases(phases: Sequence[Phase]) -> str:
    """Spell phases for a message: "80 world_model + 16 real"."""
    return " + ".join(f"{each.steps} {each.environment}" for each in phases)


@dataclass(frozen=True)
class Annealing:
    """Annealing of the share of real calls from `start` to `end` (0 to 1) over `steps` training steps.

    `base` 1 is linear; above 1 the change comes late, as in ZeroSearch (arXiv:2505.04588, base 4), whose curriculum
    worsens the imagined documents by this curve; here it is the share of calls that are answered for real.
    """

    start: float = 0.0
    end: float = 1.0
    steps: int = 96
    base: float = 4.0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            share = getattr(self, name)
            require(0 <= share <= 1, f"routing.annealing.{name} must be between 0 and 1, got {share!r}")
        require(self.steps >= 1, f"routing.annealing.steps must be >= 1, got {self.steps!r}")
        require(1 <= self.base < math.inf, f"routing.annealing.base must be >= 1 and finite, got {self.base!r}")


@dataclass(frozen=True)
class Uncertainty:
    """Uncertainty threshold: ask the real tool when the mean log-probability (nats per token) is below `threshold`.

    `of` "query": the policy's of its own query, before anything is imagined; "observation": the author's of the
    imagined observation, which is then thrown away and counted.
    """

    of: Literal["query", "observation"] = "observation"
    threshold: float = -0.5

    def __post_init__(self) -> None:
        require(self.threshold <= 0, f"routing.uncertainty.threshold must be <= 0 nats, got {self.threshold!r}")


@dataclass(frozen=True)
class RoutingSettings:
    """Routing: which environment answers an action of the routed `tools`; the others are always asked for real.

    - `policy` "fixed": always `environment`; "steps": `phases` one after the other, counted in training steps;
      "probability": real with the probability of `annealing`, drawn per action from `seed`; "uncertainty": imagined
      unless the policy is unsure; otherwise a policy of yours (`environments.router.RoutingPolicy`).
    - `real_calls_per_step`: when so many real calls were made in a training step, by all workers together, the rest
      of the step is imagined; None: no limit. Answers from the cache are free.
    - `validation`: who answers outside the training split; "same" as in training, at that step.
    """

    policy: str | Plug = "fixed"
    environment: Name = "real"
    phases: tuple[Phase, ...] = ()
    annealing: Annealing = field(default_factory=Annealing)
    uncertainty: Uncertainty = field(default_factory=Uncertainty)
    real_calls_per_step: int | None = None
    validation: Literal["real", "world_model", "same"] = "real"
    seed: int = 0
    tools: tuple[str, ...] = ("search",)

    def __post_init__(self) -> None:
        policy = self.own_policy
        is_steps = policy == "steps"
        name = Plug.of(self.policy).use
        _no_arguments(self.policy, POLICY_NAMES, "routing.policy")
        require(is_steps == bool(self.phases), f"routing.phases {_needed(is_steps)} for routing.policy={name}")
        for key, reader, unset in (
            ("environment", "fixed", "real"),
            ("annealing", "probability", Annealing()),
            ("uncertainty", "uncertainty", Uncertainty()),
        ):
            is_read = policy == reader or getattr(self, key) == unset
            require(is_read, f"routing.{key} is read with routing.policy={reader} only, got policy={name}")
        if self.real_calls_per_step is not None:
            require(
                self.real_calls_per_step >= 1,
                f"routing.real_calls_per_step must be >= 1, got {self.real_calls_per_step!r} "
                "(to make no real call: policy=fixed, environment=world_model)",
            )

    @property
    def own_policy(self) -> str | None:
        """Name of the policy; None for one of somebody else's, which may choose any environment."""
        return own(self.policy, POLICY_NAMES, ROUTING_POLICIES, "routing.policy")

    @property
    def imagines(self) -> bool:
        """True when some training action may be answered by the world model."""
        if self.real_calls_per_step is not None or self.own_policy in ("probability", "uncertainty", None):
            return True
        return any(name == "world_model" for name in self._names())

    @property
    def calls(self) -> bool:
        """True when some training action may be answered for real."""
        return self.own_policy in ("probability", "uncertainty", None) or any(name == "real" for name in self._names())

    @property
    def scheduled_steps(self) -> int | None:
        """How many training steps the phases cover; None when the policy has no end."""
        return sum(each.steps for each in self.phases) if self.policy == "steps" else None

    def _names(self) -> list[str]:
        return [each.environment for each in self.phases] if self.policy == "steps" else [self.environment]

    def check_steps(self, total_training_steps: int) -> None:
        """Refuse, with `ConfigError`, phases that end before the training does."""
        planned = self.scheduled_steps
        if planned is not None:
            require(
                planned >= total_training_steps,
                f"routing.phases cover {planned} steps ({spell_phases(self.phases)}), but "
                f"trainer.total_training_steps is {total_training_steps}: lengthen a phase or train for fewer steps",
            )


@dataclass(frozen=True)
class CassetteSettings:
    """Cassette, a tape of real observations: one SQLite file at `path` that any number of processes write.

    `mode` "record": ask the tool and keep its answer; "replay": answer from the tape and never build the tool;
    "record_missing": answer from the tape, ask the tool for what is not on it and keep that. `on_miss`, in a replay:
    "observation" gives the policy the notice of a failed tool and is counted, "error" ends the run.
    """

    path: str
    mode: Literal["record", "replay", "record_missing"] = "record"
    on_miss: Literal["observation", "error"] = "observation"

    def __post_init__(self) -> None:
        require(bool(self.path), "cassette.path must name a file")


def _no_arguments(value: str | Plug, names: Sequence[str], key: str) -> None:
    plug = Plug.of(value)
    require(not plug.arguments or plug.use not in names, f"{key}={plug.use} takes no arguments: it has keys of its own")


def _needed(needed: bool) -> str:
    return "is required" if needed else "must be left out"


BACKENDS = {"index": "corpus", "search_r1": "url", "flashrag": "url", "autocoa": "url", "duckduckgo": None}
"""The search tools that are ours, and the key that each cannot do without."""
_PLACES = ("corpus", "index_dir", "url")

RETRIEVERS = Socket("autocoa.retrievers", "a retriever", methods=("search",), is_awaited=False)
"""Search tools that are not ours (`retrieval.foreign`)."""


@dataclass(frozen=True)
class SearchSettings:
    """Search tool: backend, its place, limits and price.

    `index`: the embedded index over `corpus` (JSON lines with id, title, text), built once in `index_dir` (default:
    next to the corpus). `search_r1`, `flashrag`: an HTTP server at `url`. `autocoa`: `autocoa serve` at `url`.
    `duckduckgo`: the web, needs the extra `web`. Any other: a retriever of yours, a name that a package publishes,
    `package.module:Name` or `path/file.py:Name`, with arguments as `{use: NAME, arguments: {..}}`.
    `price_per_1000` is money per thousand real calls. `timeout_s` bounds one attempt of a server call, `max_attempts`
    the attempts, `max_concurrency` the calls in flight per worker process; a retriever of yours is called once, for
    `timeout_s` at most.
    """

    backend: str | Plug = "index"
    corpus: str | None = None
    index_dir: str | None = None
    url: str | None = None
    top_k: int = 3  # "top-3 documents" (release)
    timeout_s: float = 20.0
    max_concurrency: int = 64
    max_attempts: int = 4
    cache_size: int = 100_000
    price_per_1000: float = 0.0

    def __post_init__(self) -> None:
        plug = Plug.of(self.backend)
        if not plug.arguments:  # one spelling of one thing: {use: index} is index
            object.__setattr__(self, "backend", plug.use)
        self._check_backend(plug)
        for name in ("top_k", "max_concurrency", "max_attempts", "cache_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search.{name} must be >= 1, got {getattr(self, name)}")

    def _check_backend(self, plug: Plug) -> None:
        if not self.is_foreign:
            require(not plug.arguments, f"search.backend={plug.use} takes no arguments, got {[*plug.arguments]}")
            return
        RETRIEVERS.path(plug.use, where="search.backend", known=BACKENDS)
        given = [name for name in _PLACES if getattr(self, name) is not None]
        require(
            not given,
            f"search.{' and search.'.join(given)} must be left out for search.backend={plug.use}: what a retriever of "
            "yours needs are its arguments, backend: {use: NAME, arguments: {..}}",
        )

    def check(self) -> None:
        """Refuse, with `ConfigError`, a tool that is to be asked and has no place: a recipe may leave it open."""
        needed = BACKENDS.get(Plug.of(self.backend).use)
        is_there = needed is None or bool(getattr(self, needed))
        require(is_there, f"search.{needed} is required for search.backend={self.backend_name}")

    @property
    def is_foreign(self) -> bool:
        """True when the backend is none of ours."""
        return Plug.of(self.backend).use not in BACKENDS

    @property
    def backend_name(self) -> str:
        """Name of the backend without arguments, and without the folder where it is a file: "wiki.py:Wiki"."""
        path, colon, name = Plug.of(self.backend).use.rpartition(":")
        return f"{Path(path).name if path.endswith('.py') else path}{colon}{name}"

    @property
    def index_folder(self) -> Path:
        """Where the embedded index over `corpus` stands."""
        return Path(self.index_dir or f"{self.corpus}.index")
