"""Compare two evaluations question by question (`autocoa compare`), when they are alike enough to be compared.

| file | answers |
|---|---|
| `cli` | the command and its tables |
| `compare` | may two runs be compared (`unlike`); paired differences and tests (`compare`) |
"""
