"""What role base leaves behind, by effect where there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from lib.inspected import inspected
from lib.lab import Host
from lib.poll import wait_until

NODE = Host("m-base")
TOP = Path(__file__).parents[3]


@pytest.fixture
def host() -> testinfra.host.Host:
    return inspected(NODE)


@pytest.mark.parametrize("name", ["chrony", "curl", "socat", "tcpdump", "conntrack"])
def test_packages_come_from_the_archive(host, name):
    assert host.package(name).is_installed
    assert "/var/cache/apt/rota-debs" in host.check_output("apt-cache policy %s", name)


def test_names_of_nodes_and_members_resolve_both_ways():
    """DCMTK stalls 15 s for a caller that has no name."""
    assert "198.51.100.12" in NODE.check("getent", "ahostsv4", "lb2")
    assert "198.51.100.21" in NODE.check("getent", "ahostsv4", "pacs-pacs-a")
    assert "2001:db8:51::41" in NODE.check("getent", "ahostsv6", "registry-xds-a")
    for address in ("198.51.100.12", "198.51.100.21", "2001:db8:51::41"):
        assert NODE.check("getent", "hosts", address).split()[1:]


def test_the_hosts_file_keeps_what_others_wrote():
    text = NODE.read("/etc/hosts")
    assert "localhost" in text
    assert text.count("BEGIN of what Rota manages") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net.ipv4.ip_nonlocal_bind", "1"),
        ("net.ipv6.ip_nonlocal_bind", "1"),
        ("net.ipv4.tcp_keepalive_time", "60"),
        ("net.ipv4.ip_local_port_range", "16384\t65535"),
        ("net.ipv4.ip_local_reserved_ports", "80,104,443,2575,8080,8443,11112"),
    ],
)
def test_the_kernel_uses_the_settings(key, value):
    assert NODE.check("sysctl", "-n", key).strip() == value


def test_an_address_that_is_elsewhere_can_be_bound():
    """What the settings are for: HAProxy of the standby listens on addresses that it does not hold."""
    for family, address in ("AF_INET", "198.51.100.200"), ("AF_INET6", "2001:db8:51::200"):
        script = f"import socket; socket.socket(socket.{family}).bind(('{address}', 104))"
        NODE.check("python3", "-c", script)


def test_settings_have_one_owner():
    found = NODE.check(
        "sh", "-c", "grep -rlE '^-?net.ipv4.ip_nonlocal_bind' /etc/sysctl.d /etc/sysctl.conf 2>/dev/null || :"
    )
    assert found.split() == ["/etc/sysctl.d/60-rota.conf"]


def test_what_a_container_cannot_set_is_marked_and_does_not_fail_the_boot():
    lines = NODE.read("/etc/sysctl.d/60-rota.conf").splitlines()
    assert "-kernel.panic = 10" in lines
    assert "net.ipv4.ip_nonlocal_bind = 1" in lines
    NODE.check("/usr/lib/systemd/systemd-sysctl", "/etc/sysctl.d/60-rota.conf")


@pytest.fixture
def route() -> Iterator[str]:
    NODE.check("ip", "link", "add", "t0", "type", "veth", "peer", "name", "t1")
    yield "t0"
    NODE.run("ip", "link", "del", "t0")


@pytest.mark.parametrize(("family", "network"), [("-4", "198.51.100.0/24"), ("-6", "2001:db8:51::/64")])
def test_connected_routes_acknowledge_at_once(family, network):
    assert "quickack 1" in NODE.check("ip", family, "route", "show", network, "dev", "eth0")


@pytest.mark.parametrize(("family", "network"), [("-4", "198.51.100.0/24"), ("-6", "2001:db8:51::/64")])
def test_a_route_that_comes_back_acknowledges_at_once_again(family, network):
    """A cable, a DHCP renewal, a reconfigured interface: the kernel makes the route anew, without the mark."""
    before = NODE.check("ip", family, "route", "show", network, "dev", "eth0")
    rest = before.strip().replace(" quickack 1", "").split()
    NODE.check("ip", family, "route", "replace", rest[0], "dev", "eth0", *rest[1:])
    wait_until(
        lambda: NODE.check("ip", family, "route", "show", network, "dev", "eth0") == before,
        within=5,
        what="the route is marked again",
    )


def test_quickack_leaves_other_interfaces_alone(route):
    NODE.check("ip", "address", "add", "203.0.113.1/24", "dev", route)
    NODE.check("ip", "link", "set", route, "up")
    NODE.check("ip", "link", "set", "t1", "up")
    assert "203.0.113.0/24" in NODE.check("ip", "route", "show", "dev", route)
    assert "quickack" not in NODE.check("ip", "route", "show", "dev", route)


def test_quickack_undoes_its_marks_when_it_ends():
    NODE.systemctl("stop", "rota-quickack.service")
    try:
        assert "quickack" not in NODE.check("ip", "route", "show", "dev", "eth0")
        assert "quickack" not in NODE.check("ip", "-6", "route", "show", "dev", "eth0")
    finally:
        NODE.systemctl("start", "rota-quickack.service")
    wait_until(lambda: "quickack 1" in NODE.check("ip", "route", "show", "dev", "eth0"), within=5)


def test_the_journal_is_kept_and_bounded():
    machine = NODE.read("/etc/machine-id").strip()
    assert NODE.run("test", "-d", f"/var/log/journal/{machine}").ok
    assert "SystemMaxUse=1G" in NODE.read("/etc/systemd/journald.conf.d/rota.conf")
    NODE.check("logger", "-t", "test", "kept")
    wait_until(lambda: "kept" in NODE.check("journalctl", "-t", "test", "--no-pager"), within=5)


def test_time():
    """A container has no clock to set: chrony is configured and enabled, and does not run."""
    assert "server 198.51.100.1 iburst" in NODE.read("/etc/chrony/chrony.conf")
    assert "debian.pool" not in NODE.read("/etc/chrony/chrony.conf")
    assert NODE.run("systemctl", "is-enabled", "chrony.service").out.strip() == "enabled"
    NODE.check("chronyd", "-p", "-f", "/etc/chrony/chrony.conf")
    assert "Europe/London" in NODE.check("timedatectl", "show")


def test_run_time_folders():
    assert NODE.check("stat", "-c", "%a %U", "/run/rota/track").strip() == "755 root"


def test_nothing_failed():
    assert NODE.failed_units() == []


def test_what_somebody_changed_by_hand_is_put_back():
    """What is right is skipped: each of these must be seen before it can be."""
    NODE.check("sysctl", "-q", "-w", "net.ipv4.tcp_keepalive_time=7200")
    # written in place: in a container the file is a mount
    NODE.check("sh", "-c", "sed 's/ lb2/ lb9/' /etc/hosts >/root/hosts && cat /root/hosts >/etc/hosts && rm /root/hosts")
    NODE.check("ln", "-sfn", "/usr/share/zoneinfo/Asia/Tokyo", "/etc/localtime")
    NODE.check("systemctl", "disable", "--quiet", "chrony.service")
    NODE.systemctl("stop", "rota-quickack.service")
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    command.append("molecule/base/converge.yml")
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=TOP)
    assert (done.returncode, "changed=5" in done.stdout) == (0, True), done.stdout[-3000:] + done.stderr
    test_the_kernel_uses_the_settings("net.ipv4.tcp_keepalive_time", "60")
    test_names_of_nodes_and_members_resolve_both_ways()
    test_time()
    wait_until(lambda: "quickack 1" in NODE.check("ip", "route", "show", "dev", "eth0"), within=5)


def test_what_a_variable_adds_its_absence_removes(tmp_path):
    """Converge without archive, services, quick acknowledgements: all are gone, then everything is put back."""
    play = """
