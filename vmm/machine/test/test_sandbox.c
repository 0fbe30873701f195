/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filters, loaded for real in a child process each: what a thread kind needs goes through,
 * anything else ends the process with SIGSYS. Children leave by the bare system call: under a
 * sanitizer even _exit() looks for leaks first, with calls that no filter allows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory/page_table.h"
#include "memory/pager/uffd.h"
#include "vmm/machine/sandbox.h"

static void leave(int status)
{
    (void)syscall(SYS_exit_group, status);
}

/* Run @act in a child inside the sandbox of @kind; its wait status. */
static int in_sandbox(const struct sandbox_request *req, enum sandbox_kind kind, void (*act)(void))
{
    struct sandbox *s = NULL;
    struct errctx ec = { 0 };
    int status;
    pid_t pid;

    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* made in here, because a filter knows whose signals it allows */
        if (sandbox_new(req, &s, &ec) < 0 || sandbox_enter_process(s, NULL) < 0 ||
            sandbox_enter(s, kind, NULL) < 0)
            leave(99);
        act();
        leave(7);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_allowed(const struct sandbox_request *req, enum sandbox_kind kind,
                           void (*act)(void))
{
    const int status = in_sandbox(req, kind, act);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void assert_killed(const struct sandbox_request *req, enum sandbox_kind kind,
                          void (*act)(void))
{
    const int status = in_sandbox(req, kind, act);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void open_for_reading(void)
{
    (void)syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void open_for_writing(void)
{
    (void)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY, 0);
}

static void make_executable(void)
{
    (void)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_memory(void)
{
    (void)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void execute(void)
{
    (void)syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static void inet_socket(void)
{
    (void)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static void unix_socket(void)
{
    (void)syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static void new_ring(void)
{
    (void)syscall(SYS_io_uring_setup, 8, NULL);
}

static void new_thread(void)
{
    (void)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
}

static void unknown_ioctl(void)
{
    (void)syscall(SYS_ioctl, 0, 0x1234, 0);
}

static void signal_oneself(void)
{
    if (syscall(SYS_tgkill, getpid(), gettid(), 0) != 0)
        leave(1);
}

static void signal_another_process(void)
{
    (void)syscall(SYS_tgkill, 1, 1, 0);
}

static void signal_a_group(void)
{
    (void)syscall(SYS_kill, 0, 0);
}

static void own_another_process(void)
{
    (void)syscall(SYS_fcntl, 0, F_SETOWN, 1);
}

static void change_flags(void)
{
    if (syscall(SYS_fcntl, 1, F_GETFL, 0) < 0)
        leave(1);
}

static void unlock_a_disk(void)
{
    const struct flock unlock = { .l_type = F_UNLCK };

    (void)syscall(SYS_fcntl, 1, F_OFD_SETLK, &unlock);
}

static const struct sandbox_request plain = { 0 };

static void every_kind_may_use_memory(void **state)
{
    (void)state;
    for (int kind = 0; kind < SANDBOX_KINDS; kind++)
        assert_allowed(&plain, (enum sandbox_kind)kind, make_memory);
}

static void no_kind_may_make_code_or_run_programs(void **state)
{
    (void)state;
    for (int kind = 0; kind < SANDBOX_KINDS; kind++) {
        assert_killed(&plain, (enum sandbox_kind)kind, make_executable);
        assert_killed(&plain, (enum sandbox_kind)kind, execute);
        assert_killed(&plain, (enum sandbox_kind)kind, new_thread);
        assert_killed(&plain, (enum sandbox_kind)kind, new_ring);
        assert_killed(&plain, (enum sandbox_kind)kind, unknown_ioctl);
    }
}

static void signals_reach_nobody_else(void **state)
{
    const struct sandbox_request all = { .user_network = true, .vsock_socket = "/tmp/nv-sandbox" };

    (void)state;
    for (int kind = 0; kind < SANDBOX_KINDS; kind++) {
        assert_allowed(&all, (enum sandbox_kind)kind, signal_oneself);
        assert_killed(&all, (enum sandbox_kind)kind, signal_another_process);
        assert_killed(&all, (enum sandbox_kind)kind, signal_a_group);
        assert_killed(&all, (enum sandbox_kind)kind, own_another_process);
    }
    assert_allowed(&all, SANDBOX_IO, change_flags);
    assert_allowed(&plain, SANDBOX_MAIN, change_flags);
    assert_allowed(&plain, SANDBOX_MAIN, unlock_a_disk);
}

static void files_can_be_opened_for_the_resolver_only(void **state)
{
    const struct sandbox_request net = { .user_network = true };

    (void)state;
    assert_killed(&plain, SANDBOX_IO, open_for_reading);
    assert_killed(&plain, SANDBOX_MAIN, open_for_reading);
    assert_allowed(&net, SANDBOX_IO, open_for_reading);
    assert_killed(&net, SANDBOX_IO, open_for_writing);
    assert_killed(&net, SANDBOX_VCPU, open_for_reading);
}

static void sockets_follow_the_devices(void **state)
{
    const struct sandbox_request net = { .user_network = true };
    const struct sandbox_request vsock = { .vsock_socket = "/tmp/nv-sandbox" };
    const char *const peers[] = { "/tmp/nv-sandbox-peer" };
    const struct sandbox_request peer = { .peers = peers, .n_peers = 1 };

    (void)state;
    assert_killed(&plain, SANDBOX_IO, inet_socket);
    assert_killed(&plain, SANDBOX_IO, unix_socket);
    assert_allowed(&net, SANDBOX_IO, inet_socket);
    assert_killed(&net, SANDBOX_IO, unix_socket);
    assert_allowed(&vsock, SANDBOX_IO, unix_socket);
    assert_killed(&vsock, SANDBOX_IO, inet_socket);
    assert_killed(&net, SANDBOX_VCPU, inet_socket);
    assert_allowed(&peer, SANDBOX_IO, unix_socket);
    assert_killed(&peer, SANDBOX_IO, inet_socket);
    assert_killed(&peer, SANDBOX_VCPU, unix_socket);
}

static void move_own_pages(void)
{
    (void)syscall(SYS_mbind, 0, 0, 0, NULL, 0, 0);
    (void)syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0);
}

/* As numa_policy_drag() and who calls it do: refused, all would go page by page and nobody notice. */
static void drag_pages(void)
{
    unsigned char *page = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE,
                                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int mode;

    if (syscall(SYS_get_mempolicy, &mode, NULL, 0, page, 2 /* MPOL_F_ADDR */) != 0 ||
        syscall(SYS_mprotect, page, 4096, PROT_NONE) != 0 ||
        syscall(SYS_mbind, page, 4096, 0, NULL, 0, 0) != 0 ||
        syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE) != 0)
        abort();
    *page = 1;
    (void)syscall(SYS_ioctl, -1, UFFDIO_REGISTER, NULL);
    (void)syscall(SYS_ioctl, -1, UFFDIO_UNREGISTER, NULL);
    (void)syscall(SYS_ioctl, -1, UFFDIO_WAKE, NULL);
}

static void move_pages_of_another(void)
{
    (void)syscall(SYS_move_pages, 1, 0, NULL, NULL, NULL, 0);
}

static void set_own_cpus(void)
{
    unsigned long cpus = ~0ul;

    (void)syscall(SYS_sched_setaffinity, 0, sizeof(cpus), &cpus);
}

static void set_cpus_of_another(void)
{
    unsigned long cpus = ~0ul;

    (void)syscall(SYS_sched_setaffinity, 1, sizeof(cpus), &cpus);
}

static void threads_place_themselves_and_one_moves_memory(void **state)
{
    (void)state;
    assert_allowed(&plain, SANDBOX_MOVER, move_own_pages);
    assert_allowed(&plain, SANDBOX_MOVER, drag_pages);
    assert_killed(&plain, SANDBOX_MOVER, move_pages_of_another);
    assert_killed(&plain, SANDBOX_VCPU, move_own_pages);
    assert_killed(&plain, SANDBOX_IO, move_own_pages);
    assert_killed(&plain, SANDBOX_MAIN, move_own_pages);
    assert_allowed(&plain, SANDBOX_VCPU, set_own_cpus);
    assert_allowed(&plain, SANDBOX_IO, set_own_cpus);
    assert_killed(&plain, SANDBOX_MOVER, set_own_cpus);
    assert_killed(&plain, SANDBOX_VCPU, set_cpus_of_another);
    assert_killed(&plain, SANDBOX_IO, set_cpus_of_another);
}

static void look_at_pages_and_files(void)
{
    unsigned char there[1];
    int node;
    void *page = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)syscall(SYS_mincore, page, 4096, there);
    (void)syscall(SYS_move_pages, 0, 1, &page, NULL, &node, 0);
    (void)syscall(SYS_pread64, 0, there, 1, 0);
}

static void aim_memory(void)
{
    (void)syscall(SYS_mbind, NULL, 0, 0, NULL, 0, 0);
}

static void who_rebalances_looks_and_changes_nothing(void **state)
{
    const struct sandbox_request net = { .user_network = true };

    (void)state;
    assert_allowed(&plain, SANDBOX_BALANCER, look_at_pages_and_files);
    assert_killed(&plain, SANDBOX_BALANCER, move_pages_of_another);
    assert_killed(&plain, SANDBOX_BALANCER, aim_memory);
    assert_killed(&plain, SANDBOX_BALANCER, set_own_cpus);
    assert_killed(&net, SANDBOX_BALANCER, open_for_reading);
    assert_killed(&net, SANDBOX_BALANCER, inet_socket);
}

static void look_at_clocks_and_wait(void)
{
    struct timespec t = { 0 };
    int word = 0;

    (void)syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &t);
    (void)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &t);
}

static void ask_own_nice(void)
{
    (void)syscall(SYS_getpriority, 0, 0);
}

static void ask_nice_of_another(void)
{
    (void)syscall(SYS_getpriority, 0, 1);
}

static void be_nice(void)
{
    (void)syscall(SYS_setpriority, 0, 0, 19);
}

static void wait_and_let_go(void)
{
    (void)syscall(SYS_ppoll, NULL, 0, &(struct timespec){ 0 }, NULL, 0);
    (void)syscall(SYS_ioctl, -1, UFFDIO_CONTINUE, NULL);
}

static void fill_pages(void)
{
    (void)syscall(SYS_ioctl, -1, UFFDIO_COPY, NULL);
}

static void who_makes_memory_slow_changes_none(void **state)
{
    (void)state;
    assert_allowed(&plain, SANDBOX_SLOW, wait_and_let_go);
    assert_killed(&plain, SANDBOX_SLOW, fill_pages);
    assert_killed(&plain, SANDBOX_SLOW, set_own_cpus);
    assert_killed(&plain, SANDBOX_SLOW, ask_own_nice);
    assert_killed(&plain, SANDBOX_THROTTLE, wait_and_let_go);
}

static void who_limits_has_clocks_and_kicks_only(void **state)
{
    (void)state;
    assert_allowed(&plain, SANDBOX_THROTTLE, look_at_clocks_and_wait);
    assert_killed(&plain, SANDBOX_THROTTLE, set_own_cpus);
    assert_killed(&plain, SANDBOX_THROTTLE, look_at_pages_and_files);
    assert_killed(&plain, SANDBOX_THROTTLE, ask_own_nice);
    assert_allowed(&plain, SANDBOX_MAIN, ask_own_nice);
    assert_killed(&plain, SANDBOX_MAIN, ask_nice_of_another);
    assert_killed(&plain, SANDBOX_MAIN, be_nice);
    assert_killed(&plain, SANDBOX_VCPU, ask_own_nice);
}

static void punch_guest_memory(void)
{
    (void)syscall(SYS_fallocate, -1, 3, 0, 4096);
}

static void continue_a_page(void)
{
    (void)syscall(SYS_ioctl, -1, UFFDIO_CONTINUE, NULL);
}

static void register_pages(void)
{
    (void)syscall(SYS_ioctl, -1, UFFDIO_REGISTER, NULL);
    (void)syscall(SYS_ioctl, -1, UFFDIO_UNREGISTER, NULL);
}

static void protect_pages(void)
{
    (void)syscall(SYS_ioctl, -1, UFFDIO_RWPROTECT, NULL);
}

static void ask_for_accesses(void)
{
    (void)syscall(SYS_ioctl, -1, PAGEMAP_SCAN, NULL);
}

static void enter_ring(void)
{
    (void)syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0);
}

static void threads_that_page_have_one_direction_each(void **state)
{
    (void)state;
    assert_allowed(&plain, SANDBOX_EVICT, punch_guest_memory);
    assert_allowed(&plain, SANDBOX_EVICT, register_pages);
    assert_allowed(&plain, SANDBOX_EVICT, protect_pages);
    assert_allowed(&plain, SANDBOX_EVICT, ask_for_accesses);
    assert_killed(&plain, SANDBOX_FAULT, protect_pages);
    assert_killed(&plain, SANDBOX_FAULT, ask_for_accesses);
    assert_killed(&plain, SANDBOX_VCPU, protect_pages);
    assert_killed(&plain, SANDBOX_SLOW, protect_pages);
    assert_allowed(&plain, SANDBOX_FAULT, continue_a_page);
    assert_killed(&plain, SANDBOX_FAULT, punch_guest_memory);
    assert_killed(&plain, SANDBOX_FAULT, register_pages);
    assert_killed(&plain, SANDBOX_EVICT, continue_a_page);
    assert_killed(&plain, SANDBOX_VCPU, continue_a_page);
    assert_killed(&plain, SANDBOX_IO, continue_a_page);
    assert_allowed(&plain, SANDBOX_FAULT, enter_ring); /* the swap file */
    assert_allowed(&plain, SANDBOX_EVICT, enter_ring);
    assert_killed(&plain, SANDBOX_FAULT, new_ring);
    assert_killed(&plain, SANDBOX_EVICT, new_ring);
    assert_killed(&plain, SANDBOX_FAULT, open_for_reading);
    assert_killed(&plain, SANDBOX_EVICT, open_for_reading);
    assert_allowed(&plain, SANDBOX_FAULT, set_own_cpus); /* they follow vCPUs that move */
    assert_allowed(&plain, SANDBOX_EVICT, set_own_cpus);
    assert_killed(&plain, SANDBOX_FAULT, set_cpus_of_another);
    assert_killed(&plain, SANDBOX_EVICT, set_cpus_of_another);
}

static void find_service(void)
{
    (void)syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET, 0);
    (void)syscall(SYS_connect, -1, NULL, 0);
    (void)syscall(SYS_getsockopt, -1, SOL_SOCKET, SO_PEERCRED, NULL, NULL);
    (void)syscall(SYS_recvmsg, -1, NULL, 0);
    (void)syscall(SYS_sendmsg, -1, NULL, 0);
    (void)syscall(SYS_fcntl, -1, F_GET_SEALS, 0);
}

static void listen_to_others(void)
{
    (void)syscall(SYS_listen, -1, 1);
}

static void only_who_evicts_in_a_domain_finds_the_service(void **state)
{
    static const struct sandbox_request domain = { .service_socket = "/nonexistent/socket" };

    (void)state;
    assert_allowed(&domain, SANDBOX_EVICT_DOMAIN, find_service);
    assert_allowed(&domain, SANDBOX_EVICT_DOMAIN, punch_guest_memory);
    assert_killed(&domain, SANDBOX_EVICT_DOMAIN, listen_to_others);
    assert_killed(&domain, SANDBOX_EVICT_DOMAIN, open_for_reading);
    assert_killed(&domain, SANDBOX_VCPU, find_service);
    assert_killed(&domain, SANDBOX_IO, find_service);
    assert_killed(&domain, SANDBOX_FAULT, find_service);
    assert_killed(&plain, SANDBOX_EVICT, find_service);
    assert_killed(&plain, SANDBOX_EVICT_DOMAIN, find_service);
}

static void give_memory_back(void)
{
    (void)syscall(SYS_fallocate, -1, 3, 0L, 4096L);
    (void)syscall(SYS_mincore, NULL, 4096, NULL);
}

static void read_a_file(void)
{
    (void)syscall(SYS_pread64, -1, NULL, 0, 0L);
}

static void one_kind_gives_memory_back_and_little_else(void **state)
{
    const struct sandbox_request net = { .user_network = true };

    (void)state;
    assert_allowed(&plain, SANDBOX_RECLAIM, give_memory_back);
    assert_allowed(&plain, SANDBOX_MAIN, give_memory_back);
    assert_killed(&plain, SANDBOX_VCPU, give_memory_back);
    assert_killed(&plain, SANDBOX_MOVER, give_memory_back);
    assert_killed(&plain, SANDBOX_IO, give_memory_back);
    assert_killed(&plain, SANDBOX_RECLAIM, read_a_file);
    assert_killed(&plain, SANDBOX_RECLAIM, move_own_pages);
    assert_killed(&net, SANDBOX_RECLAIM, inet_socket);
    assert_allowed(&plain, SANDBOX_RECLAIM, set_own_cpus);
}

static void exit_unless_powerless(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { 0 } };

    /* Between the two filters capget is still allowed. */
    if (syscall(SYS_capget, &header, data) != 0 || data[0].effective | data[1].effective |
                                                       data[0].permitted | data[1].permitted)
        leave(1);
}

static void capabilities_are_gone(void **state)
{
    struct sandbox *s = NULL;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(sandbox_new(&plain, &s, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (sandbox_enter_process(s, NULL) < 0)
            leave(99);
        exit_unless_powerless();
        leave(7);
    }
    sandbox_free(s);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_may_use_memory),
        cmocka_unit_test(no_kind_may_make_code_or_run_programs),
        cmocka_unit_test(signals_reach_nobody_else),
        cmocka_unit_test(files_can_be_opened_for_the_resolver_only),
        cmocka_unit_test(sockets_follow_the_devices),
        cmocka_unit_test(threads_place_themselves_and_one_moves_memory),
        cmocka_unit_test(who_rebalances_looks_and_changes_nothing),
        cmocka_unit_test(who_makes_memory_slow_changes_none),
        cmocka_unit_test(who_limits_has_clocks_and_kicks_only),
        cmocka_unit_test(threads_that_page_have_one_direction_each),
        cmocka_unit_test(only_who_evicts_in_a_domain_finds_the_service),
        cmocka_unit_test(one_kind_gives_memory_back_and_little_else),
        cmocka_unit_test(capabilities_are_gone),
    };

    return cmocka_run_group_tests_name("machine/sandbox", tests, NULL, NULL);
}
