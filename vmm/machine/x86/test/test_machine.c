// LDFLAGS: -Wl,--wrap=kvm_sys_open -Wl,--wrap=kvm_vm_create -Wl,--wrap=mem_layout_make -Wl,--wrap=guest_mem_new -Wl,--wrap=kvm_vm_map -Wl,--wrap=kvm_vm_setup_irqchip -Wl,--wrap=bus_new -Wl,--wrap=pci_host_new -Wl,--wrap=serial_new -Wl,--wrap=loader_check -Wl,--wrap=loader_load -Wl,--wrap=vcpu_new -Wl,--wrap=power_on_state_capture
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine on the real /dev/kvm: every build stage failing in turn leaves nothing behind, and a
 * guest of a few instructions is run, paused, resumed, reset and stopped. The guest runs on any
 * KVM, also on one that emulates kernel code. Without a usable /dev/kvm the tests are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/bus.h"
#include "devices/pci/pci.h"
#include "devices/serial.h"
#include "firmware/loader.h"
#include "memory/guest_mem.h"
#include "vcpu/x86/boot_regs.h"
#include "vcpu/vcpu.h"
#include "vmm/base/place.h"
#include "vmm/base/macros.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/machine/machine.h"

/* --- the seams: the n-th call of the named function fails ------------------------------------- */

static const char *fail_name; /* NULL: nothing fails */
static unsigned fail_at;

static bool fails(const char *name)
{
    return fail_name != NULL && strcmp(fail_name, name) == 0 && fail_at-- == 0;
}

/* A wrapper that fails with EIO and the function's name when it is its turn. */
#define SEAM(fn, params, args)                                       \
    int __real_##fn params;                                          \
    int __wrap_##fn params;                                          \
    int __wrap_##fn params                                           \
    {                                                                \
        return fails(#fn) ? errctx_set(ec, EIO, #fn " was told to fail") \
                          : __real_##fn args;                        \
    }

SEAM(kvm_sys_open, (const char *path, struct kvm_sys *ret, struct errctx *ec), (path, ret, ec))
SEAM(kvm_vm_create,
     (const struct kvm_sys *sys, unsigned long type, struct kvm_vm *ret, struct errctx *ec),
     (sys, type, ret, ec))
SEAM(mem_layout_make,
     (const struct layout_map *map, const struct topo_plan *plan, unsigned bits,
      struct mem_layout **ret, struct errctx *ec),
     (map, plan, bits, ret, ec))
SEAM(guest_mem_new,
     (const struct topo_plan *plan, const struct mem_layout *layout, struct guest_mem **ret,
      struct errctx *ec),
     (plan, layout, ret, ec))
SEAM(kvm_vm_map,
     (const struct kvm_vm *vm, uint32_t slot, struct gpa base, uint64_t len, void *host,
      struct errctx *ec),
     (vm, slot, base, len, host, ec))
SEAM(kvm_vm_setup_irqchip, (const struct kvm_vm *vm, uint32_t n, struct errctx *ec), (vm, n, ec))
SEAM(bus_new, (const char *name, struct bus **ret, struct errctx *ec), (name, ret, ec))
SEAM(pci_host_new, (const struct pci_host_params *p, struct pci_host **ret, struct errctx *ec),
     (p, ret, ec))
SEAM(serial_new,
     (uint32_t gsi, const struct irq_line_ops *irq, void *irq_ctx,
      const struct serial_wire_ops *wire, void *wire_ctx, struct device **ret, struct errctx *ec),
     (gsi, irq, irq_ctx, wire, wire_ctx, ret, ec))
SEAM(loader_check, (const struct boot_source *src, struct errctx *ec), (src, ec))
SEAM(loader_load,
     (const struct boot_source *src, const struct topo_plan *plan, struct guest_mem *mem,
      struct boot_entry *ret, struct errctx *ec),
     (src, plan, mem, ret, ec))
SEAM(vcpu_new,
     (const struct kvm_sys *sys, const struct kvm_vm *vm, const struct vcpu_params *params,
      struct vcpu **ret, struct errctx *ec),
     (sys, vm, params, ret, ec))
SEAM(power_on_state_capture,
     (const struct kvm_sys *sys, const struct kvm_vcpu *vcpu, struct power_on_state **ret,
      struct errctx *ec),
     (sys, vcpu, ret, ec))

/* --- fixture ---------------------------------------------------------------------------------- */

struct fixture {
    char kernel[64];
    struct machine_config config;
    struct topo_plan *plan;
    struct evloop *loop;
    struct machine *machine;
    struct errctx ec;
};

/* A multiboot image by its address fields (Multiboot 0.6.96, 3.1.3), @code at 1 MiB + 32. */
static void write_image(const char *path, const uint8_t *code, size_t len)
{
    const uint32_t magic = 0x1badb002, flags = 1u << 16, base = 0x100000;
    const uint32_t header[8] = { magic, flags, -(magic + flags), base, base, 0, 0, base + 32 };
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
    assert_int_equal(write(fd, code, len), len);
    assert_int_equal(close(fd), 0);
}

static void fixture_init(struct fixture *f, const uint8_t *code, size_t len)
{
    struct host_topo host;

    memset(f, 0, sizeof(*f));
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        print_message("no usable /dev/kvm: %s\n", strerror(errno));
        skip();
    }
    (void)snprintf(f->kernel, sizeof(f->kernel), "/tmp/nv-machine-%d", (int)getpid());
    write_image(f->kernel, code, len);
    config_init(&f->config);
    f->config.kernel = strdup(f->kernel);
    f->config.name = strdup("test");
    f->config.io_threads = 2;
    f->config.console = CONSOLE_NONE;
    f->config.no_sandbox = true; /* a process cannot leave it for the next test */
    f->config.spec.n_cpus = 3;
    f->config.spec.memory_bytes = 64ull * MIB;
    assert_int_equal(host_topo_from_synthetic("node:1 core:4 pu:1", &host, &f->ec), 0);
    f->config.spec.n_vnuma = 1;
    assert_int_equal(topo_plan_make(&f->config.spec, &host, &f->plan, &f->ec), 0);
    host_topo_fini(&host);
    assert_int_equal(evloop_new(&f->loop, &f->ec), 0);
}

