/* SPDX-License-Identifier: Apache-2.0 */
/* Where threads run: the part that can be seen without two CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/place.h"

static void a_weight_has_the_nearest_nice_value(void **state)
{
    (void)state;
    assert_int_equal(place_nice_of_weight(100), 0);
    assert_int_equal(place_nice_of_weight(105), 0);
    assert_int_equal(place_nice_of_weight(125), -1);
    assert_int_equal(place_nice_of_weight(80), 1);
    assert_int_equal(place_nice_of_weight(50), 3);
    assert_int_equal(place_nice_of_weight(200), -3);
    assert_int_equal(place_nice_of_weight(1), 19);
    assert_int_equal(place_nice_of_weight(10000), -20);
    for (unsigned w = 2; w <= 10000; w++)
        assert_true(place_nice_of_weight(w) <= place_nice_of_weight(w - 1));
}

static void a_nice_value_weighs_as_the_scheduler_says(void **state)
{
    (void)state;
    for (int nice = -20; nice < 19; nice++) {
        const double w = place_weight_of_nice(nice);

        assert_true(w > place_weight_of_nice(nice + 1) * 1.24);
        assert_true(w < place_weight_of_nice(nice + 1) * 1.26);
        if (w * 100 >= 10 && w * 100 <= 10000)
            assert_int_equal(place_nice_of_weight((unsigned)(w * 100 + 0.5)), nice);
    }
    assert_true(place_weight_of_nice(0) == 1);
}

static void *sleep_until_told(void *arg)
{
    (void)sem_wait(arg);
    return NULL;
}

/* A child with three threads, which is told by its end of a pipe to go. */
static pid_t start_child(int *ret_leash)
{
    int leash[2], ready[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(leash), 0);
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pthread_t thread;
        sem_t never;

        (void)close(leash[1]);
        (void)sem_init(&never, 0, 0);
        for (int i = 0; i < 2; i++)
            if (pthread_create(&thread, NULL, sleep_until_told, &never) != 0)
                _exit(1);
        (void)!write(ready[1], &byte, 1);
        (void)!read(leash[0], &byte, 1);
        _exit(0);
    }
    (void)close(leash[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    *ret_leash = leash[1];
    return pid;
}

/* Threads of process @pid that have another nice value; a sanitizer may have one more of its own. */
static int threads_without_nice(pid_t pid, int nice, int *ret_all)
{
    char path[64];
    DIR *dir;
    const struct dirent *entry;
    int n = 0;

    *ret_all = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        const pid_t tid = (pid_t)atoi(entry->d_name);

        n += tid > 0 && getpriority(PRIO_PROCESS, (id_t)tid) != nice;
        *ret_all += tid > 0;
    }
    (void)closedir(dir);
    return n;
}

static void all_threads_of_a_process_get_a_nice_value(void **state)
{
    int leash, nice = 0, own = 0, all;
    const pid_t pid = start_child(&leash);

    (void)state;
    assert_int_equal(place_get_nice(0, &own), 0);
    assert_int_equal(place_get_nice(pid, &nice), 0);
    assert_int_equal(nice, own);
    if (own < 19) { /* else there is no more to be had */
        assert_int_equal(place_set_nice(pid, own + 1), 0);
        assert_int_equal(threads_without_nice(pid, own + 1, &all), 0);
        assert_true(all >= 3);
        assert_int_equal(place_get_nice(pid, &nice), 0);
        assert_int_equal(nice, own + 1);
        assert_int_equal(threads_without_nice(getpid(), own, &all), 0);
    }
    (void)close(leash);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(place_set_nice(pid, own), -ESRCH);
    assert_int_equal(place_get_nice(pid, &nice), -ESRCH);
}

static void a_thread_goes_where_it_may(void **state)
{
    struct idset before, one = { 0 }, after;

    (void)state;
    assert_int_equal(place_get_thread(&before), 0);
    assert_false(idset_empty(&before));
    idset_add(&one, idset_next(&before, 0));
    assert_int_equal(place_pin_thread(&one, NULL), 0);
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &one));
    assert_int_equal(place_pin_thread(&before, NULL), 0);
}

static void a_group_goes_where_it_is_sent(void **state)
{
    struct idset before, one = { 0 }, after;
    struct place_group g;
    unsigned seen = 0;

    (void)state;
    place_group_init(&g);
    assert_int_equal(place_get_thread(&before), 0);
    place_group_follow(&g, &seen); /* nobody said anything */
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &before));
    idset_add(&one, idset_next(&before, 0));
    place_group_send(&g, &one);
    place_group_follow(&g, &seen);
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &one));
    assert_int_equal(place_pin_thread(&before, NULL), 0);
    place_group_follow(&g, &seen); /* nothing new */
    assert_int_equal(place_get_thread(&after), 0);
    assert_true(idset_equal(&after, &before));
    place_group_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weight_has_the_nearest_nice_value),
        cmocka_unit_test(a_nice_value_weighs_as_the_scheduler_says),
        cmocka_unit_test(all_threads_of_a_process_get_a_nice_value),
        cmocka_unit_test(a_thread_goes_where_it_may),
        cmocka_unit_test(a_group_goes_where_it_is_sent),
    };
    return cmocka_run_group_tests_name("base/place", tests, NULL, NULL);
}
