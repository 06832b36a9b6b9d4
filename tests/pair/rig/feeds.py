"""An HL7 feed through the service address, and what became of it at the receivers."""

from __future__ import annotations

import itertools

from lib.lab import Member
from pair.rig import client

RECEIVERS = ("hl7-a", "hl7-b")
_numbers = itertools.count(1)


class Feed(client.Running):
    """A sender that goes on until the block ends."""

    def __init__(self, address: str, port: int = 2575) -> None:
        stamp = int(client.CLIENT.check("date", "+%s"))
        self.prefix = f"F{stamp}X{next(_numbers)}N"
        super().__init__("hl7_feed", address, str(port), self.prefix, "0")

    def records(self) -> list[client.Line]:
        """Return what the receivers wrote down of this feed, in order of time: `receiver`, `control_id`, `answer`, `time`."""
        rows = [{**row, "receiver": name} for name in RECEIVERS for row in Member(name).records("hl7")]
        mine = [row for row in rows if str(row["control_id"]).startswith(self.prefix)]
        return sorted(mine, key=lambda row: float(row["time"]))

    def receivers(self) -> list[str]:
        """Return who got messages, in order, each stretch once: `["hl7-a"]`, or `["hl7-a", "hl7-b"]` after a failover."""
        return [name for name, _ in itertools.groupby(self.records(), key=lambda row: row["receiver"])]

    def assert_in_order_and_acknowledged(self) -> None:
        """Every send that was answered got one AA, its own; every message arrived, and none before its predecessor."""
        for line in self.lines:
            if line["acks"]:
                assert line["acks"] == [f"AA {line['id']}"], f"wrong acknowledgement: {line}"
        answered = [line["id"] for line in self.lines if line["acks"]]
        assert answered == sorted(set(answered)), "a message was acknowledged twice, or out of turn"
        assert {line["id"] for line in self.lines} == set(answered), "a message was never acknowledged"
        arrived = [row["control_id"] for row in self.records()]
        assert arrived == sorted(arrived), f"out of order: {arrived}"
        assert set(answered) <= set(arrived), "a message was acknowledged that no receiver has"
        sends = {name: sum(line["id"] == name for line in self.lines) for name in answered}
        doubled = [name for name in answered if arrived.count(name) > sends[name]]
        assert not doubled, f"arrived more often than sent: {doubled}"
