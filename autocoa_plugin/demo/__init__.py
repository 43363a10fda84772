"""`autocoa demo`: all five stages on the embedded world, on a machine without an accelerator.

| file | answers |
|---|---|
| `run` | which steps, in which order, and which of them are done already |
| `judge` | what a checkpoint does on held-out questions, and whether it is a world model |
| `methods` | the table of methods: exact match, decisions, real calls and seconds of training |
"""
