/* SPDX-License-Identifier: Apache-2.0 */
/* numavisor plan: saved, explained, drawn, refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/test/cli_fixture.h"
#include "vmm/machine/machine_arch.h"

/* On the host for which it was made, and on others: the guest's caches are its own. */
static void a_saved_plan_prints_itself(void **state)
{
    static const char *const hosts[] = {
        "node:2@l3:1@l2:2@l1:1@pu:2",
        "node:1@pu:8",
        "node:2@l4:1@l3:1(size=16777216)@l2:2(size=131072)@l1:2@pu:2",
    };
    char path[] = "/tmp/nv-plan-XXXXXX", words[192];
    struct outcome a = run("plan --node cpus=0-1,memory=128M --node cpus=2,memory=64M "
                           "--node memory=128M,initiator=1 --distance 0-1=13 --json "
                           "--host-synthetic node:2@l3:1@l2:2@l1:1@pu:2");
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(a.status, CLI_OK);
    assert_int_equal(write(fd, a.out, strlen(a.out)), strlen(a.out));
    close(fd);
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        struct outcome b;

        (void)snprintf(words, sizeof(words), "plan --json --host-synthetic %s --config %s",
                       hosts[i], path);
        b = run(words);
        assert_int_equal(b.status, CLI_OK);
        assert_string_equal(a.out, b.out);
        outcome_fini(&b);
    }
    outcome_fini(&a);
    unlink(path);
}

static void plan_tells_where_devices_sit(void **state)
{
    static const char words[] = "plan --vnuma 3 --cpus 3 --console virtio --rng node=1 "
                                "--disk a.img,node=2 --disk b.img,node=2";
    struct outcome o = run(words);
    char more[192];

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "0-2       console0 on node 0, rng0 on node 1, disk0 on node 2, "
                                  "disk1 on node 2\n"));
    outcome_fini(&o);
    (void)snprintf(more, sizeof(more), "%s --io-threads 3", words);
    o = run(more);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "2         disk0, disk1\n")); /* the column before says it */
    outcome_fini(&o);
}

static void plan_explains_places(void **state)
{
    static const char words[] = "plan --host-synthetic "
                                "pack:2@numa:2(memory=8GB)@l3:1(size=33554432)@core:4@pu:1 "
                                "--cpus 8 --memory 2G --vnuma 2 --explain";
    char more[320], path[] = "/tmp/nv-plan-XXXXXX";
    struct outcome o = run(words), again;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "Places that --pin would choose, cost in CPUs"));
    assert_non_null(strstr(o.out, "node 1 on host node 1"));
    assert_non_null(strstr(o.out, "No other places cost less: proved."));
    outcome_fini(&o);

    (void)snprintf(more, sizeof(more), "%s --pin llc --objective numa --json", words);
    o = run(more);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "\"applied\": true"));
    assert_non_null(strstr(o.out, "\"stranded\": 0.0"));
    assert_non_null(strstr(o.out, "\"proved\": true"));
    assert_non_null(strstr(o.out, "\"host_cpus\": \"4-7\""));

    /* What is saved is planned again to the byte. */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, o.out, strlen(o.out)), strlen(o.out));
    close(fd);
    (void)snprintf(more, sizeof(more), "plan --explain --json --config %s --host-synthetic "
                   "pack:2@numa:2(memory=8GB)@l3:1(size=33554432)@core:4@pu:1", path);
    again = run(more);
    assert_string_equal(again.out, o.out);
    outcome_fini(&again);
    outcome_fini(&o);
    unlink(path);
}

