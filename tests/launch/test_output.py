"""What a server prints reaches its log, whatever it prints and whatever happens to the log."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgl_embed_kit.launch.log_file import LogFile
from sgl_embed_kit.launch.output import (
    END_BYTES,
    LONGEST_LINE,
    LONGEST_SECRET,
    PIPE_BYTES,
    Line,
    LineSplitter,
    Output,
    echoed,
)
from sgl_embed_kit.redaction import Private, Redactor

LIMIT = 60.0
Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    """The output of one process, which `run` starts."""
    taken = Output(LogFile(tmp_path / "X.log"), Redactor(Private(("c4nary-key",))).keys)
    yield taken
    taken.close()


@pytest.fixture
def run(output: Output) -> Iterator[Run]:
    """Run a Python program that prints to the output; it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run_program(code: str, *arguments: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", code, *arguments]
        with output.taking() as pipe:
            started.append(subprocess.Popen(argv, stdout=pipe, stderr=pipe, start_new_session=True))
        return started[-1]

    yield run_program
    for process in started:
        process.kill()
        process.wait()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def split(*blocks: bytes) -> list[bytes]:
    splitter = LineSplitter()
    return [line for block in blocks for line, _ in splitter.feed(block)]


@pytest.mark.parametrize(
    ("blocks", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\n"], [b"ab"]),
        ([b"a\r\nb\r", b"\nc\n"], [b"a", b"b", b"c"]),
        ([b"\r 0%\r 50%", b"\r100%\n"], [b" 0%", b" 50%", b"100%"]),
        ([b"\n\n"], [b"", b""]),
        ([b"\x00\xff\x85\x0b\n"], [b"\x00\xff\x85\x0b"]),
    ],
)
def test_a_line_ends_with_a_newline_or_a_return(blocks: list[bytes], lines: list[bytes]) -> None:
    assert split(*blocks) == lines


@given(st.lists(st.binary(max_size=20)), st.data())
def test_lines_are_the_same_however_they_come_in_blocks(
    lines: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(line.replace(b"\r", b"") + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    blocks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(*blocks) == text.split(b"\n")[:-1]


def test_a_line_that_has_not_ended_can_be_looked_at(output: Output, run: Run) -> None:
    run("import time; print('Loading:  50%|x| 1/2 [', end='', flush=True); time.sleep(60)")
    wait_until(lambda: output.begun_line() == "Loading:  50%|x| 1/2 [")


def test_a_line_of_ten_megabytes_is_cut_with_a_mark(output: Output, run: Run) -> None:
    process = run("print('x' * 10_000_000); print('after', flush=True)")
    assert process.wait(LIMIT) == 0
    output.catch_up(LIMIT)
    line, after = str(output.end).splitlines()
    left_out = 10_000_000 - LONGEST_LINE
    assert line == f"{'x' * LONGEST_LINE} [sgl-embed: {left_out} more left out]"
    assert after == "after"
    assert output.log.path.stat().st_size == len(line) + len("\nafter\n")


@pytest.mark.parametrize("beyond", [1, LONGEST_SECRET + 1])
def test_a_line_that_is_a_little_too_long_is_cut_too(output: Output, run: Run, beyond: int) -> None:
    run(f"print('x' * {LONGEST_LINE}); print('y' * {LONGEST_LINE + beyond})").wait(LIMIT)
    output.catch_up(LIMIT)
    whole, cut = str(output.end).splitlines()
    assert whole == "x" * LONGEST_LINE
    assert cut == f"{'y' * LONGEST_LINE} [sgl-embed: {beyond} more left out]"


def test_what_has_no_newline_at_all_takes_no_more_memory(output: Output, run: Run) -> None:
    code = "import os, time\nfor _ in range(1000): os.write(1, b'y' * 65536)\ntime.sleep(60)"
    run(code)
    wait_until(lambda: len(output.begun_line()) == LONGEST_LINE + LONGEST_SECRET)


@pytest.mark.parametrize("begin", [LONGEST_LINE - 5, LONGEST_LINE - 1, LONGEST_LINE])
def test_a_key_across_the_cut_is_no_half_key(output: Output, run: Run, begin: int) -> None:
    run(f"print('x' * {begin} + 'c4nary-key' + 'z' * 200_000)").wait(LIMIT)
    output.catch_up(LIMIT)
    assert "c4na" not in str(output.end)
    assert b"c4na" not in output.log.path.read_bytes()


def test_binary_stays_as_it_is(output: Output, run: Run) -> None:
    run("import os; os.write(1, bytes(range(256)) * 300 + b'\\n')").wait(LIMIT)
    output.catch_up(LIMIT)
    expected = (bytes(range(256)) * 300 + b"\n").replace(b"\r", b"\n")
    assert output.log.path.read_bytes() == expected


@pytest.mark.parametrize("lines", [20, 200], ids=["as fits the pipe", "ten times as many"])
def test_of_what_several_processes_write_nothing_is_lost(
    output: Output, run: Run, lines: int
) -> None:
    code = (
        "import os, sys\n"
        "for name in b'abcd':\n"
        "    if os.fork() == 0:\n"
        "        for _ in range(int(sys.argv[1])): os.write(1, bytes([name]) * 9999 + b'\\n')\n"
        "        os._exit(0)\n"
        "for _ in 'abcd': os.wait()\n"
    )
    assert run(code, str(lines)).wait(LIMIT) == 0
    output.catch_up(LIMIT)
    log = output.log.path.read_bytes()
    assert [log.count(name) for name in (b"a", b"b", b"c", b"d", b"\n")] == [
        *[9999 * lines] * 4,
        4 * lines,
    ]
    if lines * 40_000 < PIPE_BYTES:  # else lines are torn where a process has to wait
        whole = {bytes([name]) * 9999 for name in b"abcd"}
        assert set(log.splitlines()) == whole


def test_a_process_that_closes_its_output_lives_on(output: Output, run: Run) -> None:
    process = run(
        "import os, time; print('up', flush=True); os.close(1); os.close(2); time.sleep(60)"
    )
    wait_until(lambda: not output._thread.is_alive())
    output.catch_up(LIMIT)
    assert str(output.end) == "up\n"
    assert process.poll() is None


def test_the_last_words_are_there_though_a_grandchild_still_prints(
    output: Output, run: Run
) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    time.sleep(60)\n"
        "os.write(1, b'x' * 500_000 + b'\\nlast words')\n"
        "os._exit(3)\n"
    )
    process = run(code)
    assert process.wait(LIMIT) == 3
    output.catch_up(LIMIT)
    assert len(output.log.path.read_bytes()) > LONGEST_LINE
    output.close()
    assert str(output.end).endswith("\nlast words\n")
    os.killpg(process.pid, 9)


def test_a_grandchild_that_never_pauses_ends_the_waiting_at_its_limit(
    output: Output, run: Run
) -> None:
    code = (
        "import os\n"
        "if os.fork() == 0:\n"
        "    while True: os.write(1, b'noise\\n' * 10000)\n"
        "os._exit(0)\n"
    )
    process = run(code)
    assert process.wait(LIMIT) == 0
    output.close(0.3)
    assert not output._thread.is_alive()
    os.killpg(process.pid, 9)


def test_asking_again_and_again_gets_what_was_printed_before_each(output: Output, run: Run) -> None:
    code = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    asked, answered = os.pipe()
    argv = [sys.executable, "-c", code]
    with output.taking() as pipe:
        process = subprocess.Popen(argv, stdin=asked, stdout=pipe)
    with os.fdopen(answered, "w", buffering=1) as stdin:
        for number in range(200):
            stdin.write(f"{number}\n")
            while f"{number}\n" not in str(output.end):
                output.catch_up(LIMIT)
    os.close(asked)
    assert process.wait(LIMIT) == 0


def test_the_server_never_waits_for_its_log(tmp_path: Path, run: Run, output: Output) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    process = run(
        "import sys\n"
        "for number in range(50_000): print(number, 'x' * 90)\n"
        "print('done', flush=True)"
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the launcher's, as a disk
    try:
        assert process.wait(LIMIT) == 0
        output.catch_up(LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(output.log.new_troubles()) == ["File too large"]
    assert output.log.path.stat().st_size == 100_000
    assert str(output.end).endswith("\ndone\n")


def test_the_end_in_memory_is_bounded(output: Output, run: Run) -> None:
    assert run("print('\\n' * 50_000)").wait(LIMIT) == 0
    output.catch_up(LIMIT)
    assert len(str(output.end)) < END_BYTES / 100  # lines take more than their text
    reader = output.reader()
    first, *rest = reader.new_lines()
    assert first.text == f"[sgl-embed: {50_001 - len(rest)} lines left out]"
    assert reader.new_lines() == []


def test_the_pipe_holds_what_comes_while_nobody_reads(output: Output) -> None:
    with output.taking() as pipe:
        os.set_blocking(pipe, False)
        assert os.write(pipe, b"x" * PIPE_BYTES) == PIPE_BYTES
    output.close()


def test_lines_tell_when_they_came(output: Output, run: Run) -> None:
    before = time.monotonic()
    run("print('a')").wait(LIMIT)
    output.catch_up(LIMIT)
    (line,) = output.reader().new_lines()
    assert before < line.at < time.monotonic()


def test_what_is_shown_waits_as_it_likes_and_the_server_does_not(output: Output, run: Run) -> None:
    shown: list[Line] = []
    goes_on = threading.Event()

    def show(lines: object) -> None:
        goes_on.wait(LIMIT)
        assert isinstance(lines, list)
        shown.extend(lines)

    with echoed(output, show):
        assert run("for n in range(50_000): print(n)").wait(LIMIT) == 0
        goes_on.set()
        output.catch_up(LIMIT)
    assert shown[-1].text == "49999"


def test_nobody_who_reads_is_no_failure(output: Output, run: Run) -> None:
    def show(_lines: object) -> None:
        raise BrokenPipeError

    with echoed(output, show):
        run("print('a')").wait(LIMIT)
    output.catch_up(LIMIT)
    assert str(output.end) == "a\n"


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = psutil.Process().num_fds(), threading.active_count()
    for number in range(20):
        output = Output(LogFile(tmp_path / f"{number}.log"), str)
        with output.taking() as pipe:
            os.write(pipe, b"a\n")
        output.close()
        output.close()
        output.catch_up(LIMIT)
        assert str(output.end) == "a\n"
    assert (psutil.Process().num_fds(), threading.active_count()) == before
