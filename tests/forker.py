"""A program that imports `run.py` and forks a process of it for each request; tests/warm.py asks.

A request comes with two descriptors: the standard error of the process, and where its number and then its exit status are told.
"""

import gc
import json
import os
import selectors
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_MOST_BYTES = 200_000


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request, and tell how each process ends. Returns in each of them, with the request; at the end, None."""
    awake, wakes = socket.socketpair()
    awake.setblocking(False)
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector, awake, wakes:
        selector.register(control, selectors.EVENT_READ)
        selector.register(awake, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if awake in ready:
                awake.recv(1000)
                _bury(running)
            if control not in ready:
                continue
            request, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 2)
            if not request:
                return None
            stderr, status = descriptors
            if not (pid := os.fork()):
                _leave(stderr, (*running.values(), status))
                told: dict[str, Any] = json.loads(request)
                return told
            os.close(stderr)
            os.write(status, b"%d\n" % pid)
            running[pid] = status


def _leave(stderr: int, others: tuple[int, ...]) -> None:
    """Become a process like any other."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for other in others:
        os.close(other)
    os.dup2(stderr, 2)
    os.close(stderr)


def _bury(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        descriptor = running.pop(pid)
        os.write(descriptor, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(descriptor)


def _main() -> int:
    sys.path[0] = str(_ROOT)
    import run

    import_module("gateway.serve")
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        told = _serve(control)
    if told is None:
        return 0
    if told["session"]:
        os.setsid()
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environ"])
    return run.main([])


if __name__ == "__main__":
    sys.exit(_main())
