import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.effort import counted

from mainstay.inventory.document import Document, parse_document
from mainstay.inventory.errors import ConfigError, Problem


def only_problem(text: str | bytes) -> Problem:
    try:
        problems = parse_document(text.encode() if isinstance(text, str) else text, "schedules/web.yml").problems
    except ConfigError as error:
        problems = error.problems
    (problem,) = problems
    assert problem.file == "schedules/web.yml"
    return problem


def parse(text: str) -> Document:
    return parse_document(text.encode(), "f.yml")


def test_a_time_of_day_without_quotes_stays_a_text() -> None:
    data = parse("start: 22:30\nend: 1:02:03\nanswer: no\nday: 2026-12-24\ncount: 010\n").data
    assert data == {"start": "22:30", "end": "1:02:03", "answer": "no", "day": "2026-12-24", "count": 10}


def test_plain_values() -> None:
    data = parse("a: {b: [1, 2.5, true, ~, 'x', 0x10, !!str 5]}\n3: {}\n").data
    assert data == {"a": {"b": [1, 2.5, True, None, "x", 16, "5"]}, "3": {}}


def test_a_duplicate_key_is_an_error_with_both_lines() -> None:
    problem = only_problem("plans:\n  a: {x: 1}\n  b: {}\n  a: {x: 2}\n")
    assert (problem.line, problem.column, problem.key) == (4, 3, "plans.a")
    assert parse("a: {x: 1}\nb: {y: 1}\na: {x: 2}\n").data == {"a": {"x": 1}, "b": {"y": 1}}, "the first one is kept"
    assert "line 2" in problem.message
    assert problem.hint == "Keep one of the two."


@pytest.mark.parametrize(
    "text",
    ["a: !!python/object:os.system {}", "a: !!python/object/apply:os.system [id]", "a: !x 1", "a: !!binary aGk="],
)
def test_a_tag_that_could_make_an_object_is_an_error(text: str) -> None:
    problem = only_problem(f"b: 1\n{text}\n")
    assert (problem.line, problem.key) == (2, "a")
    assert "plain data" in problem.message


def test_an_alias_bomb_is_an_error_after_little_work() -> None:
    """Written out it would be 43 million entries. 28,000 calls were measured."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    calls, problem = counted(lambda: only_problem("\n".join(lines)))
    assert calls < 200_000
    assert "aliases" in problem.message
    assert problem.line


def test_an_alias_to_itself_is_an_error() -> None:
    assert "itself" in only_problem("a: &a [1, *a]\n").message
    assert "itself" in only_problem("a: &a {b: *a}\n").message


def test_aliases_and_merges_in_measure_are_taken() -> None:
    data = parse("base: &b {user: ops, port: 22}\nweb: {<<: *b, port: 23}\nsame: *b\n").data
    assert data["web"] == {"user": "ops", "port": 23}
    assert data["same"] == {"user": "ops", "port": 22}


def test_an_empty_file_is_an_empty_mapping() -> None:
    for text in ("", "\n", "# nothing\n", "---\n", "~\n"):
        assert parse(text).data == {}


def test_what_is_not_utf8_is_an_error_with_its_line() -> None:
    problem = only_problem(b"a: 1\nb: \xff\xfe\n")
    assert (problem.line, problem.hint) == (2, "Save it as UTF-8.")


def test_a_nul_is_an_error_with_its_place() -> None:
    problem = only_problem("a: 1\nb: x\0y\n")
    assert (problem.line, problem.column) == (2, 5)
    assert "U+0000" in problem.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: b: c\n", 1, "second"),
        ("a:\n\t- x\n", 2, "tab"),
        ("a: [1,\nb: 2\n", 1, "not closed"),
        ("a: *b\n", 1, "anchor"),
        ("a: 1\n---\nb: 2\n", 2, "more than one document"),
        ("a: 'x\n", 1, "quote"),
        ("%YAML 1.1\n---\na: 22:30\n", 1, "directives"),
        ("? [a]\n: b\n", 1, "plain word"),
    ],
)
def test_what_is_not_yaml_is_told_in_plain_words(text: str, line: int, words: str) -> None:
    problem = only_problem(text)
    assert problem.line == line
    assert words in problem.message


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    assert "deep" in only_problem("a: " + "[" * 1000).message


def test_places_of_keys_and_values() -> None:
    document = parse("plans:\n  web:\n    targets: 'role=web'\n    waves:\n      - 1\n      - {select: x}\n")
    spot = document.spot("plans", "web", "targets")
    assert (spot.problem("x").line, spot.problem("x").column) == (3, 14)
    assert (spot.problem("x", on="key").column) == 5
    assert spot.problem("x", offset=5).column == 14 + 1 + 5
    assert document.spot("plans", "web", "waves", 1, "select").problem("x").key == "plans.web.waves.1.select"
    missing = document.spot("plans", "web", "nothing", "here").problem("x")
    assert (missing.line, missing.column, missing.key) == (2, 3, "plans.web.nothing.here")
    assert document.spot("plans", "web").source == "f.yml:2"


@given(st.text())
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    try:
        parse_document(text.encode("utf-8", "surrogatepass"), "f.yml")
    except ConfigError as error:
        assert all(problem.file == "f.yml" for problem in error.problems)
