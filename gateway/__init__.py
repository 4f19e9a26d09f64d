"""A gateway between a chat app and the LLM providers that loses no turn."""

__version__ = "0.1.0"
