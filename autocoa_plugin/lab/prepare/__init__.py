"""Prepare questions of any kind as prompt files that verl trains on (`autocoa prepare`)."""
