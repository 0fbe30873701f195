/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/x86/elf.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "firmware/x86/boot.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    MAX_PHDRS = 128,
    MAX_NOTE_BYTES = 64 * KIB,
    NOTE_ALIGN = 4,
    XEN_NOTE_PHYS32_ENTRY = 18,
};

/* The structures below are read in host order. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "x86 images are little-endian");
_Static_assert(offsetof(Elf32_Ehdr, e_machine) == offsetof(Elf64_Ehdr, e_machine) &&
                   offsetof(Elf32_Ehdr, e_type) == offsetof(Elf64_Ehdr, e_type),
               "read before the width counts");

int elf_probe(const struct image *img, struct errctx *ec)
{
    unsigned char ident[SELFMAG];
    int r;

    if (img->size_bytes < sizeof(ident))
        return 0;
    r = image_read(img, 0, ident, sizeof(ident), ec);
    return r < 0 ? r : memcmp(ident, ELFMAG, SELFMAG) == 0;
}

/* Checks that do not depend on the width. */
static int check_header(const struct elf_image *elf, unsigned machine, unsigned type,
                        unsigned phdr_bytes, struct errctx *ec)
{
    const char *name = elf->img->name;
    size_t want = elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

    if (machine != EM_X86_64 && machine != EM_386)
        return errctx_set(ec, ENOEXEC, "%s is an ELF file for another machine (number %u)", name,
                          machine);
    if (type != ET_EXEC && type != ET_DYN)
        return errctx_set(ec, ENOEXEC, "%s is an ELF file that cannot be executed (type %u)", name,
                          type);
    if (elf->n_phdrs == 0)
        return errctx_set(ec, ENOEXEC, "%s is an ELF file without segments", name);
    if (elf->n_phdrs > MAX_PHDRS)
        return errctx_set(ec, ENOEXEC, "%s: %u program headers are more than %d", name,
                          elf->n_phdrs, MAX_PHDRS);
    if (phdr_bytes != want)
        return errctx_set(ec, ENOEXEC, "%s: program headers have %u bytes instead of %zu", name,
                          phdr_bytes, want);
    if (!checked_range(elf->phdr_off, want * elf->n_phdrs, elf->img->size_bytes))
        return errctx_set(ec, ENOEXEC, "%s is truncated: its program headers are beyond its end",
                          name);
    return 0;
}

/* The two widths have the same fields under the same names, in another order and size. */
#define ELF_OF(i, h, wide)                                                                         \
    ((struct elf_image){ .img = (i),                                                               \
                         .is_64 = (wide),                                                          \
                         .entry = (h).e_entry,                                                     \
                         .phdr_off = (h).e_phoff,                                                  \
                         .n_phdrs = (h).e_phnum })
#define SEGMENT_OF(p)                                                                              \
    ((struct elf_segment){ .type = (p).p_type,                                                     \
                           .off = (p).p_offset,                                                    \
                           .vaddr = (p).p_vaddr,                                                   \
                           .paddr = (p).p_paddr,                                                   \
                           .file_bytes = (p).p_filesz,                                             \
                           .mem_bytes = (p).p_memsz })

static int read_header(const struct image *img, bool is_64, struct elf_image *ret_elf,
                       struct errctx *ec)
{
    union {
        Elf32_Ehdr h32;
        Elf64_Ehdr h64;
    } u;
    int r = image_read(img, 0, &u, is_64 ? sizeof(u.h64) : sizeof(u.h32), ec);

    if (r < 0)
        return r;
    *ret_elf = is_64 ? ELF_OF(img, u.h64, true) : ELF_OF(img, u.h32, false);
    /* These two lie at one place in both. */
    return check_header(ret_elf, u.h64.e_machine, u.h64.e_type,
                        is_64 ? u.h64.e_phentsize : u.h32.e_phentsize, ec);
}

int elf_open(const struct image *img, struct elf_image *ret_elf, struct errctx *ec)
{
    struct elf_image elf;
    unsigned char ident[EI_NIDENT];
    int r = image_read(img, 0, ident, sizeof(ident), ec);

    if (r < 0)
        return r;
    if (ident[EI_DATA] != ELFDATA2LSB || ident[EI_VERSION] != EV_CURRENT)
        return errctx_set(ec, ENOEXEC, "%s is an ELF file of unknown version or byte order",
                          img->name);
    if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
        return errctx_set(ec, ENOEXEC, "%s is an ELF file of unknown class %u", img->name,
                          ident[EI_CLASS]);
    r = read_header(img, ident[EI_CLASS] == ELFCLASS64, &elf, ec);
    if (r == 0)
        *ret_elf = elf;
    return r;
}

static int read_phdr(const struct elf_image *elf, uint32_t i, struct elf_segment *s,
                     struct errctx *ec)
{
    union {
        Elf32_Phdr p32;
        Elf64_Phdr p64;
    } u;
    const size_t len = elf->is_64 ? sizeof(u.p64) : sizeof(u.p32);
    int r = image_read(elf->img, elf->phdr_off + i * len, &u, len, ec);

    if (r == 0)
        *s = elf->is_64 ? SEGMENT_OF(u.p64) : SEGMENT_OF(u.p32);
    return r;
}

int elf_segment(const struct elf_image *elf, uint32_t i, struct elf_segment *ret_segment,
                struct errctx *ec)
{
    struct elf_segment s = { 0 };
    int r = read_phdr(elf, i, &s, ec);

