"""Make .venv and install the pinned packages. Usage: bootstrap.py server|dev ...

Runs on the Python that a machine happens to have, before anything is installed: the
standard library only, and no syntax newer than Python 3.7, so that an old Python gets a
sentence and not a SyntaxError. What cannot work is said before anything is downloaded.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Dict, List, Optional

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
TESTED_PYTHONS = ("python3.13", "python3.12", "python3.11")
GIGABYTE = 10**9
# Measured with SGLang 0.5.23: .venv takes 11 GB, pip's cache of the wheels 3 to 4 GB.
SERVER_DISK = {"venv": 11.0, "cache": 3.5, "temp": 0.5}
DEV_DISK = {"venv": 0.8, "cache": 0.3, "temp": 0.2}


class CannotInstallError(Exception):
    """What happened, why, and the command that cures it."""

    def __init__(self, what: str, why: str, cure: str) -> None:
        super().__init__(what)
        self.lines = ["error: " + what, "  why:  " + why, "  cure: " + cure]


def main() -> int:
    sets = sys.argv[1:]
    if not sets or not set(sets) <= {"server", "dev"}:
        print("usage: bootstrap.py server|dev ...", file=sys.stderr)
        return 2
    use_tested_python()
    try:
        stamp = fingerprint()
        missing = [name for name in sets if not is_installed(name, stamp)]
        if missing:
            check_platform(missing)
            check_venv_module()
            check_disk(missing)
            make_venv()
            install(missing, stamp)
    except CannotInstallError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def use_tested_python() -> None:
    """Run again under another Python of this machine, if this one is too old or too new."""
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return
    for name in TESTED_PYTHONS:
        found = shutil.which(name)
        # A version manager's shim exists for versions that are not selected, and fails.
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, __file__, *sys.argv[1:]])
    version = ".".join(map(str, sys.version_info[:3]))
    error = CannotInstallError(
        "Python 3.11, 3.12 or 3.13 is needed.",
        "This is Python {}, and no other one was found.".format(version),
        "sudo apt-get install python3.11 python3.11-venv",
    )
    print("\n".join(error.lines), file=sys.stderr)
    sys.exit(1)


def check_platform(sets: List[str]) -> None:
    """Refuse to download gigabytes for a platform on which they cannot run."""
    here = "{} {}".format(sys.platform, platform.machine())
    if "server" in sets and here.lower() not in {"linux x86_64", "linux amd64"}:
        raise CannotInstallError(
            "The server cannot be installed here.",
            "SGLang's packages are for Linux on x86-64; this is {}.".format(here),
            "pip install .    (the client works on every platform)",
        )


def check_venv_module() -> None:
    """Debian and Ubuntu ship Python without what makes virtual environments."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = "{}.{}".format(*sys.version_info[:2])
        raise CannotInstallError(
            "Python cannot make a virtual environment.",
            "Its modules venv and ensurepip are not installed.",
            "sudo apt-get install python{}-venv".format(version),
        ) from None


def check_disk(sets: List[str]) -> None:
    """Compare what will be written with what is free, disk by disk."""
    sizes = SERVER_DISK if "server" in sets else DEV_DISK
    cache = os.environ.get("PIP_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    places = {
        "venv": VENV,
        "cache": Path(cache).expanduser(),
        "temp": Path(tempfile.gettempdir()),
    }
    needed: Dict[int, float] = {}
    where: Dict[int, Path] = {}
    for name, named in places.items():
        place = existing(named)
        disk = place.stat().st_dev
        needed[disk] = needed.get(disk, 0.0) + sizes[name]
        where.setdefault(disk, place)
    for disk, gigabytes in needed.items():
        free = shutil.disk_usage(where[disk]).free / GIGABYTE
        if free < gigabytes:
            raise CannotInstallError(
                "There is too little disk space.",
                "{} has {:.1f} GB free, {:.1f} GB are needed.".format(where[disk], free, gigabytes),
                "df -h {}".format(where[disk]),
            )


def existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def make_venv() -> None:
    if (VENV / "bin" / "python").exists():
        return
    print("  Making .venv", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        check=False,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise CannotInstallError(
            "The virtual environment could not be made.", last, "make clean quickstart"
        )


def install(sets: List[str], stamp: str) -> None:
    """Install the locked packages, then this one on top, editable."""
    locks = ["constraints/build.txt"] + ["constraints/{}.txt".format(name) for name in sets]
    names = set()
    for lock in locks:
        names |= set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
    size = "about 4 GB to download, 11 GB on disk" if "server" in sets else "under 1 GB"
    print("  Installing {} packages ({})".format(len(names), size), flush=True)
    # Everything is in the locks, so pip has nothing to resolve: --no-deps.
    pip(["--no-deps", "--require-hashes"] + ["--requirement=" + lock for lock in locks], len(names))
    print("  Installing this package", flush=True)
    pip(["--no-deps", "--no-build-isolation", "--editable", "."], 0)
    for name in sets:
        stamp_file(name).write_text(stamp)


def pip(arguments: List[str], packages: int) -> None:
    """Run pip install, show how far it is, and keep its whole output in a log."""
    argv = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    argv += ["--disable-pip-version-check", "--progress-bar=off"]
    with LOG.open("a") as log:
        process = subprocess.Popen(
            argv + arguments,
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        progress = Progress(packages)
        errors = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                progress.see(line)
                if line.startswith("ERROR"):
                    errors.append(line.strip())
            process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            progress.stop()
    if process.returncode:
        raise CannotInstallError(
            "pip could not install the packages.",
            errors[-1] if errors else "pip ended with {}.".format(process.returncode),
            "tail -n 30 {}".format(LOG.relative_to(ROOT)),
        )


class Progress:
    """Shows what pip is at, once a second on a terminal, every ten seconds in a log."""

    def __init__(self, packages: int) -> None:
        self.packages = packages
        self.seen = 0
        self.now = "starting"
        self.began = time.time()
        self.live = sys.stdout.isatty()
        self.over = threading.Event()
        self.thread: Optional[threading.Thread] = None
        if packages:
            self.thread = threading.Thread(target=self.show, daemon=True)
            self.thread.start()

    def see(self, line: str) -> None:
        """Read a line of pip's output."""
        # "Processing" is what pip says of a wheel that lies in a local folder.
        found = re.match(r"(?:Collecting |Processing \S*/)([A-Za-z0-9_.]+)", line)
        if found:
            self.seen += 1
            self.now = found.group(1)
        elif line.startswith("Installing collected packages"):
            self.now = "unpacking and byte-compiling"

    def show(self) -> None:
        while not self.over.wait(1 if self.live else 10):
            text = "  {:3d}/{} {:<40.40}{:5.0f} s".format(
                self.seen, self.packages, self.now, time.time() - self.began
            )
            print("\r" + text if self.live else text, end="" if self.live else "\n", flush=True)

    def stop(self) -> None:
        self.over.set()
        if self.thread:
            self.thread.join()
            if self.live:
                print("\r" + " " * 60, end="\r")
            print("  Installed in {:.0f} s".format(time.time() - self.began), flush=True)


def fingerprint() -> str:
    """Name the state of everything that decides what gets installed."""
    digest = hashlib.sha256()
    for path in [ROOT / "pyproject.toml", *sorted((ROOT / "constraints").glob("*.txt"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp_file(name: str) -> Path:
    return VENV / ".installed-{}".format(name)


def is_installed(name: str, stamp: str) -> bool:
    file = stamp_file(name)
    return file.exists() and file.read_text() == stamp


if __name__ == "__main__":
    sys.exit(main())
