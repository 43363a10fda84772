"""Exceptions of this package, as one tree.

    AutoCoAError
    ├── ConfigError (ValueError)             a setting is unknown or contradicts another one
    │   └── ProtocolError                    tags that could be mistaken for one another, an unknown tool
    ├── TokenizerError (ValueError)          the tokenizer cannot do what the protocol needs
    ├── TrajectoryError (ValueError)         segments that do not fit together, an unreadable dump
    ├── DataError (ValueError)               a row of a data set is missing something
    ├── TrainingError (RuntimeError)         a loss that is not finite, a collapse that was to stop the run
    ├── EngineError (RuntimeError)           the engine broke its contract or is out of reach
    │   ├── EngineRefusedError               the server does not want this one request
    │   │   └── EngineAnswerError            its answer to this one request makes no sense
    │   └── EngineUnsupportedError           the engine cannot do it: token ids, forbidden texts, that model
    ├── ReplayError (RuntimeError)           a replay that was to be complete lacks an answer
    ├── RewardError (RuntimeError)           a metric or a part of the reward raised, or gave no finite number
    ├── ToolError (RuntimeError)             a tool call that failed; becomes an observation
    │   ├── ToolTimeoutError (TimeoutError)  no answer in time
    │   ├── ToolUnavailableError (ConnectionError)  no connection, or the server answered 5xx/429
    │   └── ToolResponseError (ValueError)   an answer that is not what was agreed
    └── UnsupportedVersionError (RuntimeError)  an upstream library outside the supported range

A `ToolError` never leaves the environment boundary (`environments.base.answer_safely`): the rollout goes on and
the failure is counted. Every other error propagates, because hiding it would turn a bug into a low reward.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AutoCoAError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(AutoCoAError, ValueError):
    """A setting is unknown, of the wrong type, or contradicts another setting."""


class ProtocolError(ConfigError):
    """The tags of a protocol are empty, doubled or contained in one another, or it has no such tool."""


class TokenizerError(AutoCoAError, ValueError):
    """The tokenizer loses or rewrites text that the protocol needs, or is not the one that was saved."""


class TrajectoryError(AutoCoAError, ValueError):
    """Segments do not fit together, or a stored trajectory has another schema."""


class DataError(AutoCoAError, ValueError):
    """A row of a data set lacks a field or carries one of the wrong type."""


class TrainingError(AutoCoAError, RuntimeError):
    """Training must not go on: a loss is not finite, or both sides of the pairs lose probability."""


class EngineError(AutoCoAError, RuntimeError):
    """The engine is out of reach or broke its contract (`engines.base.Engine`)."""


class EngineRefusedError(EngineError):
    """The server finds fault with one request (HTTP 400, 413, 422): others may well be answered."""


class EngineAnswerError(EngineRefusedError):
    """The server's answer to one request makes no sense: others may well be answered."""


class EngineUnsupportedError(EngineError):
    """The server or engine cannot do what is asked: take or give token ids, forbid texts, be that model."""


class ReplayError(AutoCoAError, RuntimeError):
    """A recorded run is replayed with `on_miss: error`, and an observation is not on the tape."""


class RewardError(AutoCoAError, RuntimeError):
    """A metric or a part of the reward raised, or gave something else than a finite number: the run must end."""


class ToolError(AutoCoAError, RuntimeError):
    """A tool call failed."""


class ToolTimeoutError(ToolError, TimeoutError):
    """The tool did not answer in time."""


class ToolUnavailableError(ToolError, ConnectionError):
    """The tool could not be reached, or said that it cannot serve now (HTTP 5xx, 429)."""


class ToolResponseError(ToolError, ValueError):
    """The tool answered something else than was agreed."""


class UnsupportedVersionError(AutoCoAError, RuntimeError):
    """An upstream library is installed in a version outside the supported range."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known name, or "" when none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
