"""QEMU machines on a network of their own: what the scenarios of the VM tier stand on (docs/reference/vm-tier.md)."""
