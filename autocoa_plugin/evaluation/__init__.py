"""Evaluation: questions x engine x environment x protocol -> one results folder, and everything that reads it.

    questions ──> prepare ──> run ──> samples.jsonl ──> measure ──> summary.json, table.txt ──> compare, report
                                                   └──> judge                              └──> explorer

| files | answer |
|---|---|
| `question`, `question_files`, `question_rows`, `question_sources`, `hub`, `sets`, `set_questions` | what is asked |
| `methods`, `shots`, `prompting` | how it is put: baselines as configurations of the same loop |
| `job`, `job_settings`, `world_cli`, `cli`, `command` | all of it, checked before anything is loaded |
| `engine_source`, `seeds`, `prepare`, `run`, `evaluate`, `stop_signals`, `run_progress` | who is asked, and asking |
| `folder`, `sample`, `sample_log`, `resume` | what is on disk, and how an interrupted run goes on |
| `fingerprint`, `identity`, `training_cost` | what numbers depend on, and what a checkpoint had cost |
| `judge`, `judge_votes`, `judge_folder`, `judge_cli` | an LLM as judge, three votes each |
| `numbers`, `breakdowns`, `statistics`, `measure`, `summary` | from samples to numbers with intervals |
| `table`, `table_notes`, `methods_table`, `results` | numbers as tables |
| `alike`, `compare`, `compare_table`, `compare_command`, `compare_cli` | two runs, question by question |
"""
