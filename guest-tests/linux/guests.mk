# SPDX-License-Identifier: Apache-2.0
#
# Programs that run inside the Linux guests: static, since a guest has hardly any libraries.

guests: $(BUILD)/guest/xcat $(BUILD)/guest/outb

$(BUILD)/guest/%: guest-tests/linux/%.c guest-tests/linux/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) -std=gnu17 -O2 $(WARN) -static -s -o $@ $<
