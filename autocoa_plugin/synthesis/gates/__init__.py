"""What a chain must not be like: gates, each a pure function of an attempt and the settings.

    settings.py     thresholds, and which gates are not asked
    registry.py     every gate by name; which of them an attempt fails
    gate.py         what a gate is
    text.py         what the policy wrote; whether an answer stands in a text
    completion.py   refused, unfinished, format, acted            how the rollout ended
    observations.py tool_failed, imagined, long_observation       what it was told
    queries.py      empty_query, copied_query                     what it asked
    answers.py      leaked_answer, unsupported                    where its answer comes from
    repetition.py   repetition                                    how it wrote
    languages.py    language_mix

Near-duplicates concern rows, not attempts: `near_duplicates.py`.
"""
