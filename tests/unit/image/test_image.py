"""The build: what it refuses before it begins, what it never leaves behind, what must not be in a tree that is copied."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import pytest
from image import disk, formats, root, seal, step

TOP = Path(__file__).resolve().parents[3]
BUILD = TOP / "appliance/image/build"


def test_a_tool_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(step.ImageError) as refused:
        step.need_tools({"rota-no-such-tool": "a-package", "rota-nor-this": "b-package"})
    assert str(refused.value) == (
        "missing here: rota-no-such-tool, rota-nor-this; install them with: apt-get install a-package b-package"
    )


def test_too_little_room_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(step.ImageError, match=r"MiB free, this takes 999999999 MiB: make room or choose another folder$"):
        step.need_space(tmp_path / "not/there/yet", 999_999_999)
    assert list(tmp_path.iterdir()) == []


def test_only_root_builds() -> None:
    with pytest.raises(step.ImageError, match="takes root"):
        step.need_root(uid=1000)
    step.need_root(uid=0)


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(step.ImageError, match=r"^sh -c echo why >&2; exit 3 … failed \(exit 3\):\nwhy$"):
        step.run("sh", "-c", "echo why >&2; exit 3")


def test_the_command_line_fails_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run([BUILD, "ext4", tmp_path, tmp_path / "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"image: {tmp_path} is no root tree; make one with: appliance/image/build root {tmp_path}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_site_without_a_node_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([BUILD, "root", tmp_path, "--site", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--site and --node go together" in done.stderr


def test_a_failed_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(cache: Path) -> Path:
        raise step.ImageError("no mirror answers")

    monkeypatch.setattr(root, "bootstrap", broken)
    monkeypatch.setattr(root, "need_tools", lambda tools: None)
    monkeypatch.setattr(root, "need_root", lambda: None)
    with pytest.raises(step.ImageError, match="no mirror answers"):
        root.build(tmp_path / "tree", tmp_path / "cache", None)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that may be copied."""
    for folder in ("etc/ssh", "root", "var/lib/rota", "usr/local", "opt/rota/venvs/x/lib/python3.13/site-packages/p/tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/machine-id").write_text("")
    (tmp_path / "etc/shadow").write_text("root:*:20000:0:99999:7:::\nsshd:!*:20000::::::\n")
    assert seal.secrets(tmp_path) == []
    return tmp_path


KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nx\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 A", "/etc/ssh/ssh_host_ed25519_key.pub is there"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n", "/etc/machine-id names a machine"),
        ("etc/resolv.conf", "nameserver 192.0.2.53\n", "/etc/resolv.conf is there"),
        ("etc/apt/sources.list.d/build.list", "deb x\n", "/etc/apt/sources.list.d/build.list is there"),
        ("etc/hostname", "builder\n", "/etc/hostname is there"),
        ("root/.ssh/authorized_keys", "ssh-ed25519 A\n", "/root/.ssh/authorized_keys is there"),
        ("etc/shadow", "root::20000:0:99999:7:::\n", "the account root has a password, or needs none"),
        ("etc/shadow", "root:$y$j9T$a$b:20000:0:99999:7:::\n", "the account root has a password, or needs none"),
        ("etc/rota/control/node.key", KEY, "/etc/rota/control/node.key holds a private key"),
        ("var/lib/rota/x", KEY, "/var/lib/rota/x holds a private key"),
        ("usr/sbin/policy-rc.d", "#!/bin/sh\n", "/usr/sbin/policy-rc.d is there"),
    ],
)
def test_what_no_two_machines_may_share(tree: Path, name: str, text: str, said: str) -> None:
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)
    assert seal.secrets(tree) == [said]


