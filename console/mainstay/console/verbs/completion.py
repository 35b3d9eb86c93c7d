"""`mainstay completion`: the script that a shell reads."""

from __future__ import annotations

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb

WHERE = {
    "bash": 'eval "$(mainstay completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(mainstay completion zsh)"   in ~/.zshrc',
    "fish": "mainstay completion fish > ~/.config/fish/completions/mainstay.fish",
}


@verb(help="Print the completion script for a shell.\n\n\b\n" + "\n".join(f"{k}: {v}" for k, v in WHERE.items()))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(screen: Screen, shell: str) -> int:
    from click.shell_completion import get_completion_class

    from mainstay.console.cli import root

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(root, {}, "mainstay", "_MAINSTAY_COMPLETE").source()
    if screen.json:
        screen.data({"shell": shell, "script": script})
    else:
        screen.raw(script.rstrip("\n") + "\n")
    return 0
