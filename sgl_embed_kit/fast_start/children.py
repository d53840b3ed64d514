"""Give forked children what spawned ones have: their parent's environment as of their start.

A forked child has the fork server's, and SGLang sets variables in between
(_set_envs_and_config, srt/entrypoints/engine.py).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing import spawn
from typing import Any

ENVIRON = "environ"

_get_preparation_data = spawn.get_preparation_data
_prepare = spawn.prepare


def nothing() -> None:
    """Do nothing, in a child that only shows that children can be forked."""


def carry_environment() -> None:
    """Let the children that this process starts take its environment along."""
    spawn.get_preparation_data = _data_with_environment


def _data_with_environment(name: str) -> dict[str, Any]:
    return {**_get_preparation_data(name), ENVIRON: dict(os.environ)}


def prepare_as_spawned(data: Mapping[str, Any]) -> None:
    """Make a forked child what a spawned one would be, before it runs anything."""
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    _adopt(data[ENVIRON])
    _choose_metrics()
    _prepare(data)


def _adopt(environment: Mapping[str, str]) -> None:
    """Take over an environment; what is the same stays, as process titles lie behind it."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _choose_metrics() -> None:
    """Let prometheus_client write where the environment says, not where it said at import."""
    values = sys.modules.get("prometheus_client.values")
    if values is not None:
        vars(values)["ValueClass"] = vars(values)["get_value_class"]()
