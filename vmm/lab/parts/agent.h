/* SPDX-License-Identifier: Apache-2.0 */
/* A lab's hand inside of the guest, for events (vmm/lab/lab_wire.h): a process beside the command. */
#ifndef VMM_LAB_PARTS_AGENT_H
#define VMM_LAB_PARTS_AGENT_H

/** agent_serve() - tell what there is once @begun has a byte, then do what @host asks for, until
 *  @begun or @host ends. */
void agent_serve(int host, int begun);

#endif
