/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that the build makes of vmm/lab/parts/ and puts into this one. */
#ifndef VMM_LAB_LAB_PARTS_H
#define VMM_LAB_LAB_PARTS_H

extern const char lab_init_start[], lab_init_end[];       /* the guest's first program, static */
extern const char lab_noatime_start[], lab_noatime_end[]; /* a shared object for virtiofsd */

#endif
