/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything the user decided about one machine, validated, as one value.
 *
 * Options and JSON are two spellings of it: config_options.c holds one row per option, which
 * carries parser, JSON field and help together; config_json.c reads and prints the same fields.
 * What a file says and what an option says about the same thing is a conflict, not a race:
 * an option given next to --config overrides nothing silently, it is refused when the file sets
 * that field too. Options that may be repeated (--node, --disk) add to the file's list, and
 * config_check() finds what contradicts itself there.
 */
#ifndef VMM_CONFIG_CONFIG_H
#define VMM_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/registry.h"
#include "vmm/base/errctx.h"
#include "vmm/topology/guest_spec.h"

enum config_console {
    CONSOLE_SERIAL, /* the 16550 is the terminal (ttyS0) */
    CONSOLE_VIRTIO, /* the virtio console is (hvc0); the 16550 is there and silent */
    CONSOLE_NONE,
};

enum config_on_reset { ON_RESET_RESTART, ON_RESET_EXIT };

enum config_pager { CONFIG_PAGER_OFF, CONFIG_PAGER_ON };

/* Accesses to a node's memory take longer (docs/lab.md). */
struct config_slow {
    uint32_t vnode;
    uint32_t factor_milli; /* CONFIG_SLOW_MIN_MILLI to CONFIG_SLOW_MAX_MILLI */
};

enum { CONFIG_SLOW_MIN_MILLI = 1100, CONFIG_SLOW_MAX_MILLI = 16000 };

struct machine_config {
    char *name;    /* [a-zA-Z0-9._-]{1,64}; NULL: not said, see config_complete() */
    char *kernel;  /* required to run, not to plan */
    char *initrd;  /* NULL: none */
    char *cmdline; /* NULL: not said, see config_linux_cmdline() */
    char *about;   /* what the topology is modelled on, for people; NULL: not said */
    struct guest_spec spec;

    struct device_args *devices; /* in the order given */
    size_t n_devices;

    enum config_console console;
    enum config_on_reset on_reset;
    char **cpu_features_off; /* names as in /proc/cpuinfo, without the minus */
    size_t n_cpu_features_off;
    uint32_t io_threads; /* devices are spread over them in order; 0: not said */
    uint32_t io_poll_us; /* for how long I/O threads look for work before they sleep, at most */
    bool has_halt_poll;
    uint64_t halt_poll_ns; /* for how long KVM looks for work for a halted vCPU, at most */
    uint64_t balance_epoch_ns; /* between two looks at the host; 0: not said */
    char *balance_trace;       /* file that snapshots and decisions go to; NULL: none */
    enum config_pager pager; /* guest memory can be taken away and brought back */
    uint32_t pager_budget_milli; /* of a CPU, to find out what is in use and to pack; 0: not said */
    uint64_t pager_store_bytes;  /* host memory for what is away, at most; 0: not said */
    char *pager_swap;            /* file or block device for what has no room there; NULL: none */
    char *domain;        /* trust domain; NULL: the machine alone */
    char *domain_socket; /* of the host service; NULL: the user's */
    char *golden; /* golden file, by name or path: pages that need not be kept; NULL: none */
    struct config_slow *slow; /* n_slow */
    size_t n_slow;
    bool slow_later; /* they are as fast as others until ctl says so; not an option */
    bool no_sandbox;
};

/** config_init() - nothing said: the planner's defaults, serial console, sandbox on. */
void config_init(struct machine_config *config);
void config_fini(struct machine_config *config);

/** config_linux_cmdline() - what Linux gets when no command line was said: the console that the
 *  terminal is, "console=ttyS0" (nothing where @serial_is_told: a device tree names it),
 *  "console=hvc0" or nothing; and, where memory can be plugged in, that
 *  it is to be online, so that it can leave again. */
const char *config_linux_cmdline(const struct machine_config *config, bool serial_is_told);

/** config_name_ok() - may a machine be called that? */
bool config_name_ok(const char *name);

/**
 * config_check() - the rules that cross several fields, guest_spec_check() included.
 * @to_run: a kernel is required.
 * Return: 0, -EINVAL or -ERANGE with one sentence that names the option and the conflict.
 */
int config_check(const struct machine_config *config, bool to_run, struct errctx *ec);

/** config_complete() - fill in what only a running machine needs: the name "vm-PID", one I/O
 *  thread. Return: 0 or -ENOMEM. */
int config_complete(struct machine_config *config, struct errctx *ec);

#endif
