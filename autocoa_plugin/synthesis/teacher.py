"""The teacher writes one chain: which prompt it is shown, what it may not write, where it goes on from.

    cot     prompt without tool │ from the start, actions forbidden
    coa     prompt with tool    │ from the start
    act     prompt with tool    │ head of a wrong cot   <begin_search>  ...
    think   prompt with tool    │ head of a wrong coa   one step under the prompt without tool  ...

Source: AutoCoA (arXiv:2503.06580), 3.2.1: change the trajectory at one point, insert the action or force internal
reasoning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..engines.base import Engine, Sampling
from ..environments.base import Environment
from ..evaluation.run import judged
from ..evaluation.seeds import SeededEngine, sample_seed
from ..limits import Limits
from ..loop import rollout
from ..protocol import Tool
from ..questions.question import Question
from ..rewards import RewardConfig
from ..tokenization import Codec
from ..trajectory import Segment, Trajectory
from .attempt import Attempt, Kind, Request
from .continuation import OpenedEngine, StepFirstEngine, action_opening, head
from .job import Prices
from .purse import MeteredEngine
from .steps import STEP_ENDS

SPLIT = "synthesis"
STEP_TOKENS = 512
"""Most tokens of the one step that is thought instead of an action."""


@dataclass(frozen=True)
class Way:
    """One of the two ways of asking: how a question is spelled, who answers actions, what may be spent."""

    prompt_ids: Callable[[Question], Sequence[int]]
    environment: Environment
    limits: Limits


@dataclass(frozen=True)
class Teacher:
    """Writes chains; `tool` is the one whose action is begun in a changed chain of thought."""

    engine: Engine
    codec: Codec
    cot: Way
    coa: Way
    tool: Tool
    sampling: Sampling
    reward: RewardConfig
    prices: Prices
    seed: int = 0

    async def write(self, question: Question, request: Request, parent: Attempt | None) -> Attempt:
        """Write what is asked for; `parent` is the wrong chain that is changed, None where there is none.

        A chain that the engine refuses is an attempt with the reason as its sample's error. Raises `EngineError` naming
        the question when the engine fails.
        """
        metered = MeteredEngine(self.engine, self.prices)
        seed = sample_seed(self.seed, f"{request.kind} {question.id}", request.number)
        way = self.cot if request.kind is Kind.COT else self.coa
        prompt_ids = tuple(way.prompt_ids(question))
        begun = self._begun(request, parent)
        engine = self._engine(SeededEngine(metered, seed), request, question, len(prompt_ids), begun)
        chain = self._roll_out(question, way, prompt_ids, engine, request, begun)
        sample = await judged(chain, question, request.number, prompt_ids, self.codec.protocol, self.reward, seed=seed)
        return Attempt(request, sample, metered.usage)

    def _begun(self, request: Request, parent: Attempt | None) -> tuple[Segment, ...]:
        if request.cut is None or parent is None:
            return ()
        return head(parent.sample.trajectory, request.cut.n_shared, self.codec)

    def _engine(
        self, engine: Engine, request: Request, question: Question, n_prompt: int, begun: Sequence[Segment]
    ) -> Engine:
        at = n_prompt + sum(len(segment.ids) for segment in begun)
        if request.kind is Kind.ACT:
            before = "".join(segment.text for segment in begun)
            opening = action_opening(self.tool, before, self.codec)
            return OpenedEngine(engine, opening, at=at, forbidden=(self.tool.action.open,))
        if request.kind is Kind.THINK:
            return StepFirstEngine(
                engine,
                self.codec,
                at=at,
                n_prompt=n_prompt,
                other_prompt_ids=tuple(self.cot.prompt_ids(question)),
                stop=STEP_ENDS,
                forbidden=self.codec.protocol.tags(),
                max_tokens=STEP_TOKENS,
            )
        return engine

    async def _roll_out(
        self,
        question: Question,
        way: Way,
        prompt_ids: Sequence[int],
        engine: Engine,
        request: Request,
        begun: Sequence[Segment],
    ) -> Trajectory:
        forbidden = self._tool_tags() if request.kind is Kind.COT else ()
        return await rollout(
            prompt_ids,
            engine=engine,
            environment=way.environment,
            codec=self.codec,
            limits=way.limits,
            sampling=replace(self.sampling, forbidden=forbidden),
            metadata={"split": SPLIT, "uid": question.id, "global_step": 0},
            begun=begun,
        )

    def _tool_tags(self) -> tuple[str, ...]:
        # closing tags too: a policy that may not begin an action ends it all the same
        pairs = [pair for tool in self.codec.protocol.tools for pair in (tool.action, tool.observation)]
        return tuple(tag for pair in pairs for tag in (pair.open, pair.close))
