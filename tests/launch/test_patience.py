"""When a server that stands still is asked, and when it is ill."""

from sgl_embed_kit.launch.patience import Canary, Patience, Pulse, Verdict

INTERVAL = 5.0


class Server:
    """A server that is looked at every five seconds, as its pulse is set."""

    def __init__(self, quiet: float = 60.0, stall: float = 120.0) -> None:
        self.patience = Patience(quiet, stall, INTERVAL)
        self.now = 1000.0
        self.moved = 0
        self.waiting: int | None = 0
        self.canary = Canary.NONE
        self.patience.look(self.now, self.pulse)

    @property
    def pulse(self) -> Pulse:
        return Pulse(self.moved, self.waiting, self.canary)

    def look(self, after: float = INTERVAL) -> Verdict:
        self.now += after
        return self.patience.look(self.now, self.pulse)

    def seconds_until(self, verdict: Verdict) -> float:
        """Look until the verdict comes; return after how many seconds."""
        began = self.now
        while self.look() is not verdict:
            assert self.now < began + 10_000, "it never came"
        return self.now - began


def test_a_quiet_server_is_asked_after_its_quiet_time() -> None:
    assert Server().seconds_until(Verdict.ASK) == 60


def test_texts_that_wait_while_nothing_moves_are_asked_about_sooner() -> None:
    server = Server()
    server.waiting = 3
    assert server.seconds_until(Verdict.ASK) == 10


def test_a_quiet_time_below_ten_seconds_holds_for_waiting_texts_too() -> None:
    server = Server(quiet=5)
    server.waiting = 3
    assert server.seconds_until(Verdict.ASK) == 5


def test_an_answered_canary_is_as_good_as_work() -> None:
    server = Server()
    server.seconds_until(Verdict.ASK)
    server.canary = Canary.PENDING
    assert server.look() is Verdict.WELL
    server.canary = Canary.ANSWERED
    assert server.look() is Verdict.WELL
    server.canary = Canary.NONE
    assert server.seconds_until(Verdict.ASK) == 60


def test_a_canary_that_is_never_answered_while_nothing_moves_is_illness() -> None:
    server = Server()
    server.seconds_until(Verdict.ASK)
    server.canary = Canary.PENDING
    assert server.seconds_until(Verdict.ILL) == 120
    assert server.patience.stalled_seconds == 120


def test_a_loaded_server_is_never_ill_however_long_a_canary_waits() -> None:
    server = Server(quiet=10, stall=30)
    server.waiting = 5000
    server.seconds_until(Verdict.ASK)
    server.canary = Canary.PENDING
    for _ in range(1000):
        server.look()
        server.moved += 1
        assert server.look() is Verdict.WELL


def test_a_server_that_stops_moving_with_a_canary_in_its_queue_is_ill() -> None:
    server = Server(quiet=10, stall=30)
    server.seconds_until(Verdict.ASK)
    server.canary, server.moved = Canary.PENDING, 1
    server.look()
    assert server.seconds_until(Verdict.ILL) == 30


def test_canaries_that_fail_are_sent_again_until_the_time_is_over() -> None:
    server = Server(quiet=10, stall=30)
    server.seconds_until(Verdict.ASK)
    server.canary = Canary.FAILED
    verdicts = [server.look() for _ in range(6)]
    assert verdicts == [Verdict.ASK] * 5 + [Verdict.ILL]


def test_failures_of_a_server_that_works_are_no_illness() -> None:
    server = Server(quiet=10, stall=30)  # its queue is full, and says so to the canary
    server.seconds_until(Verdict.ASK)
    server.canary = Canary.FAILED
    for _ in range(100):
        server.moved += 1
        assert server.look() is Verdict.WELL


def test_the_time_in_which_nobody_looked_does_not_count() -> None:
    server = Server(quiet=60, stall=120)
    assert server.look(after=86_400) is Verdict.WELL  # the machine slept: ten seconds count
    assert server.seconds_until(Verdict.ASK) == 50
    server.canary = Canary.PENDING
    assert server.look(after=86_400) is Verdict.WELL
    assert server.seconds_until(Verdict.ILL) == 110
