"""SGLang's own argument parser and its checks, in a process of their own.

Importing SGLang takes ten seconds, so a process answers many questions: one a line, as
JSON, and a JSON object or what SGLang said against it as the answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.sglang.installed import find_installed

PARSE = """
import argparse
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)

def answer(argv):
    return vars(parser.parse_args(argv))
"""

RESOLVE = """
from sglang.srt.arg_groups.overrides import resolved_view
from sglang.srt.server_args import prepare_server_args
NAMES = %r

def answer(argv):
    # As sglang/srt/entrypoints/engine.py does before it starts a process.
    arguments = prepare_server_args(argv)
    arguments.resolve_once()
    arguments.check_server_args()
    view = resolved_view(arguments)
    return {name: getattr(view, name) for name in NAMES}
"""

LOOP = """
import json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what SGLang prints is no answer
print("ready", file=out, flush=True)
for line in sys.stdin:
    # Each in a process of its own, because resolving sets variables; what the first one
    # imports is imported here, once.
    pid = 0 if line.startswith("!") else os.fork()
    if pid:
        os.waitpid(pid, 0)
        continue
    try:
        text = json.dumps(answer(json.loads(line.lstrip("!"))), default=str)
    except (Exception, SystemExit) as error:
        text = "refused " + f"{type(error).__name__}: {error}".replace("\\n", " ")
    print(text, file=out, flush=True)
    if not line.startswith("!"):
        os._exit(0)
"""

RESOLVED = (
    "attention_backend",
    "chunked_prefill_size",
    "context_length",
    "device",
    "disable_radix_cache",
    "is_embedding",
    "max_queued_requests",
    "max_running_requests",
    "max_total_tokens",
    "mem_fraction_static",
    "port",
    "served_model_name",
)


def parsed_words(argv: Sequence[str]) -> list[str]:
    """Return what of a command reaches SGLang's parser: all after `serve --model-type llm`."""
    begin = argv.index("serve")
    assert tuple(argv[begin : begin + 3]) == ("serve", "--model-type", "llm")
    return list(argv[begin + 3 :])


class RefusedError(AssertionError):
    """SGLang does not take an argv; the text is what it said."""


class Sglang:
    """A process that imported SGLang and answers questions about argvs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: Any, *, in_place: bool = False) -> dict[str, Any]:
        """Return what SGLang makes of a question.

        Args:
            question: What the script's `answer` takes: an argv, as a rule.
            in_place: Answer in the process itself, so that it keeps what it imports.

        Raises:
            RefusedError: SGLang does not take it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{'!' if in_place else ''}{json.dumps(question)}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer.startswith("{"):
            raise RefusedError(f"{answer.removeprefix('refused ').strip()}: {question}")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def sglang(script: str, **env: str) -> Iterator[Sglang]:
    """Start a process that answers with the script's `answer(question)`."""
    if find_installed() is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script + LOOP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(OVERLAY),
            "SGLANG_USE_CPU_ENGINE": "1",
            "HF_HUB_OFFLINE": "1",
            **env,
        },
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Sglang(process)
        process.kill()
