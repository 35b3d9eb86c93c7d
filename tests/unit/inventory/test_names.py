import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.names import address_of, check_name, check_tag, shown

RTL = "web\u202e1moc.evil"


@pytest.mark.parametrize(
    "name",
    [
        "-oProxyCommand=touch X",
        "a;b",
        "a\nb",
        "$(id)",
        "`id`",
        "a\0b",
        "../x",
        "a/b",
        "..",
        ".a",
        "a b",
        "",
        "a" * 300,
        "wéb",
        "аll",
        "all",
        "and",
        "none",
        RTL,
    ],
)
def test_names_that_could_be_commands_or_paths_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"name"):
        check_name(name)


@pytest.mark.parametrize("name", ["web1", "10.0.0.1", "db-1.example.org", "a_b", "9"])
def test_usual_names_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("Web.Example.ORG", "web.example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_addresses_get_one_spelling(text: str, address: str) -> None:
    assert address_of(text) == (address, None)


def test_an_international_name_becomes_punycode_and_the_note_shows_it() -> None:
    assert address_of("bücher.example") == (
        "xn--bcher-kva.example",
        '"bücher.example" is dialled as xn--bcher-kva.example',
    )
    cyrillic = address_of("пример.example")
    assert cyrillic[0] == "xn--e1afmkfd.example"
    assert cyrillic[1]
    assert cyrillic[0] in cyrillic[1]


@pytest.mark.parametrize(
    "text",
    [
        "-oProxyCommand=touch X",
        "a;b",
        "a b",
        "$(id)",
        "a\nb",
        "a\0b",
        "../x",
        "",
        "10.0.0.256",
        "010.1.1.1",
        "0x7f000001",
        "2130706433",
        "10.0.0.1%eth0",
        "fe80::1%a;b",
        "a..b",
        "-a.example",
        "a" * 64,
        RTL,
        "\u0440aypal.example",
        "we\u200bb.example",
        "straße.example",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        address_of(text)


def test_a_message_shows_direction_marks_and_controls_as_escapes() -> None:
    assert shown(RTL) == '"web\\u202e1moc.evil"'
    assert shown("a\x1b[31m\n") == '"a\\x1b[31m\\n"'
    assert shown("x" * 100) == '"' + "x" * 60 + '…"'


@given(st.text())
def test_what_is_taken_is_plain_and_never_an_option(text: str) -> None:
    try:
        address, _ = address_of(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert address.isascii()
    assert not address.startswith("-")
    assert not set(address) & set(" ;$`\n\0/\\'\"&|<>()")


def test_tags() -> None:
    check_tag("role", "web")
    check_tag("aws:Name", "Mein Rechner")
    for key, value in (("name", "x"), ("a b", "x"), ("1a", "x"), ("role", "a\nb"), ("role", "x" * 300)):
        with pytest.raises(ValueError, match="tag"):
            check_tag(key, value)
