# SPDX-License-Identifier: GPL-3.0-or-later
# `make help` lists the targets. V=1 shows the commands; SAN=1 builds with ASan and UBSan in a folder of its own.

.DEFAULT_GOAL := qbench
ifeq ($(origin CC),default)
CC := gcc
endif
LIBS := -lsqlite3 -lyaml -ljansson -lgsl -lgslcblas -lxxhash -lpcre2-8 -lutf8proc -ldl -lm
# OpenBLAS and likwid are loaded at run time; the rest is linked. bats runs the end-to-end tests, gnuplot draws.
DEBS := gcc libc6-dev git libopenblas0-pthread libsqlite3-dev libyaml-dev libjansson-dev libgsl-dev libxxhash-dev libpcre2-dev libutf8proc-dev likwid \
        libcmocka-dev bats gnuplot-nox fonts-dejavu-core libreadline8
ARM := aarch64-linux-gnu
ARM_DEBS := gcc-$(ARM) libc6-dev-arm64-cross qemu-user

ifeq ($(V),)
.SILENT:
say = printf '  %-6s %s\n' '$(1)' '$(2)'
else
say = :
endif

# One build folder a configuration, so that switching compilers or sanitizers never mixes objects.
BUILD := build/$(notdir $(firstword $(CC)))$(if $(SAN),-san)
PROGRAM := $(if $(filter build/gcc,$(BUILD)),qbench,$(BUILD)/qbench)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wvla -Wno-unused-parameter
CFLAGS ?= $(if $(SAN),-O1,-O3) -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -ffp-contract=off $(WARN) $(CFLAGS) -pthread
ALL_LDFLAGS = $(LDFLAGS) -pthread
ifneq ($(SAN),)
ALL_CFLAGS += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
ALL_LDFLAGS += -fsanitize=address,undefined
endif

# The suffix of a file chooses its instruction set; everything else is built for the baseline.
ifneq ($(filter x86_64%,$(or $(shell $(CC) -dumpmachine 2>/dev/null),$(shell uname -m))),)
avx2_FLAGS := -mavx2 -mfma -mf16c
avx512_FLAGS := $(avx2_FLAGS) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
avxvnni_FLAGS := $(avx2_FLAGS) -mavxvnni
vnni_FLAGS := $(avx512_FLAGS) -mavx512vnni
avx512bf16_FLAGS := $(avx512_FLAGS) -mavx512bf16
onednn_FLAGS := $(vnni_FLAGS)
amx_FLAGS := $(vnni_FLAGS) -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16
endif
ifneq ($(filter aarch64%,$(or $(shell $(CC) -dumpmachine 2>/dev/null),$(shell uname -m))),)
dotprod_FLAGS := -march=armv8.2-a+fp16+dotprod
i8mm_FLAGS := $(dotprod_FLAGS)+i8mm
endif
isa_flags = $($(lastword $(subst _, ,$(basename $(notdir $(1)))))_FLAGS)

# kernels <- models <- harness: each folder sees itself and what stands below it, so an upward include does not compile.
kernels_INC := -Ikernels
models_INC := $(kernels_INC) -Imodels
harness_INC := $(models_INC) -Iharness -I$(BUILD)
tests_INC := $(harness_INC) -Itests

