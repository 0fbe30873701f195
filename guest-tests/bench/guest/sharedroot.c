/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init of QEMU's guests in the lab's benchmark: the steps that a command on a shared root needs, and
 * no more. Loads /modules in order, joins the file system with the tag "root" with a layer in memory,
 * moves there and becomes the program that the kernel's command line names as "run=PATH".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1); /* the kernel gives up, which ends the machine */
    }
}

static void load_modules(void)
{
    char path[32];

    for (int i = 0;; i++) {
        int fd;

        (void)snprintf(path, sizeof(path), "/modules/%03d.ko", i);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        must((int)syscall(SYS_finit_module, fd, "", 0), path);
        (void)close(fd);
    }
}

int main(void)
{
    static const char *const folders[] = { "/lower", "/layer", "/root" };
    char *program = getenv("run"); /* the kernel makes variables of what it does not know */
    char *args[] = { program, NULL };

    load_modules();
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        (void)mkdir(folders[i], 0755);
    must(mount("root", "/lower", "virtiofs", MS_RDONLY, NULL), "mount the shared root");
    must(mount("layer", "/layer", "tmpfs", 0, "size=100%,mode=0755"), "mount the layer");
    must(mkdir("/layer/up", 0755), "/layer/up");
    must(mkdir("/layer/work", 0755), "/layer/work");
    must(mount("lab", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/layer/up,workdir=/layer/work"),
         "mount the new root");
    must(chdir("/root"), "/root");
    must(mount(".", "/", NULL, MS_MOVE, NULL), "move the new root");
    must(chroot("."), "chroot");
    must(mount("proc", "/proc", "proc", 0, NULL), "/proc");
    must(mount("sysfs", "/sys", "sysfs", 0, NULL), "/sys");
    must(mount("dev", "/dev", "devtmpfs", 0, NULL), "/dev");
    must(program == NULL ? -1 : execv(program, args), "run=");
    return 1;
}
