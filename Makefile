# Two commands do everything: `make demo` shows the product, `make test` checks it.
# Each first sets up what it needs: the virtual environment .venv with the pinned packages.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
MRML_STAMP := $(VENV)/mrml.stamp
REQUIREMENTS := requirements/dev.txt
LOCKED := requirements/locked.txt
MRML_REQUIREMENTS := requirements/mrml.txt
MRML_LOCKED := requirements/locked-mrml.txt
NEXT := .venv-next
NEXT_STAMP := $(NEXT)/next.stamp
NEXT_REQUIREMENTS := requirements/next.txt
DEMO_OUT ?= demo-output

# What Qt needs on a Debian without a desktop; .ci/run reads this line.
PANEL_LIBRARIES := libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 fonts-dejavu-core

# What validates the DICOM files of results (dciodvfy); .ci/run installs it, too.
DICOM_TOOLS := dicom3tools

# Opens the pages of results, without a screen; .ci/run installs it, too.
BROWSER := chromium

# The first of these that is Python 3.11 or newer makes the virtual environment; `make PYTHON=... test` names another.
PYTHON ?=
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.12 python3.11 python)

# Waiting threads sleep: spinning ones slow everything down when other programs are busy too.
OMP_WAIT_POLICY ?= passive
export OMP_WAIT_POLICY

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-module test-next test-panel test-scene soak screenshots lint format install lock sbom clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP)  ## run the whole loop on one volume and save pictures in demo-output
	$(BIN)/python -m uncol demo --out $(DEMO_OUT)

# A process for each core, each with one thread: faster than one process whose threads wait for each other. Rooms with
# long tests come first, so that no process is left with one of them at the end.
LONG_FIRST := Testing/engine/training Testing/engine/worker Testing/engine/cli Testing/engine/benchmark \
	Testing/engine/pipelines
test: lint test-module  ## check everything: style, types, import directions, tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		$(LONG_FIRST) Testing/engine Testing/architecture

# Panel tests replace Slicer's globals and logic tests share one real engine, so that each file gets a process of its
# own; two at a time, the long ones first, and each says what it has to say in one piece.
PANEL_TESTS = Testing/panel/test_random_user.py Testing/panel/test_click_through.py Testing/application \
	$(filter-out %/test_random_user.py %/test_click_through.py, $(wildcard Testing/panel/test_*.py))
SCENE_TESTS = Testing/logic/test_faults.py Testing/logic/test_complete_run.py \
	$(filter-out %/test_faults.py %/test_complete_run.py $(SOAK_TESTS), $(wildcard Testing/logic/test_*.py)) Testing/scene
SOAK_TESTS := Testing/logic/test_long_runs.py Testing/engine
EACH = OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen xargs -n 1 -P 2 sh -c \
	'said=$$($(BIN)/python -m pytest "$$0" 2>&1); code=$$?; echo "$$said"; exit $$code'

test-module: $(MRML_STAMP)  ## test the module on Slicer's own MRML, with stand-ins for its Qt side
	@if said=$$($(BIN)/python -c 'import PySide6.QtWidgets' 2>&1); then panel='$(PANEL_TESTS)'; else \
		echo "SKIPPED: the tests in Testing/panel and Testing/application, because Qt cannot be loaded here:"; \
		echo "$$said" | tail -n 1; \
		echo "On Debian and Ubuntu, install: $(PANEL_LIBRARIES)"; \
	fi; printf '%s\n' $$panel $(SCENE_TESTS) | $(EACH)

test-panel: $(MRML_STAMP)  ## test the panel alone
	@printf '%s\n' $(PANEL_TESTS) | $(EACH)

test-scene: $(MRML_STAMP)  ## test scene, logic and engine process alone
	@printf '%s\n' $(SCENE_TESTS) | $(EACH)

# Not part of `test`: it warns early of what another MRML does differently, in an environment beside the first.
test-next: $(NEXT_STAMP)  ## test panel, scene and logic on the MRML of Slicer's next version
	$(MAKE) --no-print-directory BIN=$(NEXT)/bin test-module

test-fast: $(STAMP)  ## run the tests that need no GPU, no shared images and little time
	$(BIN)/python -m pytest -m "not slow and not gpu and not realdata and not soak"

# A namespace without network, where the system lets us make one.
OFFLINE = $(shell for each in 'unshare --net' 'unshare --map-root-user --net'; do \
	$$each true 2>/dev/null && echo "$$each" && break; done)
soak: $(MRML_STAMP)  ## run what takes hours, without network: kills, full disks, mutated files, 5,000 random users
	@echo "$(if $(OFFLINE),Without network ($(OFFLINE)).,WITH NETWORK: this system makes no namespace without it.)"
	UNCOL_PATIENCE_S=1800 $(OFFLINE) $(BIN)/python -m pytest -m soak $(SOAK_TESTS)
	for part in 1 2 3 4 5 6 7 8 9 10; do UNCOL_RANDOM_USERS=500 QT_QPA_PLATFORM=offscreen $(OFFLINE) \
		$(BIN)/python -m pytest Testing/panel/test_random_user.py || exit 1; done  # a process gets slower with each scene

