/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a topology may have at most, so that guests can be told of it.
 *
 * A description means the same on every host: what the machines of one could not tell is refused on
 * all of them. So each limit is the narrowest of the forms in which a guest learns of the thing,
 * and whoever writes such a form holds its fields against the limit when it is compiled.
 * docs/architectures.md says which forms these are.
 */
#ifndef VMM_TOPOLOGY_TOPO_LIMITS_H
#define VMM_TOPOLOGY_TOPO_LIMITS_H

#include <stdint.h>

enum {
    TOPO_MAX_APIC_ID = 0x7fff, /* 15 bits of an interrupt message name the CPU */
    /* A CPU with an id up to the first is told in a form in which its number has 8 bits, so the
     * number is up to the second. */
    TOPO_NARROW_APIC_ID = 254,
    TOPO_NARROW_CPU = 255,
    TOPO_MAX_CACHE_LEVEL = 4,
    TOPO_MAX_CACHE_LINE_BYTES = 4096,
    TOPO_MAX_CACHE_WAYS = 1024,
    TOPO_MAX_CACHE_APIC_SHIFT = 12, /* a cache is shared by that many low bits of ids */
};

#define TOPO_MAX_CACHE_SETS UINT32_MAX

#endif
