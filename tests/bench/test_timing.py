from mpiqe.bench import timing
from mpiqe.bench.timing import Timed, interleaved, line


def test_work_is_done_in_turns_and_the_first_turn_is_not_kept() -> None:
    order: list[str] = []
    taken = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}
    assert all(spent >= 0 for seconds in taken.values() for spent in seconds)


def test_a_rate_is_the_median_of_the_repeats() -> None:
    timed = Timed((1.0, 4.0, 2.0), amount=8)
    assert timed.rates == [8, 2, 4]
    assert (timed.rate, timed.median) == (4, 2)


def test_seconds_are_those_of_the_work(monkeypatch) -> None:
    clock = iter((10.0, 12.5))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert timing.seconds(lambda: None) == 2.5


def test_a_line_tells_median_lowest_and_highest() -> None:
    assert line("scoring", [3, 1, 2], "photos/s") == "scoring                             2.0 photos/s  (1.0 to 3.0)"
