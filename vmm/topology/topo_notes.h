/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences for the user about what a topology could not keep, one per line. A value. */
#ifndef VMM_TOPOLOGY_TOPO_NOTES_H
#define VMM_TOPOLOGY_TOPO_NOTES_H

struct topo_notes {
    char text[2048]; /* zeroed: none; each sentence ends with a new line */
};

/** topo_note() - append a sentence; one that does not fit whole is replaced by the remark that
 *  there are more, and one that is there already is not repeated. */
void topo_note(struct topo_notes *notes, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
