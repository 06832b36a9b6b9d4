# Rota: every task that a person or CI runs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help setup assets lock audit lint unit contract contract-together contract-clock browser test lab lab-ready lab-down debs clean molecule wheelhouse site validate render verify demo demo-down bench image image-disk image-test

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.done assets ## install what the controller needs (Debian packages, a virtual environment)

$(VENV)/.done: requirements/dev.txt pyproject.toml
	@command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null \
	  || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; }
	python3 -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	touch $@

assets: $(VENV)/.done ## fetch the style sheet and scripts of the pages (npm, pinned by package-lock.json)
	@tools/assets

lock: ## renew the pinned dependencies from requirements/*.in
	cd requirements && for f in node dev lab audit; do \
	  $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	    --custom-compile-command "make lock" $$f.in -o $$f.txt; done

# Who releases runs it: no part of `make test`, for the databases are on the internet. OSV: another server that speaks as osv.dev does.
OSV ?= https://api.osv.dev/v1/query
audit: build/audit/.done ## ask the public advisory databases about every pinned package of a node and of the pages
	build/audit/bin/pip-audit --no-deps --disable-pip --vulnerability-service osv --osv-url $(OSV) -r requirements/node.txt
	npm audit

build/audit/.done: requirements/audit.txt
	python3 -m venv build/audit
	build/audit/bin/pip install -q --require-hashes -r requirements/audit.txt
	touch $@

# What was red among many is heard once more, alone; the first failure stays in the output (decision 0005).
AGAIN = || $(BIN)/pytest -q $(1) --last-failed --last-failed-no-failures none

lint: setup ## ruff, mypy, yamllint, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --strict --offline

unit: setup ## unit tests and the rules of the house: no network, no container
	$(BIN)/pytest -q tests/unit tests/policy -n auto $(call AGAIN,tests/unit tests/policy)

# Most of it is waiting for peers, so more workers than cores; each has a network of its own. Tests against the clock come
# afterwards, alone: docs/decisions/0005-tests-against-the-clock.md.
CONTRACT_PACKAGES := mmdebstrap orthanc dcmtk postgresql mariadb-server-core mariadb-client-core slapd snmpd snmp smitools nftables iproute2
contract: ## the real HAProxy and keepalived of Debian 13, real and misbehaving peers, on loopback
	@$(MAKE) contract-together
	@$(MAKE) contract-clock

contract-together: setup ## the part of the contract tier that runs side by side
	@tools/host-packages $(CONTRACT_PACKAGES)
	tools/daemon-root
	$(BIN)/pytest -q tests/contract -m "not clock" -n 5 --dist loadgroup $(call AGAIN,tests/contract -m "not clock")

contract-clock: setup ## the part of it that runs against the clock, alone
	@tools/host-packages $(CONTRACT_PACKAGES)
	tools/daemon-root
	$(BIN)/pytest -q tests/contract -m clock $(call AGAIN,tests/contract -m clock)

browser: setup ## the pages in Chromium, in front of two real nodes on this machine; pictures in build/browser
	@tools/host-packages mmdebstrap chromium fonts-dejavu-core
	tools/daemon-root
	$(BIN)/pytest -q tests/browser -n 2 --dist loadfile $(call AGAIN,tests/browser)

# One for each role, on hosts of its own, two at a time. What fails is heard a second time, whole.
SCENARIOS := base firewall rota rota_web haproxy ipvs keepalived

# Quick ones first. The hosts are made once, and removed when all went well: after a failure they stay to be looked at.
test: ## everything: lint, unit, contract, a Molecule scenario per role, the pair with its faults, layer 4 in machines, the pages
	@$(MAKE) lint
	@$(MAKE) unit
	@$(MAKE) -j2 --output-sync=target contract-together lab-ready
	@$(MAKE) contract-clock
	@$(MAKE) twice-lab
	@$(MAKE) -j2 --output-sync=target $(SCENARIOS:%=twice-%)
	@$(MAKE) twice-pair
	@$(MAKE) lab-down
	@$(MAKE) vm-where-possible
	@$(MAKE) browser

VM_PACKAGES := qemu-system-x86 qemu-utils mmdebstrap e2fsprogs iproute2 tcpdump cpio busybox-static dcmtk openssh-client

.PHONY: vm vm-where-possible
vm: wheelhouse ## two emulated machines of the image: layer 4 with a real kernel, packets and faults
	@tools/host-packages $(VM_PACKAGES)
	PYTHONPATH=tests:appliance $(BIN)/python -m vm.lib.ready
	$(BIN)/pytest -q --timeout=900 tests/vm $(call AGAIN,--timeout=900 tests/vm)

