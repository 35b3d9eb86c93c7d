import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.host import Host, Ssh
from mainstay.runner.plan import Carefulness, WaveSpec
from mainstay.runner.waves import Candidate, PlannedWave, arrange, behind, natural


def candidate(name: str, cohort: str = "debian 12 amd64", **more: object) -> Candidate:
    jump = more.pop("jump", None)
    machine = str(more.pop("machine", ""))
    host = Host.model_validate({"name": name, "address": f"a-{name}", **more, "ssh": Ssh(jump=jump)})
    return Candidate(host, cohort, machine)


def waves(candidates: list[Candidate], *specs: object) -> list[PlannedWave]:
    plan = Carefulness.model_validate({"waves": list(specs)})
    return arrange(candidates, plan.waves, lambda selector, host: host.tags.get("canary") == selector)


def names(planned: list[PlannedWave]) -> list[list[str]]:
    return [list(wave.hosts) for wave in planned]


def test_counts_and_shares_of_all_hosts_rounded_up() -> None:
    eight = [candidate(f"web{n}") for n in range(1, 9)]
    assert [len(wave.hosts) for wave in waves(eight, 1, "25%", "100%")] == [1, 2, 5]
    nine = [candidate(f"web{n}") for n in range(1, 10)]
    assert [len(wave.hosts) for wave in waves(nine, 1, "25%", "100%")] == [1, 3, 5]


def test_the_last_entry_goes_on_until_nobody_is_left() -> None:
    assert [len(wave.hosts) for wave in waves([candidate(f"h{n}") for n in range(7)], 1, 2)] == [1, 2, 2, 2]


def test_some_come_after_all_others_and_still_lead_a_cohort_of_their_own() -> None:
    some = [candidate("web1"), candidate("web2"), candidate("web10"), candidate("db1", cohort="debian 13 amd64")]
    hosts = [one.host for one in some]
    assert behind(hosts, ("web10",), ()) == ("web10",), "as it was"
    first = behind(hosts, ("web10", "web1"), {"web1", "db1"})
    assert first == ("web10", "web2")
    plan = Carefulness.model_validate({"waves": [1, 1]})
    planned = arrange(some, plan.waves, lambda selector, host: False, first=first)
    assert names(planned) == [["web10", "db1"], ["web2"], ["web1"]]


def test_hosts_are_taken_in_the_order_people_count() -> None:
    planned = waves([candidate("web10"), candidate("web9"), candidate("web1")], 1)
    assert names(planned) == [["web1"], ["web9"], ["web10"]]


def test_first_wave_holds_a_host_of_each_cohort_and_no_more_than_that() -> None:
    hosts = [
        candidate("a1"),
        candidate("a2"),
        candidate("b1", "ubuntu 24.04 amd64"),
        candidate("c1", "debian 12 arm64"),
    ]
    assert names(waves(hosts, 1, "100%")) == [["a1", "b1", "c1"], ["a2"]]


def test_first_wave_by_selector_gets_the_missing_cohorts_too() -> None:
    hosts = [candidate("a1"), candidate("a2", tags={"canary": "yes"}), candidate("b1", "ubuntu 24.04 amd64")]
    assert names(waves(hosts, {"select": "yes"}, "100%")) == [["a2", "b1"], ["a1"]]


def test_who_no_selector_picks_comes_after() -> None:
    hosts = [candidate("a1"), candidate("a2", tags={"canary": "yes"})]
    assert names(waves(hosts, {"select": "yes"})) == [["a2"], ["a1"]]


def test_the_controllers_own_machine_is_last_and_alone() -> None:
    hosts = [candidate("aaa", controller=True), candidate("bbb"), candidate("ccc")]
    assert names(waves(hosts, "100%")) == [["bbb", "ccc"], ["aaa"]]


def test_a_jump_host_is_never_in_flight_with_those_behind_it() -> None:
    hosts = [
        candidate("bastion"),
        candidate("db1", jump="bastion"),
        candidate("db2", jump="bastion"),
        candidate("web1"),
    ]
    (wave,) = waves(hosts, "100%")
    together = [set(batch) for batch in wave.batches]
    assert not any({"bastion"} < batch and batch & {"db1", "db2"} for batch in together)
    order = list(wave.hosts)
    assert order.index("bastion") > max(order.index("db1"), order.index("db2"))


def test_a_chain_of_jump_hosts_is_taken_from_its_end() -> None:
    hosts = [candidate("outer"), candidate("middle", jump="outer"), candidate("inner", jump="middle")]
    (wave,) = waves(hosts, "100%")
    assert wave.batches == (("inner",), ("middle",), ("outer",))


def test_a_chain_of_jump_hosts_holds_over_one_that_has_nothing_to_do() -> None:
    middle = candidate("middle", jump="outer").host
    plan = Carefulness.model_validate({"waves": ["100%"]})
    there = [candidate("outer"), candidate("inner", jump="middle")]
    (wave,) = arrange(there, plan.waves, lambda selector, host: False, [middle])
    assert wave.batches == (("inner",), ("outer",))


