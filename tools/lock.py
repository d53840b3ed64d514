"""Pin every package in constraints/: versions and hashes, no addresses. Usage: lock.py UV."""

import subprocess
import sys
from pathlib import Path

COMPILE = ["pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
COMPILE += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"]
LOCKS = {
    "server": ["pyproject.toml", "--extra", "server"],
    "dev": ["pyproject.toml", "--extra", "dev", "--constraints", "constraints/server.txt"],
    "build": ["constraints/build.in", "--constraints", "constraints/dev.txt"],
}


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    uv = Path(sys.argv[1]).absolute()
    for name, inputs in LOCKS.items():
        output = f"constraints/{name}.txt"
        print(f"{output} ...", flush=True)
        subprocess.run([str(uv), *COMPILE, *inputs, "--output-file", output], cwd=root, check=True)


if __name__ == "__main__":
    main()