static void fixture_fini(struct fixture *f)
{
    fail_name = NULL;
    machine_free(f->machine);
    evloop_free(f->loop);
    topo_plan_free(f->plan);
    config_fini(&f->config);
    (void)unlink(f->kernel);
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    assert_int_equal(closedir(dir), 0);
    return n;
}

/* Mappings of guest memory and of vCPUs' run areas. */
static unsigned count_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned n = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        n += strstr(line, "guest-ram") != NULL || strstr(line, "kvm-vcpu") != NULL;
    assert_int_equal(fclose(maps), 0);
    return n;
}

static const uint8_t spin[] = { 0xeb, 0xfe };                          /* 1: jmp 1b */
static const uint8_t end_with_5[] = { 0xb0, 0x05, 0xe6, 0xf4, 0xf4 };  /* out 0xf4, 5; hlt */
static const uint8_t ask_for_reset[] = {                               /* port 0xcf9, 6 */
    0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xeb, 0xfe
};

static const uint8_t leave_memory[] = { /* mov $0xd0000000, %eax; jmp *%eax */
    0xb8, 0x00, 0x00, 0x00, 0xd0, 0xff, 0xe0
};

/* --- tests ------------------------------------------------------------------------------------ */

static void a_failing_stage_undoes_the_earlier_ones(void **state)
{
    static const struct {
        const char *name, *stage;
        unsigned at;
    } rows[] = {
        { "loader_check", "images", 0 },
        { "kvm_sys_open", "kvm", 0 },       { "kvm_vm_create", "kvm", 0 },
        { "mem_layout_make", "layout", 0 }, { "guest_mem_new", "memory", 0 },
        { "kvm_vm_map", "memory", 0 },      { "kvm_vm_setup_irqchip", "irqchip", 0 },
        { "bus_new", "irqchip", 0 },        { "bus_new", "irqchip", 1 },
        { "serial_new", "devices", 0 },     { "pci_host_new", "devices", 0 },
        { "loader_load", "firmware", 0 },   { "vcpu_new", "vcpus", 0 },
        { "vcpu_new", "vcpus", 2 },         { "power_on_state_capture", "vcpus", 0 },
    };
    struct fixture f;

    (void)state;
    fixture_init(&f, spin, sizeof(spin));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const unsigned fds = count_entries("/proc/self/fd");
        const unsigned tasks = count_entries("/proc/self/task");
        char want[128];

        fail_name = rows[i].name;
        fail_at = rows[i].at;
        assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), -EIO);
        assert_null(f.machine); /* untouched on failure */
        (void)snprintf(want, sizeof(want), "%s was told to fail", rows[i].name);
        assert_non_null(strstr(f.ec.msg, want));
        assert_int_equal(strncmp(f.ec.msg, rows[i].stage, strlen(rows[i].stage)), 0);
        assert_int_equal(count_entries("/proc/self/fd"), fds);
        assert_int_equal(count_entries("/proc/self/task"), tasks);
        assert_int_equal(count_maps(), 0);
    }
    fail_name = NULL; /* and then it can be built after all */
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_true(count_maps() > 0);
    fixture_fini(&f);
    assert_int_equal(count_maps(), 0);
}

