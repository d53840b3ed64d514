"""`python -m sgl_embed_kit.fast_start serve …`: what `sglang serve …` does, sooner."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import forkserver

from sgl_embed_kit.fast_start import children

PRELOADED = [
    "sgl_embed_kit.fast_start.fork_server",
    "sglang.srt.managers.scheduler",
    "sglang.srt.managers.detokenizer_manager",
]
"""What the fork server imports: how it should treat its children, and what these run."""

PRELOAD_SECONDS = 120.0
set_start_method = multiprocessing.set_start_method


def main() -> None:
    """Begin to preload, and run SGLang's own command."""
    forkserver.set_forkserver_preload(PRELOADED)
    children.carry_environment()
    try:
        forkserver.ensure_running()
    except OSError as error:
        _fall_back(str(error))
    else:
        multiprocessing.set_start_method = _set_start_method
    from sglang.cli.main import main as sglang_main

    sys.argv[0] = "sglang"
    sglang_main()


def _set_start_method(method: str | None, force: bool = False) -> None:
    """Let SGLang fork where it wants to spawn, if the fork server is well."""
    if method == "spawn":
        try:
            _try_fork_server()
        except (OSError, EOFError, RuntimeError) as error:
            _fall_back(str(error) or type(error).__name__)
        else:
            method = "forkserver"
    set_start_method(method, force=force)


def _try_fork_server() -> None:
    """Fork a child that does nothing, which waits for the preload to end.

    Raises:
        OSError, EOFError: the fork server is gone.
        RuntimeError: it has forked nothing in the time given.
    """
    child = multiprocessing.get_context("forkserver").Process(target=children.nothing)
    child.start()
    child.join(PRELOAD_SECONDS)
    if child.exitcode != 0:
        raise RuntimeError(f"the first child ended with {child.exitcode}")


def _fall_back(why: str) -> None:
    """Say in the log why the start is not a fast one; SGLang then spawns as always."""
    sys.stderr.write(f"sgl-embed: no fast start, the plain way goes on: {why}\n")


if __name__ == "__main__":
    main()
