"""One SGLang server as a group of processes: start it, read its log, stop all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import log_folder, log_name
from sgl_embed_kit.launch.keeper import TERMINATE
from sgl_embed_kit.launch.leftovers import (
    PrivateFolder,
    kill_marked,
    remove_leftovers,
    temporary,
)
from sgl_embed_kit.launch.log_file import LogFile
from sgl_embed_kit.launch.output import Output
from sgl_embed_kit.launch.signals import interrupts_deferred, stop_signals_counted
from sgl_embed_kit.redaction import Private, Redactor, secrets_in
from sgl_embed_kit.sglang.command import Command

POLL_SECONDS = 0.2
KILL_SECONDS = 15.0
"""Until processes that were killed are gone: the driver takes back a GPU's memory meanwhile."""
KEEPER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py")))


class ServerProcess:
    """A running server and everything that it started.

    It leads a session of its own, so that Ctrl-C in the terminal reaches only the
    launcher. A keeper (keeper.py) stands between, which lets nothing of it be left, also
    where the launcher is killed. Its output goes through a pipe to the log file.

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
        kept = {name: text for name, text in os.environ.items() if name not in command.unset}
        env = {**kept, **command.env, "PYTHONUNBUFFERED": "1"}
        # Kernels are compiled with the ninja of the same environment, activated or not.
        env["PATH"] = f"{program.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        redact = Redactor(Private((*keys, *secrets_in(env)))).keys
        self.output = Output(LogFile(log), redact)
        remove_leftovers(env)
        self._folder = PrivateFolder(env)
        env |= temporary(env, self._folder.path)
        try:
            program.stat()
            with interrupts_deferred(), self.output.taking() as pipe:
                self._start([str(program), *command.argv[1:]], env, pipe)
        except OSError as error:
            self._folder.remove()
            raise KitError(
                "The server could not be started.", why=f"{error.filename}: {error.strerror}"
            ) from error
        except KeyboardInterrupt:  # held back until the server was started
            self.stop(0)
            raise
        finally:
            self._folder.close()

    def _start(self, argv: list[str], env: Mapping[str, str], output: int) -> None:
        """Start the keeper, which starts the server.

        Raises:
            OSError: one of them cannot be run.
        """
        report, reported = os.pipe()
        with os.fdopen(report, "rb") as reports:
            try:
                self._keeper = subprocess.Popen(
                    [*KEEPER, str(self._folder.lock), str(reported), *argv],
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(self._folder.lock, reported),
                )
            finally:
                os.close(reported)
            numbers = [int(line) for line in reports.read().splitlines()]
        self._pid = max(numbers, default=self._keeper.pid)
        if min(numbers, default=0) < 0:
            self._end_keeper(KILL_SECONDS)
            raise OSError(-min(numbers), os.strerror(-min(numbers)), argv[0])

    @property
    def pid(self) -> int:
        """Id of the server's main process, and of its process group."""
        return self._pid

    def exit_status(self) -> int | None:
        """Return the main process's exit status, or None while anything of it is left."""
        return self._keeper.poll()

    def end_of_log(self) -> str:
        """Return the last lines of all that has been printed up to now."""
        self.output.catch_up()
        return str(self.output.end)

    def stop(self, grace: float) -> bool:
        """End the server and all that it started; kill what is left after `grace` seconds.

        SGLang drains its requests on SIGTERM once it serves, and just dies of it before.
        Another stop signal meanwhile ends the waiting, and interrupts nothing.

        Returns:
            Whether it ended by itself, without being killed.

        Raises:
            KitError: it cannot be killed.
        """
        with stop_signals_counted() as is_asked_again:
            self._tell(TERMINATE)
            deadline = time.monotonic() + grace
            while self.exit_status() is None and time.monotonic() < deadline:
                if is_asked_again():
                    break
                self._wait(POLL_SECONDS / 4)
            ended = self.exit_status() is not None
            self._end_keeper(KILL_SECONDS)
        return ended

    def _tell(self, command: bytes) -> None:
        assert self._keeper.stdin is not None
        with suppress(OSError, ValueError):  # a keeper that is gone has nothing to keep
            self._keeper.stdin.write(command)
            self._keeper.stdin.flush()

    def _end_keeper(self, seconds: float) -> None:
        """Let the keeper kill what is left; do what it cannot do if it was killed itself."""
        assert self._keeper.stdin is not None
        with suppress(OSError):
            self._keeper.stdin.close()
        if not self._wait(seconds):
            raise KitError(
                f"The server cannot be killed: process {self.pid}, or one below it, is left.",
                why=f"It has not ended {seconds:g} s after SIGKILL: the kernel holds it, as it "
                "does while a driver or a disk hangs.",
                cure=f"ps -o pid,stat,wchan:30,args --ppid {self._keeper.pid}",
            )
        if self._folder.path.exists():
            kill_marked(self._folder.path)
            self._folder.remove()
        self.output.close()

    def _wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(seconds)
        return self._keeper.poll() is not None


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
