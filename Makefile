# SPDX-License-Identifier: Apache-2.0
#
# numavisor: build, tests, benchmarks, installation.
#
#   make            build/numavisor and build/numavisord
#   make demo       install what is missing, build, boot a four-node guest and show its topology
#   make check      install what is missing, run every test
#   make check-all  the same, longer
#   make bench      measure against QEMU in one run; results in build/bench/
#   make bench-placement   judge the planner, taking and moving memory, and where accesses go
#                   (QUICK=1: one round of each; PARTS="moving ...": these only)
#   make bench-memory      what memory of guests takes in a store, what its coming and going cost,
#                   where it is afterwards (PARTS="paging ...": these only)
#   make bench-lab         a lab's start, against QEMU and virtiofsd; whether a slow node is slow
#   make unit       unit tests only (unit-san, unit-tsan: under sanitizers)
#   make bench-attacker    what the time that a page takes tells of other guests, against KSM
#   make fuzz       every fuzz target for FUZZ_SECONDS each
#   make guests     the bare-metal test guests
#   make arm64      build/arm64/numavisor on another machine (GOALS="all tests": and tests)
#   make lint       who may include whom; headers compile alone
#   make clang      build everything with clang
#   make install    to PREFIX (default /usr/local), below DESTDIR
#   make clean      remove build/
#   make help       this list
#
# One build directory per compiler and sanitizer; BUILD, CC and SAN choose them, so the same
# rules serve all of them. Sources are found by folder: a new .c file needs no line here.

# This machine's architecture, or another: ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-, with headers
# and libraries for it below SYSROOT.
include $(wildcard vmm/machine/*/arch.mk)
ARCHES  := $(patsubst vmm/machine/%/arch.mk,%,$(wildcard vmm/machine/*/arch.mk))
UNAME   := $(shell uname -m)
HERE    := $(strip $(foreach a,$(ARCHES),$(if $(filter $(UNAME),$($a_UNAME)),$a)))
ARCH    ?= $(or $(HERE),$(error numavisor does not know machines of the kind $(UNAME)))
CROSS_COMPILE ?=
SYSROOT ?= $(if $(CROSS_COMPILE),build/rig/$(ARCH)/root)
BUILD   ?= build$(if $(CROSS_COMPILE),/$(ARCH))
CC      := $(if $(filter default,$(origin CC)),$(CROSS_COMPILE)gcc,$(CC))
SAN     ?=
PREFIX  ?= /usr/local
DESTDIR ?=

# libslirp is loaded by name when it is needed: devices/virtio/net_slirp_lib.c. libfdt has no file
# for pkg-config.
PKGS := hwloc jansson zlib liburing libcap-ng liblz4 libzstd libsodium
TRIPLET    := $(CROSS_COMPILE:-=)
PKG_CONFIG := $(if $(SYSROOT),PKG_CONFIG_SYSROOT_DIR=$(abspath $(SYSROOT)) \
                PKG_CONFIG_LIBDIR=$(abspath $(SYSROOT))/usr/lib/$(TRIPLET)/pkgconfig) pkg-config
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lfdt
SYSROOT_FLAGS := $(if $(SYSROOT),--sysroot=$(abspath $(SYSROOT)))

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wimplicit-fallthrough -Wcast-qual -Wpointer-arith -Wwrite-strings
OPT  ?= -O2 -g
CFLAGS_ALL := $(SYSROOT_FLAGS) -std=gnu17 -D_GNU_SOURCE -I. $(OPT) $(WARN) -fno-strict-aliasing -pthread \
              $(SAN) $(subst -I,-isystem ,$(PKG_CFLAGS)) $(CFLAGS)
LDFLAGS_ALL := $(SYSROOT_FLAGS) -pthread $(SAN) $(LDFLAGS)

# What asks KVM or the processor, and what a guest starts with, is in a folder per architecture; of
# the others' folders we take firmware's where it describes machines by a device tree, which is
# compiled and tested everywhere. Tests and fuzz targets of one architecture are in its folders as
# well.
TREES     := $(foreach a,$(ARCHES),$(if $(wildcard firmware/$a/$a_fdt.c),$a))
OTHER     := $(filter-out $(ARCH),$(ARCHES))
OTHERS    := $(foreach f,vmm/kvm vmm/machine vcpu,$(OTHER:%=$f/%/%)) \
             $(patsubst %,firmware/%/%,$(filter-out $(TREES),$(OTHER)))
