"""A process that keeps turns in a journal at random, saying of each what it may be held to, until it is killed:
`python -m tests.store.journal_busy_child FOLDER NAME SEED`."""

import asyncio
import random
import sys
from pathlib import Path

from gateway.core.turn import TurnBegun
from gateway.store.journal import Journal
from tests.store.journal_turns import begun, record, reply


def say(what: str, turn: TurnBegun) -> None:
    print(what, turn.conversation_id, flush=True)


async def main(directory: Path, name: str, seed: int) -> None:
    journal = await Journal.open(directory, name, max_bytes=1 << 30, gather_s=0.002)
    pick = random.Random(seed)
    running: list[TurnBegun] = []
    for number in range(1_000_000):
        match pick.choice("bbbbpefs") if running else "b":
            case "b":
                turn = begun(f"{name}-{number}", question="س" * pick.randrange(1, 3000))
                await journal.begin(turn)
                running.append(turn)
                say("begun", turn)
            case "p":
                journal.progress(pick.choice(running).turn_id, reply("نص " * number))
            case "e":
                turn = running.pop(pick.randrange(len(running)))
                await journal.end(record(turn))
                say("ended", turn)
            case "f":
                turn = running.pop(pick.randrange(len(running)))
                say("gone", turn)
                journal.forget((turn.turn_id,))
            case _:
                await asyncio.sleep(pick.random() / 200)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
