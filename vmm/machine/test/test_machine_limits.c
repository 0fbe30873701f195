/* SPDX-License-Identifier: Apache-2.0 */
/* machine_limits: what is refused, with which sentence, and what is read from the kernel. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/base/macros.h"
#include "vmm/machine/machine_limits.h"

#define GIB (1ull << 30)

static int check(struct machine_limits limits, size_t n_vcpus, uint32_t max_apic_id,
                 uint64_t ram_bytes, struct errctx *ec)
{
    struct topo_plan_node node[2] = { { .ram_bytes = ram_bytes / 2 },
                                      { .ram_bytes = ram_bytes - ram_bytes / 2 } };
    const struct topo_plan plan = { .n_nodes = 2, .nodes = node, .n_vcpus = n_vcpus,
                                    .max_apic_id = max_apic_id };

    return machine_limits_check(&limits, &plan, ec);
}

static void vcpus_and_ids(void **state)
{
    const struct machine_limits limits = { .max_vcpus = 8, .max_vcpu_id = 16 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(check(limits, 8, 15, GIB, &ec), 0);
    assert_int_equal(check(limits, 9, 9, GIB, &ec), -ERANGE);
    assert_non_null(strstr(ec.msg, "9 vCPUs are more than the 8"));
    assert_int_equal(check(limits, 8, 16, GIB, &ec), -ERANGE);
    assert_non_null(strstr(ec.msg, "16, is above the 15"));
    assert_int_equal(check((struct machine_limits){ 0 }, 1024, 5000, GIB, &ec), 0);
}

static void page_maps(void **state)
{
    struct machine_limits limits = { .ram_bytes = 16 * GIB, .shadow_maps = true };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(check(limits, 1, 0, 4096 * GIB, &ec), 0);
    assert_int_equal(check(limits, 1, 0, 4104 * GIB, &ec), -ENOSPC);
    assert_non_null(strstr(ec.msg, "8.0 GiB"));
    limits.shadow_maps = false;
    assert_int_equal(check(limits, 1, 0, 4104 * GIB, &ec), 0);
}

static void put(const char *root, const char *dir, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/sys/module/%s/parameters/%s", root, dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static bool maps_with(const char *tdp_mmu, const char *npt)
{
    static const char *const dirs[] = { "", "/sys", "/sys/module", "/sys/module/kvm",
                                        "/sys/module/kvm/parameters", "/sys/module/kvm_amd",
                                        "/sys/module/kvm_amd/parameters" };
    const struct kvm_sys none = { .fd = -1 };
    struct machine_limits limits;
    char root[] = "/tmp/limits-XXXXXX", command[64];

    assert_non_null(mkdtemp(root));
    for (size_t i = 1; i < ARRAY_SIZE(dirs); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", root, dirs[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    put(root, "kvm", "tdp_mmu", tdp_mmu);
    put(root, "kvm_amd", "npt", npt);
    machine_limits_read(&none, root, &limits);
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    assert_int_equal(system(command), 0);
    return limits.shadow_maps;
}

static void kinds_of_kvm(void **state)
{
    const struct kvm_sys none = { .fd = -1 };
    struct machine_limits limits;

    (void)state;
    assert_false(maps_with("Y\n", "1\n"));
    assert_false(maps_with("Y\n", "Y\n"));
    assert_true(maps_with("N\n", "Y\n"));
    assert_true(maps_with("Y\n", "0\n"));
    machine_limits_read(&none, "/nowhere", &limits);
    assert_true(limits.shadow_maps);
    assert_true(limits.ram_bytes > 0);
    assert_int_equal(limits.max_vcpus, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vcpus_and_ids),
        cmocka_unit_test(page_maps),
        cmocka_unit_test(kinds_of_kvm),
    };

    return cmocka_run_group_tests_name("machine_limits", tests, NULL, NULL);
}
