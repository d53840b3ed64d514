"""Take what a server prints as fast as it prints it: to its log file, and the end to memory.

The server writes to a pipe that a thread drains, so that nothing that happens to the log, and
nothing that the launcher waits for, can make the server wait. The end of the log is kept in
memory as well: what is said of a death is read there, also where the disk is full, and is no
matter of what was printed days ago.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from sgl_embed_kit.launch.log_file import LogFile

BLOCK = 1 << 16
PIPE_BYTES = 1 << 20
"""What the server can print while the thread does not run; the most that Linux allows every
user (/proc/sys/fs/pipe-max-size). A write that fits in is not mixed with other processes'."""
LONGEST_LINE = 1 << 16
"""Bytes that are kept of a line: six times SGLang's longest, `server_args=`."""
LONGEST_SECRET = 1 << 16
"""Bytes that are looked at beyond it: a key may begin within what is kept, and end after."""
END_BYTES = 2 << 20
"""Of the log that are kept in memory: a whole start (200 lines) many times over, and the last
three thousand requests."""
LINE_BYTES = 200
"""What a line takes of memory beyond its text."""
DRAIN_SECONDS = 5.0
"""For what a dead server has left in the pipe; longer only takes who still prints."""

ECHO_SECONDS = 0.1
"""Between two looks of who shows the log."""

Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log, without its end and without keys.

    Attributes:
        at: When it was read, on the monotonic clock, in seconds.
        text: The line; bytes that are no UTF-8 are surrogates.
    """

    at: float
    text: str


Show = Callable[[Sequence[Line]], None]


class LineSplitter:
    """Makes lines of blocks; a carriage return ends a line, too, as in progress bars."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._left_out = 0
        self._after_return = False

    @property
    def begun(self) -> bytes:
        """The line that has not ended, as far as it is kept."""
        return bytes(self._begun)

    def feed(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield each line that ends in a block, and how many of its bytes are left out."""
        if self._after_return and block.startswith(b"\n"):
            block = block[1:]
        self._after_return = block.endswith(b"\r")
        for piece in block.splitlines(keepends=True):
            text = piece.rstrip(b"\r\n")
            room = LONGEST_LINE + LONGEST_SECRET - len(self._begun)
            self._begun += text[:room]
            self._left_out += max(0, len(text) - room)
            if piece.endswith(b"\n") or (piece.endswith(b"\r") and self._begun):
                yield from self.end()

    def end(self) -> Iterator[tuple[bytes, int]]:
        """Yield the line that has begun, as if it had ended."""
        line, left_out = bytes(self._begun), self._left_out
        self._begun.clear()
        self._left_out = 0
        yield line, left_out


class EndOfLog:
    """The last lines of a log, up to `END_BYTES`, for any number of readers."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._count = 0
        self._lock = threading.Lock()

    def add(self, line: Line) -> None:
        """Add a line, and forget the oldest where they have become too many."""
        with self._lock:
            self._lines.append(line)
            self._count += 1
            self._bytes += len(line.text) + LINE_BYTES
            while self._bytes > END_BYTES:
                self._bytes -= len(self._lines.popleft().text) + LINE_BYTES

    def since(self, count: int) -> tuple[list[Line], int]:
        """Return the lines after the first `count` of all, and the count of all now."""
        with self._lock:
            new = min(self._count - count, len(self._lines))
            first = len(self._lines) - new
            return list(islice(self._lines, first, None)) if new else [], self._count

    def __str__(self) -> str:
        with self._lock:
            return "".join(f"{line.text}\n" for line in self._lines)


class Reader:
    """Reads a log as it grows."""

    def __init__(self, end: EndOfLog) -> None:
        self._end = end
        self._count = 0

    def new_lines(self) -> list[Line]:
        """Return the lines since the last call; a line tells where there were too many."""
        before = self._count
        lines, self._count = self._end.since(before)
        left_out = self._count - before - len(lines)
        if left_out:
            lines.insert(0, Line(lines[0].at, f"[sgl-embed: {left_out} lines left out]"))
        return lines


class Output:
    """What one server prints: a pipe, and the thread that empties it.

    Attributes:
        log: Its log file.
        end: The last lines.
    """

    def __init__(self, log: LogFile, redact: Redact) -> None:
        self.log = log
        self.end = EndOfLog()
        self._redact = redact
        self._splitter = LineSplitter()
        self._read_end = self._woken = self._wake = -1
        self._asked = self._answered = 0
        self._answer = threading.Condition()
        self._closes = self._is_abandoned = False
        self._has_ended = True
        self._thread = threading.Thread(target=self._run, name="server-log", daemon=True)

    @contextmanager
    def taking(self) -> Iterator[int]:
        """Yield a pipe for the server's stdout and stderr; what comes is read after the block.

        Once only. Where the block fails, nobody has the pipe, and reading ends at once.

        Raises:
            OSError: too many files are open.
        """
        self._read_end, pipe = os.pipe()
        self._woken, self._wake = os.pipe()
        _widen(pipe)
        try:
            yield pipe
        finally:
            os.close(pipe)
            self._has_ended = False
            self._thread.start()

    def reader(self) -> Reader:
        """Return a reader of all lines from the first that is still in memory on."""
        return Reader(self.end)

    def begun_line(self) -> str:
        """Return the line that has not ended yet; for progress bars, not to be shown."""
        return _text(self._splitter.begun)

    def catch_up(self, limit: float = DRAIN_SECONDS) -> None:
        """Wait until all that was printed before now is in the log.

        Args:
            limit: Seconds to wait where somebody goes on printing without a pause.
        """
        with self._answer:
            if self._has_ended:
                return
            self._asked += 1
            asked = self._asked
            os.write(self._wake, b".")
            self._answer.wait_for(lambda: self._has_ended or self._answered >= asked, limit)

    def close(self, limit: float = DRAIN_SECONDS) -> None:
        """Read what is left, and end, also where somebody else still has the pipe."""
        if self._has_ended:
            return
        self._closes = True
        self.catch_up(limit)
        self._is_abandoned = True
        self._thread.join(limit)

    def _run(self) -> None:
        try:
            self._drain()
            self._take([line for line in self._splitter.end() if line[0]])
        finally:
            self.log.close()
            with self._answer:
                self._has_ended = True
                for descriptor in (self._read_end, self._wake, self._woken):
                    os.close(descriptor)
                self._answer.notify_all()

    def _drain(self) -> None:
        """Read until the last writer has gone, or until nothing is left and it shall end."""
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while not self._is_abandoned:
            asked = self._asked  # before the look: what is printed later is another question's
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._read_end in ready:
                block = os.read(self._read_end, BLOCK)
                if not block:
                    return
                self._take(list(self._splitter.feed(block)))
                continue
            with self._answer:
                if asked < self._asked:
                    continue  # asked while we looked: look again
                os.read(self._woken, BLOCK)
                self._answered = asked
                self._answer.notify_all()
            if self._closes:
                return

    def _take(self, lines: list[tuple[bytes, int]]) -> None:
        if not lines:
            return
        now = time.monotonic()
        texts = [self._clean(*line) for line in lines]
        self.log.write(b"".join(text.encode("utf-8", "surrogateescape") + b"\n" for text in texts))
        for text in texts:
            self.end.add(Line(now, text))

    def _clean(self, line: bytes, left_out: int) -> str:
        """Return a line as it is kept: without keys, and cut where it is too long."""
        text = self._redact(_text(line))
        cut = len(text) - LONGEST_LINE
        if cut > 0 or left_out:
            text = f"{text[:LONGEST_LINE]} [sgl-embed: {max(0, cut) + left_out} more left out]"
        return text


@contextmanager
def echoed(output: Output, show: Show | None) -> Iterator[None]:
    """Show what a server prints while the block runs, in a thread that may wait as it likes.

    Args:
        output: What it prints.
        show: Takes lines; None: nobody does.
    """
    if show is None:
        yield
        return
    is_over = threading.Event()

    def run() -> None:
        reader, was_over = output.reader(), False
        while not was_over:
            was_over = is_over.wait(ECHO_SECONDS)
            try:
                show(reader.new_lines())
            except OSError:  # nobody reads what is shown any more
                return

    thread = threading.Thread(target=run, name="server-log-echo", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(DRAIN_SECONDS)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _widen(pipe: int) -> None:
    """Let a pipe hold `PIPE_BYTES`; where that is not allowed, a smaller one serves, too."""
    import fcntl  # late: the client's platforms do not all have it

    with suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
