"""How a turn's values are declared."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, dataclass_transform

T = TypeVar("T")

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, field_specifiers=(field,))
    def value(kind: type[T]) -> type[T]: ...

else:

    def value(kind: type) -> type:
        """A dataclass with slots that is frozen for the type checker alone.

        A frozen one takes three times as long to make, and a turn makes some forty.
        """
        return dataclass(slots=True, unsafe_hash=True)(kind)
