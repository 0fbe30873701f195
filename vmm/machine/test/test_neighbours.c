/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that see each other through files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/machine/control_dir.h"
#include "vmm/machine/neighbours.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/nv-neighbours-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    char file[96];

    (void)state;
    (void)snprintf(file, sizeof(file), "%s/.admission", dir);
    (void)unlink(file);
    return rmdir(dir);
}

static void publish(const char *name, uint32_t reserve)
{
    struct machine_use use = { .weight = 100, .reserve_milli = reserve };
    struct neighbours nb;

    (void)snprintf(use.name, sizeof(use.name), "%s", name);
    assert_int_equal(neighbours_read(dir, 0, &nb, NULL), 0);
    use.reserve_milli = 123456;
    assert_int_equal(neighbours_publish(&nb, &use, NULL), 0);
    /* A shorter text takes the place of a longer one. */
    use.reserve_milli = reserve;
    assert_int_equal(neighbours_publish(&nb, &use, NULL), 0);
    neighbours_fini(&nb);
}

static void put(int dir_fd, const char *file, const char *text)
{
    int fd = openat(dir_fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void only_running_machines_count(void **state)
{
    int dir_fd, web, silent;
    struct neighbours nb;

    (void)state;
    assert_int_equal(control_dir_open(dir, false, &dir_fd, NULL), 0);
    assert_int_equal(control_dir_lock(dir_fd, "web", &web, NULL), 0);
    assert_int_equal(control_dir_lock(dir_fd, "silent", &silent, NULL), 0);
    publish("web", 1500);
    publish("dead", 700); /* nobody holds its lock */
    put(dir_fd, "silent.use", "not what is written there");
    assert_int_equal(neighbours_read(dir, NEIGHBOURS_LOCK_MS, &nb, NULL), 0);
    assert_int_equal(nb.n, 1);
    assert_int_equal(nb.n_silent, 1);
    assert_string_equal(nb.uses[0].name, "web");
    assert_int_equal(nb.uses[0].reserve_milli, 1500);
    neighbours_fini(&nb);
    control_dir_remove(dir_fd, "web");
    control_dir_remove(dir_fd, "dead");
    control_dir_remove(dir_fd, "silent");
    close(web);
    close(silent);
    assert_int_equal(neighbours_read(dir, 0, &nb, NULL), 0);
    assert_int_equal(nb.n + nb.n_silent, 0);
    neighbours_fini(&nb);
    close(dir_fd);
}

static void what_the_dead_left_goes_when_a_machine_starts(void **state)
{
    int dir_fd, web;
    struct neighbours nb;

    (void)state;
    assert_int_equal(control_dir_open(dir, false, &dir_fd, NULL), 0);
    assert_int_equal(control_dir_lock(dir_fd, "web", &web, NULL), 0);
    put(dir_fd, "web.sock", "");
    put(dir_fd, "dead.lock", "");
    put(dir_fd, "dead.sock", "");
    put(dir_fd, "dead.use", "{}");
    assert_int_equal(neighbours_read(dir, 0, &nb, NULL), 0);
    neighbours_fini(&nb);
    assert_int_equal(faccessat(dir_fd, "dead.lock", F_OK, 0), 0); /* looking changes nothing */
    assert_int_equal(neighbours_read(dir, NEIGHBOURS_LOCK_MS, &nb, NULL), 0);
    neighbours_fini(&nb);
    assert_int_equal(faccessat(dir_fd, "dead.lock", F_OK, 0), -1);
    assert_int_equal(faccessat(dir_fd, "dead.sock", F_OK, 0), -1);
    assert_int_equal(faccessat(dir_fd, "dead.use", F_OK, 0), -1);
    assert_int_equal(faccessat(dir_fd, "web.lock", F_OK, 0), 0);
    assert_int_equal(faccessat(dir_fd, "web.sock", F_OK, 0), 0);
    control_dir_remove(dir_fd, "web");
    close(web);
    close(dir_fd);
}

static void nobody_is_no_error(void **state)
{
    struct neighbours nb;

    (void)state;
    assert_int_equal(neighbours_read("/tmp/nv-no-such-folder", 0, &nb, NULL), 0);
    assert_int_equal(nb.n, 0);
    neighbours_fini(&nb);
}

/* The second of two machines that start together sees the first: each reads, waits, and publishes
 * under the lock, so exactly one of them finds nobody. */
static void two_that_start_together_see_each_other(void **state)
{
    int go[2], status, found[2] = { 0 }, dir_fd;
    pid_t pid[2];

    (void)state;
    assert_int_equal(pipe(go), 0);
    for (int i = 0; i < 2; i++) {
        pid[i] = fork();
        assert_true(pid[i] >= 0);
        if (pid[i] == 0) {
            struct machine_use use = { .weight = 100 };
            struct neighbours nb;
            int lock, seen;
            char byte;

            (void)snprintf(use.name, sizeof(use.name), "twin%d", i);
            if (neighbours_read(dir, NEIGHBOURS_LOCK_MS, &nb, NULL) < 0)
                _exit(9);
            seen = (int)nb.n;
            usleep(20 * 1000); /* the other one has begun by now, or does later */
            if (control_dir_lock(nb.dir_fd, use.name, &lock, NULL) < 0 ||
                neighbours_publish(&nb, &use, NULL) < 0)
                _exit(9);
            neighbours_fini(&nb);
            close(go[1]);
            if (read(go[0], &byte, 1) < 0) /* holds its lock until both have looked */
                _exit(9);
            _exit(seen);
        }
    }
    close(go[0]);
    assert_int_equal(control_dir_open(dir, false, &dir_fd, NULL), 0);
    for (int tries = 0; tries < 1000; tries++) {
        if (faccessat(dir_fd, "twin0.use", F_OK, 0) == 0 &&
            faccessat(dir_fd, "twin1.use", F_OK, 0) == 0)
            break;
        usleep(10 * 1000);
    }
    close(go[1]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        found[WEXITSTATUS(status)]++;
    }
    assert_int_equal(found[0], 1);
    assert_int_equal(found[1], 1);
    control_dir_remove(dir_fd, "twin0");
    control_dir_remove(dir_fd, "twin1");
    close(dir_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_running_machines_count),
        cmocka_unit_test(what_the_dead_left_goes_when_a_machine_starts),
        cmocka_unit_test(nobody_is_no_error),
        cmocka_unit_test(two_that_start_together_see_each_other),
    };
    return cmocka_run_group_tests_name("machine/neighbours", tests, make_dir, remove_dir);
}
