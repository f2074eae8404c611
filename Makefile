.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
CLUSTER := $(PYTHON) -m local_cluster
TAKE_OVER := $(if $(CI),--take-over)
export MYPY_CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/anneal/mypy
HELM := $(wildcard $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/anneal/programs/helm-*/helm)
WITHOUT_HELM := $(if $(HELM),,tests/charts/test_helm.py)
ROOM := $(PYTHON) -m tools.rooms
AT_ONCE := --numprocesses=auto --maxprocesses=4

.PHONY: help setup format check router-test runtime-test cluster-test test soak cluster-up cluster-down images demo generate bench mutation requirements

help: ## show these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## install what development needs: Debian packages (as root), uv, .venv
	@tools/setup.sh

format: setup ## format the code, and mend what the linter can mend
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

check: setup ## format, lint, shellcheck, types, import walls, generated files, unit tests (under 2 minutes)
	@rm -f .reports/*.xml
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/shellcheck .ci/run tools/*.sh
	.venv/bin/mypy
	PYTHONPATH=operator .venv/bin/lint-imports --no-cache
	PYTHONPATH=operator $(PYTHON) -m anneal_operator.crdgen --check
	$(ROOM) unit $(PYTHON) tests $(foreach room,e2e local_cluster_e2e router training_runtime,--ignore=tests/$(room)) \
	  $(addprefix --ignore=,$(WITHOUT_HELM)) -m "not soak" $(AT_ONCE) --dist=worksteal

router-test: setup ## the router's tests: real nginx, agents and clients, and played engines
	$(ROOM) router $(PYTHON) tests/router -m "not soak" $(AT_ONCE) --dist=worksteal

runtime-test: setup ## the training runtime's tests, in the trainer's own environment
	@tools/setup.sh runtime
	$(ROOM) runtime .envs/trainer/bin/python tests/training_runtime -m "not soak" $(AT_ONCE) --dist=loadfile

cluster-test: setup ## the local cluster's own tests: it starts, breaks, recovers and goes
	$(ROOM) cluster $(PYTHON) tests/local_cluster_e2e -m "not soak"

test: check router-test ## check, router-test, runtime-test beside cluster-test, then the end-to-end tests on the local cluster
	$(MAKE) --jobs=2 --output-sync=line runtime-test cluster-test
	$(ROOM) e2e $(PYTHON) tests/e2e $(WITHOUT_HELM) -m "not soak"; \
	status=$$?; $(PYTHON) -m tools.budgets; exit $$status

soak: check ## the sweeps that are too long for `make test`
	@tools/setup.sh runtime
	.envs/trainer/bin/python -m pytest tests/training_runtime -m soak
	$(PYTHON) -m pytest tests/decide tests/serving_runtime tests/router tests/local_cluster_e2e tests/e2e -m soak

cluster-up: setup ## a real Kubernetes on this machine (as root)
	$(CLUSTER) up --gpus 8 --simulated-nodes 200 $(TAKE_OVER)

cluster-down: setup ## end it and leave nothing behind
	$(CLUSTER) down $(TAKE_OVER)

images: setup ## build the images whose inputs changed, and load them into the cluster
	$(PYTHON) -m images build --load

demo: cluster-up images ## from nothing to a promoted winner: train, serve, compare, promote
	$(PYTHON) -m demo

generate: setup ## make crds/ and docs/reference.md from the API's models
	PYTHONPATH=operator $(PYTHON) -m anneal_operator.crdgen

bench: cluster-up images ## measure, and print the table of benchmarks/README.md
	$(PYTHON) -m benchmarks.local_cluster

mutation: setup ## plant mistakes in the operator and name those that no test sees (up to an hour)
	$(PYTHON) -m tools.mutation

requirements: setup ## resolve the dependencies anew; with UPGRADE=1 to the newest versions
	$(PYTHON) -m tools.requirements resolve $(if $(UPGRADE),--upgrade)
