"""`autocoa compare`: two runs, question by question, when they are alike enough to be compared."""
