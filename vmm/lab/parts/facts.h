/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's kernel says of its machine, one fact a line: "node0.cpus 0-3". The names are those
 * of vmm/topology/facts.h. For static programs of the guest; one thread.
 */
#ifndef VMM_LAB_PARTS_FACTS_H
#define VMM_LAB_PARTS_FACTS_H

#include <stdio.h>

/** facts_write() - everything that @sys ("/sys") and @proc ("/proc") know; what a kernel does not
 *  tell is left out. Write errors are for ferror(@out). */
void facts_write(const char *sys, const char *proc, FILE *out);

/** facts_write_places() - of these, the nodes and which CPUs there are. */
void facts_write_places(const char *sys, const char *proc, FILE *out);

#endif
