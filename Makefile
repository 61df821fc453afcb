# Development commands. PYTHON is the interpreter of an environment with the extras [dev] and, for bench, [bench].
PYTHON ?= .venv/bin/python

.PHONY: build debug sanitize test test-debug test-sanitize test-threads test-kernels coverage clang nightly exactness bench docs lint clean

build:
	$(PYTHON) setup.py build_ext --inplace

# Cython's bounds checks on: an index out of range raises IndexError
debug:
	FASTLM_DEBUG=1 $(PYTHON) setup.py build_ext --inplace

sanitize:
	FASTLM_SANITIZE=1 $(PYTHON) setup.py build_ext --inplace

test:
	$(PYTHON) -m pytest

# the long variants of tests, and everything else that .ci/nightly runs
nightly:
	.ci/nightly

# the tests of the extension modules on builds with checks, in copies of the tree: bounds and signed overflow;
# AddressSanitizer and UndefinedBehaviorSanitizer; ThreadSanitizer; Numba's checks of bounds
test-debug:
	$(PYTHON) -m tests.sanitizers bounds

test-sanitize:
	$(PYTHON) -m tests.sanitizers address

test-threads:
	$(PYTHON) -m tests.sanitizers thread

test-kernels:
	$(PYTHON) -m tests.sanitizers kernels

# lines and branches of the tokenizer side that the tests reach, the extension modules included
coverage:
	$(PYTHON) -m tests.coverage

# all modules and headers compiled by clang, in a copy of the tree, and the tests of the scanners on that build
clang:
	rm -rf build/clang && mkdir -p build/clang && git ls-files | tar cf - -T - | tar xf - -C build/clang
	cd build/clang && CC=clang CXX=clang++ $(abspath $(PYTHON)) setup.py -q build_ext --inplace
	cd build/clang && $(abspath $(PYTHON)) -m pytest -q tests/native tests/pretokenize tests/text tests/decoding

exactness:
	$(PYTHON) -m tests.exactness --strings 1000000

bench:
	$(PYTHON) -m benchmarks.run

# the site, in build/site/; PYTHON's environment needs the extra [docs]
docs:
	$(PYTHON) -m zensical build --clean --strict

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m codespell_lib
	$(PYTHON) -m mypy
	$(PYTHON) -m tests.stubs
	$(PYTHON) -m tests.architecture

clean:
	rm -rf build dist .cache .venv-docs .venv-wheel *.egg-info
	find fastlm \( -name '*.so' -o -name '*.c' -o -name '*.cpp' \) -delete
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
