/* SPDX-License-Identifier: Apache-2.0 */
/* Walking the flattened device tree (Devicetree specification 0.4, chapter 5) in place. */
#ifndef GUEST_TESTS_BARE_LIB_ARM64_TREE_H
#define GUEST_TESTS_BARE_LIB_ARM64_TREE_H

#include <stdbool.h>
#include <stdint.h>

enum { TREE_DEPTH = 12 };

struct tree_node {
    const char *name;
    const struct tree_node *parent; /* NULL: the root */
    const uint8_t *props;           /* where its properties begin */
};

/** tree_each() - @fn for every node, parents first. False when the tree makes no sense. */
bool tree_each(void (*fn)(const struct tree_node *node, void *arg), void *arg);
/** tree_prop() - value of a property and its length, or NULL. */
const uint8_t *tree_prop(const struct tree_node *node, const char *name, uint32_t *ret_len);
/** tree_is() - a property is this text, or its first text. */
bool tree_is(const struct tree_node *node, const char *name, const char *text);
/** tree_cell() - cell @i of a property, or @fallback. tree_two() - cells @i and @i + 1 as one. */
uint32_t tree_cell(const struct tree_node *node, const char *name, unsigned i, uint32_t fallback);
uint64_t tree_two(const struct tree_node *node, const char *name, unsigned i);
uint32_t tree_bytes(void);

#endif