- name: Converge with less
  hosts: molecule_base
  gather_facts: false
  tasks:
    - name: Apply the role
      ansible.builtin.import_role:
        name: base
      vars:
        rota_model: "{{ {'site': site, 'services': {}} | rota_parse }}"
        base_hostname: false
        base_package_archive: ""
        base_packages: [curl]
        base_quickack: false
"""
    playbook = tmp_path / "less.yml"
    playbook.write_text(play)
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    options = {"capture_output": True, "text": True, "timeout": 200, "check": False, "cwd": TOP}
    done = subprocess.run([*command, str(playbook)], **options)
    try:
        assert (done.returncode, "changed=" in done.stdout) == (0, True), done.stdout[-3000:] + done.stderr
        assert not NODE.run("test", "-e", "/etc/apt/sources.list.d/rota.sources").ok
        assert not NODE.run("test", "-e", "/etc/apt/preferences.d/rota").ok
        assert not NODE.run("test", "-e", "/var/cache/apt/rota-debs").ok
        assert "quickack" not in NODE.check("ip", "route", "show", "dev", "eth0")
        assert "pacs-pacs-a" not in NODE.read("/etc/hosts")
    finally:
        again = subprocess.run([*command, "molecule/base/converge.yml"], **options)
    assert again.returncode == 0, again.stdout[-3000:]
