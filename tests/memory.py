"""The most memory that a child process had, said by itself."""

PEAK = """
import re
from pathlib import Path

def peak():
    # In bytes. Not ru_maxrss: what the process that started this one had counts in it.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""
"""Put before a child's script; `peak()` returns its largest resident set in bytes."""
