"""The scorecard of a world model: imagined against real observations. See `run` and `card`."""