FOLDERS   := vmm vcpu memory devices firmware
LIB_SRCS  := $(filter-out $(OTHERS) vmm/cli/main.c vmm/host/numavisord.c,$(shell find $(FOLDERS) -name '*.c' \
               -not -path '*/test/*' -not -path '*/fuzz/*' -not -path 'vmm/tools/*' \
               -not -path 'vmm/lab/parts/*' | sort))
TEST_SRCS := $(filter-out $(OTHERS),$(shell find $(FOLDERS) -path '*/test/test_*.c' | sort))
FUZZ_SRCS := $(filter-out $(OTHERS),$(shell find $(FOLDERS) -path '*/fuzz/fuzz_*.c' | sort))
HEADERS   := $(filter-out $(OTHERS),$(shell find $(FOLDERS) -name '*.h' -not -path '*/test/*' | sort))

LIB       := $(BUILD)/libnumavisor.a
LAB_OBJS  := $(BUILD)/gen/lab_init.o $(BUILD)/gen/lab_noatime.o
LIB_OBJS  := $(LIB_SRCS:%.c=$(BUILD)/obj/%.o) $(BUILD)/gen/sandbox_programs.o \
             $(BUILD)/gen/fdt_arches.o $(LAB_OBJS)
MAIN_OBJ  := $(BUILD)/obj/vmm/cli/main.o
SERVICE_OBJ := $(BUILD)/obj/vmm/host/numavisord.o
TEST_BINS := $(TEST_SRCS:%.c=$(BUILD)/%)
FUZZ_BINS := $(FUZZ_SRCS:%.c=$(BUILD)/%)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

# Short lines by default, whole commands with V=1.
V ?=
Q    := $(if $(V),,@)
SHOW  = $(if $(V),,@printf '  %-5s %s\n' $(1) $@;)

all: $(BUILD)/numavisor $(BUILD)/numavisord

$(BUILD)/numavisor: $(MAIN_OBJ) $(LIB)
	$(call SHOW,LINK)$(CC) $(LDFLAGS_ALL) -o $@ $(MAIN_OBJ) $(LIB) $(PKG_LIBS)

$(BUILD)/numavisord: $(SERVICE_OBJ) $(LIB)
	$(call SHOW,LINK)$(CC) $(LDFLAGS_ALL) -o $@ $(SERVICE_OBJ) $(LIB) $(PKG_LIBS)

$(LIB): $(LIB_OBJS)
	$(call SHOW,AR)rm -f $@ && ar rcs $@ $(LIB_OBJS)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# The sandbox's programs, compiled from its lists by libseccomp: nothing is left to do at a start.
# The compiler runs here, for whichever architecture.
HOSTCC := $(if $(CROSS_COMPILE),gcc,$(CC))
COMPILER_SRCS := vmm/tools/sandbox_compile.c vmm/machine/sandbox_rules.c \
                 vmm/machine/$(ARCH)/sandbox_rules_$(ARCH).c
$(BUILD)/tools/sandbox_compile: $(COMPILER_SRCS) $(wildcard vmm/machine/sandbox_r*.h) Makefile
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(HOSTCC) -std=gnu17 -D_GNU_SOURCE -I. $(OPT) $(WARN) -o $@ $(COMPILER_SRCS) \
	    -lseccomp
$(BUILD)/gen/sandbox_programs.c: $(BUILD)/tools/sandbox_compile
	@mkdir -p $(@D)
	$(call SHOW,GEN)$< $($(ARCH)_UNAME) >$@
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c Makefile
	$(call SHOW,CC)$(CC) $(CFLAGS_ALL) -c -o $@ $<

