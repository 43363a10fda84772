"""Recipes as a package, so that hydra finds them in a wheel: --config-path pkg://autocoa_plugin.recipes."""
