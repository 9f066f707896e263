# Every target sets up what it needs; what is there already costs nothing.
SHELL := /bin/sh
PYTEST_WORKERS ?= 2
DEMO_MODEL := examples/Qwen--Qwen3-8B
PY := .venv/bin/python
AGENT_CMD ?= $(CURDIR)/$(PY) $(CURDIR)/tests/skills/scripted_agent.py
EVALS ?= $(if $(filter file,$(origin AGENT_CMD)),--eval tide --eval epsilon) # what an agent without a model can do
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test lint format docs recording bench-dequant evals goldens setup setup-dev lane clean

help: ## what this file can do
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 12

demo: lane ## the main job on a real published model: integration in demo-out/, proven on the CPU, checklist printed
	@.venv/bin/scaffold new-model $(DEMO_MODEL) --regenerate --out demo-out
	@.venv/bin/scaffold checklist Qwen--Qwen3-8B

test: setup-dev lane lint ## lint, types and the whole test suite
	@SCAFFOLD_TESTS_NEED_LANE=1 $(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadgroup

lint: setup-dev ## linter, formatter (check), type checker, generated docs in sync
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@$(PY) -m scaffold.reference --check

format: setup-dev ## rewrite the files as the formatter wants them
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: setup-dev ## write the generated parts of docs/
	@$(PY) -m scaffold.reference

recording: setup lane ## record a real run into README.md
	@$(PY) -m scaffold.recording

bench-dequant: setup-dev lane ## speed of the generated dequantiser beside plain reading and writing, into docs/
	@$(PY) tests/bench/dequantise.py --write
	@$(PY) -m scaffold.reference

evals: setup-dev lane ## run the tasks of the skills with AGENT_CMD (default: one without a model), into evals-out/
	@$(PY) -m scaffold.evals --agent-cmd "$(AGENT_CMD)" $(EVALS)

goldens: setup-dev lane ## rewrite tests/golden from what the templates make today; review the diff
	@SCAFFOLD_UPDATE_GOLDEN=1 $(PY) -m pytest tests -k golden

setup:
	@./bootstrap >/dev/null

setup-dev:
	@./bootstrap dev >/dev/null

lane: setup ## the CPU lane: torch, transformers, megatron (once a machine)
	@.venv/bin/scaffold doctor --install cpu >/dev/null

clean: ## remove what make made in this folder (the lane, shared by all clones, stays)
	@rm -rf .venv demo-out evals-out .scaffold .pytest_cache .mypy_cache .ruff_cache .hypothesis
