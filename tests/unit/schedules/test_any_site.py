"""Whatever is written in a site, it is read or its faults are told: no crash, no control character, no secret."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.inventory.settings import GroupEntry, HostEntry, SiteFile, SiteSsh
from mainstay.runner.plan import Check, Hook, PatchPlan, Updates, WaveSpec
from mainstay.schedules.check import check_site
from mainstay.schedules.windows import Window

CANARY = "canary-hunter2"
MODELS = (SiteFile, SiteSsh, HostEntry, GroupEntry, PatchPlan, Updates, Check, Hook, WaveSpec, Window)
WORDS = sorted(
    {word for model in MODELS for word in model.model_fields} | {"web1", "g", "all", "plans", "windows", "hosts", "x.y"}
)
TEXTS = [
    "web1",
    "g",
    "role=web",
    "25%",
    "3d",
    "02:00",
    "env:X",
    "a\nb",
    "\u202e",
    "-x",
    "$(id)",
    "FREQ=DAILY",
    "0 2 * * *",
    "daily",
    "last friday of june -1 day",
    "host",
    "",
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(), st.sampled_from(TEXTS), st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)),
    max_leaves=20,
)


def written(value: Any) -> str:
    """JSON is YAML, but for the names of numbers that are none."""
    text = json.dumps(value)
    return text.replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")


@given(
    main=st.dictionaries(st.sampled_from(sorted(SiteFile.model_fields)), VALUES, max_size=3),
    hosts=st.dictionaries(st.sampled_from(["web1", "web2", "-o", "a;b"]), VALUES, max_size=3),
    groups=st.dictionaries(st.sampled_from(["g", "all", "web1", "h"]), VALUES, max_size=3),
    plan=st.dictionaries(st.sampled_from(sorted(PatchPlan.model_fields)), VALUES, max_size=4),
    window=st.dictionaries(st.sampled_from(sorted(Window.model_fields)), VALUES, max_size=4),
    other=VALUES,
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_site_is_read_or_its_faults_are_told(
    main: Any, hosts: Any, groups: Any, plan: Any, window: Any, other: Any
) -> None:
    hosts["web3"] = {"password": CANARY, "key": CANARY, "become": {"password": CANARY}, "passphrase": CANARY}
    files = {
        "mainstay.yml": {"site": "a", **main},
        "inventory/hosts.yml": {"hosts": hosts, "groups": groups, "sources": other},
        "inventory/other.yml": other,
        "schedules/all.yml": {"plans": {"p": {"targets": "all", **plan}}, "windows": {"w": window}, "freezes": other},
        "schedules/other.yml": other,
    }
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(written(content))
        loaded, errors, warnings = check_site(Path(folder))
    assert loaded is None
    assert len([problem for problem in errors if (problem.key or "").startswith("hosts.web3.")]) == 4
    for problem in (*errors, *warnings):
        assert str(problem).isprintable(), problem
        assert CANARY not in str(problem)
        assert problem.file
        assert problem.line or problem.key == "ssh.key"
