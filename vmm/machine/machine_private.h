/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's one struct and its stages; for the files of vmm/machine only.
 *
 * Stages build in the order of the array in machine_stages.c and are undone backwards. A build
 * function that fails leaves nothing behind; an undo function is called only after its build
 * succeeded.
 */
#ifndef VMM_MACHINE_MACHINE_PRIVATE_H
#define VMM_MACHINE_MACHINE_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "devices/bus.h"
#include "devices/device.h"
#include "devices/irq.h"
#include "devices/pci/pci.h"
#include "memory/guest_mem.h"
#include "vcpu/vcpu.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/machine_arch.h"
#include "vmm/machine/machine_balance.h"
#include "vmm/machine/machine_console.h"
#include "vmm/machine/machine_irq.h"
#include "vmm/machine/machine_move.h"
#include "vmm/machine/machine_pager.h"
#include "vmm/machine/machine_slow.h"
#include "vmm/machine/machine_stand.h"
#include "vmm/machine/machine_threads.h"
#include "vmm/machine/machine_throttle.h"
#include "vmm/machine/sandbox.h"
#include "vmm/topology/host_tables.h"

struct io_thread {
    struct evloop *loop;
    bool wanted; /* a device lives on it; else there is no thread */
    pthread_t thread;
    bool started;
    sem_t ready;        /* posted when the loop is served, or cannot be */
    int result;         /* of the thread's start; valid once ready */
    struct errctx ec;
    unsigned index;
    struct machine *machine;
    unsigned place_seen; /* its own thread's, of the loop's place group */
};

/* Where threads of a virtual node that was moved belong. */
struct vnode_place {
    pthread_mutex_t
        lock; /* a leaf; covers all below, and host_cpus in machine.pins[] of its vCPUs */
    struct idset nodes;
    bool widened; /* vCPUs got all CPUs of the node, although they had been pinned to less */
    uint32_t n_asked, n_there; /* vCPU threads */
    struct errctx failed;      /* of the last that could not; .msg "" when none */
};

enum machine_request { REQUEST_NONE, REQUEST_RESET, REQUEST_END };

/* Slots of blocks that were unplugged: see machine_plug.c. The lock of slots covers ->blocks, and
 * changes of ->n. */
struct machine_stale {
    uint64_t blocks[GUEST_MEM_BLOCKS_MAX / 64]; /* a bit a block, all windows one behind the other */
    _Atomic uint32_t n;                         /* how many are set */
    _Atomic bool asked;                         /* that they be deleted */
};

struct machine {
    const struct machine_config *config; /* borrowed */
    const struct topo_plan *plan;        /* borrowed */
    struct evloop *main_loop;            /* borrowed */
    struct machine_hooks hooks;
    size_t n_built;                      /* stages that were built */

    int kernel_fd, initrd_fd; /* images; read anew at a reset */

    /* kvm */
    struct kvm_sys sys;
    struct kvm_vm vm;
    struct machine_arch *arch; /* what only the architecture's own files look into */

    struct mem_layout *layout; /* layout */
    struct guest_mem *mem;     /* memory */
    uint32_t n_mem_slots;      /* of KVM, numbered from 0; a large range has several */
    int pagemap;               /* of this process; -1 where there is none */
    int move_gate, move_vmstat; /* for the mover, likewise (uffd.h, move_splits.h) */
    struct host_tables *tables;  /* page tables of the plan's host nodes, in their order */
    struct machine_pager *pager; /* NULL without --pager on */
    struct machine_slow *slow;   /* NULL without --slow */

    /* irqchip */
    struct machine_irq *irq;
    struct bus *port_bus, *mem_bus;

    /* devices, in build order; reset and destroyed through the array */
    struct machine_console *console;
    struct io_thread *io;
    size_t n_io;
    struct machine_threads *threads; /* which device is on which of io[], and where those run */
    struct device **devices;
    size_t n_devices, cap_devices;
    struct pci_host *pci;
    struct device *serial;                       /* borrowed from devices[] */
    struct device *ioapic, *power, *reset_port;  /* likewise; x86 */
    struct device *cpu_block;                    /* so, too; NULL: no CPU can be plugged */
    struct virtio_dev *balloon; /* borrowed from its transport; NULL: none */
    struct virtio_dev **mem_devices; /* so, too: one per node with a window */
    size_t n_mem_devices;
    pthread_mutex_t plug_lock; /* KVM's slots of windows; before guest memory's */
    struct machine_stale stale;
    int console_pipe[2]; /* to the virtio console; -1 when there is none */

    /* vcpus */
    struct run_gate gate;
    struct vcpu **vcpus;
    size_t n_vcpus;
    int *stats_fds; /* one per vCPU and the VM's; -1 where KVM has none */

    /* run; main thread except for what the lock covers */
    struct sandbox *sandbox; /* NULL with --no-sandbox and while nothing runs */
    struct machine_stand *stand;
    struct stand_wish request_wish; /* for what ->request says */
    bool paused, pausing; /* the second: as soon as the machine stands */
    unsigned n_resetting; /* that ctl asked for and that were not done yet */
    atomic_size_t n_loops_asked; /* of I/O threads that stop or begin; machine_stand.c's */
    uint64_t n_resets;
    struct idset forced;       /* virtual nodes that were moved although that broke a promise */
    struct mover *mover;       /* NULL while nothing runs, and where the host has one node */
    struct balancer *balancer; /* as mover */
    uint32_t max_milli;        /* --cpu-max, where the machine itself has to keep it; else 0 */
    struct throttle *throttle; /* as mover; NULL with 0 above, too */
    struct vnode_place *places; /* one per virtual node; of those that were moved */
    struct topo_plan_vcpu
        *pins; /* the plan's, with the host CPUs of now; main thread changes them */
    pthread_mutex_t request_lock; /* covers the four below; a leaf but for the gate's lock */
    enum machine_request request;
    struct machine_end end;
    bool running; /* between start and end of machine_run() */
    bool posted;  /* a message about the request is on its way */
};

