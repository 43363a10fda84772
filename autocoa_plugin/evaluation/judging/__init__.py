"""A language model as judge, optional: three votes per answer, what they cost, and verdicts that survive a crash."""
