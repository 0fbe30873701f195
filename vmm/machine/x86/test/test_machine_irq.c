/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupt routes as they reach KVM, with KVM replaced by a note of its last table. */
// LDFLAGS: -Wl,--wrap=kvm_vm_check,--wrap=kvm_vm_set_routes,--wrap=kvm_vm_irqfd
// LDFLAGS: -Wl,--wrap=kvm_vm_signal_msi
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/machine/x86/machine_irq_x86.h"

enum { MAX_ROUTES = 28, PINS = 24 };

int __wrap_kvm_vm_check(const struct kvm_vm *vm, unsigned cap);
int __wrap_kvm_vm_set_routes(const struct kvm_vm *vm, const struct kvm_irq_routing *table,
                             struct errctx *ec);
int __wrap_kvm_vm_irqfd(const struct kvm_vm *vm, int eventfd, uint32_t gsi, bool add,
                        struct errctx *ec);
int __wrap_kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi);

static struct {
    int max_routes;
    unsigned n_commits, n_irqfds, n_signals;
    struct kvm_irq_routing_entry entry[MAX_ROUTES];
    uint32_t nr;
    int irqfd_code;
    struct kvm_msi msi;
} kvm;

int __wrap_kvm_vm_check(const struct kvm_vm *vm, unsigned cap)
{
    (void)vm;
    assert_int_equal(cap, KVM_CAP_IRQ_ROUTING);
    return kvm.max_routes;
}

int __wrap_kvm_vm_set_routes(const struct kvm_vm *vm, const struct kvm_irq_routing *table,
                             struct errctx *ec)
{
    (void)vm;
    (void)ec;
    assert_true(table->nr <= MAX_ROUTES);
    kvm.n_commits++;
    kvm.nr = table->nr;
    memcpy(kvm.entry, table->entries, table->nr * sizeof(kvm.entry[0]));
    return 0;
}

int __wrap_kvm_vm_irqfd(const struct kvm_vm *vm, int eventfd, uint32_t gsi, bool add,
                        struct errctx *ec)
{
    (void)vm;
    assert_true(eventfd >= 0 && gsi >= PINS);
    if (kvm.irqfd_code)
        return errctx_set(ec, kvm.irqfd_code, "KVM_IRQFD for GSI %u", gsi);
    kvm.n_irqfds += add ? 1u : -1u;
    return 0;
}

int __wrap_kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi)
{
    (void)vm;
    kvm.n_signals++;
    kvm.msi = *msi;
    return 1;
}

static int setup(void **state)
{
    static const struct kvm_vm vm = { .fd = -1 };
    struct machine_irq *irq;

    memset(&kvm, 0, sizeof(kvm));
    kvm.max_routes = MAX_ROUTES;
    assert_int_equal(machine_irq_new(&vm, &irq, NULL), 0);
    *state = irq;
    return 0;
}

static int teardown(void **state)
{
    machine_irq_free(*state);
    assert_int_equal(kvm.n_irqfds, 0);
    return 0;
}

static void extended_destinations_move_to_the_high_word(void **state)
{
    const struct irq_services *s = machine_irq_services(*state);
    struct msi_line line;

    assert_int_equal(s->msi->line_new(s->ctx, &line, NULL), 0);
    assert_int_equal(line.gsi, PINS);
    assert_int_equal(kvm.nr, 0); /* no message yet, no route */
    s->msi->line_set(s->ctx, &line, 0xfee00000 | 0xa5 << 12 | 0x55 << 5 | 1 << 2, 0x4041);
    assert_int_equal(kvm.nr, 1);
    assert_int_equal(kvm.entry[0].gsi, PINS);
    assert_int_equal(kvm.entry[0].type, KVM_IRQ_ROUTING_MSI);
    assert_int_equal(kvm.entry[0].u.msi.address_lo, 0xfee00000 | 0xa5 << 12 | 1 << 2);
    assert_int_equal(kvm.entry[0].u.msi.address_hi, 0x5500);
    assert_int_equal(kvm.entry[0].u.msi.data, 0x4041);
    machine_irq_ioapic_ops()->send(*state, 0xfee00000 | 0x7f << 5, 0x33);
    assert_int_equal(kvm.msi.address_lo, 0xfee00000);
    assert_int_equal(kvm.msi.address_hi, 0x7f00);
    s->msi->line_free(s->ctx, &line);
    assert_int_equal(line.fd, -1);
    assert_int_equal(kvm.nr, 0);
}

