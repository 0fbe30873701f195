/* SPDX-License-Identifier: Apache-2.0 */
/* `numavisor topology convert`: one form of a topology from another. */
#ifndef VMM_CLI_TOPOLOGY_CONVERT_H
#define VMM_CLI_TOPOLOGY_CONVERT_H

/**
 * topology_convert() - read @from, write @to, say what it could not hold.
 * @to:   a file; NULL: standard output.
 * @form: "json", "xml", "synthetic" or "numactl"; NULL: what the end of @to's name says.
 * Return: an enum cli_status.
 */
int topology_convert(const char *from, const char *to, const char *form);

#endif
