"""One SGLang server as a group of processes: start it, read its log, stop all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import log_folder, log_name
from sgl_embed_kit.launch.log_file import LogFile
from sgl_embed_kit.launch.output import Output
from sgl_embed_kit.launch.signals import interrupts_deferred
from sgl_embed_kit.redaction import Private, Redactor, secrets_in
from sgl_embed_kit.sglang.command import Command

POLL_SECONDS = 0.2
TIED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tied.py")))


class ServerProcess:
    """A running server and everything that it started.

    It leads a session of its own, so that Ctrl-C in the terminal reaches only the
    launcher, and so that whatever it spawns can be ended as one group. Its output goes
    through a pipe to the log file. It ends with the launcher, also where that is killed, if
    the launcher's main thread starts it.

    Attributes:
        log: Its log file.
        output: What it prints, without keys.
    """

    def __init__(
        self, command: Command, program: Path, log: Path, keys: Iterable[str] = ()
    ) -> None:
        """Start the server.

        Args:
            command: What starts it.
            program: The `sglang` of its environment.
            log: Its log file, which is made.
            keys: Values that it is given in other ways than the environment, and that its
                log must not hold.

        Raises:
            KitError: the program cannot be started.
        """
        self.log = log
        if command.argv[0] == "python":
            program = Path(sys.executable)
        argv = [*TIED, str(os.getpid()), str(program), *command.argv[1:]]
        kept = {name: text for name, text in os.environ.items() if name not in command.unset}
        env = {**kept, **command.env, "PYTHONUNBUFFERED": "1"}
        # Kernels are compiled with the ninja of the same environment, activated or not.
        env["PATH"] = f"{program.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        redact = Redactor(Private((*keys, *secrets_in(env)))).keys
        self.output = Output(LogFile(log), redact)
        try:
            program.stat()
            with interrupts_deferred(), self.output.taking() as pipe:
                self._process = subprocess.Popen(
                    argv,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=pipe,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise KitError(
                "The server could not be started.", why=f"{error.filename}: {error.strerror}"
            ) from error

    @property
    def pid(self) -> int:
        """Id of the server's main process, and of its process group."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the main process's exit status, or None while it runs."""
        return self._process.poll()

    def end_of_log(self) -> str:
        """Return the last lines of all that has been printed up to now."""
        self.output.catch_up()
        return str(self.output.end)

    def stop(self, grace: float) -> None:
        """End the server and all that it started; kill what is left after `grace` seconds.

        SGLang drains its requests on SIGTERM once it serves, and just dies of it before.
        A KeyboardInterrupt (a second Ctrl-C) ends the waiting.
        """
        members = self._members()
        try:
            if self.exit_status() is None:
                self._process.terminate()
                self._process.wait(grace)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            self._kill(members)

    def _members(self) -> Sequence[psutil.Process]:
        try:
            main = psutil.Process(self.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _kill(self, members: Sequence[psutil.Process]) -> None:
        """Kill what still lives: the group, and descendants that left it."""
        if self._process.poll() is None or _group_exists(self.pid):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()  # psutil compares start times: never a stranger's pid
        self._process.wait()
        deadline = time.monotonic() + 5
        while _group_exists(self.pid) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self.output.close()


def log_file(name: str) -> Path:
    """Return the path for the log of a server that starts now; its folder is private.

    Raises:
        KitError: the folder cannot be made.
    """
    folder = log_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KitError(
            f"The log folder {folder} cannot be made.",
            why=error.strerror or str(error),
            cure="SGL_EMBED_STATE=/a/folder/you/own sgl-embed …",
        ) from error
    return folder / f"{log_name(name)}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
