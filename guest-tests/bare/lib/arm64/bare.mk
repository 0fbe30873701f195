# SPDX-License-Identifier: Apache-2.0
#
# Guests for arm64 are an Image, as the kernel's.

BARE_SRCS := $(BARE_SHARED:%=$(BARE_DIR)/%.c) $(wildcard $(BARE_DIR)/arm64/*.c)
BARE_KIND := image
BARE_ARCH := -mgeneral-regs-only -mstrict-align -mno-outline-atomics \
             -fno-tree-loop-distribute-patterns

$(BUILD)/$(BARE_DIR)/%.image: $(BUILD)/obj/$(BARE_DIR)/%.o $(BARE_OBJS) \
                              $(BARE_DIR)/lib/arm64/link.ld
	@mkdir -p $(@D)
	$(call SHOW,LD)$(CROSS_COMPILE)ld $(BARE_LD) -T $(BARE_DIR)/lib/arm64/link.ld \
	    -o $(@:.image=.elf64) $< $(BARE_OBJS)
	$(Q)$(CROSS_COMPILE)objcopy -O binary $(@:.image=.elf64) $@
