"""What sudo has to allow, and no more."""

from __future__ import annotations

from collections.abc import Sequence

_HEAD = """\
# What mainstay needs of sudo: one shell, to which it gives fixed scripts that claim the host, launch and watch its work
# there, restart services and reboot. Who may install packages can become root anyway, so a narrower rule would only look
# narrower. A login for what only reads (ssh: read_user) needs no sudo at all.
# To /etc/sudoers.d/mainstay on each host (0440), checked with: visudo -cf /etc/sudoers.d/mainstay
"""


def rules(users: Sequence[str]) -> str:
    """sudoers(5) lines for these logins. NOPASSWD: where a password is wanted, drop it and name become: password:."""
    lines = [f"{user} ALL=(root) NOPASSWD: /usr/bin/sh, /bin/sh" for user in users]
    return _HEAD + "\n".join(lines) + "\n"
