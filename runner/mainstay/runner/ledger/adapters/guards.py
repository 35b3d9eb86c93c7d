"""What guards the ledger's table in the database itself: nothing but the next entry goes in, and nothing ever goes out.

Triggers are lost in silence where a table is copied and renamed, as migrations on SQLite do, so they are held against
what they have to be, text and all, before work starts and after each migration.
"""

from __future__ import annotations

import sqlalchemy as sa

TABLE = "maintenance_record"
SCHEMA = "mainstay"

_SQLITE = {
    "record_no_update": (
        "CREATE TRIGGER record_no_update BEFORE UPDATE ON maintenance_record "
        "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    ),
    "record_no_delete": (
        "CREATE TRIGGER record_no_delete BEFORE DELETE ON maintenance_record "
        "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    ),
    # INSERT OR REPLACE deletes without firing the delete trigger on a connection with SQLite's defaults.
    "record_chain": (
        "CREATE TRIGGER record_chain BEFORE INSERT ON maintenance_record BEGIN SELECT CASE "
        "WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM maintenance_record) "
        "OR NEW.prev IS NOT coalesce((SELECT hash FROM maintenance_record ORDER BY seq DESC LIMIT 1), '') "
        "THEN RAISE(ABORT, 'broken chain') END; END"
    ),
}

_REFUSE = "\nBEGIN\n  RAISE EXCEPTION 'append-only' USING ERRCODE = 'integrity_constraint_violation';\nEND\n"
_FOLLOW = """
BEGIN
  IF NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq), 0) + 1 FROM mainstay.maintenance_record)
    OR NEW.prev IS DISTINCT FROM
      coalesce((SELECT hash FROM mainstay.maintenance_record ORDER BY seq DESC LIMIT 1), '') THEN
    RAISE EXCEPTION 'broken chain' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END
"""
_FUNCTIONS = {"record_refuse": _REFUSE, "record_follow": _FOLLOW}
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
"""Bits of pg_trigger.tgtype: src/include/catalog/pg_trigger.h."""
_POSTGRES = {
    "record_no_update": ("UPDATE", "ROW", "record_refuse", _ROW | _BEFORE | _UPDATE),
    "record_no_delete": ("DELETE", "ROW", "record_refuse", _ROW | _BEFORE | _DELETE),
    "record_no_truncate": ("TRUNCATE", "STATEMENT", "record_refuse", _BEFORE | _TRUNCATE),
    "record_chain": ("INSERT", "ROW", "record_follow", _ROW | _BEFORE | _INSERT),
}
_THERE = sa.text(
    "SELECT t.tgname, t.tgtype, t.tgenabled::text AS tgenabled, t.tgqual IS NULL AND t.tgattr::text = '' AS always, "
    "p.proname, p.prosrc, l.lanname, p.prosecdef, p.proconfig, f.nspname "
    "FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid "
    "JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang "
    "WHERE n.nspname = 'mainstay' AND c.relname = 'maintenance_record' AND NOT t.tgisinternal "
    "AND NOT c.relhasrules"  # a rule would answer in the table's place
)


def missing(of: sa.Connection) -> list[str]:
    """Names of guards that are not there, not enabled, or not what they have to be."""
    if of.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        texts: dict[str, str] = {row.name: row.sql for row in of.exec_driver_sql(query)}
        return [name for name, text in _SQLITE.items() if texts.get(name) != text]
    there = {row.tgname: row for row in of.execute(_THERE)}
    return [name for name in _POSTGRES if name not in there or not _sound(there[name])]


def _sound(row: sa.Row[tuple[object, ...]]) -> bool:
    _, _, function, kind = _POSTGRES[row.tgname]
    return (
        (row.tgtype, row.proname, row.nspname, row.lanname) == (kind, function, SCHEMA, "plpgsql")
        and row.tgenabled == "A"  # always: also for a session that says it only replicates
        and row.always
        and row.prosrc == _FUNCTIONS[function]
        and not row.prosecdef
        and row.proconfig is None
    )


def make(to: sa.Connection) -> None:
    """Those that are missing. The table is there."""
    gone = missing(to)
    if to.dialect.name == "sqlite":
        for name in gone:
            to.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
            to.exec_driver_sql(_SQLITE[name])
        return
    for function, body in _FUNCTIONS.items() if gone else ():
        to.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.{function}() RETURNS trigger LANGUAGE plpgsql AS $guard${body}$guard$"
        )
    for name in gone:
        event, each, function, _ = _POSTGRES[name]
        to.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name} ON {SCHEMA}.{TABLE}")
        to.exec_driver_sql(
            f"CREATE TRIGGER {name} BEFORE {event} ON {SCHEMA}.{TABLE} "
            f"FOR EACH {each} EXECUTE FUNCTION {SCHEMA}.{function}()"
        )
        to.exec_driver_sql(f"ALTER TABLE {SCHEMA}.{TABLE} ENABLE ALWAYS TRIGGER {name}")
