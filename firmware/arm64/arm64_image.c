/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/arm64/arm64_image.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    OFF_TEXT = 8,
    OFF_SIZE = 16,
    OFF_FLAGS = 24,
    OFF_MAGIC = 56,
    FLAG_BIG_ENDIAN = 1,
    GZIP_WINDOW = 15 + 16, /* zlib: gzip's frame, and none else */
};

/* Kernels before 3.17 say neither; where they lie is fixed then, and how much they take is a guess
 * that leaves room. */
#define OLD_TEXT_OFF (512ull * KIB)
#define OLD_MEMORY   (64ull * MIB)

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v)); /* hosts are little-endian */
    return v;
}

static bool has_magic(const uint8_t *header, const char magic[static 4])
{
    return memcmp(header + OFF_MAGIC, magic, 4) == 0;
}

int arm64_image_parse(const uint8_t header[static ARM64_IMAGE_HEADER], const char *name,
                      struct arm64_image *ret_image, struct errctx *ec)
{
    static const char ours[] = { 'A', 'R', 'M', 0x64 }, riscv[] = { 'R', 'S', 'C', 5 };
    struct arm64_image img = { get64(header + OFF_TEXT), get64(header + OFF_SIZE) };

    if (has_magic(header, riscv))
        return errctx_set(ec, ENOEXEC, "%s is a Linux kernel for riscv64, and guests here are arm64",
                          name);
    if (!has_magic(header, ours))
        return errctx_set(ec, ENOEXEC,
                          "%s is no kernel: neither an arm64 Image nor one packed by gzip", name);
    if (get64(header + OFF_FLAGS) & FLAG_BIG_ENDIAN)
        return errctx_set(ec, ENOEXEC,
                          "%s is a big-endian kernel, and guests here are little-endian", name);
    if (img.memory_bytes == 0)
        img = (struct arm64_image){ OLD_TEXT_OFF, OLD_MEMORY };
    if (img.text_off >= 2 * MIB || img.text_off % (4 * KIB) != 0)
        return errctx_set(ec, ENOEXEC,
                          "%s asks for an offset of 0x%" PRIx64 ", and it has to lie in pages of "
                          "the first 2 MiB",
                          name, img.text_off);
    *ret_image = img;
    return 0;
}

/* --- the bytes --- */

/* Linux for x86 says what it is in a real-mode header (the kernel's x86/boot.rst). */
static int refuse_x86(const struct image *file, struct errctx *ec)
{
    enum { HEADER_OFF = 0x202 };
    char magic[4] = { 0 };
    int r = 0;

    if (file->size_bytes >= HEADER_OFF + sizeof(magic))
        r = image_read(file, HEADER_OFF, magic, sizeof(magic), ec);
    if (r == 0 && memcmp(magic, "HdrS", sizeof(magic)) == 0)
        return errctx_set(ec, ENOEXEC, "%s is a Linux kernel for x86, and guests here are arm64",
                          file->name);
    return r;
}

int arm64_stream_begin(struct arm64_stream *s, const struct image *file, struct errctx *ec)
{
    uint8_t magic[2] = { 0 };
    int r = refuse_x86(file, ec);

    if (r == 0 && file->size_bytes >= sizeof(magic))
        r = image_read(file, 0, magic, sizeof(magic), ec);
    if (r < 0)
        return r;
    s->file = file;
    s->packed = magic[0] == 0x1f && magic[1] == 0x8b;
    s->ended = false;
    s->off = 0;
    memset(&s->z, 0, sizeof(s->z));
    if (s->packed && inflateInit2(&s->z, GZIP_WINDOW) != Z_OK)
        return errctx_set(ec, ENOMEM, "no memory to unpack %s", file->name);
    return 0;
}

void arm64_stream_end(struct arm64_stream *s)
{
    if (s->packed)
        (void)inflateEnd(&s->z);
    s->packed = false;
}

static int refill(struct arm64_stream *s, struct errctx *ec)
{
    const uint64_t len = MIN(sizeof(s->in), s->file->size_bytes - s->off);
    int r;

    if (len == 0)
        return errctx_set(ec, ENOEXEC, "%s is truncated: its packed bytes have no end",
                          s->file->name);
    r = image_read(s->file, s->off, s->in, len, ec);
    if (r < 0)
        return r;
    s->off += len;
    s->z.next_in = s->in;
    s->z.avail_in = (uInt)len;
    return 0;
}

static int unpack(struct arm64_stream *s, void *buf, uint32_t len, struct errctx *ec)
{
    s->z.next_out = buf;
    s->z.avail_out = len;
    while (s->z.avail_out > 0 && !s->ended) {
        int r = s->z.avail_in == 0 ? refill(s, ec) : 0;

        if (r < 0)
            return r;
        r = inflate(&s->z, Z_NO_FLUSH);
        if (r == Z_MEM_ERROR)
            return errctx_set(ec, ENOMEM, "no memory to unpack %s", s->file->name);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return errctx_set(ec, ENOEXEC, "%s is packed by gzip, and that is damaged",
                              s->file->name);
        s->ended = r == Z_STREAM_END;
    }
    return (int)(len - s->z.avail_out);
}

int arm64_stream_read(struct arm64_stream *s, void *buf, uint32_t len, struct errctx *ec)
{
    const uint64_t left = s->file->size_bytes - s->off;
    int r;

    if (s->packed)
        return unpack(s, buf, len, ec);
    len = (uint32_t)MIN(len, left);
    r = image_read(s->file, s->off, buf, len, ec);
    if (r < 0)
        return r;
    s->off += len;
    return (int)len;
}