# The list of firmware/fdt_arches.h, by the folders that there are.
$(BUILD)/gen/fdt_arches.c: Makefile $(wildcard firmware/*/*_fdt.c)
	@mkdir -p $(@D)
	$(call SHOW,GEN)printf '%s\n' '#include "firmware/fdt_arches.h"' \
	    $(TREES:%='extern const struct fdt_arch fdt_arch_%;') \
	    'const struct fdt_arch *const fdt_arches[] = {' $(TREES:%='    &fdt_arch_%,') '    NULL,' \
	    '};' >$@

# Programs that numavisor carries inside: the first one of a lab's guest, static since it is alone
# there, and what is loaded into its file server. Without sanitizers: they run elsewhere.
$(BUILD)/gen/lab_init: $(addprefix vmm/lab/parts/,init.c agent.c facts.c send.c) \
                      $(wildcard vmm/lab/parts/*.h) vmm/lab/lab_wire.h Makefile
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) -std=gnu17 -D_GNU_SOURCE -I. -Os $(WARN) $(SYSROOT_FLAGS) -static -s -o $@ \
	    $(filter %.c,$^)
$(BUILD)/gen/lab_noatime: vmm/lab/parts/noatime.c Makefile
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) -std=gnu17 -D_GNU_SOURCE -Os $(WARN) $(SYSROOT_FLAGS) -shared -fPIC -s -o $@ $<
$(LAB_OBJS): $(BUILD)/gen/%.o: $(BUILD)/gen/%
	$(call SHOW,AS)printf '%s\n' '.section .rodata' '.global $*_start, $*_end' \
	    '$*_start: .incbin "$<"' '$*_end:' '.section .note.GNU-stack,"",@progbits' | \
	    $(CC) -c -x assembler -o $@ -

# A unit test may name extra linker flags in a line "// LDFLAGS: -Wl,--wrap=...".
$(TEST_BINS): $(BUILD)/%: $(BUILD)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(CC) $(LDFLAGS_ALL) $(shell sed -n 's|^// LDFLAGS: ||p' $*.c) -o $@ $< \
	    $(LIB) $(PKG_LIBS) -lcmocka

# Fuzz targets want clang and its fuzzer: through the target "fuzzers" below.
$(FUZZ_BINS): $(BUILD)/%: $(BUILD)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< $(LIB) $(PKG_LIBS)

-include $(LIB_OBJS:.o=.d) $(MAIN_OBJ:.o=.d) $(SERVICE_OBJ:.o=.d) $(TEST_SRCS:%.c=$(BUILD)/obj/%.d) \
         $(FUZZ_SRCS:%.c=$(BUILD)/obj/%.d)

# --- tests -------------------------------------------------------------------------------------

SUB := $(MAKE) --no-print-directory

# Benchmarks' programs as well, where they run, so that they keep up with what they call.
BENCH_BINS := $(patsubst %,$(BUILD)/bench/%,planner replay pageout together firsttouch deltas attacker)

tests: $(TEST_BINS) $(if $(CROSS_COMPILE),,$(BENCH_BINS))

unit: tests
	@vmm/tools/run-tests $(BUILD)/unit $(TEST_BINS)

# The same tests under gcc's address and undefined-behaviour sanitizers, and the ones that have
# threads, of their own or in a header of theirs, under its thread sanitizer.
UBSAN := -fno-sanitize-recover=all
unit-san:
	@$(SUB) BUILD=build/san CC=gcc OPT='-O1 -g' SAN='-fsanitize=address,undefined $(UBSAN)' unit

TSAN_RIGS  := $(shell grep -lE 'pthread|fake_loop' $$(find $(FOLDERS) -path '*/test/*.h') /dev/null)
TSAN_TESTS := $(shell grep -lE -e 'pthread|evloop' $(TSAN_RIGS:%=-e %) $(TEST_SRCS) /dev/null)
unit-tsan-run: $(TSAN_TESTS:%.c=$(BUILD)/%)
	@vmm/tools/run-tests $(BUILD)/unit $^
unit-tsan:
	@$(SUB) BUILD=build/tsan CC=gcc OPT='-O1 -g' SAN='-fsanitize=thread' unit-tsan-run

# Another compiler's opinion; nothing is run.
clang:
	@$(SUB) BUILD=build/clang CC=clang all tests

# FUZZ_SECONDS each; a new finding is kept below build/fuzz/findings.
FUZZ_SECONDS ?= 300
fuzzers-build: $(FUZZ_BINS)
fuzzers:
	@$(SUB) BUILD=build/fuzz CC=clang OPT='-O1 -g' \
	    SAN='-fsanitize=fuzzer-no-link,address,undefined $(UBSAN)' fuzzers-build
fuzz: fuzzers
	@vmm/tools/run-fuzzers $(FUZZ_SECONDS) $(FUZZ_SRCS)
fuzz-list:
	@echo $(FUZZ_SRCS)

# Structure: who may include whom; every header compiles alone.
layers:
	@vmm/tools/layers
headers:
	@for h in $(HEADERS); do \
	    $(CC) $(CFLAGS_ALL) -fsyntax-only -x c $$h || exit 1; \
	done
lint: layers headers

check check-all demo bench: deps
deps:
	@vmm/tools/deps
demo:
	@$(SUB) -j2 all
	@guest-tests/demo
check:
	@vmm/tools/check
check-all:
	@vmm/tools/check all
bench:
	@$(SUB) -j2 all
	@guest-tests/bench/run; s=$$?; for b in guest-tests/bench/boot-*; do $$b || s=$$?; done; exit $$s

TOUCHGUEST := guest-tests/bench/$(ARCH)/touchguest.c

$(BENCH_BINS): $(BUILD)/bench/%: guest-tests/bench/%.c $(TOUCHGUEST) guest-tests/bench/touchguest.h \
                                 guest-tests/bench/captured.h \
                                 guest-tests/bench/planner_problems.h $(LIB)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< \
	    $(if $(filter pageout,$*),$(TOUCHGUEST)) $(LIB) $(PKG_LIBS)
bench-placement: deps
	@$(SUB) -j2 all guests $(BUILD)/bench/planner
	@guest-tests/bench/all-placement $(if $(QUICK),--quick) $(PARTS)
bench-lab: deps
	@$(SUB) -j2 all guests
	@guest-tests/bench/lab-start; s=$$?; guest-tests/bench/lab-slow || s=$$?; exit $$s
bench-memory: deps
	@$(SUB) -j2 all guests $(addprefix $(BUILD)/bench/,replay pageout together firsttouch attacker)
	@guest-tests/bench/all-memory $(PARTS)

.PHONY: bench-lab bench-memory bench-placement all tests unit unit-san unit-tsan unit-tsan-run clang fuzz \
        fuzz-list fuzzers fuzzers-build layers headers lint deps check check-all demo bench install uninstall clean help guests

# What an attacker can tell: root's, for KSM.
bench-attacker: deps
	@$(SUB) -j2 all $(BUILD)/bench/attacker
	@guest-tests/bench/memory-attacker
.PHONY: bench-attacker

# --- guests ------------------------------------------------------------------------------------

include guest-tests/bare/guests.mk
include guest-tests/linux/guests.mk
include guest-tests/rig/rig.mk

# --- installation ------------------------------------------------------------------------------

install: all
	install -D -m 755 $(BUILD)/numavisor $(DESTDIR)$(PREFIX)/bin/numavisor
	install -D -m 644 docs/man/numavisor.1 $(DESTDIR)$(PREFIX)/share/man/man1/numavisor.1
	install -D -m 755 $(BUILD)/numavisord $(DESTDIR)$(PREFIX)/bin/numavisord
	install -D -m 644 docs/man/numavisord.8 $(DESTDIR)$(PREFIX)/share/man/man8/numavisord.8
	for d in system user; do \
	    mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/$$d && \
	    sed 's|@PREFIX@|$(PREFIX)|' vmm/host/numavisord.service.in \
	        >$(DESTDIR)$(PREFIX)/lib/systemd/$$d/numavisord.service || exit 1; \
	done
	mkdir -p $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(BUILD)/numavisor completion bash \
	    >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/numavisor
	mkdir -p $(DESTDIR)$(PREFIX)/share/numavisor/topologies
	install -m 644 vmm/topology/presets/*.json $(DESTDIR)$(PREFIX)/share/numavisor/topologies
	mkdir -p $(DESTDIR)$(PREFIX)/share/numavisor/guest-tests/rig
	install -m 644 guest-tests/rig/*.py $(DESTDIR)$(PREFIX)/share/numavisor/guest-tests/rig
	install -m 755 $(addprefix guest-tests/rig/,run kernel init agent hostroot kvmhold) \
	    $(DESTDIR)$(PREFIX)/share/numavisor/guest-tests/rig

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/numavisor bin/numavisord share/man/man1/numavisor.1 \
	    share/man/man8/numavisord.8 lib/systemd/system/numavisord.service \
	    lib/systemd/user/numavisord.service) \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/numavisor
	rm -rf $(DESTDIR)$(PREFIX)/share/numavisor

clean:
	rm -rf build

help:
	@sed -n 's/^#   make/  make/p' Makefile
