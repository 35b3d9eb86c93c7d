"""Every kind of plan that a site may hold."""

from __future__ import annotations

from mainstay.runner.plans import PATCH, Kinds

KINDS: Kinds = {**PATCH}
