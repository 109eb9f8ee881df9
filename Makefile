# make install   .venv with everything constraints.txt pins; the CPU build of torch where there is no NVIDIA GPU
# make demo      a tiny model learns a colour and a sound that it has never met, in minutes and on any machine
# make test      every part of the program; of values a few, and nothing that takes long beside a quick test of it
# make test-all  every test
# make check     format, lint, types, and the default tier of tests (a minute on two cores)
# make lock      pin this environment: constraints.txt, and uv.lock, for which it needs uv
# make docs      write the generated docs and prefect.yaml
BIN := .venv/bin
.PHONY: install demo test test-all check docs lock clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt scripts/install.sh
	sh scripts/install.sh

demo: install
	$(BIN)/ltx2-lora tiny demo
	$(BIN)/ltx2-lora run demo/ltx2-lora.yaml
	$(BIN)/python -m scripts.verify_demo demo

test: install
	$(BIN)/python -m pytest -m "not extra" -n 3

test-all: install
	$(BIN)/python -m pytest -m "" -n 3

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

docs: install
	$(BIN)/ltx2-lora docs

lock: install
	$(BIN)/python scripts/lock.py > constraints.new && mv constraints.new constraints.txt
	uv lock $$(sed -n 's/^\([a-z].*==.*\)/-P \1/p' constraints.txt)

clean:
	rm -rf .venv demo