static void messages_elsewhere_are_delivered_nowhere(void **state)
{
    static const uint64_t elsewhere[] = { 0, 0xfed00000, 0xfef00000, 0x1fee00000ull, UINT64_MAX };
    const struct irq_services *s = machine_irq_services(*state);
    struct msi_line line;

    assert_int_equal(s->msi->line_new(s->ctx, &line, NULL), 0);
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        s->msi->line_set(s->ctx, &line, 0xfee00000, 0x41);
        assert_int_equal(kvm.nr, 1);
        s->msi->line_set(s->ctx, &line, elsewhere[i], 0x41);
        assert_int_equal(kvm.nr, 0);
        machine_irq_ioapic_ops()->send(*state, elsewhere[i], 0x41);
    }
    assert_int_equal(kvm.n_signals, 0);
    s->msi->line_free(s->ctx, &line);
}

static void an_unchanged_message_costs_nothing(void **state)
{
    const struct irq_services *s = machine_irq_services(*state);
    struct msi_line line;
    unsigned before;

    assert_int_equal(s->msi->line_new(s->ctx, &line, NULL), 0);
    s->msi->line_set(s->ctx, &line, 0xfee00000, 0x41);
    before = kvm.n_commits;
    s->msi->line_set(s->ctx, &line, 0xfee00000, 0x41);
    assert_int_equal(kvm.n_commits, before);
    s->msi->line_set(s->ctx, &line, 0xfee00000, 0x42);
    assert_int_equal(kvm.n_commits, before + 1);
    s->msi->line_free(s->ctx, &line);
}

static void a_full_table_is_refused_and_freed_lines_come_back(void **state)
{
    const struct irq_services *s = machine_irq_services(*state);
    struct msi_line line[MAX_ROUTES - PINS], more = { .fd = 77 };
    struct errctx ec = { 0 };

    for (unsigned i = 0; i < MAX_ROUTES - PINS; i++)
        assert_int_equal(s->msi->line_new(s->ctx, &line[i], NULL), 0);
    assert_int_equal(s->msi->line_new(s->ctx, &more, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "KVM routes no more than 28 interrupts");
    assert_int_equal(more.fd, 77);
    s->msi->line_free(s->ctx, &line[1]);
    kvm.irqfd_code = EBUSY;
    assert_int_equal(s->msi->line_new(s->ctx, &more, &ec), -EBUSY);
    assert_int_equal(more.fd, 77);
    kvm.irqfd_code = 0;
    assert_int_equal(s->msi->line_new(s->ctx, &line[1], NULL), 0);
    assert_int_equal(line[1].gsi, PINS + 1);
    for (unsigned i = 0; i < MAX_ROUTES - PINS; i++)
        s->msi->line_free(s->ctx, &line[i]);
}

/* KVM reports an end of interrupt for vectors of the table only, and drivers end level-triggered
 * interrupts while their pin is masked. */
static void a_masked_pin_keeps_its_route_until_it_is_cleared(void **state)
{
    const struct ioapic_ops *ops = machine_irq_ioapic_ops();

    ops->route(*state, 10, 0xfee01000, 0x8041, true); /* never unmasked: not there */
    assert_int_equal(kvm.nr, 0);
    ops->route(*state, 10, 0xfee01000, 0xc041, false);
    assert_int_equal(kvm.nr, 1);
    assert_int_equal(kvm.entry[0].gsi, 10);
    ops->route(*state, 10, 0xfee01000, 0xc041, true);
    assert_int_equal(kvm.nr, 1);
    ops->route(*state, 10, 0xfee02000, 0xc042, false);
    assert_int_equal(kvm.entry[0].u.msi.data, 0xc042);
    ops->route(*state, 10, 0, 0, true); /* a reset */
    assert_int_equal(kvm.nr, 0);
}

static void a_kvm_without_routes_is_refused(void **state)
{
    static const struct kvm_vm vm = { .fd = -1 };
    struct machine_irq *irq = (void *)0x1;
    struct errctx ec = { 0 };

    (void)state;
    memset(&kvm, 0, sizeof(kvm));
    assert_int_equal(machine_irq_new(&vm, &irq, &ec), -ENOSYS);
    assert_string_equal(ec.msg, "this KVM routes no interrupts (KVM_CAP_IRQ_ROUTING)");
    assert_ptr_equal(irq, (void *)0x1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(extended_destinations_move_to_the_high_word, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(messages_elsewhere_are_delivered_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unchanged_message_costs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_is_refused_and_freed_lines_come_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_masked_pin_keeps_its_route_until_it_is_cleared, setup,
                                        teardown),
        cmocka_unit_test(a_kvm_without_routes_is_refused),
    };

    return cmocka_run_group_tests_name("machine/irq", tests, NULL, NULL);
}
