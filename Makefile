# SPDX-License-Identifier: Apache-2.0
#
# numavisor: build, tests, benchmarks, installation.
#
#   make            build/numavisor
#   make demo       install what is missing, build, boot a four-node guest and show its topology
#   make check      install what is missing, run every test
#   make help       everything else
#
# One build directory per compiler and sanitizer; BUILD, CC and SAN choose them, so the same
# rules serve all of them. Sources are found by folder: a new .c file needs no line here.

BUILD   ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
SAN     ?=
PREFIX  ?= /usr/local
DESTDIR ?=

# libslirp's .pc file asks for GLib's development files, which nothing here needs: by name then.
PKGS := hwloc jansson liburing libseccomp libcap-ng
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lslirp

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wimplicit-fallthrough -Wcast-qual -Wpointer-arith -Wwrite-strings
OPT  ?= -O2 -g
CFLAGS_ALL := -std=gnu17 -D_GNU_SOURCE -I. $(OPT) $(WARN) -fno-strict-aliasing -pthread \
              $(SAN) $(subst -I,-isystem ,$(PKG_CFLAGS)) $(CFLAGS)
LDFLAGS_ALL := -pthread $(SAN) $(LDFLAGS)

FOLDERS   := vmm vcpu memory devices firmware
LIB_SRCS  := $(filter-out vmm/cli/main.c,$(shell find $(FOLDERS) -name '*.c' \
               -not -path '*/test/*' -not -path '*/fuzz/*' | sort))
TEST_SRCS := $(shell find $(FOLDERS) -path '*/test/test_*.c' | sort)
FUZZ_SRCS := $(shell find $(FOLDERS) -path '*/fuzz/fuzz_*.c' | sort)
HEADERS   := $(shell find $(FOLDERS) -name '*.h' | sort)

LIB       := $(BUILD)/libnumavisor.a
LIB_OBJS  := $(LIB_SRCS:%.c=$(BUILD)/obj/%.o)
MAIN_OBJ  := $(BUILD)/obj/vmm/cli/main.o
TEST_BINS := $(TEST_SRCS:%.c=$(BUILD)/%)
FUZZ_BINS := $(FUZZ_SRCS:%.c=$(BUILD)/%)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/numavisor

$(BUILD)/numavisor: $(MAIN_OBJ) $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $(MAIN_OBJ) $(LIB) $(PKG_LIBS)

$(LIB): $(LIB_OBJS)
	@rm -f $@
	ar rcs $@ $(LIB_OBJS)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# A unit test may name extra linker flags in a line "// LDFLAGS: -Wl,--wrap=...".
$(BUILD)/%: $(BUILD)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $(shell sed -n 's|^// LDFLAGS: ||p' $*.c) -o $@ $< $(LIB) $(PKG_LIBS) -lcmocka

-include $(LIB_OBJS:.o=.d) $(MAIN_OBJ:.o=.d) $(TEST_SRCS:%.c=$(BUILD)/obj/%.d) \
         $(FUZZ_SRCS:%.c=$(BUILD)/obj/%.d)

# --- tests -------------------------------------------------------------------------------------

unit: $(TEST_BINS)
	@vmm/tools/run-tests $(BUILD)/unit $(TEST_BINS)

unit-san:
	@$(MAKE) --no-print-directory BUILD=build/san CC=gcc OPT='-O1 -g' \
	    SAN='-fsanitize=address,undefined -fno-sanitize-recover=all' unit
.PHONY: all unit unit-san

# --- guests ------------------------------------------------------------------------------------

include guest-tests/bare/guests.mk
