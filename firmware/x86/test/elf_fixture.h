/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hand-made ELF image: two program headers, one page of code loaded at a physical address with
 * as much zero behind it, and a note segment. Tests change fields of the struct before writing.
 */
#ifndef FIRMWARE_X86_TEST_ELF_FIXTURE_H
#define FIRMWARE_X86_TEST_ELF_FIXTURE_H

#include <elf.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { ELF_CODE_BYTES = 4096 };

struct elf64_image {
    Elf64_Ehdr h;
    Elf64_Phdr load, note;
    struct {
        Elf64_Nhdr other; /* a note of somebody else comes first */
        char other_name[8];
        uint32_t other_desc;
        Elf64_Nhdr pvh;
        char pvh_name[4];
        uint32_t pvh_desc;
    } notes;
    uint8_t code[ELF_CODE_BYTES];
};

struct elf32_image {
    Elf32_Ehdr h;
    Elf32_Phdr load;
    uint32_t multiboot[8];
    uint8_t code[ELF_CODE_BYTES];
};

static inline void elf64_make(struct elf64_image *e, uint64_t paddr)
{
    *e = (struct elf64_image){
        .h = { .e_type = ET_EXEC,
               .e_machine = EM_X86_64,
               .e_version = EV_CURRENT,
               .e_entry = 0xffffffff81000000,
               .e_phoff = offsetof(struct elf64_image, load),
               .e_phentsize = sizeof(Elf64_Phdr),
               .e_phnum = 2 },
        .load = { .p_type = PT_LOAD,
                  .p_offset = offsetof(struct elf64_image, code),
                  .p_vaddr = 0xffffffff81000000,
                  .p_paddr = paddr,
                  .p_filesz = ELF_CODE_BYTES,
                  .p_memsz = 2 * ELF_CODE_BYTES },
        .note = { .p_type = PT_NOTE,
                  .p_offset = offsetof(struct elf64_image, notes),
                  .p_filesz = sizeof(e->notes) },
        .notes = { .other = { 5, 4, 18 },
                   .other_name = "Else",
                   .other_desc = 7,
                   .pvh = { 4, 4, 18 },
                   .pvh_name = "Xen",
                   .pvh_desc = (uint32_t)paddr + 16 },
    };
    memcpy(e->h.e_ident, ELFMAG, SELFMAG);
    e->h.e_ident[EI_CLASS] = ELFCLASS64;
    e->h.e_ident[EI_DATA] = ELFDATA2LSB;
    e->h.e_ident[EI_VERSION] = EV_CURRENT;
    memset(e->code, 0x90, sizeof(e->code));
}

/* With a multiboot header of @flags; address fields as if loaded at @paddr from its start. */
static inline void elf32_make(struct elf32_image *e, uint32_t paddr, uint32_t flags)
{
    uint32_t header_addr = paddr + offsetof(struct elf32_image, multiboot);

    *e = (struct elf32_image){
        .h = { .e_type = ET_EXEC,
               .e_machine = EM_386,
               .e_version = EV_CURRENT,
               .e_entry = paddr + 32,
               .e_phoff = offsetof(struct elf32_image, load),
               .e_phentsize = sizeof(Elf32_Phdr),
               .e_phnum = 1 },
        .load = { .p_type = PT_LOAD,
                  .p_offset = offsetof(struct elf32_image, code),
                  .p_vaddr = paddr,
                  .p_paddr = paddr,
                  .p_filesz = ELF_CODE_BYTES,
                  .p_memsz = 2 * ELF_CODE_BYTES },
        .multiboot = { 0x1badb002, flags, 0u - 0x1badb002u - flags, header_addr, paddr,
                       paddr + (uint32_t)sizeof(*e), paddr + (uint32_t)sizeof(*e) + 4096,
                       paddr + (uint32_t)offsetof(struct elf32_image, code) },
    };
    memcpy(e->h.e_ident, ELFMAG, SELFMAG);
    e->h.e_ident[EI_CLASS] = ELFCLASS32;
    e->h.e_ident[EI_DATA] = ELFDATA2LSB;
    e->h.e_ident[EI_VERSION] = EV_CURRENT;
    memset(e->code, 0x90, sizeof(e->code));
}

#endif
