/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the only way from a guest physical address to a host pointer.
 *
 * Bounded copies for small things, leases for the rest. A lease is a promise that the bytes stay
 * where they are until it ends; it is counted, for all memory and for each 2 MiB, so that pausing
 * and giving memory back know what is in use. Nobody keeps a pointer after lease_end, and nobody
 * holds a lock that the pager needs while touching guest memory. All functions may be called from
 * any thread.
 *
 * The guest changes its memory while we look at it: read a value once, check the copy.
 */
#ifndef MEMORY_GUEST_MEM_H
#define MEMORY_GUEST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/backing.h"
#include "memory/layout.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

struct guest_mem;

enum lease_mode {
    LEASE_READ,
    LEASE_WRITE, /* CPU accesses by us, reading included */
    LEASE_DMA,   /* handed to the kernel (io_uring, preadv) until the operation completes */
};

/* Filled by guest_mem_lease_begin(); hand it unchanged to guest_mem_lease_end(). */
struct mem_lease {
    void *ptr; /* NULL when not held */
    size_t len;
    enum lease_mode mode;
    uint32_t range; /* index of the layout range */
};

/**
 * guest_mem_new() - the backings of every virtual node, each a memory file with size, pages and
 * policy as planned; nothing touched.
 * @plan, @layout: borrowed; must outlive the result.
 * Return: 0; -ENOMEM, -ENOSPC; the errno of memfd_create, ftruncate, mmap or mbind, the
 * sentence naming the virtual node.
 */
int guest_mem_new(const struct topo_plan *plan, const struct mem_layout *layout,
                  struct guest_mem **ret_mem, struct errctx *ec);

/** guest_mem_free() - unmap and close. Every lease has been returned. NULL is allowed. */
void guest_mem_free(struct guest_mem *mem);

/**
 * guest_mem_lease_begin() - borrow [@addr, @addr+@len).
 * @ret_lease: filled on success, ->ptr NULL on failure.
 * Return: 0; -EFAULT when the bytes are not all inside one RAM range; -EHWPOISON when what was in
 * them is lost (no sentence: a guest can cause this in a loop; the caller decides what it means).
 */
int guest_mem_lease_begin(struct guest_mem *mem, struct gpa addr, size_t len,
                          enum lease_mode mode, struct mem_lease *ret_lease);

/** guest_mem_lease_end() - return a lease; a lease that is not held is ignored. */
void guest_mem_lease_end(struct guest_mem *mem, struct mem_lease *lease);

/** guest_mem_lease_addr() - the guest's address of a lease that is held. */
struct gpa guest_mem_lease_addr(const struct guest_mem *mem, const struct mem_lease *lease);

/** guest_mem_read() / guest_mem_write() - copy; may cross ranges. Return: 0, or -EFAULT or
 *  -EHWPOISON as of a lease, in which case part may have been done. */
int guest_mem_read(struct guest_mem *mem, struct gpa addr, void *buf, size_t len);
int guest_mem_write(struct guest_mem *mem, struct gpa addr, const void *buf, size_t len);

/** guest_mem_fill() - as guest_mem_write() with @len times @byte. */
int guest_mem_fill(struct guest_mem *mem, struct gpa addr, uint8_t byte, size_t len);

/**
 * guest_mem_load() - copy @len bytes at @off of file @fd to @addr; may cross ranges.
 *
 * For a kernel or an initramfs: takes memory for all that is written in batches, by the plan's
 * policy as a touch would, in huge pages where half of 2 MiB or more is written and the host has
 * some at hand (mem_load.h). Not by two threads at once.
 * @ret_len: how many bytes there were; fewer than @len at the end of the file only. Untouched on
 *           failure.
 * Return: 0; -EFAULT when the bytes would not all be in RAM (none is copied then), -ENOMEM, or the
 * errno of reading the file (part may have been copied).
 */
int guest_mem_load(struct guest_mem *mem, struct gpa addr, int fd, uint64_t off, size_t len,
                   size_t *ret_len);

/* Who wants to know which pages are in the hands of devices or gone, because it takes others
 * away. */
