"""Which script a call gets: the setting, then what stands, then the queue, then the message's own directive."""

from collections import Counter
from dataclasses import dataclass, field

from simulator.script import Script, parse_text

MAX_DIRECTIVES = 10_000


@dataclass(slots=True)
class Entry:
    """A script given to a running simulator; `left` counts the calls it is still for (None: it stands until cleared)."""

    script: Script
    left: int | None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def takes(self, provider: str, key: str) -> bool:
        """Whether it applies to this call; counts the call where `times` limits it."""
        if self.left == 0 or not self.script.is_for(provider, key):
            return False
        return _within(self.script, self.seen, provider, key)


class Scripts:
    """Holds the scripts of one simulator and counts what they were used for."""

    def __init__(self, default: Script) -> None:
        self.default = default
        self.entries: list[Entry] = []
        self._seen: dict[str, Counter[tuple[str, str]]] = {}

    def add(self, script: Script, calls: int | None) -> None:
        """Queue a script for the next `calls` calls it is for, or let it stand (None)."""
        self.entries.append(Entry(script, calls))

    def clear(self) -> None:
        """Forget all scripts but the default one, and all counts."""
        self.entries.clear()
        self._seen.clear()

    def pick(self, provider: str, key: str, directive: str | None) -> Script:
        """Return the script of one call; raise `ValueError` when its directive cannot be read."""
        script = self.default
        if self.entries:
            script = self._queued(script, provider, key)
        if directive is not None:
            own = parse_text(directive)
            if own.is_for(provider, key) and _within(own, self._counts(directive), provider, key):
                script = own.over(script)
        return script

    def _queued(self, script: Script, provider: str, key: str) -> Script:
        for entry in self.entries:
            if entry.left is None and entry.takes(provider, key):
                script = entry.script.over(script)
        for entry in self.entries:
            if entry.left is not None and entry.takes(provider, key):
                entry.left -= 1
                script = entry.script.over(script)
                break
        self.entries = [entry for entry in self.entries if entry.left != 0]
        return script

    def _counts(self, directive: str) -> Counter[tuple[str, str]]:
        if len(self._seen) >= MAX_DIRECTIVES:
            self._seen.clear()
        return self._seen.setdefault(directive, Counter())


def _within(script: Script, seen: Counter[tuple[str, str]], provider: str, key: str) -> bool:
    if script.times is None:
        return True
    seen[provider, key] += 1
    return seen[provider, key] <= script.times
