"""Send a CT and an MR series through the service address, kill a member and the active node, compare every hash.

Expects the lab with the pair rolled out (`make demo` does all of it). Exit code 0 only if every instance
arrived unchanged.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from lib.lab import Host, Member, holders
from lib.poll import wait_until
from lib.series import CT, MR, Instance, make_series
from pydicom import dcmread
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.archives import holdings
from demo.record import Fault, Record, Sending

ADDRESS, PORT, CALLED = "198.51.100.100", 104, "ROTA"
SERIES = Path(__file__).parents[1] / ".lab" / "series" / "demo"
IN_CLIENT = "/srv/series/demo"
CLIENT, MEMBERS = Host("client"), (Member("pacs-a"), Member("pacs-b"))
NEXT = [
    ("who holds the addresses", "for n in lb1 lb2; do podman exec rota-lab-$n ip -brief address show eth0; done"),
    ("ask the archive through the pair", "podman exec rota-lab-client echoscu -v -aec ROTA pacs 104"),
    ("services, members, who is active and what is wrong", "podman exec rota-lab-lb1 rota status"),
    ("every service, through its address", ".venv/bin/ansible-playbook playbooks/verify.yml"),
    ("what the checks say", "podman exec rota-lab-lb1 journalctl -u haproxy -n 20 --no-pager"),
    ("pull a node's plug, put it back", "podman kill rota-lab-lb1; podman start rota-lab-lb1"),
    ("remove everything", "make demo-down"),
]


class Demo:
    """One run: the console, the progress bar and what is being sent."""

    def __init__(self, console: Console, count: int) -> None:
        """Make the series: two of three instances are CT, one is MR."""
        self.console = console
        shutil.rmtree(SERIES, ignore_errors=True)
        third = max(1, count // 3)
        self.sent: list[Instance] = make_series(SERIES, count - third, source=CT) + make_series(SERIES, third, source=MR)
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line with the time since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.started:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    def run(self) -> Record:
        """Send everything while things break; return what happened."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        total = len(self.sent)
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task("stored", total=total)
            sending = Sending(CLIENT, (ADDRESS, PORT, CALLED), IN_CLIENT, pause=0.1, give_up=120)
            record = sending.record
            said: list[str] = []

            def tick() -> None:
                progress.update(task, completed=len(record.stored))
                for _, why in record.failures[len(said) :]:
                    if why not in said[-1:]:  # once for a run of the same
                        self.say(f"[yellow]an association broke[/] ({why}); the rest of it is sent again")
                    said.append(why)

            sending.until(total // 4, tick)
            self.kill_member(record)
            sending.until(total * 6 // 10, tick)
            self.kill_node(record)
            sending.until(total + 1, tick)
        return record

    def kill_member(self, record: Record) -> None:
        """Kill the server process of the first archive."""
        record.faults.append(Fault(time.monotonic(), f"member {MEMBERS[0].name} killed"))
        MEMBERS[0].check("systemctl", "kill", "--signal=KILL", "orthanc.service")
        self.say(f"[red]killed the member[/] {MEMBERS[0].name} (SIGKILL)")

    def kill_node(self, record: Record) -> None:
        """Pull the plug of the node that holds the address."""
        active = Host(holders(ADDRESS)[0])
        record.faults.append(Fault(time.monotonic(), f"active node {active.name} killed"))
        active.kill()
        self.say(f"[red]pulled the plug of the active node[/] {active.name}")

    def mend(self) -> None:
        """Bring back what was killed and wait for a steady pair."""
        MEMBERS[0].mend_all(4242, 8443)
        for node in (Host("lb1"), Host("lb2")):
            if not node.is_up():
                node.start()
                self.say(f"booted {node.name} again")
        wait_until(lambda: len(holders(ADDRESS)) == 1, within=30, what=f"one node holds {ADDRESS}")
        self.say(f"{MEMBERS[0].name} serves again, {holders(ADDRESS)[0]} is active, the pair is complete")


def results(demo: Demo, record: Record) -> tuple[Table, bool]:
    """Compare what the archives hold with what was sent; return the table and whether all is well."""
    studies = {_study(one.path) for one in (demo.sent[0], demo.sent[-1])}
    held = {member.name: holdings(CLIENT, member, studies) for member in MEMBERS}

    def arrived(one: Instance) -> bool:
        """Whether the instance is in an archive, and the same in each that has it."""
        uid = one.sop_instance_uid
        return {archive[uid] for archive in held.values() if uid in archive} == {one.sha256}

    matched = sum(map(arrived, demo.sent))
    well = matched == len(demo.sent) == len(record.stored) and not record.gave_up
    table = Table(title="A CT and an MR series through 198.51.100.100:104", show_header=False, title_style="bold")
    rows = [
        ("instances sent", str(len(demo.sent))),
        ("acknowledged to the client", str(len(record.stored))),
        *((f"held by {name}", str(len(archive))) for name, archive in held.items()),
        ("held by both (acknowledgement lost)", str(len(held["pacs-a"].keys() & held["pacs-b"].keys()))),
        ("associations that broke", str(len(record.failures))),
        ("instances sent again", str(len(record.resent))),
        *((f"longest gap after: {fault.what}", f"{record.gap_after(fault):.2f} s") for fault in record.faults),
        ("longest gap without a fault", f"{record.longest_gap(0, record.faults[0].at):.2f} s"),
        ("SHA-256 as sent", f"{matched} of {len(demo.sent)}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    table.add_row("[bold]verdict[/]", "[bold green]nothing lost, nothing changed[/]" if well else "[bold red]FAILED[/]")
    return table, well


def _study(path: Path) -> str:
    return str(dcmread(path, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def main() -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="instances to send (default 300)")
    console = Console()
    demo = Demo(console, parser.parse_args().count)
    demo.say(f"made {len(demo.sent)} instances from the CT and MR files that pydicom ships; every UID is new")
    wait_until(lambda: len(holders(ADDRESS)) == 1, within=30, what=f"one node holds {ADDRESS}")
    demo.say(f"{holders(ADDRESS)[0]} holds {ADDRESS}; the client sends with storescu, five images an association")
    record = demo.run()
    demo.mend()
    table, well = results(demo, record)
    console.print()
    console.print(table)
    if not well:
        return 1
    console.print("\nThe pair is left running. Next:\n", highlight=False)
    for what, command in NEXT:
        console.print(f"  [dim]# {what}[/]\n  {command}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TimeoutError, AssertionError) as problem:
        sys.exit(f"demo: {problem}")
