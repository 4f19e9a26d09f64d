"""TensorZero's gateway in a process of its own: `python bench/peers_tensorzero.py CONFIG ADDRESS_FILE`, by a Python that has it.

The wheel has the whole gateway, compiled, and no program; it serves on a port of its own choice, which is written to the file.
"""

import importlib
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until killed."""
    config, address = sys.argv[1:3]
    openai: Any = importlib.import_module("openai")
    tensorzero: Any = importlib.import_module("tensorzero")
    client = tensorzero.patch_openai_client(openai.OpenAI(api_key="unused"), config_file=config, async_setup=False)
    Path(address).write_text(str(client.base_url).rstrip("/"), encoding="utf-8")
    signal.pause()


if __name__ == "__main__":
    main()
