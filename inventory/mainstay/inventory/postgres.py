"""`postgresql://user@host:port/database?sslmode=…`: where a state that several machines share is. Never a password.

The form is that of libpq (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), with the
parameters that change nothing of what mainstay relies on.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.validation import did_you_mean

SCHEMES = ("postgresql", "postgres")
PARAMETERS = frozenset(
    {
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "ssl_min_protocol_version"),
        *("channel_binding", "require_auth", "gssencmode", "krbsrvname", "requirepeer"),
        *("target_session_attrs", "load_balance_hosts", "host", "port", "service", "passfile"),
    }
)
"""What may stand behind the `?`. Timeouts are mainstay's own; a search path or a role would lead it elsewhere."""

SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_FORM = "Write postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full"
_ELSEWHERE = (
    "Leave it out of the URL and say where it is to be found: state_password: file:PATH, or env:NAME, or $PGPASSFILE."
)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """hosts: (name, port or None) in the order in which they are tried; empty: libpq's own default, a local socket."""

    user: str
    hosts: tuple[tuple[str, int | None], ...]
    database: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        hosts = ",".join(_netloc(host, port) for host, port in self.hosts)
        query = f"?{urlencode(self.parameters)}" if self.parameters else ""
        return f"postgresql://{user}{hosts}/{quote(self.database, safe='')}{query}"

    def as_user(self, user: str) -> PostgresAddress:
        return PostgresAddress(user, self.hosts, self.database, self.parameters)

    def connection(self) -> dict[str, str]:
        """As libpq takes it, keyword by keyword, without a password."""
        said = dict(self.parameters)
        if self.hosts:
            said["host"] = ",".join(host for host, _ in self.hosts)
            said["port"] = ",".join(str(port or 5432) for _, port in self.hosts)
        named = {"user": self.user, "dbname": self.database}
        return said | {key: value for key, value in named.items() if value}


def is_postgres(url: str) -> bool:
    return url.partition("://")[0] in SCHEMES


def postgres_address(url: str) -> PostgresAddress:
    """Raises WrongValue, whose message never holds what could be a password."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator or any(ord(letter) < 33 for letter in url):
        raise WrongValue("is no PostgreSQL URL.", hint=_FORM)
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    login, at, netloc = authority.rpartition("@")
    user, colon, _ = login.partition(":")
    if at and colon:
        raise WrongValue("holds a password.", hint=_ELSEWHERE)
    parameters = _parameters(query)
    hosts = tuple(_host(part) for part in netloc.split(",")) if netloc else ()
    if hosts and ("host" in dict(parameters) or "port" in dict(parameters)):
        raise WrongValue("names its host twice.", hint="Name it before the / or behind host=, not both.")
    if not database and "service" not in dict(parameters):
        raise WrongValue("names no database.", hint=_FORM)
    if "/" in database:
        raise WrongValue("names no database: a / is one too many.", hint=_FORM)
    return PostgresAddress(unquote(user), hosts, unquote(database), parameters)


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    try:
        found = tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else ()
    except ValueError:
        raise WrongValue("has something behind the ? that is not KEY=VALUE&KEY=VALUE.", hint=_FORM) from None
    for name, _ in found:
        if "password" in name:
            raise WrongValue("holds a password.", hint=_ELSEWHERE)
        if name not in PARAMETERS:
            known = f"Known here: {', '.join(sorted(PARAMETERS))}."
            raise WrongValue(f'has an unknown parameter "{name[:40]}".', hint=did_you_mean(name, PARAMETERS) or known)
    mode = dict(found).get("sslmode", SSLMODES[0])
    if mode not in SSLMODES:
        hint = did_you_mean(mode, SSLMODES) or f"Known here: {', '.join(SSLMODES)}."
        raise WrongValue(f'has an unknown sslmode "{mode[:40]}".', hint=hint)
    if len(dict(found)) != len(found):
        raise WrongValue("names a parameter twice.", hint=_FORM)
    return found


def _host(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":") if bracket else "unclosed"
    else:
        name, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise WrongValue("has a port that is none.", hint=_FORM)
    name = unquote(name)
    if not name or any(letter in name for letter in " ,@?#"):
        raise WrongValue("has a host that is none.", hint=_FORM)
    return name, int(port) if port else None


def _netloc(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else quote(host, safe="")
    return f"{name}:{port}" if port else name
