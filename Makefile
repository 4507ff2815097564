# make demo, make test: each alone, on a machine with Python 3.11 and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export STILT_STORE ?= $(CURDIR)/data
export PYTHONWARNINGS ?= ignore

# Which of deploy/values and terraform/environments `make infra` and `make deploy` are about.
ENV ?= dev

.PHONY: help demo serve serve-stop serve-status backup test test-fast test-portable test-cluster test-openghg cluster image check docs dev install lock benchmark clean infra deploy rollback screenshots wheel release-check audit sbom

help: ## Show this help.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%s\t%s\n", $$1, $$2}'

$(VENV)/.installed: requirements.lock setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(DAGSTER_HOME) && cp $< $@

install: $(VENV)/.installed $(DAGSTER_HOME)/dagster.yaml ## Make the virtual environment.

demo: install ## Run a whole scene on real HYSPLIT, with no network.
	$(BIN)/stilt-dagster demo

dev: install ## Open the Dagster UI on the same store, at http://127.0.0.1:3000.
	$(BIN)/dagster dev --host 127.0.0.1 --port $(or $(PORT),3000)

serve: install ## Have the UI, sensors and runs on this server, and after a reboot, by systemd; PORT=3000.
	deploy/server/serve start

serve-stop: ## Stop what `make serve` started, until it is run again.
	deploy/server/serve stop

serve-status: ## Show what `make serve` started.
	deploy/server/serve status

backup: ## Copy the instance of `make serve` to BACKUP=DIRECTORY, while it runs.
	deploy/server/serve backup "$(BACKUP)"

# A module's tests stay in one process, which shares what is made for them.
PARALLEL := -n logical --dist loadfile

test: install ## Run all tests that need no cluster.
	$(BIN)/python -m pytest $(PARALLEL) -m "not cluster"

test-cluster: install ## Run the tests on a real Kubernetes control plane; the first time, it is built (root, Debian).
	stilt_dagster_tests/harness/build_kubernetes.sh
	$(BIN)/python -m pytest -m cluster

test-openghg: install ## Run the tests on OpenGHG, in an environment of its own (1.5 GB), whose pins are not this one's.
	$(PYTHON) -m venv build/openghg
	build/openghg/bin/python -m pip install --quiet --disable-pip-version-check openghg==0.19.0 openghg-inversions==0.7.4
	$(BIN)/python -m pytest -m openghg

cluster: install ## Have a control plane, object storage and Postgres here, until Ctrl-C.
	$(BIN)/python -m stilt_dagster_tests.harness

image: ## Build the images, without a registry (root, Debian); docs/how-to/image.md says how with one.
	deploy/build-image

wheel: install ## Build wheel and source distribution into dist/, and check what is in them.
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist > /dev/null
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python .ci/release.py dist dist

RELEASE := $(CURDIR)/build/release

release-check: wheel ## Install that wheel, and what is locked, in an environment of its own, and run the demo there.
	rm -rf $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index dist/*.whl
	cd $(RELEASE) && STILT_STORE=$(RELEASE)/store DAGSTER_HOME=$(RELEASE)/home bin/stilt-dagster demo

infra: ## Make or change the cloud's part of ENV=dev or ENV=prod, once its plan is agreed to.
	terraform/apply $(ENV)

deploy: ## Put the commit checked out on the cluster of ENV.
	deploy/deploy $(ENV)

rollback: ## Go back to the release before.
	deploy/deploy $(ENV) --rollback

test-fast: install ## Run the tests that take less than half a minute each.
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not cluster"

test-portable: install ## Run the tests that need no hycs_std, and run on every machine.
	$(BIN)/python -m pytest $(PARALLEL) -m "portable and not slow"

check: install ## Lint, format, types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy stilt_dagster/science

# Tools in environments of their own, whose pins are not ours.
TOOLS := build/tools
$(TOOLS)/%/installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $*
	@touch $@

AUDIT := $(TOOLS)/pip-audit==2.10.1
SBOM := $(TOOLS)/cyclonedx-bom==7.5.0
BILLS := build/sbom

audit: $(AUDIT)/installed ## Look for known vulnerabilities of what is locked; STRICT=1 fails where they cannot be asked for.
	$(AUDIT)/bin/python .ci/audit.py $(if $(STRICT),--strict)

# Of the images' systems, and again of their Python, buildx makes its own when they are built (.github/workflows/deploy.yml).
sbom: install $(SBOM)/installed ## Write bills of materials of the wheel and of the UI's packages into build/sbom.
	$(SBOM)/bin/python .ci/sbom.py $(BIN)/python deploy/requirements-worker.lock $(BILLS)/stilt_dagster.cdx.json --without dumb-init
	$(SBOM)/bin/python .ci/sbom.py $(BIN)/python deploy/requirements-web.lock $(BILLS)/stilt_dagster-web.cdx.json --without dumb-init

DOCS ?= $(CURDIR)/build/docs

# Not --quiet, which silences the warnings that strict counts.
docs: install ## Build the documentation's site, strictly and without a network, into build/docs.
	@NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --config-file docs/site/mkdocs.yml --site-dir $(DOCS)

benchmark: install ## Measure the figures of docs/explanation/measurements.md.
	$(BIN)/python benchmarks/scene.py

screenshots: install ## Take the pictures of the UI in docs/images anew (Chromium).
	$(BIN)/python docs/site/take_screenshots.py

LOCK := uv pip compile setup.py --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--override deploy/overrides.txt --extra alerts --extra aws --extra azure
IMAGE_LOCK := $(LOCK) --python-platform x86_64-manylinux_2_28

lock: ## Pin exact versions of everything setup.py names, and of the images' part of it.
	$(LOCK) --extra dev --extra web --extra docs --universal -o requirements.lock
	$(IMAGE_LOCK) --extra web --extra image -c requirements.lock -o deploy/requirements-web.lock
	$(IMAGE_LOCK) --extra image -c deploy/requirements-web.lock -o deploy/requirements-worker.lock

clean: ## Remove the virtual environment, the demo's store, the instance and the site.
	rm -rf $(VENV) data .dagster build
