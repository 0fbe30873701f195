# SPDX-License-Identifier: Apache-2.0
#
# The access counter: a plugin for this machine's QEMU, and static programs for inside the rig.

RIG_BIN := $(BUILD)/guest-tests/rig

guests: $(RIG_BIN)/accesses.so $(RIG_BIN)/counters $(RIG_BIN)/chase

$(RIG_BIN)/%: guest-tests/rig/%.c guest-tests/rig/accesses.h guest-tests/rig/rig.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) -std=gnu17 -D_GNU_SOURCE -I. -O2 $(WARN) -static -s -o $@ $<

# numavisor, or whatever GOALS names, for another architecture, with headers and libraries from
# Debian's packages.
CROSS := $(filter-out $(HERE),$(ARCHES))
$(CROSS):
	@guest-tests/rig/root $@ >/dev/null
	+@$(SUB) ARCH=$@ CROSS_COMPILE=$($@_UNAME)-linux-gnu- BUILD=build/$@ $(or $(GOALS),all)
cross-list:
	@echo $(CROSS)
.PHONY: $(CROSS) cross-list

# Undefined symbols are QEMU's.
$(RIG_BIN)/%.so: guest-tests/rig/%.c guest-tests/rig/accesses.h guest-tests/rig/rig.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) -std=gnu17 -D_GNU_SOURCE -I. -O2 -g $(WARN) -shared -fPIC -o $@ $<
