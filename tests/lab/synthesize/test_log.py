"""The attempts of a synthesis on disk, and the folder they lie in."""

from __future__ import annotations

import json

import pytest
from made_attempts import REFUSED, WRONG, made_attempt, made_question
from made_samples import made_fingerprint

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.synthesize.attempt import AttemptLog, Kind, SynthesisFolder
from autocoa_plugin.runs.folder import begin, end_session, locked


@pytest.fixture
def folder(tmp_path) -> SynthesisFolder:
    return SynthesisFolder(tmp_path)


def test_the_attempts_of_a_question_are_found_in_the_order_they_were_made_in(folder):
    first, second = made_attempt("q1", 0, outcome=WRONG), made_attempt("q1", 0, Kind.ACT, cost=0.25)
    with AttemptLog(folder) as log:
        for attempt in (first, made_attempt("q2", 0, outcome=REFUSED), second):
            log.keep(attempt)
        assert log.of(made_question(1)) == [first, second]
    with AttemptLog(folder) as log:
        assert [each.key for each in log.read()] == [("q1", "cot", 0), ("q2", "cot", 0), ("q1", "act", 0)]
        assert log.of(made_question(1)) == [first, second] and log.of(made_question(3)) == []
        log.keep(third := made_attempt("q1", 1))
        assert log.of(made_question(1)) == [first, second, third]
        assert log.at(third.key) == third


def test_a_broken_line_is_named_with_what_to_do(folder):
    with AttemptLog(folder) as log:
        log.keep(made_attempt("q1", 2, Kind.THINK))
    row = json.loads(folder.attempts.read_text())
    del row["usage"]
    whole = folder.attempts.read_text()
    folder.attempts.write_text(whole + json.dumps(row) + "\n")
    told = r"attempts\.jsonl:2: not an attempt of a synthesis: .*; remove this line and all after it to ask"
    with AttemptLog(folder) as log, pytest.raises(DataError, match=told):
        list(log.read())
    folder.attempts.write_text(2 * whole)
    with AttemptLog(folder) as log, pytest.raises(DataError, match=r"jsonl:2: think 2 of 'q1' is there twice"):
        list(log.read())


def test_a_synthesis_folder_goes_on_as_the_run_it_was(folder):
    with locked(folder):
        assert begin(folder, made_fingerprint(), {"command": ["autocoa"]}) == 0.0
        folder.attempts.touch()
        assert 0.0 <= end_session(folder) < 60.0
    with locked(folder), pytest.raises(ConfigError, match=r"was made with world\.top_k=3 \(here 5\); choose another"):
        begin(folder, made_fingerprint(world={"top_k": 5}), {})