struct guest_mem_dma_ops {
    /* [@ptr, @ptr+@len) is leased, or copied to or from, from now on: it comes back, and its frames
     * stay. Return: 0; -EHWPOISON: some of it is lost; or another errno to refuse the lease. Any
     * thread, without a lock. */
    int (*begin)(void *ctx, struct vnode_id vnode, void *ptr, size_t len);
    void (*end)(void *ctx, struct vnode_id vnode, void *ptr, size_t len);
    /* [@ptr, @ptr+@len), whole pages, is given back next: what is kept of it is not wanted, and
     * nothing of it is kept anew before forgotten(). No lease is out or begins meanwhile.
     * Return: for how many bytes from @ptr on that holds; the page behind them is on its way back
     * from where it is kept, and may be for long. */
    size_t (*forget)(void *ctx, struct vnode_id vnode, void *ptr, size_t len, bool for_long);
    void (*forgotten)(void *ctx, struct vnode_id vnode, void *ptr, size_t len);
    /* [@ptr, @ptr+@len), whole extents of a window that cannot be reached any more, is to be no
     * memory: what is kept of it is dropped, and until open() nothing of it is kept, mapped or taken.
     * No lease is out or begins meanwhile. Return: 0; -EBUSY: a page is on its way back from where it
     * is kept, and may be for long; nothing happened. */
    int (*close)(void *ctx, struct vnode_id vnode, void *ptr, size_t len);
    /* It is memory (again), and zero. Also of what was never closed. */
    void (*open)(void *ctx, struct vnode_id vnode, void *ptr, size_t len);
    /* Set bit 0 of @there for those of the pages whose content is kept elsewhere. Any thread. */
    void (*add_away)(void *ctx, struct vnode_id vnode, const void *ptr, size_t n_pages,
                     uint8_t *there);
};

/** guest_mem_set_dma_ops() - NULL: nobody wants to know. While no lease is out. */
void guest_mem_set_dma_ops(struct guest_mem *mem, const struct guest_mem_dma_ops *ops, void *ctx);

/**
 * guest_mem_give_back() - give memory back to the host while the guest runs: from then on it reads
 * as zero, and who touches it takes memory anew, by the policy that it had.
 * @len_bytes: of it whole pages go, of 4 KiB or of their pool's size.
 * What a lease holds stays, with the 2 MiB around it (of a pool of 1 GiB: the page), and so does
 * what the plan has set aside. Any thread; takes one system call for 2 MiB, and a lease of them
 * waits for that.
 * @for_long: whoever touches memory beside it takes none of it along.
 * @ret_gone_bytes: what was there and is not any more; counted, not assumed.
 * Return: 0; -EFAULT when not all is RAM, in which case nothing happened and the result is
 * untouched; or the errno of fallocate or mincore, with what was done until then. No sentence: a
 * guest can cause this in a loop.
 */
int guest_mem_give_back(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes, bool for_long,
                        uint64_t *ret_gone_bytes);

/** guest_mem_page() - the page that @addr lies in, the smallest that can be given back: where it
 *  begins, and its size, 4 KiB or its pool's. 0, result untouched: there is no RAM. */
size_t guest_mem_page(struct guest_mem *mem, struct gpa addr, struct gpa *ret_start);

/** guest_mem_present() - bit 0 of each byte of @ret_there: the host has memory for that page of 4
 *  KiB, or a pager keeps its content. Touches nothing. Return: 0, -EFAULT when the pages are not in
 *  one range of RAM, or the errno of mincore. */
int guest_mem_present(struct guest_mem *mem, struct gpa addr, size_t n_pages, uint8_t *ret_there);

/** guest_mem_pages_stay() / guest_mem_pages_may_go() - between the two no page is given back by
 *  guest_mem_give_back(), whose callers wait: for who looks for pages first and then touches them,
 *  which would take memory for one that has gone. Begin and end on one thread; who waits is next,
 *  before who ends and begins again. */
void guest_mem_pages_stay(const struct guest_mem *mem);
void guest_mem_pages_may_go(const struct guest_mem *mem);

/** guest_mem_leases() - leases that are out now; 0 after every device is quiesced. */
uint64_t guest_mem_leases(const struct guest_mem *mem);

/** guest_mem_discard() - all memory zero, as at power-on, and given back to the host but for pages
 *  of a pool that the plan has set aside. Only while no vCPU runs and no lease is out; -EBUSY
 *  otherwise. Keeps mappings and policy. */
int guest_mem_discard(struct guest_mem *mem, struct errctx *ec);

/* How guest_mem_commit() goes about it. */
struct guest_mem_commit {
    bool threads; /* on the CPUs of each host node that memory comes from; else all on this one */
    /* With threads only, now and then: how far it is. False: give up. May be NULL. */
    bool (*progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes);
    void *ctx;
};

