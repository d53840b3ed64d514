"""Write sgl_embed_kit/sglang/flag_history.json from the wheels of SGLang's releases.

Usage: snapshot_flags.py WHEEL ... (get each with `pip download --no-deps sglang==VERSION`).
"""

import re
import sys
import tempfile
import zipfile
from pathlib import Path

from sgl_embed_kit.sglang.flag_history import HISTORY_FILE, encode_history
from sgl_embed_kit.sglang.flags import FlagTable, read_flags
from sgl_embed_kit.sglang.versions import release_of


def main() -> None:
    tables = sorted(map(read_wheel, sys.argv[1:]), key=lambda table: release_of(table.version))
    HISTORY_FILE.write_bytes(encode_history(tables))
    for table in tables:
        print(f"{table.version:<14}{len(table.flags)} flags")
    print(f"{HISTORY_FILE.name}: {HISTORY_FILE.stat().st_size} bytes")


def read_wheel(path: str) -> FlagTable:
    found = re.match(r"sglang-([^-]+)-", Path(path).name)
    if found is None:
        sys.exit(f"not a wheel of sglang: {path}")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as wheel:
        wanted = [name for name in wheel.namelist() if re.match(r"sglang/srt/.*\.py$", name)]
        wheel.extractall(folder, wanted)
        return read_flags(Path(folder) / "sglang", found[1])


if __name__ == "__main__":
    main()
