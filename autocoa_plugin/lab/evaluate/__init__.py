"""Evaluation (`autocoa evaluate`): questions x engine x environment x protocol -> one results folder.

    questions ──> evaluate ──> samples.jsonl ──> measure ──> summary.json, table.txt ──> compare, report
                                            └──> judge                              └──> explore

Questions, model, world and methods are read in `lab/asking/`.

| file | answers |
|---|---|
| `job`, `cli` | what is asked for, checked before anything is loaded |
| `evaluate` | asking every question, also after an interruption |
| `results_folder` | what is on disk, and what a checkpoint had cost |
| `judge`, `judge_folder` | an LLM as judge, three votes each |
| `measure`, `summary` | from samples to numbers with intervals |
| `table` | numbers as tables |
"""
