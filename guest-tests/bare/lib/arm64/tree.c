/* SPDX-License-Identifier: Apache-2.0 */
/* The walker that tree.h declares. Bounds are those of the header, which is checked first. */
#include "guest-tests/bare/lib/arm64/tree.h"

#include "guest-tests/bare/lib/bare.h"

enum { MAGIC = 0, TOTAL = 4, STRUCT_AT = 8, STRINGS_AT = 12, STRUCT_BYTES = 36, HEADER_BYTES = 40 };
enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };
#define TREE_MAGIC 0xd00dfeedu

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static const uint8_t *blob(void)
{
    return (const uint8_t *)(uintptr_t)boot.tree;
}

static const uint8_t *words_end(void)
{
    return blob() + be32(blob() + STRUCT_AT) + be32(blob() + STRUCT_BYTES);
}

static const uint8_t *pad(const uint8_t *p)
{
    return (const uint8_t *)(uintptr_t)((phys(p) + 3) & ~3ull);
}

uint32_t tree_bytes(void)
{
    const uint8_t *b = blob();
    uint64_t total;

    if (boot.tree == 0 || boot.tree % 8 != 0 || be32(b + MAGIC) != TREE_MAGIC)
        return 0;
    total = be32(b + TOTAL);
    if (total < HEADER_BYTES || (uint64_t)be32(b + STRUCT_AT) + be32(b + STRUCT_BYTES) > total ||
        be32(b + STRINGS_AT) >= total)
        return 0;
    return (uint32_t)total;
}

static const uint8_t *behind_prop(const uint8_t *p)
{
    return pad(p + 12 + be32(p + 4));
}

bool tree_each(void (*fn)(const struct tree_node *node, void *arg), void *arg)
{
    struct tree_node path[TREE_DEPTH];
    const uint8_t *p, *end;
    unsigned depth = 0;

    if (tree_bytes() == 0)
        return false;
    end = words_end();
    for (p = blob() + be32(blob() + STRUCT_AT); p < end;) {
        switch (be32(p)) {
        case BEGIN_NODE:
            if (depth == TREE_DEPTH)
                return false;
            path[depth].name = (const char *)p + 4;
            path[depth].parent = depth > 0 ? &path[depth - 1] : NULL;
            path[depth].props = p = pad(p + 4 + strlen((const char *)p + 4) + 1);
            fn(&path[depth++], arg);
            break;
        case END_NODE:
            if (depth-- == 0)
                return false;
            p += 4;
            break;
        case PROP:
            p = behind_prop(p);
            break;
        case NOP:
            p += 4;
            break;
        default:
            return be32(p) == END && depth == 0;
        }
    }
    return false;
}

const uint8_t *tree_prop(const struct tree_node *node, const char *name, uint32_t *ret_len)
{
    const uint8_t *p;
    size_t n = strlen(name) + 1;

    for (p = node->props; p < words_end() && (be32(p) == PROP || be32(p) == NOP);
         p = be32(p) == NOP ? p + 4 : behind_prop(p)) {
        if (be32(p) == PROP &&
            memcmp(blob() + be32(blob() + STRINGS_AT) + be32(p + 8), name, n) == 0) {
            *ret_len = be32(p + 4);
            return p + 12;
        }
    }
    return NULL;
}

bool tree_is(const struct tree_node *node, const char *name, const char *text)
{
    uint32_t len;
    const uint8_t *v = tree_prop(node, name, &len);

    return v != NULL && len > strlen(text) && memcmp(v, text, strlen(text) + 1) == 0;
}

uint32_t tree_cell(const struct tree_node *node, const char *name, unsigned i, uint32_t fallback)
{
    uint32_t len;
    const uint8_t *v = tree_prop(node, name, &len);

    return v != NULL && len >= 4 * (i + 1) ? be32(v + 4 * (size_t)i) : fallback;
}

uint64_t tree_two(const struct tree_node *node, const char *name, unsigned i)
{
    return (uint64_t)tree_cell(node, name, i, 0) << 32 | tree_cell(node, name, i + 1, 0);
}
