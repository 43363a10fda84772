"""Scorecard of a world model (`autocoa scorecard`): imagined against real observations. See `imagine`, `scorecard`."""
