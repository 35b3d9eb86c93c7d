"""Rules as hypothesis makes them up."""

from __future__ import annotations

from hypothesis import strategies as st

from mainstay.schedules.rules.rrule import WEEKDAYS


def listed(values: st.SearchStrategy[int], most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=most, unique=True).map(lambda found: ",".join(map(str, found)))


def either_end(most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most) | st.integers(-most, -1)


WEEKDAY = st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=4, unique=True).map(",".join)
NTH = st.lists(
    st.tuples(either_end(5), st.sampled_from(WEEKDAYS)).map(lambda one: f"{one[0]}{one[1]}"), min_size=1, max_size=3
)


@st.composite
def rrules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(("DAILY", "WEEKLY", "MONTHLY", "YEARLY")))
    parts = {"FREQ": frequency}

    def maybe(key: str, values: st.SearchStrategy[str]) -> None:
        if draw(st.booleans()):
            parts[key] = draw(values)

    maybe("INTERVAL", st.integers(1, 5).map(str))
    maybe("BYMONTH", listed(st.integers(1, 12)))
    maybe("BYDAY", WEEKDAY if frequency in ("DAILY", "WEEKLY") or draw(st.booleans()) else NTH.map(",".join))
    if frequency != "WEEKLY":
        maybe("BYMONTHDAY", listed(either_end(31), 6))
    if frequency == "YEARLY":
        maybe("BYYEARDAY", listed(either_end(366), 6))
        if not any(letter.isdigit() for letter in parts.get("BYDAY", "")):
            # dateutil is wrong about weeks that two years share: those are held against the calendar itself
            maybe("BYWEEKNO", listed(st.integers(2, 51) | st.integers(-51, -2), 4))
    maybe("WKST", st.sampled_from(WEEKDAYS))
    if frequency == "WEEKLY":
        parts.setdefault("BYDAY", draw(WEEKDAY))
    if frequency in ("MONTHLY", "YEARLY") and not parts.keys() & {"BYDAY", "BYMONTHDAY", "BYYEARDAY"}:
        parts["BYDAY"] = draw(WEEKDAY)
    if frequency != "DAILY":
        maybe("BYSETPOS", listed(either_end(4)))
    return ";".join(f"{key}={value}" for key, value in parts.items())
