"""Make a real CUDA context on each GPU of a server, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("cuda_child.py")
SECONDS = 20
"""A driver without persistence mode takes 1 to 3 seconds to set up each GPU
(https://docs.nvidia.com/deploy/driver-persistence/overview.html): enough for eight."""
KILL_SECONDS = 1.0
SPARE = 256 * 2**20
"""Bytes that the probe leaves alone, so that a program that runs there can go on."""


@dataclass(frozen=True)
class Probed:
    """What a CUDA context on one GPU could have; sizes in bytes.

    Attributes:
        ordinal: CUDA's number of the GPU.
        uuid: Its identity without the prefix and the dashes; empty where it failed.
        free: What was free beside the probe's own context.
        asked: The largest block that was asked for: what was free, less `SPARE`.
        largest: The largest block that was really allocated.
        error: Why there is no context; empty where there is one.
    """

    ordinal: int
    uuid: str = ""
    free: int = 0
    asked: int = 0
    largest: int = 0
    error: str = ""

    @property
    def fragmentation(self) -> float:
        """Part of what was asked for that cannot be had in one block: 0 is none of it."""
        return 1 - self.largest / self.asked if self.asked else 0.0


def probe_cuda(
    ordinals: tuple[int, ...], variables: Mapping[str, str], seconds: int = SECONDS
) -> tuple[Probed, ...]:
    """Make a context on each GPU, allocate, and give all of it back.

    Takes nearly all of what is free for some thousandths of a second.

    Args:
        ordinals: CUDA's numbers of the GPUs.
        variables: Set for the process on top of this one's environment.
        seconds: Time for all of them.

    Returns:
        An answer for each GPU, in the order given; one process's end is told of all that it
        did not answer for.
    """
    command = [sys.executable, "-I", "-S", str(CHILD), str(seconds), str(SPARE)]
    process = subprocess.Popen(
        [*command, *map(str, ordinals)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        text, _ = process.communicate(timeout=seconds)
        end = _end(process.returncode, seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        end = _end(-signal.SIGALRM, seconds)
        try:
            text, _ = process.communicate(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:  # stuck in the kernel, where no signal reaches it
            text = ""
    answers = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return tuple(_answer(ordinal, answers, end) for ordinal in ordinals)


def _answer(ordinal: int, answers: list[dict[str, Any]], end: str) -> Probed:
    for answer in answers:
        if answer.get("ordinal", ordinal) == ordinal:
            if "error" in answer:
                return Probed(ordinal, error=answer["error"])
            return Probed(
                ordinal, answer["uuid"], answer["free"], answer["asked"], answer["largest"]
            )
    return Probed(ordinal, error=end)


def _end(status: int, seconds: int) -> str:
    if status == -signal.SIGALRM:
        return f"no answer within {seconds} s"
    if status < 0:
        return f"the driver crashed the process that asked it ({signal.Signals(-status).name})"
    return f"the process that asked ended with status {status}"
