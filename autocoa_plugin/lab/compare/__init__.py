"""Compare two evaluations question by question (`autocoa compare`), when they are alike enough to be compared."""
