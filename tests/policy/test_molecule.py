"""Molecule reports success for a scenario without tests, or with a playbook that is not there: we do not."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted(path.parent for path in ROOT.glob("molecule/*/molecule.yml"))
PLAYBOOK_STEPS = {"create", "destroy", "prepare", "converge", "side_effect", "cleanup"}


def test_there_are_scenarios():
    assert len(SCENARIOS) >= 2


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_has_tests_and_every_playbook_that_it_names(scenario):
    config = yaml.safe_load((scenario / "molecule.yml").read_text())
    base = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())
    playbooks = config.get("ansible", {}).get("playbooks", {})
    for name in playbooks.values():
        assert (scenario / name).exists(), f"{scenario.name} names a playbook that is not there: {name}"
    sequence = config.get("scenario", {}).get("test_sequence", base["scenario"]["test_sequence"])
    for words in (step.split() for step in sequence):
        if words[0] in PLAYBOOK_STEPS:
            named = words[1:] or [playbooks.get(words[0], f"{words[0]}.yml")]
            assert all((scenario / name).exists() for name in named), f"{scenario.name}: {' '.join(words)}"
        if words[0] == "verify":
            folders = words[1:] or [config.get("verifier", {}).get("directory", "tests")]
            assert all(list((scenario / name).rglob("test_*.py")) for name in folders), f"{scenario.name}: no tests"
