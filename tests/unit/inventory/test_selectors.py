import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mainstay.inventory.errors import UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.selectors import (
    Compare,
    Everything,
    Joined,
    Named,
    Node,
    Not,
    Selector,
    SelectorError,
    Value,
    parse,
    pick,
)

HOSTS = (
    Host(name="db1", address="10.0.0.9", groups=("databases",), tags={"role": "db", "env": "prod"}),
    Host(name="web1", address="10.0.0.1", groups=("canary", "webservers"), tags={"role": "web", "env": "prod"}),
    Host(name="web2", address="10.0.0.2", groups=("webservers",), tags={"role": "web", "env": "test", "os": "a b"}),
    Host(name="web3", address="10.0.0.3", groups=("webservers",), tags={"role": "web"}),
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", "db1 web1 web2 web3"),
        ("role=web and env!=prod", "web2 web3"),
        ("role=web and env=prod or role=db", "db1 web1"),
        ("role=web and (env=prod or name=web3)", "web1 web3"),
        ("not role=web", "db1"),
        ("not not role=db", "db1"),
        ("env in (test, stage)", "web2"),
        ("env not in (test, prod)", "web3"),
        ("name=web*", "web1 web2 web3"),
        ("web[12]", "web1 web2"),
        ("web?", "web1 web2 web3"),
        ("webservers", "web1 web2 web3"),
        ("canary or db1", "db1 web1"),
        ("data*", "db1"),
        ("group=canary", "web1"),
        ("group!=webservers", "db1"),
        ("group=all", "db1 web1 web2 web3"),
        ("address=10.0.0.2", "web2"),
        ('os="a b"', "web2"),
        ("role = web and\tnot  web1", "web2 web3"),
    ],
)
def test_what_is_picked(text: str, names: str) -> None:
    assert [host.name for host in pick(text, HOSTS)] == names.split()


@pytest.mark.parametrize("text", ["nobody", "role=nothing", "not all", "env=prod and env=test", "web[", "'web*'"])
def test_a_selector_that_matches_nothing_is_an_error_and_never_all(text: str) -> None:
    with pytest.raises(SelectorError, match="matches no host") as caught:
        pick(text, HOSTS)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    with pytest.raises(UsageError, match="no host"):
        pick("all", ())


def test_a_slip_gets_a_hint() -> None:
    with pytest.raises(SelectorError) as caught:
        pick("rol=web", HOSTS)
    assert (caught.value.column, caught.value.hint) == (1, 'Did you mean "role"?')
    with pytest.raises(SelectorError) as caught:
        pick("role=web and web9x", HOSTS)
    assert caught.value.column == 14
    (doubt,) = parse("role=web or name=wbe1").doubts(HOSTS)
    assert (doubt.column, doubt.hint) == (18, 'Did you mean "web1"?')
    (doubt,) = parse("env!=prd").doubts(HOSTS)
    assert (doubt.column, doubt.hint) == (6, 'Did you mean "prod"?')
    assert "env" in doubt.message
    assert not parse("env in (test, stage)").doubts(HOSTS)
    assert not parse("role=web or group=canary or all or databases").doubts(HOSTS)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("   ", 1),
        ("role=web and", 13),
        ("role=", 6),
        ("role==web", 6),
        ("(role=web", 1),
        ("role=web)", 9),
        ("web1 web2", 6),
        ("web1, web2", 5),
        ("web1 & web2", 6),
        ("!web1", 1),
        ("env in web", 8),
        ("env in (a", 10),
        ("env in ()", 9),
        ("ro*e=web", 1),
        ("a=$(id)", 3),
        ("a='x", 3),
        ("and", 1),
        ("not", 4),
        ("a;b", 2),
        ("\0", 1),
        ("(" * 100 + "a" + ")" * 100, 51),
    ],
)
def test_a_wrong_selector_is_told_with_its_column_and_a_hint(text: str, column: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.column == column
    assert caught.value.message.isprintable()


WORD = st.from_regex(r"[a-z][a-z0-9_.-]{0,6}", fullmatch=True).filter(
    lambda word: word not in ("and", "or", "not", "in", "all")
)
VALUE = st.one_of(
    WORD.map(Value),
    st.from_regex(r"[a-z*?][a-z0-9*?]{0,5}", fullmatch=True)
    .filter(lambda w: w not in ("and", "or", "not", "in", "all"))
    .map(Value),
    st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"]), max_size=6).map(lambda t: Value(t, True)),
)
LEAF: st.SearchStrategy[Node] = st.one_of(
    st.just(Everything()),
    st.builds(Named, VALUE),
    st.builds(lambda a, v, n: Compare(a, (v,), n), WORD, VALUE, st.booleans()),
    st.builds(
        lambda a, v, n: Compare(a, tuple(v), n, 0, True), WORD, st.lists(VALUE, min_size=1, max_size=3), st.booleans()
    ),
)
NODE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(
            lambda w, p: Joined(w, tuple(p)), st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)
        ),
    ),
    max_leaves=12,
)
TAGS = st.dictionaries(WORD, WORD, max_size=3)
HOST = st.builds(
    lambda name, tags, groups: Host(name=name, address=name, tags=tags, groups=tuple(groups)),
    WORD,
    TAGS,
    st.lists(WORD, max_size=2),
)


@given(NODE)
def test_what_is_printed_is_read_back_the_same(node: Node) -> None:
    text = str(Selector("", node))
    assert parse(text).node == node


@given(NODE, st.lists(HOST, max_size=5))
def test_a_selector_and_its_opposite_share_the_hosts_without_rest(node: Node, hosts: list[Host]) -> None:
    selector, opposite = Selector("", node), Selector("", Not(node))
    assert all(selector.matches(host) is not opposite.matches(host) for host in hosts)
    try:
        picked = pick(str(selector), hosts)
    except SelectorError:
        picked = ()
    assert [host for host in hosts if selector.matches(host)] == list(picked)


PIECES = st.sampled_from([*"ab=!*?[]()'\",-. \t\n\0;$", "and ", "or ", " not ", " in "])


@given(st.lists(PIECES, max_size=60).map("".join))
@example("a=and ")
@settings(max_examples=300)
def test_hostile_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        selector = parse(text)
    except SelectorError as error:
        assert error.column is None or 1 <= error.column <= len(text) + 1
        return
    assert parse(str(selector)).node == selector.node


@pytest.mark.parametrize(
    "text",
    [
        *("name=" + "*a" * 1000 + "b", "not " * 1000 + "a", "(" * 4000, "a or " * 800 + "b", "name=" + "[" * 3000),
        *("name=" + "*a" * 120 + "b", "name=" + "[" * 250, "name in (" + ",".join(["*a" * 120] * 15) + ")"),
    ],
)
def test_no_text_takes_more_than_a_moment(text: str) -> None:
    host = Host(name="a" * 250, address="a")
    started = time.process_time()
    try:
        selector = parse(text)
        selector.matches(host)
    except SelectorError:
        pass
    # Milliseconds were measured; backtracking would take years, recursion would end in another error.
    assert time.process_time() - started < 30


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(SelectorError, match="longer than"):
        parse("a or " * 2000 + "a")
