/* SPDX-License-Identifier: Apache-2.0 */
/* Where the emulated host's program is looked for, and what it is told: one that is a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/macros.h"
#include "vmm/lab/lab_emulate.h"

static const char rig[] = "/guest-tests/rig/run", installed[] = "/share/numavisor";

static void make(const char *path, const char *text)
{
    char part[PATH_MAX];
    FILE *f;

    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *at = strchr(part + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(part, 0700);
        *at = '/';
    }
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static void remove_all(const char *dir)
{
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void it_is_found_in_the_tree_or_where_it_is_installed(void **state)
{
    static const char *const programs[] = { "/build/numavisor", "/build/clang/numavisor",
                                            "/bin/numavisor" };
    char dir[] = "/tmp/nv-rig-XXXXXX", self[PATH_MAX], path[PATH_MAX], found[PATH_MAX] = "?";
    struct errctx ec = { 0 };

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(self, sizeof(self), "%s/build/numavisor", dir);
    assert_int_equal(lab_emulate_find(self, found, &ec), -ENOENT);
    assert_non_null(strstr(ec.msg, "the emulated host is not to be had"));
    assert_string_equal(found, "?");
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        (void)snprintf(path, sizeof(path), "%s%s%s", dir, i == 2 ? installed : "", rig);
        make(path, "");
        (void)snprintf(self, sizeof(self), "%s%s", dir, programs[i]);
        assert_int_equal(lab_emulate_find(self, found, &ec), 0);
        assert_string_equal(found, path);
        assert_int_equal(unlink(path), 0);
    }
    remove_all(dir);
}

/* The script tells its words and whether the sockets that it was given are connected. */
static void the_program_gets_words_and_connected_servers(void **state)
{
    char dir[] = "/tmp/nv-rig-XXXXXX", path[64], server[64], out[64], text[2048] = "";
    char folder[] = "/tmp", *shares[] = { folder }, word[] = "a b", *command[] = { word };
    struct lab_emulation e = { .rig = path, .program = server, .shares = shares, .n_shares = 1,
                               .command = command, .n_command = 1, .nodes = 3,
                               .node_bytes = 4 << 20, .network = true, .file_path = "/a file",
                               .file_fd = 2, .lost_status = 121, .server_status = 122 };
    struct errctx ec = { 0 };
    int status;
    pid_t pid;
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/run", dir);
    (void)snprintf(server, sizeof(server), "%s/server", dir);
    (void)snprintf(out, sizeof(out), "%s/out", dir);
    make(server, "#!/bin/sh\nexec sleep 20\n");
    make(path, "#!/bin/sh\n"
               "for w; do case $w in --root=*) test -S /proc/self/fd/${w#*=} && w=root ;;\n"
               "--root-share=*) test -S /proc/self/fd/${w##*=} && w=${w%=*} ;;\n"
               "--root-server=*) test -d /proc/${w#*=} && w=server ;; esac\n"
               "echo \"$w\"; done >\"${0%/*}/out\"\n");
    pid = fork();
    if (pid == 0)
        _exit(lab_emulate(&e, &ec) < 0 ? 1 : 2);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    f = fopen(out, "re");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "root\nserver\n--root-share=/tmp\nserver\n--root-file=/a file=2\n"
                              "--nodes=3\n--memory=12M\n--lost-status=121\n--server-status=122\n"
                              "--time-limit=1e9\n--env=NUMAVISOR_EMULATED=1\n--net\n--\na b\n");
    e.rig = "/there/is/no/rig";
    assert_int_equal(lab_emulate(&e, &ec), -ENOENT);
    remove_all(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_found_in_the_tree_or_where_it_is_installed),
        cmocka_unit_test(the_program_gets_words_and_connected_servers),
    };

    return cmocka_run_group_tests_name("lab/emulate", tests, NULL, NULL);
}
