"""What is deleted from the log, and stays deleted.

A grave says that nothing of a conversation that began before may be written any more: turns may lie in a journal, here or in a
replica that was cut off. So even a conversation that the log does not have gets one. Graves go when no journal can be that old.
"""

from typing import Final

from gateway.store.base import Viewer
from gateway.store.pool import Connection, transaction
from gateway.store.queries import QUERIES

GRAVE_DAYS: Final = 90


async def delete(connection: Connection, conversation_id: str, viewer: Viewer, now_ms: int) -> bool:
    """See `Store.delete_conversation`."""
    if viewer.caller is None and not viewer.everything:
        return False
    async with transaction(connection):
        await connection.execute(QUERIES["lock_conversation"], conversation_id)
        owner = await connection.fetchval(QUERIES["access"], conversation_id)
        whole = viewer.everything or owner == viewer.caller
        if owner is not None and not whole:
            return False
        seen = await connection.fetchrow(QUERIES["conversation"], conversation_id, viewer.everything, viewer.caller)
        buried = None if viewer.everything else viewer.caller
        await _bury(connection, conversation_id, (buried, now_ms), whole=whole, caller=viewer.caller)
        return seen is not None


async def delete_silent(connection: Connection, conversation_id: str, before_ms: int) -> bool:
    """Delete a conversation unless somebody has spoken in it since; what is being asked in it now is written, in a new one."""
    async with transaction(connection):
        await connection.execute(QUERIES["lock_conversation"], conversation_id)
        if not await connection.fetchval(QUERIES["silent"], conversation_id, before_ms):
            return False
        await _bury(connection, conversation_id, (None, before_ms), whole=True, caller=None)
        return True


async def _bury(
    connection: Connection, conversation_id: str, grave: tuple[str | None, int], *, whole: bool, caller: str | None
) -> None:
    """Delete a conversation, or one caller's turns in it. `grave`: whose turns, begun before when (Unix milliseconds), are
    never to be written again."""
    await connection.execute(QUERIES["bury"], conversation_id, *grave)
    for name in ("delete_calls", "delete_messages", "delete_guests"):
        await connection.execute(QUERIES[name], conversation_id, whole, caller)
    await connection.execute(QUERIES["delete_conversation"], conversation_id, whole)


async def forget_graves(connection: Connection) -> None:
    """Delete the oldest graves."""
    await connection.execute(QUERIES["forget_graves"], GRAVE_DAYS)
