/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum { ABI_SCOPES = 6 };

/* struct landlock_ruleset_attr as of version 6. Older kernels take it while what they do not know
 * is zero. */
struct ruleset_attr {
    uint64_t access_fs;
    uint64_t access_net; /* 0: TCP ports are not ours to limit, a user network is the guest's */
    uint64_t scoped;
};

#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)

int landlock_abi(void)
{
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi < 0 ? -errno : (int)abi;
}

uint64_t landlock_rights(int abi)
{
    static const struct {
        int abi;
        uint64_t rights;
    } since[] = {
        { 1, LANDLOCK_ACCESS_FS_REFER - 1 }, /* thirteen, from EXECUTE to MAKE_SYM */
        { 2, LANDLOCK_ACCESS_FS_REFER },
        { 3, LANDLOCK_ACCESS_FS_TRUNCATE },
        { 5, LANDLOCK_ACCESS_FS_IOCTL_DEV },
        { 9, LANDLOCK_ACCESS_FS_RESOLVE_UNIX },
    };
    uint64_t rights = 0;

    for (size_t i = 0; i < ARRAY_SIZE(since); i++)
        if (abi >= since[i].abi)
            rights |= since[i].rights;
    return rights;
}

int landlock_new(int *ret_ruleset, struct errctx *ec)
{
    const int abi = landlock_abi();
    const struct ruleset_attr attr = {
        .access_fs = landlock_rights(abi),
        .scoped = abi >= ABI_SCOPES ? SCOPE_ABSTRACT_UNIX_SOCKET : 0,
    };
    long fd;

    if (abi < 0) {
        *ret_ruleset = -1;
        return 0;
    }
    fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0); /* close-on-exec by itself */
    if (fd < 0)
        return errctx_set_os(ec, errno, "landlock_create_ruleset");
    *ret_ruleset = (int)fd;
    return 0;
}

int landlock_allow(int ruleset, const char *path, uint64_t rights, struct errctx *ec)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = rights };
    CLEANUP_CLOSE int fd = -1;

    if (ruleset < 0)
        return 0;
    rule.allowed_access &= landlock_rights(landlock_abi());
    if (rule.allowed_access == 0)
        return 0;
    fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errctx_set_os(ec, errno, "open %s", path);
    rule.parent_fd = fd;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return errctx_set_os(ec, errno, "landlock_add_rule for %s", path);
    return 0;
}

int landlock_enter(int ruleset, struct errctx *ec)
{
    if (ruleset >= 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return errctx_set_os(ec, errno, "landlock_restrict_self");
    return 0;
}

int landlock_enter_nothing(struct errctx *ec)
{
    CLEANUP_CLOSE int ruleset = -1;
    int r = landlock_new(&ruleset, ec);

    return r < 0 ? r : landlock_enter(ruleset, ec);
}
