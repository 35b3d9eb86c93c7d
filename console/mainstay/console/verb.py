"""What every verb has in common: the options that may stand before or after it, and the screen it writes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mainstay.console.logs.writing import FORMATS, LEVELS, writing
from mainstay.console.screen import Screen


def screen_of(ctx: click.Context) -> Screen:
    """The one screen of this command line."""
    root = ctx.find_root()
    if not isinstance(root.obj, Screen):
        root.obj = Screen()
    return root.obj


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        # Not given here says nothing: it may have been given on the other side of the verb.
        if value:
            setattr(screen_of(ctx), name, value)

    return callback


COMMON: dict[str, tuple[str, str, str, str]] = {
    "--site": (
        "site_dir",
        "DIR",
        "The site's folder; otherwise $MAINSTAY_SITE, otherwise the nearest mainstay.yml.",
        "",
    ),
    "--json": ("json", "", "JSON to stdout, everything else to stderr.", ""),
    "--no-input": ("no_input", "", "Never ask; an unanswered question is exit 2.", ""),
    "--yes": ("yes", "", "Answer every question with yes.", "-y"),
    "--debug": ("debug", "", "Show the traceback of an error.", ""),
    "--log-level": ("log_level", "LEVEL", "Log to stderr from debug, info, warning or error up; $MAINSTAY_LOG.", ""),
    "--log-format": ("log_format", "FORM", "Log as console (for people) or json (a line each); $MAINSTAY_LOG.", ""),
}
"""option → (attribute of Screen, metavar or "" for a flag, help, short form)."""


def common_options() -> list[click.Parameter]:
    options: list[click.Parameter] = []
    for name, (attribute, metavar, text, short) in COMMON.items():
        names = [part for part in (name, short, f"common_{attribute}") if part]
        if metavar:
            choices = {"LEVEL": LEVELS, "FORM": FORMATS}.get(metavar)
            of: click.ParamType[Any] = click.Choice(choices) if choices else click.Path(path_type=Path)
            kind: dict[str, Any] = {"type": of, "metavar": metavar}
        else:
            kind = {"is_flag": True}
        options.append(click.Option(names, expose_value=False, callback=_store(attribute), help=text, **kind))
    return options


WHOLE = 1000
"""Characters of a sentence of help: more than any has."""


class Verb(click.Command):
    """A verb: takes the common options after its name too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options()]

    def get_short_help_str(self, limit: int = 0) -> str:
        """The whole first sentence: click wraps it, and need not cut it."""
        return super().get_short_help_str(WHOLE)


class VerbGroup(click.Group):
    """A verb with verbs of its own. `default` is the one that is meant where none is named."""

    command_class = Verb
    default: str | None = None

    def __init__(self, *args: Any, default: str | None = None, **kwargs: Any) -> None:
        if default:
            kwargs.setdefault("no_args_is_help", False)
        super().__init__(*args, **kwargs)
        self.default = default
        self.params = [*self.params, *common_options()]

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(WHOLE)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # While a shell completes, the word that is being typed may become one of ours.
        if self.default and not ctx.resilient_parsing and not {"--help", "-h"} & set(args):
            word = _first_word(args)
            if word is None or word not in self.commands:
                args = [self.default, *args]
        return super().parse_args(ctx, args)


def _first_word(args: list[str]) -> str | None:
    skip = False
    for arg in args:
        if skip:
            skip = False
        elif arg == "--":
            return None
        elif arg.startswith("-") and arg != "-":
            skip = arg in COMMON and bool(COMMON[arg][1])
        else:
            return arg
    return None


VerbGroup.group_class = VerbGroup


def verb(*, serves: bool = False, **kwargs: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Decorator: a function `(screen, **parameters)` becomes a verb. It returns an exit code, or None for 0.
    serves: it works by itself until it is stopped, and logs what it does."""

    def decorate(function: Callable[..., Any]) -> Verb:
        command: Verb = click.command(cls=Verb, **kwargs)(with_screen(function, serves=serves))
        return command

    return decorate


def with_screen(function: Callable[..., Any], *, serves: bool = False) -> Callable[..., Any]:
    """Hand the screen over as the first argument, keeping click's parameters; log events are written meanwhile."""

    def call(*args: Any, **kwargs: Any) -> Any:
        screen = screen_of(click.get_current_context())
        with writing(screen, serves=serves):
            return function(screen, *args, **kwargs)

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]  # click's own hook
    return call
