"""Parsers against what real hosts printed (tests/cases/apt)."""

from __future__ import annotations

import pytest
from tests.unit.runner.patching.cases import MARK, sections, text

from mainstay.runner.patching.apt import output, parse, survey
from mainstay.runner.patching.apt.manager import _complaints, _conffiles
from mainstay.runner.patching.apt.sections import Truncated, cut
from mainstay.runner.patching.apt.sections import sections as read
from mainstay.runner.patching.contract import LogEntry
from mainstay.runner.shell.contract import Output

# As apt 2.7 prints it (apt-private/private-show.cc); a phased update on a host whose turn it is not.
PHASED = """\
base-files:
  Installed: 12ubuntu4.6
  Candidate: 12ubuntu4.6
  Version table:
     12ubuntu4.7 1 (phased 40%)
        500 http://mirror.test/ubuntu jammy-updates/main amd64 Packages
 *** 12ubuntu4.6 500
        500 http://mirror.test/ubuntu jammy-security/main amd64 Packages
        100 /var/lib/dpkg/status
"""


def test_a_survey_tells_held_pinned_and_security() -> None:
    found = survey.survey(sections("survey-held-pinned.txt"))
    packages = {one.name: one for one in found.upgradable}

    openssl, web = packages["openssl"], packages["demo-web"]
    assert (found.problem, len(packages)) == ("", 22)
    assert (openssl.held, openssl.taken, openssl.obtainable) == (True, False, "repository")
    assert [offer.security for offer in openssl.offers] == [True]
    assert openssl.offers[0].origin.startswith("Debian-Security")
    assert (web.candidate, [offer.version for offer in web.offers]) == ("1.0", ["1.4", "1.3", "1.1"])
    assert not web.offers[0].security
    assert packages["libssl3"].taken and packages["libssl3"].candidate_security


def test_a_survey_dates_each_version_by_its_signed_release() -> None:
    found = survey.survey(sections("survey-held-pinned.txt"))
    libssl3 = next(one for one in found.upgradable if one.name == "libssl3")

    assert libssl3.offers[0].dated and libssl3.offers[0].dated.endswith("Z")
    assert libssl3.offers[0].dated_by


@pytest.mark.parametrize("case", ["refresh-refused.txt", "refresh-error.txt"])
def test_a_dead_mirror_is_a_problem(case: str) -> None:
    found = sections(case)

    assert found["update-status"].strip() == "100"
    assert "Failed to fetch" in parse.update_problem(found["update"], found["update-status"])


def test_a_dead_mirror_is_a_problem_also_where_apt_ends_with_0() -> None:
    said = text("update-warning.txt")

    assert said.endswith("rc=0\n")
    assert "Failed to fetch" in parse.update_problem(said, "0")


def test_a_legacy_key_is_no_problem() -> None:
    said = (
        "Hit:1 http://m.test x InRelease\nW: http://m.test/x/InRelease: Key is stored in legacy trusted.gpg keyring\n"
    )

    assert parse.update_problem(said, "0") == ""


@pytest.mark.parametrize("status", ["", "1", "124"])
def test_an_update_without_a_good_end_is_a_problem(status: str) -> None:
    assert parse.update_problem("Hit:1 http://m.test x InRelease\n", status) != ""


def test_a_simulation_lists_the_whole_closure_with_digests_and_sizes() -> None:
    found = sections("simulate-together.txt")
    planned = survey.with_details(survey.simulation(found["simulate"], found["status"]), found).planned

    assert {one.name for one in planned} == {
        "demo-web", "libssl3", "openssl", "perl-base", "perl", "libperl5.36", "perl-modules-5.36",
    }  # fmt: skip
    assert all(one.sha256 and len(one.sha256) == 64 and one.size for one in planned)
    assert {one.name for one in planned if not one.security} == {"demo-web"}
    assert next(one for one in planned if one.name == "demo-web").before == "1.0"