static void plan_sizes_nodes_from_the_host(void **state)
{
    static const char host[] = "--host-synthetic pack:2@numa:2(memory=8GB)@core:4@pu:2";
    char words[320], path[] = "/tmp/nv-plan-XXXXXX";
    struct outcome o, again;
    int fd = mkstemp(path);

    (void)state;
    (void)snprintf(words, sizeof(words), "plan %s --cpus 6 --memory 2G --vnuma auto --explain", host);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    assert_non_null(strstr(o.out, "--vnuma auto: 2 nodes: 2 by CPUs"));
    assert_non_null(strstr(o.out, "  by memory     1  for 2 GiB"));
    assert_non_null(strstr(o.out, "Places, cost in CPUs"));
    outcome_fini(&o);

    /* A saved plan says the number, so that it is the same guest anywhere. */
    (void)snprintf(words, sizeof(words), "plan %s --cpus 6 --memory 2G --vnuma auto --json", host);
    o = run(words);
    assert_non_null(strstr(o.out, "\"vnuma\": 2"));
    assert_non_null(strstr(o.out, "\"pin\": \"node\""));
    assert_non_null(strstr(o.out, "\"by_cpus\": 2"));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, o.out, strlen(o.out)), strlen(o.out));
    close(fd);
    outcome_fini(&o);
    (void)snprintf(words, sizeof(words), "plan --host-synthetic node:1(memory=64GB)@pu:16 --config %s",
                   path);
    again = run(words);
    assert_int_equal(again.status, CLI_OK);
    assert_non_null(strstr(again.out, "Guest of 2 nodes, 6 CPUs"));
    outcome_fini(&again);
    unlink(path);
}

static void plan_refuses_what_cannot_be_reserved(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { "--cpus 2 --cpu-reserve 2.5",
          "--cpu-reserve 2.5: the guest's 2 virtual CPUs cannot use as much" },
        { "--cpus 6 --cpu-reserve 550%",
          "--cpu-reserve: host node 0 has 2 CPUs, and 2.75 would be reserved" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char words[256];
        struct outcome o;

        (void)snprintf(words, sizeof(words),
                       "plan --host-synthetic numa:2(memory=8GB)@core:2@pu:1 %s", rows[i].words);
        o = run(words);
        assert_int_equal(o.status, CLI_USAGE);
        assert_non_null(strstr(o.err, rows[i].sentence));
        outcome_fini(&o);
    }
}

static void plan_tells_the_share_of_cpu_time(void **state)
{
    static const struct {
        const char *words, *told;
    } row[] = {
        { "--cpu-weight 250 --cpu-max 150% --cpu-reserve 0.5 --halt-poll 0",
          "\nCPU time\n  weight    250, others have 100\n  at most   1.5 CPUs\n"
          "  reserved  0.5 CPUs\n  polling   0 ns for a CPU that halted\n" },
        { "--cpu-max 0.25", "\nCPU time\n  at most   0.25 CPUs\n" },
        { "--halt-poll 1us", "\nCPU time\n  polling   1000 ns for a CPU that halted\n" },
    };
    char words[256];
    struct outcome o;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        (void)snprintf(words, sizeof(words), "plan --cpus 2 --host-synthetic node:1@pu:4 %s",
                       row[i].words);
        o = run(words);
        assert_int_equal(o.status, CLI_OK);
        assert_non_null(strstr(o.out, row[i].told));
        outcome_fini(&o);
    }
    o = run("plan --cpus 2 --host-synthetic node:1@pu:4");
    assert_null(strstr(o.out, "CPU time"));
    outcome_fini(&o);
    o = run("plan --cpus 1 --memory 2M --cpu-max 0.5"); /* of this host */
    assert_non_null(strstr(o.out, "  kept by   "));
    outcome_fini(&o);
}

static void plan_draws(void **state)
{
    char dir[] = "/tmp/nv-plan-XXXXXX", words[192], path[128];
    struct outcome o;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(words, sizeof(words),
                   "plan --vnuma 2 --cpus 4 --memory 1G --host-synthetic node:1@pu:4 "
                   "--svg %s/plan.svg",
                   dir);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    (void)snprintf(path, sizeof(path), "%s/plan.svg", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 100);
    outcome_fini(&o);

    (void)snprintf(words, sizeof(words),
                   "plan --vnuma 2 --cpus 4 --memory 1G --pin node --explain "
                   "--host-synthetic numa:2(memory=1GB)@core:4@pu:1 --svg %s/places.svg",
                   dir);
    o = run(words);
    assert_string_equal(o.err, "");
    assert_int_equal(o.status, CLI_OK);
    outcome_fini(&o);
    (void)snprintf(words, sizeof(words), "grep -q 'traffic' %s/places.svg", dir);
    assert_int_equal(system(words), 0);

    o = run("plan --host-synthetic node:1@pu:4 --svg /nowhere/plan.svg");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err, "numavisor: --svg: /nowhere/plan.svg: No such file or directory\n");
    outcome_fini(&o);
    (void)snprintf(words, sizeof(words), "rm -r %s", dir);
    assert_int_equal(system(words), 0);
}

