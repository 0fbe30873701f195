# SPDX-License-Identifier: Apache-2.0
#
# Bare-metal guests: one image per guest-tests/bare/*.c. Linked as 64-bit code, then wrapped as
# 32-bit ELF, which every multiboot loader takes. Freestanding and without vector registers,
# whatever flags and sanitizers the rest is built with.

BARE_DIR  := guest-tests/bare
BARE_LIB  := $(wildcard $(BARE_DIR)/lib/*.c $(BARE_DIR)/lib/*.S)
BARE_OBJS := $(patsubst %,$(BUILD)/obj/%.o,$(basename $(BARE_LIB)))
BARE_ELFS := $(patsubst $(BARE_DIR)/%.c,$(BUILD)/$(BARE_DIR)/%.elf,$(wildcard $(BARE_DIR)/*.c))
BARE_CFLAGS := -std=gnu17 -I. -O2 $(WARN) -m64 -ffreestanding -mgeneral-regs-only -mno-red-zone \
               -fno-pic -fno-stack-protector -fcf-protection=none -fno-strict-aliasing \
               -fno-asynchronous-unwind-tables -mcmodel=small

guests: $(BARE_ELFS)

$(BUILD)/obj/$(BARE_DIR)/%.o: $(BARE_DIR)/%.c $(BARE_DIR)/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) $(BARE_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/$(BARE_DIR)/%.o: $(BARE_DIR)/%.S $(BARE_DIR)/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,AS)$(CC) -I. -m64 -MMD -MP -c -o $@ $<

$(BUILD)/$(BARE_DIR)/%.elf: $(BUILD)/obj/$(BARE_DIR)/%.o $(BARE_OBJS) $(BARE_DIR)/lib/link.ld
	@mkdir -p $(@D)
	$(call SHOW,LD)$(LD) -m elf_x86_64 -nostdlib -static -z max-page-size=4096 -z noexecstack \
	    --no-warn-rwx-segments -T $(BARE_DIR)/lib/link.ld -o $(@:.elf=.elf64) $< $(BARE_OBJS)
	$(Q)objcopy -I elf64-x86-64 -O elf32-i386 $(@:.elf=.elf64) $@

-include $(BARE_OBJS:.o=.d) $(patsubst %.c,$(BUILD)/obj/%.d,$(wildcard $(BARE_DIR)/*.c))

.PHONY: guests
