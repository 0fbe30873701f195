# SPDX-License-Identifier: Apache-2.0
#
# Guests for x86 are linked as 64-bit code, then wrapped as 32-bit ELF, which every multiboot loader
# takes.

BARE_SRCS := $(wildcard $(BARE_DIR)/*.c)
BARE_KIND := elf
BARE_ARCH := -m64 -mgeneral-regs-only -mno-red-zone -fcf-protection=none -mcmodel=small

$(BUILD)/$(BARE_DIR)/%.elf: $(BUILD)/obj/$(BARE_DIR)/%.o $(BARE_OBJS) $(BARE_DIR)/lib/x86/link.ld
	@mkdir -p $(@D)
	$(call SHOW,LD)$(LD) -m elf_x86_64 $(BARE_LD) -T $(BARE_DIR)/lib/x86/link.ld \
	    -o $(@:.elf=.elf64) $< $(BARE_OBJS)
	$(Q)objcopy -I elf64-x86-64 -O elf32-i386 $(@:.elf=.elf64) $@