def test_versions_that_are_not_to_be_had_are_named() -> None:
    found = sections("simulate-missing.txt")
    simulated = survey.simulation(found["simulate"], found["status"])

    assert not simulated.ok
    assert simulated.missing == ("demo-web", "nosuch", "libssl3")
    assert "Version '9.9' for 'demo-web' was not found" in simulated.problem


def test_each_simulation_stands_alone() -> None:
    cuts = list(cut(text("simulate-each.txt"), MARK))
    texts = [body for name, body in cuts if name == "simulate"]
    statuses = [body for name, body in cuts if name == "status"]
    web, removal, missing = map(survey.simulation, texts, statuses)

    assert [(one.name, one.after) for one in web.planned] == [("demo-web", "1.1")]
    assert not removal.ok and "init-system-helpers" in removal.problem
    assert missing.missing == ("demo-web",)


def test_removals_are_seen() -> None:
    said = "Remv apt-utils [2.6.1]\nPurg old [1]\nInst apt [2.6.2] (2.6.1 Debian:12/oldstable [amd64])\n"

    assert [(one.name, one.after) for one in parse.simulated(said)] == [
        ("apt-utils", None), ("old", None), ("apt", "2.6.1"),
    ]  # fmt: skip


def test_origins_and_trailing_noise_do_not_hide_an_install() -> None:
    said = (
        "Inst libc6:i386 [2.36-9] (2.36-9+deb12u1 Debian:12.5/stable, Debian-Security:12/stable-security [i386]) [libc6:amd64 ]\n"
        "Inst new (1.0 Fleet:demo [all]) []\nConf new (1.0 Fleet:demo [all])\n"
    )

    assert [(one.name, one.before, one.after, one.arch) for one in parse.simulated(said)] == [
        ("libc6:i386", "2.36-9", "2.36-9+deb12u1", "i386"), ("new", None, "1.0", "all"),
    ]  # fmt: skip


