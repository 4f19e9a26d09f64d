"""Who is asking."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in. `id` owns conversations (`user:7`, `key:app`, `admin`); None for nobody in particular."""

    kind: Literal["anonymous", "user", "key", "admin"]
    id: str | None = None
    reads_everything: bool = False