/**
 * guest_mem_commit() - take what the plan says is to be there at the start: reserved memory is set
 * aside, preallocated memory touched, in huge pages where there are some. Content stays. After
 * guest_mem_new(), and again after guest_mem_discard().
 * Return: 0; -ECANCELED when @how's progress said so; or the errno of fallocate or madvise, the
 * sentence naming the virtual node.
 */
int guest_mem_commit(struct guest_mem *mem, const struct guest_mem_commit *how, struct errctx *ec);

/** guest_mem_layout() - the map this memory was made from. */
const struct mem_layout *guest_mem_layout(const struct guest_mem *mem);

/** guest_mem_n_backings() / guest_mem_backing() - all pieces by node and offset; borrowed, and
 *  guest_mem stays their owner. */
size_t guest_mem_n_backings(const struct guest_mem *mem);
const struct backing *guest_mem_backing(const struct guest_mem *mem, size_t i);

/** guest_mem_set_home() - memory of backing @i is taken from @home now, and was aimed there. The
 *  thread that reads homes, which is the main one. */
void guest_mem_set_home(struct guest_mem *mem, size_t i, const struct backing_home *home);

/** guest_mem_home() - all host nodes that memory of @vnode is to be on; empty where nobody said.
 *  Main thread. */
void guest_mem_home(const struct guest_mem *mem, struct vnode_id vnode, struct idset *ret_nodes);

/** guest_mem_plan() - the plan that this memory was made from. */
const struct topo_plan *guest_mem_plan(const struct guest_mem *mem);

/** guest_mem_resident_bytes() - host memory that node @vnode occupies now (st_blocks of its
 *  files), without touching a page. */
uint64_t guest_mem_resident_bytes(const struct guest_mem *mem, struct vnode_id vnode);

/*
 * Windows: addresses of a node where memory is plugged in and out while the guest runs, in blocks.
 * A block that is not plugged in is no memory: nobody gets a lease of it, and the host has none for
 * it. It is also closed in the guest's mapping, so that whoever knows the addresses, as KVM and vhost
 * do, can touch it without taking memory.
 */
struct guest_mem_window {
    struct vnode_id vnode;
    struct gpa base;
    uint64_t len_bytes, block_bytes; /* a multiple of the other, which is a power of two */
    void *host;                      /* start of the mapping; of what is plugged in */
};
size_t guest_mem_n_windows(const struct guest_mem *mem);
struct guest_mem_window guest_mem_window(const struct guest_mem *mem, size_t i);

#define GUEST_MEM_BLOCK_MIN (128ull << 20) /* what Linux plugs at once on small machines */
enum { GUEST_MEM_BLOCKS_MAX = 16384 /* of all windows */ };

/** guest_mem_plug() - whole blocks of one window become memory, zero. Return: 0, -EFAULT, or the errno
 *  of mprotect. */
int guest_mem_plug(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes);

/** guest_mem_unplug() - blocks that are plugged in are no memory any more, and the host has it
 *  back; from then on KVM fails (-EFAULT) where the guest touches them. *@ret_gone_bytes: what the
 *  host had memory for.
 *  Return: 0; -EBUSY: a lease is out; -EFAULT; or the errno of mprotect or fallocate. Nothing changed
 *  on failure. */
int guest_mem_unplug(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes,
                     uint64_t *ret_gone_bytes);

/** guest_mem_plugged() - how much of these blocks is plugged in; 0 for what are no blocks. */
uint64_t guest_mem_plugged(struct guest_mem *mem, struct gpa addr, uint64_t len_bytes);

/* A run of guest addresses, of one node or several, that lie one behind the other in one memory
 * file, whose size is sealed: what another process has to map to see the guest's memory. */
struct guest_mem_piece {
    struct gpa base;
    uint64_t len_bytes;
    int memfd; /* borrowed */
    uint64_t off;
};

/** guest_mem_pieces() - all RAM and all windows, by ascending address. Return: how many there are;
 *  at most @max are put into @ret_pieces, which may be NULL with @max 0. Constant. Any thread. */
size_t guest_mem_pieces(const struct guest_mem *mem, struct guest_mem_piece *ret_pieces,
                        size_t max);

/* What KVM needs to map one range; for vmm/machine only. */
struct guest_mem_slot {
    struct vnode_id vnode;
    struct gpa base;
    uint64_t len_bytes;
    void *host; /* start of the mapping */
};
size_t guest_mem_n_slots(const struct guest_mem *mem);
struct guest_mem_slot guest_mem_slot(const struct guest_mem *mem, size_t i);

#endif