def test_two_names_of_one_machine_are_never_side_by_side() -> None:
    one = Candidate(Host(name="web3", address="10.0.3.13"), "c")
    two = Candidate(Host(name="web7", address="10.0.3.13"), "c")
    (wave,) = arrange([one, two], [WaveSpec.model_validate({"size": "100%"})], lambda s, h: False)
    assert wave.batches == (("web3",), ("web7",))
    by_id = [candidate("x", machine="m/b"), candidate("y", machine="m/b")]
    assert waves(by_id, "100%")[0].batches == (("x",), ("y",))


def test_no_host_no_wave() -> None:
    assert waves([], 1, "100%") == []


sizes = st.one_of(st.integers(1, 9), st.integers(1, 100).map(lambda n: f"{n}%"))


@given(
    st.sets(st.text("abc019", min_size=1, max_size=4), max_size=30), st.lists(sizes, min_size=1, max_size=5), st.data()
)
def test_every_host_is_in_exactly_one_wave(hosts: set[str], specs: list[object], data: st.DataObject) -> None:
    cohorts = {name: data.draw(st.sampled_from(["one", "two", "three"])) for name in sorted(hosts)}
    planned = waves([candidate(name, cohorts[name]) for name in hosts], *specs)
    assert sorted(name for wave in planned for name in wave.hosts) == sorted(hosts)
    assert [wave.number for wave in planned] == list(range(1, len(planned) + 1))
    if planned:
        assert {cohorts[name] for name in planned[0].hosts} == set(cohorts.values())


@given(st.sets(st.text("ab0123456789-", min_size=1, max_size=8)))
def test_natural_order_is_the_same_whatever_order_it_is_given(texts: set[str]) -> None:
    # Not a set of keys: 01 and 1 count the same, and may come in either order.
    assert [natural(text) for text in sorted(texts, key=natural)] == sorted(natural(text) for text in texts)


def test_values_of_a_tag_take_turns_within_a_wave() -> None:
    racks = {"w1": "r1", "w2": "r1", "w3": "r1", "w4": "r1", "w5": "r2", "w6": "r2", "w7": "r3"}
    there = [candidate(name, tags={"rack": rack}) for name, rack in racks.items()]
    everybody = [WaveSpec.model_validate({"size": "100%"})]
    (mixed,) = arrange(there, everybody, lambda s, h: False, spread=("rack",))
    assert [racks[name] for name in mixed.hosts] == ["r1", "r2", "r1", "r3", "r1", "r2", "r1"]
    assert [name for name in mixed.hosts if racks[name] == "r1"] == ["w1", "w2", "w3", "w4"]
    (plain,) = arrange(there, everybody, lambda s, h: False)
    assert list(plain.hosts) == list(racks)


@given(st.lists(st.sampled_from(["r1", "r2", "r3", None]), min_size=1, max_size=40))
def test_taking_turns_loses_nobody_and_keeps_a_jump_host_behind_its_hosts(racks: list[str | None]) -> None:
    there = [candidate("jump")]
    there += [candidate(f"w{n}", tags={"rack": r} if r else {}, jump="jump") for n, r in enumerate(racks)]
    (wave,) = arrange(there, [WaveSpec.model_validate({"size": "100%"})], lambda s, h: False, spread=("rack",))
    assert sorted(wave.hosts) == sorted(one.host.name for one in there)
    assert wave.batches[-1] == ("jump",) and len(wave.batches) == 2


def test_ten_times_as_many_hosts_are_laid_out_without_comparing_each_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule is about cost, and counted: no candidate is ever compared with another one."""

    def compared(self: Candidate, other: object) -> bool:
        raise AssertionError("two candidates were compared")

    monkeypatch.setattr(Candidate, "__eq__", compared)
    planned = waves([candidate(f"h{number}") for number in range(2000)], 1, "10%")
    assert [len(wave.hosts) for wave in planned] == [1, *[200] * 9, 199]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_no_batch_holds_two_names_of_a_machine_or_a_jump_host_with_one_behind_it(
    drawn: list[tuple[int, int, int]],
) -> None:
    """drawn: jump host, address, machine of each host, as small numbers so that they meet; 7, 3: none."""
    candidates = []
    for number, (jump, address, machine) in enumerate(drawn):
        over = f"h{jump}" if jump < number else None
        where = f"shared{address}" if address < 3 else f"own{number}"
        clone = f"m{machine}" if machine < 3 else ""
        candidates.append(candidate(f"h{number}", address=where, jump=over, machine=clone))
    (wave,) = waves(candidates, "100%")
    by_name = {one.host.name: one for one in candidates}
    assert sorted(wave.hosts) == sorted(by_name)
    for batch in wave.batches:
        assert batch, "no batch is empty"
        for one, other in itertools.permutations([by_name[name] for name in batch], 2):
            assert one.host.address != other.host.address
            assert not one.machine or one.machine != other.machine
            on_the_way = one.host.ssh.jump
            while on_the_way is not None:
                assert on_the_way != other.host.name, f"{other.host.name} is in flight with {one.host.name} behind it"
                on_the_way = by_name[on_the_way].host.ssh.jump
