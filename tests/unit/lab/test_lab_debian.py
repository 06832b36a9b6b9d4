"""The lab's packages come from where the host's own come from, whatever form its sources have."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "roles/lab/files/lab_debian.py"
SPEC = importlib.util.spec_from_file_location("lab_debian", FILE)
assert SPEC is not None
assert SPEC.loader is not None
lab_debian = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lab_debian)


def sources(etc: Path, **files: str) -> list[str]:
    (etc / "sources.list.d").mkdir()
    for name, text in files.items():
        path = etc / "sources.list" if name == "main" else etc / "sources.list.d" / name.replace("_", ".")
        path.write_text(text)
    return lab_debian.sources(etc, codename="bookworm")


def test_deb822_sources_move_to_the_suite_with_their_key(tmp_path):
    text = """Types: deb deb-src
# a comment between fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""
    assert sources(tmp_path, debian_sources=text) == [
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian trixie main",
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/security trixie-security main",
    ]


def test_one_line_sources_move_to_the_suite_with_their_options(tmp_path):
    text = """# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib # trailing words
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian stable-updates main
"""
    assert sources(tmp_path, main=text) == [
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb\nURIs: http://other.example\nSuites: nodistro\nComponents: main\n",
        "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n",
        "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n",
    ],
    ids=["another vendor", "switched off", "sources only"],
)
def test_a_host_without_debian_says_so(tmp_path, text):
    with pytest.raises(SystemExit, match="offers bookworm"):
        sources(tmp_path, other_sources=text)
