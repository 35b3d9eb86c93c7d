"""`on:`, the days of a window in words."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.schedules.rules import words
from mainstay.schedules.rules.rrule import check_rrule
from mainstay.schedules.rules.words import check_words, read_words


@pytest.mark.parametrize(
    ("phrase", "rule", "offset"),
    [
        ("daily", "FREQ=DAILY", 0),
        ("every day", "FREQ=DAILY", 0),
        ("daily of december", "FREQ=DAILY;BYMONTH=12", 0),
        ("weekdays", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", 0),
        ("weekends", "FREQ=WEEKLY;BYDAY=SA,SU", 0),
        ("monday", "FREQ=WEEKLY;BYDAY=MO", 0),
        ("Mondays", "FREQ=WEEKLY;BYDAY=MO", 0),
        ("every monday", "FREQ=WEEKLY;BYDAY=MO", 0),
        ("wed, mon", "FREQ=WEEKLY;BYDAY=MO,WE", 0),
        ("mon and wed", "FREQ=WEEKLY;BYDAY=MO,WE", 0),
        ("mon-fri", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", 0),
        ("fri-mon", "FREQ=WEEKLY;BYDAY=MO,FR,SA,SU", 0),
        ("second tuesday +3 days", "FREQ=MONTHLY;BYDAY=2TU", 3),
        ("second tuesday + 1 week", "FREQ=MONTHLY;BYDAY=2TU", 7),
        ("2nd tue+3 days", "FREQ=MONTHLY;BYDAY=2TU", 3),
        ("last friday", "FREQ=MONTHLY;BYDAY=-1FR", 0),
        ("last friday of june -1 day", "FREQ=MONTHLY;BYDAY=-1FR;BYMONTH=6", -1),
        ("the last friday of the month", "FREQ=MONTHLY;BYDAY=-1FR", 0),
        ("first monday of the year", "FREQ=YEARLY;BYDAY=1MO", 0),
        ("first and third monday", "FREQ=MONTHLY;BYDAY=1MO,3MO", 0),
        ("first monday and third friday", "FREQ=MONTHLY;BYDAY=1MO,3FR", 0),
        ("first sunday of january", "FREQ=MONTHLY;BYDAY=1SU;BYMONTH=1", 0),
        ("first sunday of jan, apr, jul and oct", "FREQ=MONTHLY;BYDAY=1SU;BYMONTH=1,4,7,10", 0),
        ("15th of nov-feb", "FREQ=MONTHLY;BYMONTHDAY=15;BYMONTH=11,12,1,2", 0),
        ("15th", "FREQ=MONTHLY;BYMONTHDAY=15", 0),
        ("1st and 15th", "FREQ=MONTHLY;BYMONTHDAY=1,15", 0),
        ("last day", "FREQ=MONTHLY;BYMONTHDAY=-1", 0),
        ("first and last day", "FREQ=MONTHLY;BYMONTHDAY=1,-1", 0),
        ("last day of the year", "FREQ=YEARLY;BYYEARDAY=-1", 0),
        ("first weekday", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1", 0),
        ("last weekday of december", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYMONTH=12", 0),
    ],
)
def test_what_a_phrase_means(phrase: str, rule: str, offset: int) -> None:
    assert read_words(phrase) == (rule, offset)
    assert read_words(check_words(f"  {phrase.upper()}  ")) == (rule, offset)
    assert check_rrule(rule) == rule


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("", "does not say on which days. For example: daily"),
        ("every", "does not say on which days"),
        ("tusday", '"tusday" is no word for days. Did you mean "tuesday"?'),
        ("secnd tuesday", 'Did you mean "second"?'),
        ("second tuesday +3", '"+3": say of what. Write +3 days.'),
        ("second tuesday +3 moths", '"+3moths": say of what. Write +3 days.'),
        ("daily +400 days", '"+400 days" is more than a year'),
        ("daily +99999999999 weeks", "is more than a year"),
        ("second", '"second" does not say of what. Write for example second tuesday or second day.'),
        ("15", '"15" is no day. The day of the month is written 15th.'),
        ("32nd", "is no day of a month (1st to 31st)"),
        ("0th", "is no day of a month (1st to 31st)"),
        ("6th tuesday", "no month has the same weekday 6 times"),
        ("31st of february", "never fires"),
        ("every second monday", "of a month, or every other week?"),
        ("every other tuesday", 'For every other week write rrule: "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU".'),
        ("second every monday", "no meaning behind a number"),
        ("first monday of janury", '"janury" is no month. Did you mean "january"?'),
        ("first monday of", '"of" is no word for days'),
        ("first monday of the", "does not say of which month"),
        ("monday of the year", "does not say which of the year"),
        ("march", '"march" without the day in it. Write for example first sunday of march.'),
        ("monday and 15th", "mixes days of the week with days of the month. Declare two windows"),
        ("first weekend", "a weekend is two days"),
        ("at 02:00", '"at" is no word for days'),
        ("fri-monday-sun", "is no word for days"),
        ("mon\u202efri", "is no word for days"),
    ],
)
def test_what_a_wrong_phrase_is_told(phrase: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        check_words(phrase)


JOINTS = [
    "of",
    "and",
    "every",
    "the",
    "day",
    "daily",
    "month",
    "year",
    "1st",
    "31st",
    "+",
    "-",
    "3",
    "days",
    "week",
    ",",
    "x",
]
WORDS = st.sampled_from(sorted({*words._DAYS, *words._MONTHS, *words._NTH, *words._GROUPS, *JOINTS}))


@given(st.lists(WORDS, max_size=8).map(" ".join) | st.text(max_size=20))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_phrase_is_a_rule_or_its_fault_is_told(phrase: str) -> None:
    try:
        rule, offset = read_words(check_words(phrase))
    except ValueError as error:
        assert str(error)
    else:
        assert check_rrule(rule) == rule
        assert abs(offset) <= 366
