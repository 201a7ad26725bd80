"""Lines by time, with a clock that the test turns."""

from mvdecor.progress import Timer, with_progress


class Clock:
    """Seconds that go by only when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_30_seconds_and_none_in_short_loops(capsys):
    clock, items = Clock(), []
    for item in with_progress("abcdefgh", "reading", 8, clock=clock):
        items.append(item)
        clock.now += 20
    assert items == list("abcdefgh")
    assert capsys.readouterr().out.splitlines() == [
        "reading: 2 of 8, 40 s, 2.0 min left",
        "reading: 4 of 8, 1.3 min, 1.3 min left",
        "reading: 6 of 8, 2.0 min, 40 s left",
    ]
    for _ in with_progress(range(1000), "reading", 1000, clock=clock):
        clock.now += 0.029
    assert capsys.readouterr().out == ""


def test_the_number_of_items_may_be_unknown(capsys):
    clock = Clock()
    for _ in with_progress(iter(range(2)), "reading", None, clock=clock):
        clock.now += 45
    assert capsys.readouterr().out.splitlines() == ["reading: 1, 45 s", "reading: 2, 1.5 min"]
    assert list(with_progress([], "reading", 0)) == []


def test_a_timer_is_due_again_after_a_while():
    clock = Clock()
    timer = Timer(30, clock)
    due = []
    for clock.now in (0, 29, 30, 31, 60, 62):
        due.append(timer.due())
        if due[-1]:
            timer.printed()
    assert due == [False, False, True, False, True, False]
