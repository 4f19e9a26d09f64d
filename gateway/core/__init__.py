"""Values shared by every room: no I/O, no imports from the rest of the gateway."""