struct machine_stage {
    const char *name;
    int (*build)(struct machine *m, struct errctx *ec);
    void (*undo)(struct machine *m);
};

/* One file each. */
int stage_images_build(struct machine *m, struct errctx *ec);
void stage_images_undo(struct machine *m);
int stage_kvm_build(struct machine *m, struct errctx *ec);
void stage_kvm_undo(struct machine *m);
int stage_layout_build(struct machine *m, struct errctx *ec);
void stage_layout_undo(struct machine *m);
int stage_memory_build(struct machine *m, struct errctx *ec);
void stage_memory_undo(struct machine *m);
int stage_irqchip_build(struct machine *m, struct errctx *ec);
void stage_irqchip_undo(struct machine *m);
int stage_devices_build(struct machine *m, struct errctx *ec);
void stage_devices_undo(struct machine *m);
int stage_firmware_build(struct machine *m, struct errctx *ec);
void stage_firmware_undo(struct machine *m);
int stage_vcpus_build(struct machine *m, struct errctx *ec);
void stage_vcpus_undo(struct machine *m);

/* machine_boot.c: the images of this machine. */
struct boot_source machine_boot_source(const struct machine *m);

/* Per architecture, machine_start.c: what a guest finds at power-on; also the second half of a
 * reset. */
int machine_load_firmware(struct machine *m, struct errctx *ec);
int machine_set_power_on(struct machine *m, struct errctx *ec);
/* One vCPU that stands still, as one that waits to be started. */
int machine_power_on_vcpu(struct machine *m, size_t i, struct errctx *ec);

/* machine_status.c: KVM's counters. Opened before the vCPUs run, because KVM gives a vCPU's
 * descriptor out only while it does not, and would have the main loop wait for an exit. */
int machine_stats_open(struct machine *m, struct errctx *ec);
void machine_stats_close(struct machine *m);

/* machine_balloon.c: what each virtual node's guest gave away, a new array as in control.h;
 * -ENODEV where there is no balloon. Main thread. */
int machine_balloon_nodes(const struct machine *m, json_t **ret_json, struct errctx *ec);

/* machine_plug.c: blocks of windows come and go; on the loop of the memory devices. */
extern const struct device_plug_ops machine_plug_ops; /* ctx: the machine */

/* What is plugged in, out of KVM and back, while all vCPUs stand; out of it for good, before guest
 * memory is given back. */
int machine_remap_plugged(struct machine *m, struct vnode_id vnode, struct errctx *ec);
void machine_unmap_plugged(struct machine *m);

/* KVM found no memory behind an address that it has a slot for. True: it may be that of a block that
 * was unplugged; the slot goes soon, and the guest is to try again. Any thread. */
bool machine_touched_unplugged(struct machine *m);

/* machine_lost.c: lost_page() and lost_memory() of struct vcpu_exit_ops. */
int machine_lost_page(void *ctx, const void *host, struct vcpu_lost_page *ret_page);
bool machine_lost_memory(void *ctx, struct gpa addr, struct vcpu_lost_page *ret_page);

/* machine_cpus.c: the device for CPUs that can be plugged; NULL where there are none. */
int machine_make_cpu_block(struct machine *m, struct device **ret_dev, struct errctx *ec);

/** machine_cpus_there() - how many CPUs the guest has, those less that are not plugged in. Main
 *  thread. */
size_t machine_cpus_there(const struct machine *m);

/* machine_stages.c: have KVM forget the memory of @vnode and take it again, and with it make the
 * second-level page tables anew. While all vCPUs stand. On failure KVM lacks a part of it. */
int machine_remap_memory(struct machine *m, struct vnode_id vnode, struct errctx *ec);

/* machine_devices.c: hand @dev to the machine; on failure it is destroyed. */
int machine_keep(struct machine *m, struct device *dev, struct errctx *ec);

/* machine_wire.c: the serial port's other end, a serial_wire_ops whose ctx is the machine; makes
 * m->console, which calls @room when it takes bytes again. */
int machine_make_wire(struct machine *m, void (*room)(void *ctx), struct errctx *ec);
size_t machine_wire_send(void *ctx, const void *data, size_t len);

/* Per architecture, machine_legacy.c: the fixed parts; the stage's undo takes down what a failure
 * left. */
int machine_make_legacy(struct machine *m, struct errctx *ec);

/* machine_io.c: loops, and their threads. start returns when every loop is served. */
int machine_make_io(struct machine *m, struct errctx *ec);
void machine_free_io(struct machine *m);
int machine_start_io(struct machine *m, struct errctx *ec);
void machine_stop_io(struct machine *m);

/* machine_exits.c: what vCPUs and devices ask for. Any thread. */
extern const struct vcpu_exit_ops machine_exit_ops;
extern const struct vm_events_ops machine_events_ops;
void machine_request_reset(struct machine *m, const char *why);
void machine_request_end(struct machine *m, enum machine_end_kind kind, uint32_t code,
                         const char *reason);

/* machine_run.c: do what was requested, when the machine stands; posted to the main loop, @ctx is the
 * machine. */
void machine_serve_request(void *ctx);

/* machine_run.c: have @run do what @ask is about, once the machine stands as @level says, and answer
 * it; and what it answers where it never will. Main thread. */
void machine_ask_when(struct machine *m, struct machine_ask *ask, enum stand_level level,
                      void (*run)(struct stand_wish *wish, bool stands));
int machine_ask_ending(struct errctx *ec);

#endif
