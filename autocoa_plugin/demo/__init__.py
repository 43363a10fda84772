"""`autocoa demo`: the whole way on the embedded world, on a machine without an accelerator.

| file | answers |
|---|---|
| `run` | which steps, in which order, and which of them are done already |
| `judge` | what each supervised stage does on held-out questions |
| `table` | held-out results before and after, read from the trajectory dumps |
"""
