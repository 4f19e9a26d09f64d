"""A process that keeps turns in a journal until it is killed: `python -m tests.store.journal_child FOLDER NAME`."""

import asyncio
import sys
from pathlib import Path

from gateway.store.journal import Journal
from tests.store.journal_turns import begun, record, reply, rich_reply


async def main(directory: Path, name: str) -> None:
    journal = await Journal.open(directory, name, max_bytes=1 << 30, gather_s=3600)
    silent, speaking, ended, stored = (begun(f"{name}-{kind}") for kind in ("silent", "speaking", "ended", "stored"))
    for turn in (silent, speaking, ended, stored):
        await journal.begin(turn)
    for text in ("المعنى: ", "المعنى: جمع", rich_reply()):
        journal.progress(speaking.turn_id, text if not isinstance(text, str) else reply(text))
        await asyncio.sleep(0.02)  # longer than what has come is gathered
    await journal.end(record(ended, "انتهى"))
    journal.forget((stored.turn_id,))
    await journal.begin(begun(f"{name}-last"))
    await journal.read(1, 1)  # what was asked for before is written before
    await journal.begin(begun(f"{name}-newest"))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