# The pictures of each state, with the program of today; the tests that take them check what is on them.
PICTURED := Testing/panel/test_segment_section.py Testing/panel/test_correct_section.py \
	Testing/panel/test_fine_tune_section.py Testing/panel/test_models_section.py Testing/panel/test_result_section.py \
	Testing/panel/test_click_through.py
screenshots: $(MRML_STAMP)  ## take the pictures in Resources/Screenshots anew
	printf '%s\n' $(PICTURED) | UNCOL_SCREENSHOTS=$(CURDIR)/Resources/Screenshots $(EACH)

lint: $(MRML_STAMP)  ## check style, types and import directions
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	PYTHONPATH=UnCoLSegment $(BIN)/lint-imports

format: $(STAMP)  ## repair what can be repaired by itself
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

install: $(MRML_STAMP)  ## set up or update .venv

# uv knows the hashes of every file of a version, for all systems. What depends on the machine is not locked: torch and
# what it brings along (docs/decisions/0004-torch-from-pip.md), and in Slicer what is Slicer's own.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate
OF_TORCH := torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+
OF_SLICER := numpy|pydicom|simpleitk
lock:  ## write anew what is locked from requirements/*.txt (needs uv)
	$(COMPILE) --generate-hashes requirements/dev.txt | \
		awk 'BEGIN {print "# Written by make lock."} /^[^ ]/ {kept = !/^($(OF_TORCH))==/} kept' > $(LOCKED)
	$(COMPILE) --generate-hashes --no-deps $(MRML_REQUIREMENTS) | \
		awk 'BEGIN {print "# Written by make lock."} {print}' > $(MRML_LOCKED)
	$(COMPILE) requirements/runtime.txt | grep -Ev '^($(OF_TORCH)|$(OF_SLICER))==' | sed 's/==/<=/' \
		> UnCoLSegment/Resources/constraints.txt

SBOM_TOOL := build/sbom/bin
VERSION := sed -n 's/^__version__ = //p' UnCoLSegment/uncol/__init__.py
sbom: $(STAMP)  ## write what .venv consists of, the engine first, as build/sbom.cdx.json (CycloneDX)
	$(BIN)/python -m venv build/sbom
	$(SBOM_TOOL)/python -m pip install --quiet --disable-pip-version-check --requirement requirements/sbom.txt
	sed "s/^dynamic = .*/version = $$($(VERSION))/" pyproject.toml > build/sbom/pyproject.toml
	$(SBOM_TOOL)/cyclonedx-py environment --output-reproducible --pyproject build/sbom/pyproject.toml \
		--output-file build/sbom.cdx.json $(BIN)/python
	$(BIN)/python requirements/add_vendored.py build/sbom.cdx.json
	@echo "build/sbom.cdx.json: $$(grep -c '"purl"' build/sbom.cdx.json) packages"

clean:  ## remove .venv and everything that can be made again
	rm -rf $(VENV) $(NEXT) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build $(DEMO_OUT)

# What is locked comes first, by its hashes, and nothing of it is built here, because a build would fetch tools that are
# not locked. The second line adds torch and the project itself, which the locked setuptools builds.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
INSTALL_LOCKED := $(INSTALL) --require-hashes --no-deps --only-binary :all: --requirement
$(STAMP): pyproject.toml requirements/runtime.txt requirements/dev.txt $(LOCKED) | $(BIN)/python
	$(INSTALL_LOCKED) $(LOCKED)
	$(INSTALL) --no-build-isolation --requirement $(REQUIREMENTS) --editable '.[dev]'
	@touch $@

$(MRML_STAMP): $(MRML_LOCKED) $(STAMP)
	$(INSTALL_LOCKED) $(MRML_LOCKED)
	@touch $@

# It holds the other MRML alone; a .pth file leads on to the packages of the first environment.
PACKAGES := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
$(NEXT_STAMP): $(NEXT_REQUIREMENTS) $(MRML_STAMP)
	$(BIN)/python -m venv --clear --without-pip $(NEXT)
	$(BIN)/python -m pip --python $(NEXT)/bin/python install --disable-pip-version-check --no-deps --requirement $(NEXT_REQUIREMENTS)
	echo "import site; site.addsitedir('$$($(BIN)/python $(PACKAGES))')" > "$$($(NEXT)/bin/python $(PACKAGES))/gate.pth"
	@touch $@

$(BIN)/python:
	@for candidate in $(CANDIDATES); do \
		if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Setting up $(VENV) with $$candidate"; \
			exec "$$candidate" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "UnCoL needs Python 3.11 or newer with its venv module. Tried: $(CANDIDATES)." >&2; \
	echo "Install it, or name it: make PYTHON=python3.12 test" >&2; \
	exit 1
