"""Fixtures of this room: gateways in processes of their own."""

from tests.processes import launch

__all__ = ["launch"]