# A host that cannot run machines tests everything else all the same, and says so.
vm-where-possible: setup ## the same, or a word that this host cannot
	@tools/host-packages $(VM_PACKAGES)
	@if PYTHONPATH=tests:appliance $(BIN)/python -m vm.lib.ready look; then $(MAKE) vm; \
	 else echo "NOT TESTED HERE: layer 4 on a real kernel (the reason is above)" >&2; fi

# Molecule notes here that the hosts exist: the note has to go when they go.
MOLECULE_NOTES := $(CURDIR)/.lab/molecule
LAB_PACKAGES := podman runc netavark iptables nftables iproute2 mmdebstrap

lab: setup ## make the lab: two bare nodes, servers and a client, as containers on this machine
	@tools/host-packages $(LAB_PACKAGES)
	$(BIN)/ansible-playbook playbooks/lab.yml

# The lab with what its nodes are given, since they have no package mirror.
lab-ready: ## what the lab's scenarios need, made beside the contract tier
	@$(MAKE) wheelhouse
	@$(MAKE) lab
	@$(MAKE) debs

lab-down: setup ## remove the lab from this machine
	$(BIN)/ansible-playbook playbooks/lab-down.yml
	@rm -rf $(MOLECULE_NOTES)

debs: setup ## make the archive of the Debian packages that a node needs
	@tools/host-packages mmdebstrap
	$(BIN)/python roles/lab/files/build_debs.py requirements/debs.txt .lab/images dist/debs/rota-debs.tar

wheelhouse: setup ## make the archive of the Python packages that a node needs
	$(BIN)/python tools/wheelhouse dist/wheelhouse/rota-wheelhouse.tar

# The inventory that the next four work on.
SITE ?= inventories/lab
OUT ?= build/render

# The lab's nodes have no package mirror.
site: wheelhouse $(if $(filter inventories/lab%,$(SITE)),debs) ## roll a site out: make site SITE=inventories/pair
	$(BIN)/ansible-playbook -i $(SITE) playbooks/site.yml

validate: setup ## have the nodes' daemons judge a site, changing nothing: make validate SITE=inventories/pair
	$(BIN)/ansible-playbook -i $(SITE) playbooks/validate.yml

render: setup ## write every file of every node into a folder: make render SITE=inventories/pair OUT=build/render
	$(BIN)/ansible-playbook -i $(SITE) playbooks/render.yml -e rota_render_dir=$(abspath $(OUT))

verify: setup ## ask every service of a site through its address: make verify SITE=inventories/pair
	$(BIN)/ansible-playbook -i $(SITE) playbooks/verify.yml

image: wheelhouse ## make the machine image in dist/image: make image [SITE=inventories/pair NODE=lb1]
	@tools/host-packages mmdebstrap dosfstools mtools qemu-utils zstd
	appliance/image/build all $(CURDIR)/dist/image $(if $(NODE),--site $(SITE) --node $(NODE))

image-disk: wheelhouse ## make only the disk of the image, for tests and for looking: build/image/rota.raw
	@tools/host-packages mmdebstrap dosfstools mtools
	appliance/image/build root $(CURDIR)/build/image/tree
	appliance/image/build raw $(CURDIR)/build/image/tree $(CURDIR)/build/image/rota.raw

image-test: image-disk ## boot the image under BIOS and UEFI in an emulator: first boot, wizard, kernel update
	@tools/host-packages qemu-system-x86 qemu-utils ovmf openssh-client dcmtk
	$(BIN)/pytest -q --timeout=1800 tests/machine

demo: lab site ## lab, rollout, a series sent while a member and a node die; leaves the pair running
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m demo

demo-down: lab-down ## remove what `make demo` made, without trace

bench: setup ## measure, with targets and spread: checks, images, rotad, a large site; then in the lab failover and rollout
	@tools/host-packages iproute2 procps util-linux
	bench/checks
	bench/data
	bench/control
	bench/model
	bench/web
	bench/rollout
	bench/failover

clean: ## remove everything that was built (`make lab-down` first)
	rm -rf .lab dist build

molecule: ## run one Molecule scenario: make molecule S=haproxy
	@$(MAKE) molecule-$(or $(S),$(error S=<scenario> is missing))

# Each in a folder of its own, since two may run at a time; what `lab` noted of the hosts holds for all.
molecule-%: setup
	@tools/host-packages $(LAB_PACKAGES)
	@mkdir -p $(MOLECULE_NOTES)/$* && cp -n $(MOLECULE_NOTES)/lab/state.yml $(MOLECULE_NOTES)/$*/ 2>/dev/null || true
	MOLECULE_EPHEMERAL_DIRECTORY=$(MOLECULE_NOTES)/$* $(BIN)/molecule test --destroy=never -s $*

twice-%:
	@$(MAKE) molecule-$* || $(MAKE) molecule-$*