def test_a_tree_of_a_site_has_its_nodes_key_and_no_other(tree: Path) -> None:
    for name in ("etc/rota/control/node.key", "etc/rota/other.key"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(KEY)
    assert seal.secrets(tree, site=True) == ["/etc/rota/other.key holds a private key"]


def test_the_keys_of_a_published_packages_own_tests_are_no_secret(tree: Path) -> None:
    (tree / "opt/rota/venvs/x/lib/python3.13/site-packages/p/tests/server.key").write_text(KEY)
    assert seal.secrets(tree) == []


def test_closing_takes_all_of_it_away(tree: Path) -> None:
    for name in (
        "etc/ssh/ssh_host_rsa_key",
        "etc/hostname",
        "etc/passwd-",
        "var/lib/apt/lists/x",
        "var/log/apt/term.log",
        "run/x/y",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(KEY)
    (tree / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    seal.close(tree)
    assert seal.secrets(tree) == []
    assert list((tree / "run").iterdir()) == []
    assert [path.name for path in (tree / "var/lib/apt/lists").iterdir()] == ["partial"]


def test_opened_is_closed_again_after_a_failure(tree: Path) -> None:
    (tree / "usr/sbin").mkdir()
    for folder in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d"):
        (tree / folder).mkdir(parents=True)

    def role() -> None:
        with seal.opened(tree, ["deb x"], ['Acquire::Retries "3"']):
            assert os.access(tree / seal.POLICY, os.X_OK)
            assert (tree / seal.SETTINGS).read_text() == 'Acquire::Retries "3";\n'
            raise step.ImageError("a role fails")

    with pytest.raises(step.ImageError, match="a role fails"):
        role()
    assert seal.secrets(tree) == []


def gpt(partitions: list[tuple[uuid.UUID, int]]) -> io.BytesIO:
    made = bytearray(1 << 20)
    made[512:520] = b"EFI PART"
    struct.pack_into("<QII", made, 512 + 72, 2, 128, 128)
    for number, (kind, first) in enumerate(partitions):
        at = 1024 + number * 128
        made[at : at + 16] = kind.bytes_le
        struct.pack_into("<QQ", made, at + 32, first, first + 9)
    return io.BytesIO(bytes(made))


def test_grub_knows_where_the_rest_of_it_lies() -> None:
    device = gpt([(uuid.uuid4(), 100), (disk.BIOS_BOOT, 1000)])
    disk.embed_grub(device, bytes(range(256)) * 2)
    image = device.getvalue()
    assert struct.unpack_from("<Q", image, disk.KERNEL_SECTOR) == (1000,)
    assert struct.unpack_from("<Q", image, 1000 * 512 + disk.BLOCK_LIST) == (1001,)
    assert image[440:446] == b"\0" * 6, "the disk's signature is not GRUB's"


@pytest.mark.parametrize(
    ("device", "said"), [(io.BytesIO(bytes(4096)), "no GPT of 512-byte sectors"), (gpt([]), "no BIOS boot partition")]
)
def test_a_disk_that_grub_cannot_boot_is_refused(device: io.BytesIO, said: str) -> None:
    with pytest.raises(step.ImageError, match=said):
        disk.embed_grub(device, bytes(512))


def sums(folder: Path) -> None:
    (folder / "rota.qcow2").write_bytes(b"disk")
    (folder / "SHA256SUMS").write_text(f"{formats.sha256(folder / 'rota.qcow2')}  rota.qcow2\n")


def test_a_whole_image_is_taken(tmp_path: Path) -> None:
    sums(tmp_path)
    formats.check(tmp_path)


def test_a_corrupt_image_is_refused(tmp_path: Path) -> None:
    sums(tmp_path)
    (tmp_path / "rota.qcow2").write_bytes(b"dish")
    with pytest.raises(
        step.ImageError, match=r"rota.qcow2 is corrupt \(its SHA-256 is not that of SHA256SUMS\): copy it again$"
    ):
        formats.check(tmp_path)
    (tmp_path / "rota.qcow2").unlink()
    with pytest.raises(step.ImageError, match=r"rota.qcow2 is missing: copy it again$"):
        formats.check(tmp_path)


BOOT_SYNC = TOP / "appliance/image/files/usr/local/lib/rota/boot-sync"


def kernels(tree: Path, *versions: str, initrd: bool = True) -> None:
    (tree / "boot").mkdir(exist_ok=True)
    (tree / "etc/kernel").mkdir(parents=True, exist_ok=True)
    (tree / "etc/kernel/cmdline").write_text("root=LABEL=rota-root rw\n")
    for version in versions:
        (tree / f"boot/vmlinuz-{version}").write_text(f"kernel {version}")
        if initrd:
            (tree / f"boot/initrd.img-{version}").write_text(f"initrd {version}")


def boot_sync(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BOOT_SYNC, tree, tree / "efi"], capture_output=True, text=True, check=False)


def test_both_loaders_offer_the_newest_kernel_first(tmp_path: Path) -> None:
    kernels(tmp_path, "6.12.9-amd64", "6.12.43-amd64")
    assert boot_sync(tmp_path).returncode == 0
    esp = tmp_path / "efi"
    menu = (esp / "grub/grub.cfg").read_text()
    assert menu.index("Rota 6.12.43-amd64") < menu.index("Rota 6.12.9-amd64")
    assert "linux /rota/6.12.43-amd64/linux root=LABEL=rota-root rw\n" in menu
    assert (esp / "rota/6.12.43-amd64/initrd").read_text() == "initrd 6.12.43-amd64"
    assert "version 6.12.9-amd64\n" in (esp / "loader/entries/rota-6.12.9-amd64.conf").read_text()


def test_a_kernel_that_was_removed_is_offered_no_more(tmp_path: Path) -> None:
    kernels(tmp_path, "6.12.9-amd64", "6.12.43-amd64")
    boot_sync(tmp_path)
    (tmp_path / "boot/vmlinuz-6.12.9-amd64").unlink()
    assert boot_sync(tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "efi/rota").iterdir()] == ["6.12.43-amd64"]
    assert [path.name for path in (tmp_path / "efi/loader/entries").iterdir()] == ["rota-6.12.43-amd64.conf"]
    assert "6.12.9" not in (tmp_path / "efi/grub/grub.cfg").read_text()


def test_a_kernel_without_its_initrd_is_not_offered_and_the_old_one_stays(tmp_path: Path) -> None:
    """Between unpacking a kernel and making its initrd the machine may lose power."""
    kernels(tmp_path, "6.12.9-amd64")
    boot_sync(tmp_path)
    kernels(tmp_path, "6.12.43-amd64", initrd=False)
    assert boot_sync(tmp_path).returncode == 0
    assert "6.12.43" not in (tmp_path / "efi/grub/grub.cfg").read_text()
    for path in (tmp_path / "boot").glob("initrd*"):
        path.unlink()
    done = boot_sync(tmp_path)
    assert done.returncode != 0
    assert "the boot partition stays as it is" in done.stderr
    assert "6.12.9" in (tmp_path / "efi/grub/grub.cfg").read_text()


def test_an_ova_begins_with_its_description_and_says_what_its_disk_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """VMware reads the tar as a stream: the description comes first (DSP0243, 5.3)."""
    monkeypatch.setattr(formats, "run", lambda *words: Path(words[-1]).write_bytes(b"disk"))
    (tmp_path / "x.raw").write_bytes(bytes(1000))
    formats.ova(tmp_path / "x.raw", tmp_path / "rota.ova")
    with tarfile.open(tmp_path / "rota.ova") as tar:
        assert tar.getnames() == ["rota.ovf", "rota.mf", "rota-disk1.vmdk"]
        texts = {name: member.read().decode() for name in tar.getnames() if (member := tar.extractfile(name))}
    assert 'ovf:href="rota-disk1.vmdk"' in texts["rota.ovf"]
    assert 'ovf:size="4"' in texts["rota.ovf"]
    assert f"SHA256(rota-disk1.vmdk)= {hashlib.sha256(b'disk').hexdigest()}" in texts["rota.mf"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_image_has_the_roles_of_a_rollout_in_its_order() -> None:
    """A role that only the rollout knows would need a mirror on a machine that was promised to need none."""
    rollout = re.findall(r"^    - role: (\w+)$", (TOP / "playbooks/site.yml").read_text(), re.MULTILINE)
    baked = re.search(r"__image_roles: \[(.*?)\]", (TOP / "playbooks/image.yml").read_text())
    assert baked is not None
    assert re.findall(r"\w+", baked[1]) == rollout
    assert len(rollout) >= 5
