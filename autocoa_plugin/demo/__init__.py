"""`autocoa demo`: the whole way on the embedded world, on a machine without an accelerator.

| file | answers |
|---|---|
| `run` | which steps, in which order, and which of them are done already |
| `process` | one launched process: log file, progress, clear failure |
| `memory` | how much memory all processes take together |
| `table` | held-out results before and after, read from the trajectory dumps |
"""
