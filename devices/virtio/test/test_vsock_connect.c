/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: how connections come about, and the file where the host connects. */
#include "devices/virtio/test/vsock_rig.h"

#include <fcntl.h>
#include <sys/stat.h>

static void host_connects_to_a_guest_port(void **state)
{
    struct fixture *f = open_vsock(16);
    int fd = host_connect(f, "CONNECT 1234\nearly");
    char line[64], want[64];
    struct stat st;

    (void)state;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(f->hdr.dst_port, 1234);
    (void)snprintf(want, sizeof(want), "OK %u\n", f->hdr.src_port);
    assert_false(readable(fd, 20)); /* no answer before the guest's */
    tell(f, VIRTIO_VSOCK_OP_RESPONSE, 1234, f->hdr.src_port, 0, 0);
    assert_true(readable(fd, WAIT_MS));
    assert_int_equal(recv(fd, line, sizeof(line), 0), strlen(want));
    assert_memory_equal(line, want, strlen(want));

    /* What followed the line was the guest's from the start. */
    expect(f, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(f->hdr.len, 5);
    assert_memory_equal(f->data, "early", 5);
    (void)close(fd);
    expect(f, VIRTIO_VSOCK_OP_SHUTDOWN);
    close_vsock(f);
}

static void refused_and_malformed_requests_end_the_stream(void **state)
{
    static const char *const bad[] = {
        "CONNECT \n",   "CONNECT x\n",    "CONNECT 4294967296\n",
        "CONNECT -1\n", "connect 1\n",    "CONNECT 1 \n",
        "\n",           "CONNECT 0x10\n", "CONNECT 00000000000000000000000000000001\n",
    };
    struct fixture *f = open_vsock(16);
    int fd = host_connect(f, "CONNECT 9\n");

    (void)state;
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    tell(f, VIRTIO_VSOCK_OP_RST, 9, f->hdr.src_port, 0, 0);
    expect_end(fd);
    (void)close(fd);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        fd = host_connect(f, bad[i]);
        expect_end(fd);
        (void)close(fd);
    }
    assert_false(receive_for(f, 20)); /* the guest heard of none */
    close_vsock(f);
}

static void stalled_handshakes_make_room_for_others(void **state)
{
    struct fixture *f = open_vsock(16);
    int fds[VSOCK_MAX_HELLOS + 8];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = host_connect(f, "CONN");
    expect_end(fds[0]);
    assert_int_equal(send(fds[ARRAY_SIZE(fds) - 1], "ECT 5\n", 6, 0), 6);
    expect(f, VIRTIO_VSOCK_OP_REQUEST);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        (void)close(fds[i]);
    close_vsock(f);
}

static void guest_port_without_listener_is_reset(void **state)
{
    struct fixture *f = open_vsock(16);

    (void)state;
    tell(f, VIRTIO_VSOCK_OP_REQUEST, 1000, 81, 0, 0);
    expect(f, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->hdr.src_port, 81);
    assert_int_equal(f->hdr.dst_port, 1000);
    close_vsock(f);
}

static void socket_file_is_replaced_only_when_nobody_serves_it(void **state)
{
    struct fixture *f = open_vsock(4);
    struct device_env env = { .mem = f->fm.mem, .name = "vsock1" };
    struct virtio_dev *dev = (void *)f;
    struct errctx ec = { 0 };
    struct sockaddr_un sun;
    char path[80], want[160];
    int fd;

    (void)state;
    assert_int_equal(evloop_new(&env.loop, NULL), 0); /* idle, as it is when devices are made */
    assert_int_equal(vsock_new(&env, CID, f->path, &dev, &ec), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "%s is in use by a running process", f->path);
    assert_string_equal(ec.msg, want);
    assert_ptr_equal(dev, f);
    assert_int_equal(access(f->path, F_OK), 0);

    (void)snprintf(path, sizeof(path), "%s/stale", f->dir);
    fill_addr(&sun, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    (void)close(fd);
    assert_int_equal(vsock_new(&env, CID, path, &dev, &ec), 0);
    dev->ops->destroy(dev);
    assert_int_equal(access(path, F_OK), -1);

    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    assert_int_equal(vsock_new(&env, CID, path, &dev, &ec), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "%s exists and is no socket", path);
    assert_string_equal(ec.msg, want);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(vsock_new(&env, 2, path, &dev, &ec), -EINVAL);
    assert_string_equal(ec.msg, "cid: 2 is not a guest's; use 3 to 4294967294");
    evloop_free(env.loop);
    close_vsock(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_connects_to_a_guest_port),
        cmocka_unit_test(refused_and_malformed_requests_end_the_stream),
        cmocka_unit_test(stalled_handshakes_make_room_for_others),
        cmocka_unit_test(guest_port_without_listener_is_reset),
        cmocka_unit_test(socket_file_is_replaced_only_when_nobody_serves_it),
    };

    return cmocka_run_group_tests_name("devices/virtio/vsock connect", tests, NULL, NULL);
}
