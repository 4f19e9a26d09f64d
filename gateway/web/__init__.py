"""The edge: parse, call, render."""
