"""A stand-in for OpenAI, Anthropic, Groq and Gemini over real HTTP: plain answers, recorded ones, and every kind of failure."""

from simulator.calls import Call
from simulator.script import Chunks, Fault, Script, parse, parse_text
from simulator.server import Settings, Simulator, start_simulator

__all__ = ["Call", "Chunks", "Fault", "Script", "Settings", "Simulator", "parse", "parse_text", "start_simulator"]
