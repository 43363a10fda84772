"""Evaluation: questions x engine x environment x protocol -> one results folder, and everything that reads it.

    questions ──> prepare ──> run ──> samples.jsonl ──> measure ──> summary.json, table.txt ──> compare, report
                                                   └──> judge                              └──> explorer

What is asked is read by `questions/`.

| files | answer |
|---|---|
| `methods`, `shots`, `prompting` | how it is put: baselines as configurations of the same loop |
| `job`, `job_settings`, `world_cli`, `cli`, `command` | all of it, checked before anything is loaded |
| `engine_source`, `seeds`, `prepare`, `run`, `refusals`, `evaluate`, `stop_signals`, `run_progress` | asking |
| `folder`, `sample`, `sample_log`, `resume` | what is on disk, and how an interrupted run goes on |
| `fingerprint`, `identity`, `training_cost` | what numbers depend on, and what a checkpoint had cost |
| `judging/` | an LLM as judge, three votes each |
| `numbers`, `breakdowns`, `measure`, `summary` | from samples to numbers with intervals |
| `table`, `table_notes`, `methods_table`, `results` | numbers as tables |
| `comparison/` | two runs, question by question |
"""
