/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that must not be mixed, each in a struct of its own, so that the compiler refuses a
 * host node where a virtual one is meant. Raw integers appear only at the ABI edge.
 */
#ifndef VMM_BASE_IDS_H
#define VMM_BASE_IDS_H

#include <stdint.h>

struct vnode_id { uint32_t v; }; /* virtual NUMA node, dense from 0 */
struct hnode_id { uint32_t v; }; /* host NUMA node, the kernel's number */
struct vcpu_id { uint32_t v; };  /* virtual CPU index, dense from 0; not the APIC id */
struct hcpu_id { uint32_t v; };  /* host logical CPU, the kernel's number */
struct gpa { uint64_t v; };      /* guest physical address */

#endif
