"""Evaluation (`autocoa evaluate`): questions x model x world x method -> one results folder.

    EvaluationJob ──> evaluate ──> samples.jsonl ──> measure ──> summary.json, table.txt ──> compare, report
                                                └──> judge                              └──> explore

Questions, model, world and methods are read in `lab/asking/`.

| file | answers |
|---|---|
| `job`, `cli` | `EvaluationJob`: questions, `Model`, `World`, `SamplingOptions`, checked before anything is loaded |
| `evaluate` | asking every question, also after an interruption |
| `results_folder` | the files on disk, and what a checkpoint had cost |
| `judge_folder` | an LLM as judge of every sample, three votes each (`judge.py`) |
| `measure`, `summary` | from samples to a `Summary`: numbers with intervals |
| `table` | numbers as tables |
"""
