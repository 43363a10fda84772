"""Environments, which answer actions: the protocol (`base`), tools, world model, router, cassette, scripts."""
