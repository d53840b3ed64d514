"""One SGLang server as a group of processes: start it, read its log, stop all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import log_folder, log_name
from sgl_embed_kit.launch.signals import interrupts_deferred
from sgl_embed_kit.sglang.command import Command

POLL_SECONDS = 0.2
TIED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tied.py")))


class ServerProcess:
    """A running server and everything that it started.

    It leads a session of its own, so that Ctrl-C in the terminal reaches only the
    launcher, and so that whatever it spawns can be ended as one group. Its output goes
    straight to the log file: no pipe can fill up and block it. It ends with the launcher,
    also where that is killed, if the launcher's main thread starts it.
    """

    def __init__(self, command: Command, program: Path, log: Path) -> None:
        """Start the server.

        Raises:
            KitError: the log cannot be written, or the program cannot be started.
        """
        self.log = log
        if command.argv[0] == "python":
            program = Path(sys.executable)
        argv = [*TIED, str(os.getpid()), str(program), *command.argv[1:]]
        kept = {name: text for name, text in os.environ.items() if name not in command.unset}
        env = {**kept, **command.env, "PYTHONUNBUFFERED": "1"}
        # Kernels are compiled with the ninja of the same environment, activated or not.
        env["PATH"] = f"{program.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        try:
            program.stat()
            with log.open("xb") as output, interrupts_deferred():
                self._process = subprocess.Popen(
                    argv,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._log_read = 0
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

    def new_log_lines(self) -> list[str]:
        """Return the whole lines that were added to the log since the last call."""
        with self.log.open("rb") as file:
            file.seek(self._log_read)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._log_read += len(whole)
        return whole.decode("utf-8", "replace").splitlines()

    def whole_log(self) -> str:
        """Return everything that the server has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def listens_on(self, port: int) -> bool:
        """Say whether it is this server's main process that listens on a port."""
        try:
            connections = psutil.Process(self.pid).net_connections(kind="tcp")
        except psutil.Error:
            return False
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
            for connection in connections
        )

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
