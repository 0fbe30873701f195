# SPDX-License-Identifier: Apache-2.0
#
# Bare-metal guests: one image per guest-tests/bare/ARCH/*.c and per guest that several have. Which
# an architecture has, and what it makes of them by which rule, is in lib/ARCH/bare.mk: BARE_SRCS,
# BARE_KIND (the images' ending), BARE_ARCH (flags). Freestanding and without vector registers,
# whatever flags and sanitizers the rest is built with.

BARE_DIR    := guest-tests/bare
BARE_MK     := $(BARE_DIR)/guests.mk $(BARE_DIR)/lib/$(ARCH)/bare.mk
BARE_SHARED := virtio_ring_abuse memory_edges
BARE_LIB    := $(foreach d,lib lib/$(ARCH),$(wildcard $(BARE_DIR)/$d/*.c $(BARE_DIR)/$d/*.S))
BARE_OBJS   := $(patsubst %,$(BUILD)/obj/%.o,$(basename $(BARE_LIB)))
BARE_CFLAGS  = -std=gnu17 -I. -I$(BARE_DIR)/lib/$(ARCH) $(SYSROOT_FLAGS) -O2 $(WARN) -ffreestanding \
               -fno-pic -fno-stack-protector -fno-strict-aliasing \
               -fno-asynchronous-unwind-tables $(BARE_ARCH)
BARE_LD     := -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments

include $(BARE_DIR)/lib/$(ARCH)/bare.mk
BARE_IMAGES := $(patsubst $(BARE_DIR)/%.c,$(BUILD)/$(BARE_DIR)/%.$(BARE_KIND),$(BARE_SRCS))

bare: $(BARE_IMAGES)
guests: bare

$(BUILD)/obj/$(BARE_DIR)/%.o: $(BARE_DIR)/%.c $(BARE_MK)
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) $(BARE_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/$(BARE_DIR)/%.o: $(BARE_DIR)/%.S $(BARE_MK)
	@mkdir -p $(@D)
	$(call SHOW,AS)$(CC) -I. $(BARE_ARCH) -MMD -MP -c -o $@ $<

-include $(BARE_OBJS:.o=.d) $(BARE_SRCS:%.c=$(BUILD)/obj/%.d)

.PHONY: guests bare
