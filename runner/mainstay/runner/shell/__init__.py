"""What is needed of a host: run a command, run a long one detached, move files. Adapters: fabric; a fake held to the same suite."""

from mainstay.runner.shell.quote import quote as quote
