"""Every test of the engine has a house."""

from tests.engine.house import house, repository

__all__ = ["house", "repository"]
