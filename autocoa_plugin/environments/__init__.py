"""Environments: who answers an action. See `base`."""
