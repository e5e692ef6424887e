# One-command environment, demo, tests and benchmarks; needs python3 (3.10 or newer) and make, nothing else.
#   make env PYTHON=python3.12          another Python
#   make env TORCH_INDEX=<index URL>    torch from another package index (e.g. PyTorch's own CPU-only wheels)
#   make extension OUTPUT=<new folder> TAG=v0.1.0    the published tree, with TAG a git repository
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.reshapeit-env

.PHONY: env demo test bench lint contracts typecheck audit extension slicer-source clean help
.DEFAULT_GOAL := help

help:
	@echo "make env | demo | test | bench | lint | contracts | typecheck | audit | extension | slicer-source | clean"

env: $(STAMP)

# torch goes first and alone, so that no other package's dependency can pull another build of it.
$(STAMP): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
		$$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,train,plots,evaluate,batch,slicer]'
	@touch $@

demo: env
	$(BIN)/reshapeit demo --output demo_output

test: env
	$(BIN)/python -m pytest

bench: env
	$(BIN)/python -m Testing.Benchmarks.run

lint: contracts typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The order of the folders, and no circles (pyproject.toml, tool.importlinter).
contracts: env
	$(BIN)/lint-imports --no-logo

# The public modules (pyproject.toml, tool.mypy).
typecheck: env
	$(BIN)/mypy

# The Slicer extension as it is published (docs/RELEASE.md).
OUTPUT ?= dist/SlicerReShapeIT
TAG ?=
extension: env
	$(BIN)/python -m Testing.Slicer.publish $(OUTPUT) $(if $(TAG),--tag $(TAG))

# Slicer's Python and the CMake macros of Slicer, CTK and its launcher, for the tests of the Slicer side: shallow clones of
# these folders. The tests find them in this place, or beside the checkout of Slicer that RESHAPEIT_SLICER_SOURCE names.
SOURCES ?= $(HOME)/.cache/reshapeit
SLICER_VERSION ?= main
SOURCE_URL := https://github.com
Slicer_FOLDERS := Base/Python Modules/Loadable/Terminologies/Resources Modules/Loadable/Segmentations/EditorEffects Base/QTCore/Testing/Python CMake Extensions/CMake Modules/Scripted/SampleData Utilities/Templates/Extensions
CTK_FOLDERS := CMake
AppLauncher_FOLDERS := CMake
# repository, folder, branch or tag; what was there before stays until all of the new one has come
define clone
	rm -rf $(SOURCES)/$(2).new
	git clone --quiet --depth 1 --filter=blob:none --sparse --branch $(3) $(SOURCE_URL)/$(1) $(SOURCES)/$(2).new
	git -C $(SOURCES)/$(2).new sparse-checkout set $($(2)_FOLDERS)
	rm -rf $(SOURCES)/$(2)
	mv $(SOURCES)/$(2).new $(SOURCES)/$(2)
endef

slicer-source:
	@mkdir -p $(SOURCES)
	$(call clone,Slicer/Slicer,Slicer,$(SLICER_VERSION))
	$(call clone,commontk/CTK,CTK,master)
	$(call clone,commontk/AppLauncher,AppLauncher,main)

# Asks public databases about the pinned versions, in an environment of its own.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'
	$(VENV)-audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-audit build dist demo_output *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
