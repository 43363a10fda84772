"""Scorecard of a world model (`autocoa scorecard`): imagined against real observations.

    queries ──> imagine (world model) and ask (real tool) ──> compare ──> ScoreCard ──> table, plot, report

| file | answers |
|---|---|
| `cli`, `job` | the command; `Job`: which queries, which real tool, how to sample; one model judged by it |
| `queries` | queries of a policy, from a file or from a trajectory dump |
| `imagine`, `facts` | one query judged: both observations, every measure; names and numbers of a text |
| `scorecard` | `ScoreCard`: the numbers and what they were measured with, as JSON |
| `table` | cards as tables and as a picture |
| `in_training` | the same during verl's training |
"""
