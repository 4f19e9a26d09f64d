"""What each provider refuses in a request, so that a client that passes here is understood there too.

Messages and shapes follow recorded errors and public reports; where a rule's wording is not recorded, its meaning is.
"""


def names(text: str) -> frozenset[str]:
    """Return the words of a text as a set of names."""
    return frozenset(text.split())