def test_a_phased_version_shows_its_share() -> None:
    policy = parse.policies(PHASED, "amd64")["base-files"]

    assert [(one.version, one.priority, one.phased) for one in policy.versions] == [
        ("12ubuntu4.7", 1, 40), ("12ubuntu4.6", 500, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("release", "security"),
    [
        ({"l": "Debian-Security", "a": "oldstable-security"}, True),
        ({"l": "Ubuntu", "a": "jammy-security"}, True),
        ({"o": "UbuntuESMApps", "a": "jammy-apps-security"}, True),
        ({"l": "Debian", "a": "oldstable-updates"}, False),
        ({"l": "security-tools", "a": "stable"}, False),
        ({}, False),
    ],
)
def test_what_counts_as_a_security_pocket(release: dict[str, str], security: bool) -> None:
    assert parse.Source("x", 500, release).security is security


def test_a_release_file_is_found_by_the_line_of_its_package_file() -> None:
    line = "http://user:pw@mirror.test/debian-security bookworm-security/main amd64 Packages"

    assert parse.release_file(line) == "mirror.test_debian-security_dists_bookworm-security"


def test_heads_of_files_date_them_unless_they_are_no_answer() -> None:
    heads = (
        "HTTP/1.1 301 Moved\r\nLast-Modified: Mon, 01 Jan 2001 00:00:00 GMT\r\n\r\n"
        "HTTP/1.1 200 OK\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n= http://m.test/a_1_all.deb\n"
        "HTTP/1.1 404 Not Found\r\nLast-Modified: Sat, 21 Nov 2020 10:00:00 GMT\r\n\r\n= http://m.test/b_1_all.deb\n"
    ).replace("\r", "")
    uris = "http://m.test/a_1_all.deb a_1_all.deb\nhttp://m.test/b_1_all.deb b_1_all.deb\n"

    assert parse.modified(heads, uris) == {"a_1_all.deb": "2026-11-21T10:00:00Z"}


def test_the_earliest_date_counts_and_says_whose_it_is() -> None:
    line = "http://m.test/debian stable/main amd64 Packages"
    version = parse.Version("1:2.0", 500, None, (line,))
    release = {"m.test_debian_dists_stable": "2026-11-20T00:00:00Z"}

    both = survey.Dates(release, {"web_1%3a2.0_all.deb": "2026-11-10T00:00:00Z"}).of("web", version, "amd64")
    one = survey.Dates(release, {}).of("web", version, "amd64")

    assert both == ("2026-11-10T00:00:00Z", "Last-Modified in the repository")
    assert one == ("2026-11-20T00:00:00Z", "dated by the signed Release of stable")
    assert survey.Dates({}, {}).of("web", version, "amd64") == (None, "")


def test_a_half_configured_package_is_seen_and_complained_about() -> None:
    found = sections("inspect-half-configured.txt")
    installed = parse.installed(found["installed"], "amd64")

    assert installed["demo-web"].state == "half-configured"
    assert installed["libc6"].state == "installed"
    assert any("demo-web" in line for line in _complaints(found))


def test_a_repair_that_fails_says_so() -> None:
    found = sections("repair-failed.txt")

    assert found["status"].strip() == "1"
    assert _complaints(found)
    assert "post-installation script" in output.outcome(1, found["output"].encode()).detail


def test_old_versions_and_conffiles() -> None:
    found = sections("old.txt")
    old = survey.old_versions(found, ["demo-web", "libssl3", "nosuch"])
    conffiles = {one.path: one for one in _conffiles(found)}

    assert sorted(old) == ["demo-web", "libssl3"]
    assert old["libssl3"].repository and old["libssl3"].auto and not old["demo-web"].auto
    assert old["demo-web"].cached and old["demo-web"].cached.endswith("demo-web_1.0_all.deb")
    assert conffiles["/etc/demo-web/demo-web.conf"].package == "demo-web"
    assert conffiles["/etc/bash.bashrc"].now == conffiles["/etc/bash.bashrc"].shipped


def test_a_failed_postinst_is_told_in_its_own_words() -> None:
    told = output.outcome(100, text("apply-failed.txt").encode())

    assert not told.ok
    assert told.detail == (
        "demo-web: installed demo-web package post-installation script subprocess returned error exit status 1"
    )


def test_a_set_that_changed_is_told_and_nothing_was_installed() -> None:
    told = output.outcome(72, text("apply-not-meant.txt").encode())

    assert not told.ok and "nothing was installed" in told.detail and "libperl5.36" in told.detail


def test_a_lost_job_is_unknown() -> None:
    assert output.outcome(None, b"").unknown


def test_kept_conffiles_are_reported() -> None:
    assert output.kept(text("apply-conffile.txt").encode()) == ("/etc/demo-web/demo-web.conf",)
    assert output.kept(text("apply-upgrade.txt").encode()) == ()


def test_progress_counts_what_is_set_up() -> None:
    said = text("apply-upgrade.txt").encode()

    assert output.progress(said, 2) == "2 of 2  openssl"
    assert output.progress(said[: said.index(b"Setting up")], 2).startswith("0 of 2  ")
    assert output.progress(b"Reading package lists...\n", 2) == ""


def test_control_characters_are_not_shown() -> None:
    assert "\x1b" not in output.outcome(100, b"E: \x1b[31mred\x1b[0m\n").detail


def test_the_package_log() -> None:
    entries = parse.log_entries(text("dpkg.log"))

    assert any(one.action == "upgrade" and one.name == "demo-web:all" for one in entries)
    assert all(isinstance(one, LogEntry) for one in entries) and not any(one.before == "<none>" for one in entries)


def test_an_answer_that_ends_in_the_middle_is_not_believed() -> None:
    half = text("old.txt").rpartition(f"#{MARK} end")[0]

    with pytest.raises(Truncated):
        read(Output(0, half.encode()), MARK)


def test_a_mark_cannot_be_forged_by_a_package() -> None:
    forged = f"\n#{MARK} installed\nreal\n#ffffffffffffffff installed\nforged\n\n#{MARK} end\n"

    assert read(Output(0, forged.encode()), MARK)["installed"] == "real\n#ffffffffffffffff installed\nforged"
