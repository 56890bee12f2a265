"""Set-up shared by all tests: one thread a process, and shapes checked at annotated borders."""

from __future__ import annotations

import os
import signal

# Before torch is imported: pytest-xdist runs one process a core already.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing in the tests may reach for a model hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from jaxtyping import install_import_hook

pytest_plugins = ("browser",)

# A script's background jobs ignore Ctrl-C, and so would the processes that tests stop with it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The command line is left out: Typer reads its signatures as they were written.
ROOMS = ("adapter", "hosts", "pipeline", "data", "miniature", "training", "evaluation")
install_import_hook([f"dynaip.{room}" for room in ROOMS], "checked.check")
