"""Engines: who writes tokens. See `base`."""