    if (r < 0)
        return r;
    if ((s.type == PT_LOAD || s.type == PT_NOTE) &&
        !checked_range(s.off, s.file_bytes, elf->img->size_bytes))
        return errctx_set(ec, ENOEXEC,
                          "%s is truncated: segment %u has %" PRIu64 " bytes at %" PRIu64
                          ", the file ends at %" PRIu64,
                          elf->img->name, i, s.file_bytes, s.off, elf->img->size_bytes);
    if (s.type == PT_LOAD && s.file_bytes > s.mem_bytes)
        return errctx_set(ec, ENOEXEC,
                          "%s: segment %u has %" PRIu64 " bytes in the file, %" PRIu64 " in memory",
                          elf->img->name, i, s.file_bytes, s.mem_bytes);
    *ret_segment = s;
    return 0;
}

/* Read the entry out of the note's content at @off. */
static int take_entry(struct elf_image *elf, uint64_t off, uint32_t desc_bytes, struct errctx *ec)
{
    uint64_t v = 0;
    int r;

    if (desc_bytes != 4 && desc_bytes != 8)
        return errctx_set(ec, ENOEXEC, "%s: its PVH note has %u bytes instead of 4 or 8",
                          elf->img->name, desc_bytes);
    r = image_read(elf->img, off, &v, desc_bytes, ec);
    if (r < 0)
        return r;
    if (v > UINT32_MAX)
        return errctx_set(ec, ENOEXEC, "%s: its PVH entry 0x%" PRIx64 " is above 4 GiB",
                          elf->img->name, v);
    elf->has_pvh_entry = true;
    elf->pvh_entry = (uint32_t)v;
    return 0;
}

static int scan_notes(struct elf_image *elf, const struct elf_segment *s, struct errctx *ec)
{
    uint64_t off = s->off, end = s->off + MIN(s->file_bytes, (uint64_t)MAX_NOTE_BYTES);

    while (!elf->has_pvh_entry && end - off >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n; /* the same for both widths */
        char owner[4] = "";
        uint64_t name_bytes, desc_bytes;
        int r = image_read(elf->img, off, &n, sizeof(n), ec);

        if (r < 0)
            return r;
        off += sizeof(n);
        name_bytes = align_up(n.n_namesz, NOTE_ALIGN);
        desc_bytes = align_up(n.n_descsz, NOTE_ALIGN);
        if (name_bytes + desc_bytes > end - off)
            return 0; /* the last note may be cut; what others use of it is their business */
        if (n.n_type == XEN_NOTE_PHYS32_ENTRY && n.n_namesz == sizeof(owner)) {
            r = image_read(elf->img, off, owner, sizeof(owner), ec);
            if (r == 0 && memcmp(owner, "Xen", sizeof(owner)) == 0)
                r = take_entry(elf, off + name_bytes, n.n_descsz, ec);
            if (r < 0)
                return r;
        }
        off += name_bytes + desc_bytes;
    }
    return 0;
}

int elf_find_pvh_entry(struct elf_image *elf, struct errctx *ec)
{
    for (uint32_t i = 0; i < elf->n_phdrs && !elf->has_pvh_entry; i++) {
        struct elf_segment s;
        int r = elf_segment(elf, i, &s, ec);

        if (r == 0 && s.type == PT_NOTE)
            r = scan_notes(elf, &s, ec);
        if (r < 0)
            return r;
    }
    return 0;
}

int elf_load(const struct elf_image *elf, struct boot *boot, struct errctx *ec)
{
    uint32_t n_loaded = 0;

    for (uint32_t i = 0; i < elf->n_phdrs; i++) {
        struct elf_segment s;
        int r = elf_segment(elf, i, &s, ec);

        if (r < 0)
            return r;
        if (s.type != PT_LOAD || s.mem_bytes == 0)
            continue;
        r = boot_claim(boot, s.paddr, s.mem_bytes, ec);
        if (r == 0)
            r = image_to_guest(elf->img, s.off, s.file_bytes, boot->mem, (struct gpa){ s.paddr },
                               ec);
        if (r < 0)
            return r;
        n_loaded++;
    }
    if (n_loaded == 0)
        return errctx_set(ec, ENOEXEC, "%s is an ELF file without anything to load",
                          elf->img->name);
    return 0;
}

int elf_check_phys(const struct elf_image *elf, uint64_t addr, struct errctx *ec)
{
    for (uint32_t i = 0; i < elf->n_phdrs; i++) {
        struct elf_segment s;
        int r = elf_segment(elf, i, &s, ec);

        if (r < 0)
            return r;
        if (s.type == PT_LOAD && addr - s.paddr < s.mem_bytes)
            return 0;
    }
    return errctx_set(ec, ENOEXEC, "%s: its entry 0x%" PRIx64 " is in no segment", elf->img->name,
                      addr);
}

int elf_phys_entry(const struct elf_image *elf, uint32_t *ret_entry, struct errctx *ec)
{
    for (uint32_t i = 0; i < elf->n_phdrs; i++) {
        struct elf_segment s;
        uint64_t at;
        int r = elf_segment(elf, i, &s, ec);

        if (r < 0)
            return r;
        if (s.type != PT_LOAD)
            continue;
        /* Some linkers give the entry as a physical address, some as a virtual one. */
        if (elf->entry - s.vaddr < s.mem_bytes)
            at = s.paddr + (elf->entry - s.vaddr);
        else if (elf->entry - s.paddr < s.mem_bytes)
            at = elf->entry;
        else
            continue;
        if (at > UINT32_MAX)
            break;
        *ret_entry = (uint32_t)at;
        return 0;
    }
    return errctx_set(ec, ENOEXEC, "%s: its entry 0x%" PRIx64 " is in no segment below 4 GiB",
                      elf->img->name, elf->entry);
}
