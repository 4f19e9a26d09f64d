"""Letters between processes as fields of a Redis stream entry, and back."""

from collections.abc import Mapping
from typing import Any, Final, assert_never

from gateway.core.jsontext import loads
from gateway.core.letters import Follow, Forget, Leave, Letter, StopTurn, TapeGrown, TurnOver, TurnUnknown
from gateway.core.turn import TurnError
from gateway.store.record_json import decode_record, encode, encode_record

Fields = dict[Any, Any]

_KIND: Final = b"k"
_HEAD: Final = b"h"
_DATA: Final = b"d"


def encode_letter(letter: Letter) -> Fields:
    """The fields of a letter."""
    match letter:
        case Follow(process, turns, again):
            return _fields(b"follow", [process, dict(turns), again])
        case Leave(process, turn_ids):
            return _fields(b"leave", [process, list(turn_ids)])
        case StopTurn(turn_id):
            return _fields(b"stop", [turn_id])
        case Forget(conversation_id, caller):
            return _fields(b"forget", [conversation_id, caller])
        case TapeGrown(turn_id, position, data):
            return _fields(b"tape", [turn_id, position], data)
        case TurnOver(turn_id, position, record, conversation_id, message_id, error):
            head = [turn_id, position, conversation_id, message_id, error]
            return _fields(b"over", head, b"" if record is None else encode_record(record))
        case TurnUnknown(turn_id):
            return _fields(b"unknown", [turn_id])
        case _:
            assert_never(letter)


def decode_letter(fields: Mapping[bytes, bytes]) -> Letter:
    """Raises `ValueError` for what another version may have written."""
    try:
        return _letter(fields[_KIND], loads(fields[_HEAD]), fields[_DATA])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no letter: {error!r}") from error


def _fields(kind: bytes, head: list[Any], data: bytes = b"") -> Fields:
    return {_KIND: kind, _HEAD: encode(head), _DATA: data}


def _letter(kind: bytes, head: list[Any], data: bytes) -> Letter:
    match kind:
        case b"follow":
            return Follow(*head)
        case b"leave":
            process, turn_ids = head
            return Leave(process, tuple(turn_ids))
        case b"stop":
            return StopTurn(*head)
        case b"forget":
            return Forget(*head)
        case b"tape":
            turn_id, position = head
            return TapeGrown(turn_id, position, data)
        case b"over":
            *place, error = head
            record = decode_record(data) if data else None
            turn_id, position, conversation_id, message_id = place
            reason = None if error is None else TurnError(**error)
            return TurnOver(turn_id, position, record, conversation_id, message_id, reason)
        case b"unknown":
            return TurnUnknown(*head)
        case _:
            raise ValueError(f"no letter of kind {kind!r}")
