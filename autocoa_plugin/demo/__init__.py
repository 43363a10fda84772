"""`autocoa demo`: all five stages on the embedded world, on a machine without an accelerator.

| file | answers |
|---|---|
| `run` | which steps, in which order |
| `trainings` | which stages each method is trained by; what is trained already |
| `judge` | what a checkpoint does on held-out questions: `autocoa evaluate`, and decisions hop by hop |
| `methods` | the table of methods: exact match, decisions, real calls and seconds of training |
| `outcome` | results.json, and the lines under the table |
| `pages` | the scorecard of the world model, report.html, explorer.html |
"""
