"""What role rota writes for rotad is what rotad reads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rota.control import config, written
from rota.model import parse

VALUES = st.recursive(
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES))
def test_toml_says_what_it_was_given(table: dict[str, Any]) -> None:
    assert tomllib.loads(written.toml(table)) == table


def test_what_has_no_value_is_left_out_and_what_has_no_form_is_refused() -> None:
    assert tomllib.loads(written.toml({"a": None, "b": {"c": None, "d": [1, {"e": None}]}})) == {"b": {"d": [1, {}]}}
    with pytest.raises(ValueError, match="no form in TOML"):
        written.toml({"a": object()})


def site() -> Any:
    result = parse(
        {
            "site": {
                "name": "test",
                "nodes": {"lb1": {"addresses": ["203.0.113.11", "2001:db8::11"]}, "lb2": {"address": "203.0.113.12"}},
                "networks": {"lan": {"prefixes": ["203.0.113.0/24", "2001:db8::/64"], "interface": "eth0"}},
            },
            "services": {
                "pacs": {
                    "profile": "tcp",
                    "port": 104,
                    "address": "203.0.113.100",
                    "members": {"a": {"address": "203.0.113.21"}, "b": {"address": "203.0.113.22"}},
                }
            },
        }
    )
    assert result.site is not None, result.problems
    return result.site


def test_rotad_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "rotad.toml"
    added = {"journal": {"days": 7}, "peer": {"addresses": {"lb2": "198.51.100.12:8407"}}, "metrics": {"port": 9000}}
    path.write_text(written.text(site(), "lb1", added))
    read = config.load(path)
    assert (read.node, read.peer.listen, read.peer.port) == ("lb1", "203.0.113.11", written.PEER_PORT)
    assert (read.journal_days, read.journal_mebibytes) == (7, 512), "what a site adds wins, and the rest stays"
    assert read.peer.addresses == {"lb2": ("198.51.100.12", 8407)}
    assert read.raw["metrics"] == {"listen": "127.0.0.1", "port": 9000}


def test_a_node_that_the_site_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError):
        written.text(site(), "lb9", {})


@pytest.mark.parametrize(
    ("alarms", "said"),
    [
        ({"mail": {"server": "mail.example.org", "from": "rota@example.org", "to": "x"}}, "alarms.mail.to is no list"),
        ({"webhok": {}}, "alarms.webhok is unknown"),
        ({"minimum": "loud"}, "alarms.minimum: loud is neither"),
    ],
)
def test_a_mistake_in_the_alarms_is_refused_before_anything_is_written(alarms: dict[str, Any], said: str) -> None:
    with pytest.raises(config.BadConfig, match=said):
        written.text(site(), "lb1", {"alarms": alarms})