static void plan_writes_tables_where_machines_have_them(void **state)
{
    static const char *const tables[] = { "RSDP", "XSDT", "DSDT", "SRAT", "SLIT" };
    char dir[] = "/tmp/nv-plan-XXXXXX", words[192], path[128];
    struct outcome o;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(words, sizeof(words),
                   "plan --vnuma 2 --cpus 4 --memory 1G --host-synthetic node:1@pu:4 --acpi %s/acpi",
                   dir);
    o = run(words);
    if (machine_arch_tree() != NULL) {
        assert_int_equal(o.status, CLI_FAILURE);
        assert_string_equal(o.err, "numavisor: --acpi: machines of this architecture are described "
                                   "by a device tree, which --fdt writes\n");
    } else {
        assert_int_equal(o.status, CLI_OK);
        for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
            (void)snprintf(path, sizeof(path), "%s/acpi/%s.dat", dir, tables[i]);
            assert_int_equal(stat(path, &st), 0);
            assert_true(st.st_size >= 36);
        }
    }
    outcome_fini(&o);
    (void)snprintf(words, sizeof(words), "rm -r %s", dir);
    assert_int_equal(system(words), 0);
}

static void plan_writes_the_tree_of_an_arm64_guest(void **state)
{
    static const uint8_t magic[] = { 0xd0, 0x0d, 0xfe, 0xed };
    char path[] = "/tmp/nv-plan-XXXXXX", words[256], note[128];
    uint8_t bytes[4] = { 0 };
    struct outcome o;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    (void)snprintf(words, sizeof(words),
                   "plan --vnuma 2 --cpus 4 --memory 1G --host-synthetic node:1@pu:4 --fdt %s",
                   path);
    o = run(words);
    assert_int_equal(o.status, CLI_OK);
    (void)snprintf(note, sizeof(note),
                   "numavisor: note: %s is the tree of an arm64 machine, which it has on an arm64 "
                   "host.\n",
                   path);
    assert_string_equal(o.err, note);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
    assert_memory_equal(bytes, magic, sizeof(magic));
    (void)close(fd);
    (void)unlink(path);
    outcome_fini(&o);

    o = run("plan --host-synthetic node:1@pu:4 --fdt /nowhere/guest.dtb");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_string_equal(o.err,
                        "numavisor: --fdt: /nowhere/guest.dtb: No such file or directory\n");
    outcome_fini(&o);
    o = run("plan --node cpus=0,memory=1G,hotplug=2G --host-synthetic node:1@pu:4 --fdt /dev/null");
    assert_int_equal(o.status, CLI_FAILURE);
    assert_non_null(strstr(o.err, "--fdt: virtual node 0: hotplug=: a device tree cannot tell"));
    outcome_fini(&o);

    o = run("plan --host-synthetic node:1@pu:4 --fdt /dev/null --fdt-arch arm64");
    assert_int_equal(o.status, CLI_OK);
    outcome_fini(&o);
    o = run("plan --host-synthetic node:1@pu:4 --fdt /dev/null --fdt-arch m68k");
    assert_string_equal(o.err, "numavisor: --fdt: there is no tree of \"m68k\" machines, only of: "
                               "arm64\n");
    outcome_fini(&o);
    o = run("plan --host-synthetic node:1@pu:4 --fdt-arch arm64");
    assert_int_equal(o.status, CLI_USAGE);
    assert_string_equal(o.err, "numavisor: --fdt-arch has no effect without --fdt\n");
    outcome_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_plan_prints_itself),
        cmocka_unit_test(plan_tells_where_devices_sit),
        cmocka_unit_test(plan_explains_places),
        cmocka_unit_test(plan_sizes_nodes_from_the_host),
        cmocka_unit_test(plan_refuses_what_cannot_be_reserved),
        cmocka_unit_test(plan_tells_the_share_of_cpu_time),
        cmocka_unit_test(plan_draws),
        cmocka_unit_test(plan_writes_tables_where_machines_have_them),
        cmocka_unit_test(plan_writes_the_tree_of_an_arm64_guest),
    };

    return cmocka_run_group_tests_name("cli/cli_plan", tests, NULL, NULL);
}
