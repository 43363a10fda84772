"""Engines, which sample token ids: the protocol (`base`), servers, models in this process, scripts."""
