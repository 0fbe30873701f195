/* SPDX-License-Identifier: Apache-2.0 */
/* CPU feature names, as Linux prints them in /proc/cpuinfo, and the CPUID bits behind them. */
#ifndef VCPU_X86_CPUID_FEATURES_H
#define VCPU_X86_CPUID_FEATURES_H

#include <linux/kvm.h>

#include <stdbool.h>

#include "vmm/base/errctx.h"

/** cpuid_feature_known() - whether @name is one that can be taken away, on any host. */
bool cpuid_feature_known(const char *name);

/**
 * cpuid_feature_remove() - clear feature @name in @table.
 * Return: 0, or -EINVAL with a sentence: no such name, or this host does not offer it anyway.
 */
int cpuid_feature_remove(struct kvm_cpuid2 *table, const char *name, struct errctx *ec);

#endif
