# SPDX-License-Identifier: Apache-2.0
#
# Bare-metal guests: one image per guest-tests/bare/ARCH/*.c and per guest that several have. For x86
# they are linked as 64-bit code, then wrapped as 32-bit ELF, which every multiboot loader takes;
# for arm64 they are an Image, as the kernel's. Freestanding and without vector registers, whatever
# flags and sanitizers the rest is built with.

BARE_DIR    := guest-tests/bare
BARE_SHARED := virtio_ring_abuse memory_edges
BARE_SRCS   := $(if $(filter x86,$(ARCH)),$(wildcard $(BARE_DIR)/*.c),\
                 $(BARE_SHARED:%=$(BARE_DIR)/%.c) $(wildcard $(BARE_DIR)/$(ARCH)/*.c))
BARE_LIB    := $(foreach d,lib lib/$(ARCH),$(wildcard $(BARE_DIR)/$d/*.c $(BARE_DIR)/$d/*.S))
BARE_OBJS   := $(patsubst %,$(BUILD)/obj/%.o,$(basename $(BARE_LIB)))
BARE_KIND   := $(if $(filter x86,$(ARCH)),elf,image)
BARE_IMAGES := $(patsubst $(BARE_DIR)/%.c,$(BUILD)/$(BARE_DIR)/%.$(BARE_KIND),$(BARE_SRCS))
BARE_ARCH_x86   := -m64 -mno-red-zone -fcf-protection=none -mcmodel=small
BARE_ARCH_arm64 := -mstrict-align -mno-outline-atomics -fno-tree-loop-distribute-patterns
BARE_CFLAGS := -std=gnu17 -I. -I$(BARE_DIR)/lib/$(ARCH) $(SYSROOT_FLAGS) -O2 $(WARN) -ffreestanding \
               -mgeneral-regs-only -fno-pic -fno-stack-protector -fno-strict-aliasing \
               -fno-asynchronous-unwind-tables $(BARE_ARCH_$(ARCH))
BARE_LD     := -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments

bare: $(BARE_IMAGES)
guests: bare

$(BUILD)/obj/$(BARE_DIR)/%.o: $(BARE_DIR)/%.c $(BARE_DIR)/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) $(BARE_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/$(BARE_DIR)/%.o: $(BARE_DIR)/%.S $(BARE_DIR)/guests.mk
	@mkdir -p $(@D)
	$(call SHOW,AS)$(CC) -I. $(filter -m64,$(BARE_CFLAGS)) -MMD -MP -c -o $@ $<

$(BUILD)/$(BARE_DIR)/%.elf: $(BUILD)/obj/$(BARE_DIR)/%.o $(BARE_OBJS) $(BARE_DIR)/lib/x86/link.ld
	@mkdir -p $(@D)
	$(call SHOW,LD)$(LD) -m elf_x86_64 $(BARE_LD) -T $(BARE_DIR)/lib/x86/link.ld \
	    -o $(@:.elf=.elf64) $< $(BARE_OBJS)
	$(Q)objcopy -I elf64-x86-64 -O elf32-i386 $(@:.elf=.elf64) $@

$(BUILD)/$(BARE_DIR)/%.image: $(BUILD)/obj/$(BARE_DIR)/%.o $(BARE_OBJS) \
                              $(BARE_DIR)/lib/arm64/link.ld
	@mkdir -p $(@D)
	$(call SHOW,LD)$(CROSS_COMPILE)ld $(BARE_LD) -T $(BARE_DIR)/lib/arm64/link.ld \
	    -o $(@:.image=.elf64) $< $(BARE_OBJS)
	$(Q)$(CROSS_COMPILE)objcopy -O binary $(@:.image=.elf64) $@

-include $(BARE_OBJS:.o=.d) $(BARE_SRCS:%.c=$(BUILD)/obj/%.d)

.PHONY: guests bare
