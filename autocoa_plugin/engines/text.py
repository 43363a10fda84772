"""Engine over chat completions, for models that speak text and no token ids: OpenAI, Ollama, llama.cpp, LM Studio, ...

    chain    <|user|> Who wrote Kim? <|assistant|> I look. <begin_search> Kim </end_search>  <search_result> ..
    asked    user: Who wrote Kim?    assistant: I look. <begin_search> Kim </end_search>     user: <search_result> ..
    reply    It says Kipling.</think> \\boxed{Kipling}                                       "finish_reason": "stop"
    turn     It says Kipling.</think> \\boxed{Kipling} <|end|>                               the chain goes on with it

The loop works on ids, so text is spelled as ids that are the text itself (`text_tokenizer`). They are exact as text and
not what the model sampled: budgets are approximate, there are no log-probabilities, and nothing is ever trained on them
(invariant 1). What a chat server leaves out, and what it says too much, is put right here, counted in
`Generation.info`:

    a stop string that ended the reply       put back, where it closes what the text has open      restored_stops
    text after a stop string                 cut                                                   cut_characters
    the end of the chain, said once more     cut                                                   repeated_characters
    a thought beside the reply               left out, or put between the protocol's thought tags  hidden_characters

How requests travel, fail and are tried again is in `openai_transport`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config import require
from ..errors import EngineAnswerError, EngineError, EngineUnsupportedError, nearest
from ..protocol import Protocol
from .base import FinishReason, Generation, Sampling
from .openai_transport import OpenAITransport, choose_model, served_models
from .text_tokenizer import TextTokenizer

_CHAT = "/chat/completions"
_MOST_STOPS = 4  # OpenAI refuses a fifth
_MIN_REPEATED = 20  # characters, white space apart, without a tag: fewer may be the same by chance
_GO_ON = (
    "Your last message is not finished. Go on from exactly where it ends: write only what comes next, and repeat "
    "nothing of it."
)
_CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}  # vLLM, SGLang; others do it unasked
_TOKENIZER = TextTokenizer()


@dataclass(frozen=True)
class ChatOptions:
    """What a chat server understands, where it differs from most.

    - `prefill`: how a chain goes on in the middle of a message of the model's, such as after the opening of a forced
      answer. "no": a message of the user's asks for it, which any server understands; "last": the server continues a
      final message of the assistant's (vLLM, SGLang, llama.cpp, OpenRouter); "prefix": so it does when that message
      says `prefix: true` (DeepSeek's beta, Mistral).
    - `stop`: which stop strings are sent, four at most. "closing": those that can be put back where the server leaves
      them out of the reply, as most do; "all": the server tells which one it was (vLLM does), or leaves it in; "none":
      it refuses the field. Those that are not sent end a turn as well: the reply is cut after them.
    - `max_tokens_field`: its name for the largest number of tokens. `thinking_tokens` are added to it for a thought
      that is not part of the reply.
    - `context_tokens` bounds prompt plus response where the server does not tell.
    - `thought`: what becomes of such a thought (`reasoning_content`, `reasoning`): it is left out, or put into the
      chain between the protocol's thought tags ("tags").
    - `fields`: further fields of every request, which win over ours; None leaves one out: `{"seed": None}`.
    """

    prefill: Literal["no", "last", "prefix"] = "no"
    stop: Literal["closing", "all", "none"] = "closing"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinking_tokens: int = 0
    context_tokens: int | None = None
    thought: Literal["left_out", "tags"] = "left_out"
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.thinking_tokens >= 0, f"thinking_tokens must be >= 0, got {self.thinking_tokens}")
        known = self.context_tokens
        require(known is None or known > 0, f"context_tokens must be above 0, got {known}")


class TextEngine:
    """Asks the chat model `model` of the server at `base_url` for turns of chains in `protocol`.

    Chains are ids of a `TextTokenizer`, prompt included. Make it with `connect`, unless the model's name is known; use
    it as `async with`, or close it with `aclose`. It belongs to the event loop that first used it. `transport` are
    options of `OpenAITransport`. `is_text` marks that its ids are none of a model's.
    Raises `ConfigError` for thoughts in tags that the protocol does not have.
    """

    is_text = True

    def __init__(
        self,
        base_url: str,
        model: str,
        protocol: Protocol,
        *,
        options: ChatOptions | None = None,
        **transport: Any,
    ) -> None:
        self._options, self._protocol = options or ChatOptions(), protocol
        require(
            self._options.thought == "left_out" or protocol.thought is not None,
            f"thought=tags needs thought tags, and protocol {protocol.name!r} has none: leave thoughts out",
        )
        self._transport = OpenAITransport(base_url, **transport)
        self.base_url, self.model = self._transport.base_url, model
        self.max_context_tokens = self._options.context_tokens

    @classmethod
    async def connect(cls, base_url: str, model: str | None, protocol: Protocol, **options: Any) -> TextEngine:
        """Take the server's only model and its context length, or `model` without asking; `options` as constructed.

        Raises `EngineError` when the server cannot be reached or has several models.
        """
        engine = cls(base_url, model or "", protocol, **options)
        if model is None:
            try:
                served = await served_models(engine._transport)
                engine.model = choose_model(base_url, None, served)
            except BaseException:
                await engine.aclose()
                raise
            engine.max_context_tokens = engine.max_context_tokens or served[engine.model]
        return engine

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Ask for one turn; `info` has the numbers named above and the tokens that the server counted.

        A reply that holds a forbidden text is an `EngineAnswerError`, because a chat server cannot be told. Raises it
        for an answer that is no chat completion, too, and `EngineError` when there is none.
        """
        messages, unfinished = chat_messages(_TOKENIZER.conversation(ids), self._protocol)
        body = self._body(messages, unfinished, max_tokens, stop, sampling)
        return self._turn(await self._ask(body), unfinished, max_tokens, stop, sampling)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> TextEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _body(
        self, messages: list[Message], unfinished: str, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> dict[str, Any]:
        options, fields = self._options, {}
        if unfinished and options.prefill == "no":
            mine = {"role": "assistant", "content": unfinished.strip()}
            messages = [*messages, mine, {"role": "user", "content": _GO_ON}]
        elif unfinished:
            # servers refuse white space at the end of a message that they are to continue
            last: dict[str, Any] = {"role": "assistant", "content": unfinished.rstrip()}
            messages = [*messages, last | ({"prefix": True} if options.prefill == "prefix" else {})]
            fields = _CONTINUED if options.prefill == "last" else {}
        sent = () if options.stop == "none" else stop
        sent = [each for each in sent if options.stop == "all" or each in _pairs(self._protocol)][:_MOST_STOPS]
        body = {
            "model": self.model,
            "messages": messages,
            options.max_tokens_field: max_tokens + options.thinking_tokens,
            "temperature": sampling.temperature,
            **({"stop": sent} if sent else {}),
            **sampling.options,
            **fields,
            **options.fields,
        }
        return {name: value for name, value in body.items() if value is not None}

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        status, text = await self._transport.exchange("POST", self.base_url + _CHAT, body)
        if status == 404 and "model" in text.lower():
            await self._refuse_absent_model()
        return self._transport.read(status, text, path=_CHAT)

    async def _refuse_absent_model(self) -> None:
        try:
            served = await served_models(self._transport)
        except EngineError:  # it does not list models: its own words must do
            return
        if self.model not in served:
            raise EngineUnsupportedError(
                f"{self.base_url} serves {sorted(served)}, asked for {self.model!r}{nearest(self.model, served)}"
            )

    def _turn(
        self, answer: dict[str, Any], unfinished: str, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        reply = read_reply(self.base_url, answer)
        has_tags = self._options.thought == "tags"
        said = self._with_thought(reply, unfinished) if has_tags else reply.text
        repeated = n_repeated(unfinished, said, self._protocol)
        said = said[repeated:]
        if not repeated and self._options.prefill == "no" and _lacks_space(unfinished, said):
            said = f" {said}"  # a new message does not begin with the space that a word within a text has
        text, is_stopped = _up_to_first(stop, said)
        cut, restored = len(said) - len(text), ""
        if not is_stopped and reply.finish_reason not in _UNFINISHED:
            told = reply.stopped_at if reply.stopped_at in stop else ""
            restored = told or missing_stop(unfinished + text, stop, self._protocol)
        text += restored
        self._check_forbidden(text, sampling)
        has_room = reply.finish_reason != "length" or is_stopped
        is_over = has_room and not is_stopped and not restored
        ids = [*_TOKENIZER.encode(text), *([_TOKENIZER.eos_token_id] if is_over else [])]
        cut += len(_TOKENIZER.decode(ids[max_tokens:], skip_special_tokens=True))  # we count other tokens than it does
        info = {
            **reply.numbers,
            "hidden_characters": 0 if has_tags else len(reply.thought),
            "repeated_characters": repeated,
            "restored_stops": int(bool(restored)),
            "cut_characters": cut,
        }
        reason = FinishReason.STOP if has_room and len(ids) <= max_tokens else FinishReason.LENGTH
        return Generation(tuple(ids[:max_tokens]), None, reason, info)

    def _check_forbidden(self, text: str, sampling: Sampling) -> None:
        for each in sampling.forbidden:
            if each in text:
                raise EngineAnswerError(f"{self.base_url} wrote {each!r}, which is forbidden: {text[-200:]!r}")

    def _with_thought(self, reply: Reply, unfinished: str) -> str:
        tags = self._protocol.thought
        if tags is None or not reply.thought:
            return reply.text
        opened = unfinished.rfind(tags.open) > unfinished.rfind(tags.close)
        opening = "" if opened else f"{tags.open}\n"
        closing = f"\n{tags.close}\n\n{reply.text.lstrip()}" if reply.text.strip() else ""
        return f"{opening}{reply.thought.strip()}{closing}"


# ------------------------------------------------------------------------------------- a chain as messages, without ids


Message = dict[str, Any]


def chat_messages(conversation: Sequence[tuple[str, str]], protocol: Protocol) -> tuple[list[Message], str]:
    """Render role and text of each message as messages of a chat that take turns, and the text that is to be continued.

    A response, and each worked example, is taken apart: what the policy wrote is the assistant's, an observation with
    its tags the user's. What stands after the last observation is unfinished, "" where the policy's turn begins.
    """
    parts: list[tuple[str, str]] = []
    for role, text in conversation:
        parts += chat_turns(text, protocol) if role == "assistant" else [(role, text)]
    is_open = bool(parts) and parts[-1][0] == "assistant"
    unfinished = parts.pop()[1] if is_open else ""
    messages: list[Message] = []
    for role, text in parts:
        if messages and messages[-1]["role"] == role:  # servers refuse two messages of one role in a row
            messages[-1]["content"] += f"\n\n{text.strip()}"
        elif text.strip():
            messages.append({"role": role, "content": text.strip()})
    return messages, unfinished if unfinished.strip() else ""


def chat_turns(response: str, protocol: Protocol) -> list[tuple[str, str]]:
    """Split a response at its observations: role ("assistant", "user") and text, which together are the response.

    An observation begins after the closing tag of its action; where the policy opened it without one, after that tag.
    One that is not closed belongs to the text around it. What a policy is told of an invalid turn is an observation.
    """
    turns: list[tuple[str, str]] = []
    closings = tuple(tool.action.close for tool in protocol.spelled_tools)
    begin = 0
    while (found := _first_observation(response, begin, protocol)) is not None:
        opened, body, end = found
        before = response[begin:opened].rstrip()
        split = begin + len(before) if before.endswith(closings) else body
        turns += [("assistant", response[begin:split]), ("user", response[split:end])]
        begin = end
    return [*turns, ("assistant", response[begin:])]


def _first_observation(text: str, begin: int, protocol: Protocol) -> tuple[int, int, int] | None:
    """Where the first complete observation after a character opens, where its body begins, and where it ends."""
    found: list[tuple[int, int, int]] = []
    told = protocol.invalid_turn
    if told and (place := text.find(told, begin)) >= 0:
        found.append((place, place, place + len(told)))
    for tags in (tool.observation for tool in protocol.spelled_tools):
        opened = text.find(tags.open, begin)
        closed = text.find(tags.close, opened + len(tags.open)) if opened >= 0 else -1
        if closed >= 0:
            found.append((opened, opened + len(tags.open), closed + len(tags.close)))
    return min(found, default=None)


# --------------------------------------------------------------------------------------- a reply as the text of a turn


_USAGE = ("prompt_tokens", "completion_tokens")
_UNFINISHED = ("length", "content_filter", "tool_calls", "function_call")  # all else is the end, or a stop string


@dataclass(frozen=True)
class Reply:
    """Reply of a chat server: text, the thought beside it, why it ended, and what it had cost, as numbers by name.

    `stopped_at` is the stop string that ended it, where the server tells.
    """

    text: str
    thought: str
    finish_reason: str
    numbers: Mapping[str, int]
    stopped_at: Any = None


def read_reply(url: str, answer: Mapping[str, Any]) -> Reply:
    """Read a chat completion; no text, as of a refusal, is "". Raises `EngineAnswerError` for anything else."""
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise EngineAnswerError(f"{url} gave no chat completion: {str(answer)[:200]}") from error
    if text is not None and not isinstance(text, str):
        raise EngineAnswerError(f"{url} gave a message of type {type(text).__name__}, expected text: {str(text)[:200]}")
    usage = answer.get("usage")
    counted = {name: usage.get(name) for name in _USAGE} if isinstance(usage, Mapping) else {}
    return Reply(
        text=text or "",
        thought=thought if isinstance(thought, str) else "",
        finish_reason=str(choice.get("finish_reason")),
        numbers={"requests": 1, **{name: value for name, value in counted.items() if isinstance(value, int)}},
        stopped_at=choice.get("stop_reason") or choice.get("matched_stop"),  # vLLM's and SGLang's name for it
    )


def missing_stop(text: str, stop: Sequence[str], protocol: Protocol) -> str:
    """The stop string that a server has left out at the end of a text, "" where nothing is open.

    Servers say "stop" of a stop string and of a reply that is over, so the text tells: its last tag opens an action, an
    answer or an observation, and one of `stop` closes it. A reply that ends there of its own accord is closed as well.
    """
    last = max(protocol.tags(), key=text.rfind)
    closing = next((close for close, opening in _pairs(protocol).items() if opening == last), "")
    is_open = last in text and (closing != protocol.answer.close or protocol.answer_is_open(text))
    return closing if is_open and closing in stop else ""


def n_repeated(before: str, reply: str, protocol: Protocol) -> int:
    """Count the characters at the beginning of a reply that say again how the text before it ends.

    White space does not count. It must be a tag of the protocol, or so much that it is no chance.
    """
    places = [place for place, character in enumerate(reply) if not character.isspace()]
    letters, ending = "".join(reply.split()), "".join(before.split())
    longest = min(len(letters), len(ending))
    count = next((count for count in range(longest, 0, -1) if ending.endswith(letters[:count])), 0)
    repeated = reply[: places[count - 1] + 1] if count else ""
    return len(repeated) if count >= _MIN_REPEATED or any(tag in repeated for tag in protocol.tags()) else 0


def _pairs(protocol: Protocol) -> dict[str, str]:
    """Opening tag by closing tag, of all that a turn may be stopped in."""
    pairs = [protocol.answer, *(pair for tool in protocol.spelled_tools for pair in (tool.action, tool.observation))]
    return {pair.close: pair.open for pair in pairs}


def _up_to_first(stop: Sequence[str], text: str) -> tuple[str, bool]:
    """Cut a text after the stop string that is complete first; also tells whether there is one."""
    ends = [text.find(each) + len(each) for each in stop if each in text]
    return (text[: min(ends)], True) if ends else (text, False)


def _lacks_space(before: str, reply: str) -> bool:
    ended = before[-1:]
    return (ended.isalnum() or ended in tuple(".,;:!?")) and reply[:1].isalnum()
