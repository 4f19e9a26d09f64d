"""Bytes to values and back, without I/O: server-sent events both ways."""