static void images_that_are_none_are_refused_before_anything_else(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, spin, sizeof(spin));
    fail_name = "kvm_sys_open"; /* which would be next */
    assert_int_equal(unlink(f.kernel), 0);
    assert_int_equal(mkfifo(f.kernel, 0600), 0); /* nobody writes, so opening it could block */
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), -ENOEXEC);
    assert_non_null(strstr(f.ec.msg, "is not a regular file"));
    assert_int_equal(unlink(f.kernel), 0);
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), -ENOENT);
    assert_int_equal(strncmp(f.ec.msg, "images: --kernel /tmp/nv-machine-", 33), 0);
    write_image(f.kernel, spin, sizeof(spin));
    f.config.initrd = strdup("/nosuch");
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), -ENOENT);
    assert_string_equal(f.ec.msg, "images: --initrd /nosuch: No such file or directory");
    fixture_fini(&f);
}

static void a_guest_ends_with_its_code(void **state)
{
    struct machine_end end = { 0 };
    struct fixture f;

    (void)state;
    fixture_init(&f, end_with_5, sizeof(end_with_5));
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
    assert_int_equal(end.kind, MACHINE_END_GUEST_CODE);
    assert_int_equal(end.code, 5);
    fixture_fini(&f);
}

static void a_reset_ends_the_run_when_told_so(void **state)
{
    struct machine_end end = { 0 };
    struct fixture f;

    (void)state;
    fixture_init(&f, ask_for_reset, sizeof(ask_for_reset));
    f.config.on_reset = ON_RESET_EXIT;
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
    assert_int_equal(end.kind, MACHINE_END_RESET);
    fixture_fini(&f);
}

static void instructions_outside_memory_are_a_failure_with_their_address(void **state)
{
    struct machine_end end = { 0 };
    struct fixture f;

    (void)state;
    fixture_init(&f, leave_memory, sizeof(leave_memory));
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
    assert_int_equal(end.kind, MACHINE_END_FAILURE);
    if (strstr(end.reason, "vCPU 0: the guest runs instructions at physical address 0xd0000000, "
                           "where it has no memory (rip 0xd0000000 ") == NULL)
        fail_msg("%s", end.reason);
    fixture_fini(&f);
}

struct script {
    struct fixture *f;
    struct evloop_timer *timer;
    unsigned step;
    struct machine_ask ask, second;
    int answers[2]; /* 1: not yet */
};

static json_int_t resets(const struct fixture *f)
{
    json_t *status = machine_status(f->machine);
    json_int_t n = json_integer_value(json_object_get(status, "resets"));

    json_decref(status);
    return n;
}

static void first_answer(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec)
{
    (void)result;
    (void)ec;
    container_of(ask, struct script, ask)->answers[0] = r;
}

static void second_answer(struct machine_ask *ask, int r, json_t *result, const struct errctx *ec)
{
    (void)result;
    (void)ec;
    container_of(ask, struct script, second)->answers[1] = r;
}

