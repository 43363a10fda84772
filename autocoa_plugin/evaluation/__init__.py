"""Evaluation: questions x engine x environment x protocol -> one results folder, and everything that reads it.

    questions ──> run ──────────> samples.jsonl ──> summary ──> summary.json, table
    (`question_files`, `sets`)    (`folder`, `sample`)  (`summary`, `statistics`)   ──> compare, report, explorer

| file | answers |
|---|---|
| `job` | what is asked of whom: one frozen dataclass, checked before anything is loaded |
| `methods` | baselines as configurations of the same loop |
| `fingerprint` | which numbers may stand in one column |
"""
