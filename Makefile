# Each target sets up what it needs in .venv and is safe to run twice.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
.DELETE_ON_ERROR:

.PHONY: demo test docs stress lab bench demo-models sync wheel clean

demo: .venv/run.stamp            ## the whole study on the built-in phantom
	$(BIN)/edmxl study -o out/demo

test: .venv/dev.stamp            ## every notebook and every test
	MPLBACKEND=agg OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

docs: .venv/dev.stamp            ## the documentation site in _docs/; runs only the notebooks that the tests have not run
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.site

stress: .venv/dev.stamp          ## processes killed at twenty random moments, then widgets in a browser twenty times over, until one fails
	MPLBACKEND=agg OMP_NUM_THREADS=1 EDMXL_STRESS=20 $(BIN)/python -m pytest -k killed
	for i in $$(seq 20); do echo "browser tests, pass $$i"; OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/test_*browser*.py || exit 1; done

lab: .venv/lab.stamp             ## JupyterLab: the sampler explorer first, all notebooks in reading order beside it
	$(BIN)/python -m docs.lab

bench: .venv/run.stamp           ## speed and memory against the plain path, side by side: most of an hour
	$(BIN)/edmxl bench

demo-models: .venv/run.stamp     ## train the models that ship, anew: most of an hour
	$(BIN)/python -c 'from edmxl.workbench.demo_models import make_demo_models as make; make()'

sync: .venv/dev.stamp            ## export the notebooks, clean them, write README.md
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python docs/readme.py
	$(BIN)/ruff check

wheel: .venv/dev.stamp           ## build dist/*.whl
	$(BIN)/python -m build --wheel

clean:                           ## forget the environment and built files
	rm -rf .venv build dist _docs .cache *.egg-info

.venv/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'edmxl needs Python 3.11 or later; give one: make PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/run.stamp: .venv/pip.stamp settings.ini setup.py constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/lab.stamp: .venv/pip.stamp settings.ini setup.py constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab]'
	touch $@ .venv/run.stamp

.venv/dev.stamp: .venv/pip.stamp settings.ini setup.py constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ .venv/lab.stamp .venv/run.stamp