/* One step each time the timer fires, while the guest spins; none while an answer is awaited. */
static void next_step(void *ctx)
{
    struct script *s = ctx;
    struct machine *m = s->f->machine;
    struct errctx *ec = &s->f->ec;

    evloop_timer_arm(s->timer, evloop_now_ns() + 2000000);
    if (s->answers[0] > 0 || s->answers[1] > 0)
        return;
    s->ask.answer = first_answer;
    s->second.answer = second_answer;
    switch (s->step++) {
    case 0:
        machine_resume(m, &s->ask);
        assert_int_equal(s->answers[0], -EALREADY);
        s->answers[0] = s->answers[1] = 1;
        machine_pause(m, &s->ask);
        machine_pause(m, &s->second); /* it is on its way, or there */
        assert_int_equal(s->answers[1], -EALREADY);
        break;
    case 1:
        assert_int_equal(s->answers[0], 0);
        machine_pause(m, &s->second);
        assert_int_equal(s->answers[1], -EALREADY);
        assert_int_equal(machine_power_button(m, ec), -EBUSY);
        machine_reset(m, &s->ask); /* stays paused, and nobody has to be waited for */
        assert_int_equal(s->answers[0], 0);
        assert_int_equal(resets(s->f), 1);
        break;
    case 2:
        machine_resume(m, &s->ask);
        assert_int_equal(s->answers[0], 0);
        assert_int_equal(machine_power_button(m, ec), 0);
        break;
    case 3:
        s->answers[0] = s->answers[1] = 1;
        machine_reset(m, &s->ask);
        machine_reset(m, &s->second);
        break;
    case 4:
        assert_int_equal(s->answers[0], 0);
        assert_int_equal(s->answers[1], 0);
        assert_int_equal(resets(s->f), 3);
        s->answers[0] = s->answers[1] = 1;
        machine_pause(m, &s->ask);
        machine_resume(m, &s->second); /* has its turn after it */
        break;
    case 5:
        assert_int_equal(s->answers[0], 0);
        assert_int_equal(s->answers[1], 0);
        break;
    default:
        evloop_timer_arm(s->timer, 0);
        machine_stop(m, "enough");
    }
}

static void a_running_guest_obeys(void **state)
{
    struct machine_end end = { 0 };
    struct fixture f;
    struct script s = { .f = &f };

    (void)state;
    fixture_init(&f, spin, sizeof(spin));
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_int_equal(evloop_timer_new(f.loop, next_step, &s, &s.timer, &f.ec), 0);
    evloop_timer_arm(s.timer, evloop_now_ns() + 2000000);
    assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
    assert_int_equal(s.step, 7);
    assert_int_equal(end.kind, MACHINE_END_STOPPED);
    assert_string_equal(end.reason, "enough");
    evloop_timer_free(s.timer);
    fixture_fini(&f);
}

/* Does thread @tid of this process run on CPUs @list only? */
static bool runs_on(const char *tid, const char *list)
{
    char path[300], line[256], expected[64];
    bool found = false;
    FILE *f;

    (void)snprintf(expected, sizeof(expected), "Cpus_allowed_list:\t%s\n", list);
    (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), f) != NULL)
        found = strcmp(line, expected) == 0;
    (void)fclose(f);
    return found;
}

/* Whether this process has a thread of that name; with @cpus, one that runs there only. */
static bool has_thread(const char *name, const char *cpus)
{
    DIR *dir = opendir("/proc/self/task");
    const struct dirent *e;
    bool found = false;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        char path[300], line[32] = "";
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        f = fopen(path, "re");
        if (f == NULL) /* a thread that ended, "." and ".." */
            continue;
        (void)fgets(line, sizeof(line), f);
        (void)fclose(f);
        line[strcspn(line, "\n")] = '\0';
        found = found || (strcmp(line, name) == 0 && (cpus == NULL || runs_on(e->d_name, cpus)));
    }
    assert_int_equal(closedir(dir), 0);
    return found;
}

struct look {
    struct machine **machine;
    bool io0, io1, pinned;
    struct evloop_timer *timer;
    unsigned looks;
};

static void look_at_threads(void *ctx)
{
    struct look *look = ctx;

    look->io0 = has_thread("io0", NULL);
    look->io1 = has_thread("io1", NULL);
    machine_stop(*look->machine, "seen");
}

