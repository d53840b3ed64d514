"""The guard: the SGLang plugin that runs inside every process of the server.

SGLang (>= 0.5.12) calls `activate` through the entry point group
`sglang.srt.plugins`. Without SGL_EMBED_GUARD=1 it returns at once and patches nothing.
The guard imports nothing from the toolkit's other rooms.
"""

from __future__ import annotations

import os

SWITCH = "SGL_EMBED_GUARD"
"""Environment variable that turns the guard on, with the value 1."""


def activate() -> None:
    """Register the guard's hooks with SGLang, in the process that calls this."""
    if os.environ.get(SWITCH) != "1":
        return
    from sgl_embed_kit.guard import encoder, generation, liveness

    encoder.register()
    generation.register()
    liveness.register()
