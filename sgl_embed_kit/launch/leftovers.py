"""A folder for each server's temporary files, and what dead servers have left in theirs.

SGLang never removes its sockets and other files (`NamedTemporaryFile(delete=False)`,
srt/server_args.py), so each server gets a `TMPDIR` that is removed after it. Who uses a folder
holds a lock on it (flock(2)), which the kernel takes away with the last process that has it:
this tells the dead from the living also across containers and reboots, where process ids lie.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.shared_memory import NOTES, noted, remove

PREFIX = "sgl-embed-run-"
SYSTEMS = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - what Python falls back to


class PrivateFolder:
    """A new folder that nobody else can enter, locked for as long as it is open.

    Attributes:
        path: Where it is.
        lock: A descriptor that holds its lock, for a process that shall hold it, too.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Make it where `environment` puts temporary files.

        Raises:
            KitError: there is no place for it.
        """
        self._base = _base(environment)
        self.path, self.lock = self._made()

    def _made(self) -> tuple[Path, int]:
        while True:
            try:
                path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._base))
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # another launcher took it for a dead one's, before it was locked
            except OSError as error:
                raise _no_place(error) from error
            if _locked(lock) and path.exists():
                (path / NOTES).touch()
                return path, lock
            os.close(lock)

    def close(self) -> None:
        """Give up the lock; who else has it still holds it."""
        os.close(self.lock)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        _remove(self.path)


def remove_leftovers(environment: Mapping[str, str]) -> None:
    """Remove what servers left that are gone, and could not clean up after themselves."""
    with suppress(KitError, OSError):
        for path in _base(environment).glob(f"{PREFIX}????????"):
            with suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid != os.getuid() or not _locked(lock):
            return
        if (path / NOTES).exists():
            kill_marked(path)
            _remove(path)
        else:
            path.rmdir()  # if it is empty: its launcher was killed before it had begun
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    remove(noted(path))
    shutil.rmtree(path, ignore_errors=True)


def kill_marked(folder: Path) -> None:
    """Kill the processes that have a server's folder in their environment.

    The last resort, where a killed keeper left processes that were not killed with it.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder):
                process.kill()  # psutil compares start times: never a stranger's pid


def temporary(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables that put temporary files into a folder, but not what lasts.

    What is compiled for a model has its place beside temporary files, too, and would be
    compiled anew at each start (`default_cache_dir`, torch/_inductor/runtime/cache_dir_utils.py;
    `CUTE_DSL_CACHE_DIR`, cutlass/base_dsl/cache_helpers.py): it stays where it was.
    """
    base, user = _base(environment), _user()
    in_names = re.sub(r'[\\/:*?"<>|]', "_", user)
    lasting = {
        "TORCHINDUCTOR_CACHE_DIR": base / f"torchinductor_{in_names}",
        "CUTE_DSL_CACHE_DIR": base / user / "cutlass_python_cache",
    }
    kept = {name: str(path) for name, path in lasting.items() if name not in environment}
    return {"TMPDIR": str(folder), **kept}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in many containers
        return f"uid_{os.getuid()}"


def _base(environment: Mapping[str, str]) -> Path:
    """Return the folder that Python would take (docs.python.org/3/library/tempfile.html)."""
    named = filter(None, (environment.get(name) for name in ("TMPDIR", "TEMP", "TMP")))
    for name in (*named, *SYSTEMS):
        if Path(name).is_dir() and os.access(name, os.W_OK | os.X_OK):
            return Path(name).absolute()
    raise _no_place()


def _no_place(error: OSError | None = None) -> KitError:
    why = f"{error.filename}: {error.strerror}" if error else "None of its places can be written."
    return KitError(
        "The folder for the server's temporary files cannot be made.",
        why=why,
        cure='export TMPDIR="$(mktemp -d -p ~)"',
    )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