static void io_threads_run_where_devices_live(void **state)
{
    (void)state;
    for (size_t n_devices = 0; n_devices < 3; n_devices++) {
        struct machine_end end = { 0 };
        struct evloop_timer *timer;
        struct fixture f;
        struct look look = { .machine = &f.machine };

        fixture_init(&f, spin, sizeof(spin));
        f.config.devices = calloc(n_devices + 1, sizeof(f.config.devices[0]));
        assert_non_null(f.config.devices);
        f.config.n_devices = n_devices;
        for (size_t i = 0; i < n_devices; i++)
            f.config.devices[i].type = registry_find("rng");
        assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
        assert_int_equal(evloop_timer_new(f.loop, look_at_threads, &look, &timer, &f.ec), 0);
        evloop_timer_arm(timer, evloop_now_ns() + 2000000);
        assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
        assert_int_equal(look.io0, n_devices > 0);
        assert_int_equal(look.io1, n_devices > 1);
        evloop_timer_free(timer);
        fixture_fini(&f);
    }
}

/* A vCPU's thread goes to its place by itself, so look again. */
static void look_at_places(void *ctx)
{
    struct look *look = ctx;
    char tid[16];

    (void)snprintf(tid, sizeof(tid), "%d", (int)getpid());
    look->pinned = has_thread("io0", "0") && has_thread("vcpu0", "0") && runs_on(tid, "0");
    if (look->pinned || ++look->looks == 2000)
        machine_stop(*look->machine, "seen");
    else
        evloop_timer_arm(look->timer, evloop_now_ns() + 5000000);
}

static void threads_run_where_their_vcpus_are_planned(void **state)
{
    struct machine_end end = { 0 };
    struct idset before;
    struct fixture f;
    struct look look = { .machine = &f.machine };

    (void)state;
    assert_int_equal(place_get_thread(&before), 0);
    fixture_init(&f, spin, sizeof(spin));
    if (!idset_has(&before, 0))
        skip();
    f.config.devices = calloc(1, sizeof(f.config.devices[0]));
    assert_non_null(f.config.devices);
    f.config.n_devices = 1;
    f.config.devices[0].type = registry_find("rng");
    for (size_t i = 0; i < f.plan->n_vcpus; i++)
        idset_add(&f.plan->vcpus[i].host_cpus, 0);
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_int_equal(evloop_timer_new(f.loop, look_at_places, &look, &look.timer, &f.ec), 0);
    evloop_timer_arm(look.timer, evloop_now_ns() + 2000000);
    assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
    assert_true(look.pinned);
    assert_int_equal(place_pin_thread(&before, NULL), 0);
    evloop_timer_free(look.timer);
    fixture_fini(&f);
}

/* Again and again until the guest has done it; how soon is the host's affair. */
static void stop_after_a_reset(void *ctx)
{
    struct script *s = ctx;

    if (resets(s->f) > 0)
        machine_stop(s->f->machine, "enough");
    else
        evloop_timer_arm(s->timer, evloop_now_ns() + 10000000);
}

static void a_guest_that_resets_itself_can_be_stopped(void **state)
{
    struct machine_end end = { 0 };
    struct fixture f;
    struct script s = { .f = &f };

    (void)state;
    fixture_init(&f, ask_for_reset, sizeof(ask_for_reset));
    assert_int_equal(machine_new(&f.config, f.plan, f.loop, NULL, &f.machine, &f.ec), 0);
    assert_int_equal(evloop_timer_new(f.loop, stop_after_a_reset, &s, &s.timer, &f.ec), 0);
    evloop_timer_arm(s.timer, evloop_now_ns() + 10000000);
    assert_int_equal(machine_run(f.machine, &end, &f.ec), 0);
    assert_int_equal(end.kind, MACHINE_END_STOPPED);
    assert_true(resets(&f) > 0);
    evloop_timer_free(s.timer);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_stage_undoes_the_earlier_ones),
        cmocka_unit_test(images_that_are_none_are_refused_before_anything_else),
        cmocka_unit_test(a_guest_ends_with_its_code),
        cmocka_unit_test(a_reset_ends_the_run_when_told_so),
        cmocka_unit_test(instructions_outside_memory_are_a_failure_with_their_address),
        cmocka_unit_test(a_running_guest_obeys),
        cmocka_unit_test(io_threads_run_where_devices_live),
        cmocka_unit_test(threads_run_where_their_vcpus_are_planned),
        cmocka_unit_test(a_guest_that_resets_itself_can_be_stopped),
    };

    json_object_seed(0); /* opens /dev/urandom the first time: not counted as a leak */
    return cmocka_run_group_tests_name("machine/machine", tests, NULL, NULL);
}
