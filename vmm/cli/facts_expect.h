/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest should see of its machine, and telling that it does not. Main thread. */
#ifndef VMM_CLI_FACTS_EXPECT_H
#define VMM_CLI_FACTS_EXPECT_H

#include <stdbool.h>

#include "vmm/config/config.h"
#include "vmm/topology/facts.h"

/** facts_expect_settle() - what --vnuma auto leaves to the host is decided here, and said in
 *  @config: whoever plans it later gets the same machine, whatever the host is up to by then. Nothing
 *  happens without it. Return: 0, or an errno of planning. */
int facts_expect_settle(struct machine_config *config, struct errctx *ec);

/** facts_expect_write() - what the guest of @config should see, planned for this host, as a text.
 *  @in_lab: it has devices beside those of @config.
 *  @ret_text: the caller frees it. Return: 0, or an errno of planning. */
int facts_expect_write(const struct machine_config *config, bool in_lab, char **ret_text,
                       struct errctx *ec);

/** facts_expect_read() - the facts in a file. Return: 0, -EINVAL, or the errno of reading. */
int facts_expect_read(const char *path, struct facts *ret_facts, struct errctx *ec);

/** facts_expect_tell() - a line for each difference, on standard error behind our name, or on
 *  @out. Returns how many there are. */
size_t facts_expect_tell(const struct facts *expected, const struct facts *seen, FILE *out);

#endif
