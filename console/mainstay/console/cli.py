"""The command line's door: verbs are loaded when they are called, and every error leaves through one desk."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click

from mainstay.console.verb import VerbGroup

SECTIONS = {
    "Is all well?": {
        "points": "Did the last backup run, and what can be restored? --nagios for cron.",
        "status": "Well or not, and why, in one line per host; --nagios for monitoring.",
        "why": "Why a host is not fully patched, not backed up, not proved.",
        "next": "What comes, when by which clock, and what keeps it from running.",
        "runs": "Runs in flight, and who works on them; pause, resume, cancel.",
        "records": "Maintenance records: list, show, export, verify, ack.",
        "doctor": "Controller, hosts, repositories, clock, secrets: what is wrong and what to do.",
    },
    "Bring something back": {
        "restore": "Bring files or a database back from a recovery point, and compare.",
        "rollback": "Undo a run, after a preview with its limits.",
    },
    "Do it": {
        "preview": "What a run of a plan would do, per host; touches nothing.",
        "run": "Run a plan now and show how it goes.",
        "prove": "Prove a plan's newest points now, by restoring them into a scratch place.",
        "repo": "The repositories of backup plans: make, list, tend them; keep their keys.",
    },
    "Set it up and keep it going": {
        "init": "Make a site that works, with comments.",
        "check": "Check the whole site: every error with file, line, key and a hint.",
        "hosts": "The inventory; `hosts trust` pins keys, `hosts adopt` takes hosts over.",
        "serve": "Keep the clock and work: what falls due starts by itself.",
        "worker": "Work on runs that others ask for, until it is stopped.",
        "state": "Back up, restore or show the state.",
        "completion": "Print the completion script for bash, zsh or fish.",
    },
}
"""What one wants → verb → its line in `mainstay --help`. Stands here so that the help loads no verb."""
VERBS = {verb: text for verbs in SECTIONS.values() for verb, text in verbs.items()}


class LazyGroup(VerbGroup):
    """Imports `verbs/<verb>.py` when its verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"mainstay.console.verbs.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, 1)
            meant = f' Did you mean "{near[0]}"?' if near else ""
            raise click.UsageError(f'There is no verb "{args[0]}".{meant}', ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, VERBS))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), text) for verb, text in verbs.items()])


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"mainstay {version('mainstay')}")
    ctx.exit(0)


root = LazyGroup(
    name="mainstay",
    context_settings={"max_content_width": 110},
    subcommand_metavar="VERB …",
    help="Keeps a fleet of machines maintained over SSH, and can prove it.",
    epilog=(
        "At night: restore HOST --path /etc/nginx --to /root/back · rollback HOST names the run to undo · why HOST.\n\n"
        "Exit codes: 0 succeeded · 1 failed, rolled-back or cancelled · 2 usage or configuration · 3 degraded · "
        "4 refused or missed · 5 unknown · 130 interrupted."
    ),
    params=[
        click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Version.")
    ],
)


def run(arguments: Sequence[str], command: click.Command = root) -> int:
    """Run one command line; returns the exit code and never raises, whatever happens inside."""
    from mainstay.console.desk import Desk

    desk = Desk.of(arguments)
    with desk as outcome:
        result: Any = command.main(args=list(arguments), prog_name="mainstay", standalone_mode=False)
        outcome.code = result if isinstance(result, int) and not isinstance(result, bool) else 0
    return outcome.code