objects = $(patsubst %,$(BUILD)/%.o,$(basename $(1)))
KERNELS := $(call objects,$(sort $(wildcard kernels/*.c)))
MODELS := $(call objects,$(sort $(wildcard models/*.c)))
HARNESS := $(call objects,$(sort $(wildcard harness/*.c)) harness/schema.S)
LIBRARY := $(KERNELS) $(MODELS) $(filter-out $(BUILD)/harness/main.o,$(HARNESS))
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/t_*.c)))
SUPPORT := $(call objects,$(filter-out $(wildcard tests/t_*.c),$(sort $(wildcard tests/*.c))))

## qbench      build ./qbench (the default)
$(PROGRAM): $(LIBRARY) $(BUILD)/harness/main.o
	$(call say,LD,$@)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
ifneq ($(PROGRAM),qbench)
.PHONY: qbench
qbench: $(PROGRAM)
endif

.SECONDEXPANSION:
$(BUILD)/%.o: %.c $(BUILD)/flags | $(if $(filter bench test check-all,$(MAKECMDGOALS)),deps,deps-check)
	$(call say,CC,$<)
	mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(call isa_flags,$<) $($(firstword $(subst /, ,$<))_INC) -MMD -MP -c -o $@ $<

$(BUILD)/harness/schema.o: harness/schema.S results/schema.sql
	$(call say,AS,$<)
	mkdir -p $(@D)
	$(CC) -c -o $@ $<

$(BUILD)/tests/t_%: $(BUILD)/tests/t_%.o $(SUPPORT) $(LIBRARY)
	$(call say,LD,$@)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

## fuzz        hostile model and tokenizer files for the readers (clang's libFuzzer); FUZZ_SECONDS=300 each
FUZZ := build/clang-fuzz
FUZZ_SECONDS := 300
FUZZERS := model tokenizer
fuzz:
	$(MAKE) deps DEBS="clang libclang-rt-14-dev"
	$(MAKE) CC=clang SAN=1 BUILD=$(FUZZ) CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' $(FUZZERS:%=$(FUZZ)/fuzz_%)
	set -e; for f in $(FUZZERS); do mkdir -p $(FUZZ)/corpus-$$f; \
	  $(FUZZ)/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -max_len=24000 -malloc_limit_mb=64 -print_final_stats=1 \
	    -artifact_prefix=$(FUZZ)/ $(FUZZ)/corpus-$$f > $(FUZZ)/$$f.log 2>&1 || { tail -n 40 $(FUZZ)/$$f.log >&2; exit 1; }; \
	  echo "fuzz $$f: $$(grep -o 'number_of_executed_units: .*' $(FUZZ)/$$f.log | grep -o '[0-9]*') inputs, no crash"; done
# clang instruments the kernels' unrolled loops for minutes, and no hostile byte comes near them.
$(FUZZ)/kernels/%.o: ALL_CFLAGS := $(filter-out -fsanitize=%,$(ALL_CFLAGS))
$(FUZZ)/fuzz_%: $(FUZZ)/tests/fuzz/%.o $(FUZZ)/tests/fuzz_%.o $(KERNELS) $(MODELS)
	$(call say,LD,$@)
	$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

# Rewritten only when it changes: other flags rebuild everything, another commit rebuilds host.c alone.
rewrite = mkdir -p $(@D); cmp -s $@.new $@ 2>/dev/null && rm -f $@.new || mv -f $@.new $@
$(BUILD)/flags: FORCE
	mkdir -p $(@D); echo '$(CC) $(ALL_CFLAGS)' > $@.new; $(rewrite)

$(BUILD)/build_info.h: FORCE
	mkdir -p $(@D); { \
	  echo '#define BUILD_COMMIT "$(shell git rev-parse HEAD 2>/dev/null || echo unknown)"'; \
	  echo '#define BUILD_DIRTY $(shell git status --porcelain --untracked-files=no 2>/dev/null | grep -q . && echo 1 || echo 0)'; \
	  echo '#define BUILD_COMPILER "$(shell $(CC) --version 2>/dev/null | head -n 1)"'; \
	  echo '#define BUILD_FLAGS "$(ALL_CFLAGS)"'; \
	} > $@.new; $(rewrite)
$(BUILD)/harness/host.o: $(BUILD)/build_info.h

-include $(patsubst %.o,%.d,$(LIBRARY) $(SUPPORT) $(BUILD)/harness/main.o $(TESTS:=.o))

## deps        install what is missing from Debian (root, or sudo)
missing = $(shell for p in $(DEBS); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -q '^installed' || echo $$p; done)
deps:
	set -e; need="$(missing)"; [ -n "$$need" ] || exit 0; \
	command -v apt-get >/dev/null || { echo "make deps: needs Debian's apt-get; install these yourself: $$need" >&2; exit 1; }; \
	as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	[ -z "$$as" ] || command -v sudo >/dev/null || { echo "make deps: run as root, or install sudo, to install: $$need" >&2; exit 1; }; \
	echo "Installing from Debian: $$need"; \
	$$as apt-get update -qq; \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$need > $${TMPDIR:-/tmp}/qbench-deps.log 2>&1 || \
	{ tail -n 5 $${TMPDIR:-/tmp}/qbench-deps.log >&2; echo "make deps: apt-get failed; the whole log is in $${TMPDIR:-/tmp}/qbench-deps.log" >&2; exit 1; }

deps-check:
	need="$(missing)"; [ -z "$$need" ] || { command -v dpkg-query >/dev/null || exit 0; echo "qbench: not installed: $$need; run 'make deps'" >&2; exit 1; }

## corpus      extract the texts from Debian's packages into cache/corpus/
corpus: | $(if $(filter bench test check-all,$(MAKECMDGOALS)),deps,deps-check)
	models/corpus.sh cache/corpus

## bench       train, quantize, measure, print the table and draw the charts (suites/quick.yaml)
bench: $(PROGRAM) corpus
	./$(PROGRAM) run quick --resume
	./$(PROGRAM) plot

## plots       draw every chart of plots/*.gp from results/qbench.db into plots/out/
plots: $(PROGRAM)
	./$(PROGRAM) plot

## test        build and run every test (SAN=1: under ASan and UBSan)
test: $(TESTS) $(PROGRAM) corpus
	tests/run.sh $(PROGRAM) $(TESTS)

## check-all   the slow checks: sanitizers, clang, headers on their own, the smoke suite under each
check-all: test
	$(MAKE) SAN=1 test
	$(MAKE) CC=clang test
	$(MAKE) check-headers
	$(MAKE) check-arm
	$(MAKE) fuzz FUZZ_SECONDS=30

## check-arm   the kernels and their tests, built for arm64 and run by qemu
check-arm:
	$(MAKE) deps DEBS='$(ARM_DEBS)'
	$(MAKE) CC=$(ARM)-gcc BUILD=build/$(ARM)-gcc kernel-tests
	EMULATOR='qemu-$(firstword $(subst -, ,$(ARM))) -L /usr/$(ARM)' TEST_TIMEOUT=900 tests/run.sh '' build/$(ARM)-gcc/kernel-tests/t_*

# The kernels alone, with a stand-in for cmocka, so that no other library of the target is needed.
KERNEL_TESTS := $(foreach t,act base cpu format kernel par,$(BUILD)/kernel-tests/t_$(t))
kernel-tests: $(KERNEL_TESTS)
$(BUILD)/kernel-tests/t_%: tests/t_%.c tests/problem.c tests/cross/cmocka.h $(KERNELS)
	$(call say,CC,$@)
	mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(kernels_INC) -Itests -Itests/cross $(ALL_LDFLAGS) -o $@ $(filter-out %.h,$^) -ldl -lm

check-headers:
	for h in kernels/*.h models/*.h harness/*.h; do \
	  $(CC) $(ALL_CFLAGS) $(harness_INC) -fsyntax-only -x c $$h || exit 1; done

## clean       remove what was built; distclean removes corpora, models and results too
clean:
	rm -rf build qbench plots/out
distclean: clean
	rm -rf cache results/*.db results/*.db-*

help:
	sed -n 's/^## //p' Makefile

FORCE:
.PHONY: FORCE deps deps-check corpus bench plots test check-all check-headers check-arm kernel-tests fuzz clean distclean help
