"""Packages that take seconds to import, and that few tests use: every process that runs tests reads all their modules."""

from importlib import import_module
from typing import Any


class Lazily:
    """Stands for a package and imports it when something of it is wanted, once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks everything in a module whether it is a fixture
            raise AttributeError(name)
        found = getattr(import_module(self._name), name)
        setattr(self, name, found)
        return found
