"""Services that are never restarted on their own after an update, each with the reason. Data; a plan can add to it
(`restart_never`)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

BUS = "everything that talks over the bus loses it"
LOGIN = "people's sessions end with it"
NETWORK = "the host could lose its network, and us with it"
WORKLOADS = "containers or machines that it runs could stop"
CLUSTER = "its cluster would take this host for dead"
STORAGE = "disks that it holds could go away"
TASK = "it is a task, not a service; its next start takes the new code"
BOOT = "it belongs to the boot"

NEVER: tuple[tuple[str, str], ...] = (
    ("dbus*.service", BUS),
    ("elogind.service", LOGIN),
    ("user@*.service", LOGIN),
    ("user-runtime-dir@*.service", LOGIN),
    ("gdm*.service", LOGIN),
    ("kdm.service", LOGIN),
    ("lightdm.service", LOGIN),
    ("lxdm.service", LOGIN),
    ("nodm.service", LOGIN),
    ("sddm.service", LOGIN),
    ("slim.service", LOGIN),
    ("wdm.service", LOGIN),
    ("xdm.service", LOGIN),
    ("display-manager.service", LOGIN),
    ("greetd.service", LOGIN),
    ("getty@*.service", LOGIN),
    ("serial-getty@*.service", LOGIN),
    ("console-getty.service", LOGIN),
    ("container-getty@*.service", LOGIN),
    ("autovt@*.service", LOGIN),
    ("network*.service", NETWORK),
    ("NetworkManager*.service", NETWORK),
    ("ModemManager.service", NETWORK),
    ("systemd-networkd.service", NETWORK),
    ("ifup@*.service", NETWORK),
    ("wicked*.service", NETWORK),
    ("connman.service", NETWORK),
    ("dhcpcd*.service", NETWORK),
    ("wpa_supplicant*.service", NETWORK),
    ("iwd.service", NETWORK),
    ("openvpn*.service", NETWORK),
    ("wg-quick@*.service", NETWORK),
    ("strongswan*.service", NETWORK),
    ("ipsec.service", NETWORK),
    ("tinc*.service", NETWORK),
    ("tailscaled.service", NETWORK),
    ("bird*.service", NETWORK),
    ("frr.service", NETWORK),
    ("quagga.service", NETWORK),
    ("openvswitch*.service", NETWORK),
    ("ovs-*.service", NETWORK),
    ("docker*.service", WORKLOADS),
    ("containerd*.service", WORKLOADS),
    ("crio.service", WORKLOADS),
    ("podman*.service", WORKLOADS),
    ("kubelet.service", WORKLOADS),
    ("k3s*.service", WORKLOADS),
    ("lxc*.service", WORKLOADS),
    ("lxd*.service", WORKLOADS),
    ("incus*.service", WORKLOADS),
    ("libvirt*.service", WORKLOADS),
    ("virt*d.service", WORKLOADS),
    ("virtlogd.service", WORKLOADS),
    ("virtlockd.service", WORKLOADS),
    ("xendomains.service", WORKLOADS),
    ("xenstored.service", WORKLOADS),
    ("xenconsoled.service", WORKLOADS),
    ("systemd-nspawn@*.service", WORKLOADS),
    ("systemd-machined.service", WORKLOADS),
    ("pacemaker.service", CLUSTER),
    ("corosync.service", CLUSTER),
    ("pve-cluster.service", CLUSTER),
    ("ceph-*.service", CLUSTER),
    ("iscsid.service", STORAGE),
    ("multipathd.service", STORAGE),
    ("zfs-fuse.service", STORAGE),
    ("zfs-zed.service", STORAGE),
    ("drbd*.service", STORAGE),
    ("rc-local.service", BOOT),
    ("emergency.service", BOOT),
    ("rescue.service", BOOT),
    ("apt-daily*.service", TASK),
    ("unattended-upgrades.service", TASK),
    ("dnf-automatic*.service", TASK),
    ("cron-*.service", TASK),
    ("mainstay-*.service", TASK),
)
"""(pattern of a unit's name, reason).

Two are not among them, and restart.sh looks closer before it restarts them. ssh: with KillMode=process (Debian's and Red
Hat's units) open connections outlive it. systemd-logind: it keeps its sessions in /run and finds them again, unless one of
them has a seat (a screen and a keyboard), which most servers never have; without this exception every update of OpenSSL
would leave every server degraded."""


def reason(unit: str, also: Sequence[str] = ()) -> str:
    """Why a unit is not restarted; empty where it may be. also: a plan's own patterns."""
    for pattern, why in NEVER:
        if fnmatchcase(unit, pattern):
            return why
    if any(fnmatchcase(unit, pattern) or fnmatchcase(unit, f"{pattern}.service") for pattern in also):
        return "the plan says so"
    return ""
