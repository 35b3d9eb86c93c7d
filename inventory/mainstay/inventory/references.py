"""A secret in a site's files: never the secret itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from mainstay.inventory.secrets import check_reference

Reference = Annotated[str, AfterValidator(check_reference)]
"""Where a secret is to be found, never the secret."""
