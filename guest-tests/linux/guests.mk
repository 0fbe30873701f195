# SPDX-License-Identifier: Apache-2.0
#
# Programs that run inside the Linux guests: static, since a guest has hardly any libraries. What is
# for one architecture is in a folder of its name.

LINUX_DIR  := guest-tests/linux
GUEST_BINS := $(patsubst %.c,$(BUILD)/guest/%,$(notdir $(wildcard $(LINUX_DIR)/*.c \
                $(LINUX_DIR)/$(ARCH)/*.c)))
GUEST_CC    = $(CC) -std=gnu17 -O2 $(WARN) $(SYSROOT_FLAGS) -static -s

guest-programs: $(GUEST_BINS)
guests: guest-programs

$(BUILD)/guest/%: $(LINUX_DIR)/%.c $(LINUX_DIR)/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(GUEST_CC) -o $@ $<

$(BUILD)/guest/%: $(LINUX_DIR)/$(ARCH)/%.c $(LINUX_DIR)/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(GUEST_CC) -o $@ $<

.PHONY: guest-programs
