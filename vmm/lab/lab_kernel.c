/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lab/lab_kernel.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"

enum {
    LIST_MAX = 16 << 20, /* modules.dep of a full kernel has half a megabyte */
    /* Linux' boot protocol (Documentation/arch/x86/boot.rst): kernel_version, from 0x200 on. */
    MAGIC_AT = 0x202,
    VERSION_AT = 0x20e,
    VERSION_BASE = 0x200,
};

static const char boot_magic[4] = { 'H', 'd', 'r', 'S' };

static const char image_prefix[] = "vmlinuz-";

/* --- which kernel ----------------------------------------------------------------------------- */

static int set_modules(const char *root, struct lab_kernel *k, struct errctx *ec)
{
    char list[PATH_MAX + 32];

    (void)snprintf(k->modules, sizeof(k->modules), "%s/lib/modules/%s", root, k->release);
    (void)snprintf(list, sizeof(list), "%s/modules.dep", k->modules);
    if (access(list, R_OK) == 0)
        return 0;
    return errctx_set(ec, ENOENT, "kernel %s has no modules in %s", k->release, k->modules);
}

static int newest(const char *root, bool with_modules, struct lab_kernel *ret, struct errctx *ec)
{
    struct lab_kernel best = { .release = "" };
    char boot[PATH_MAX];
    struct dirent *e;
    DIR *d;

    (void)snprintf(boot, sizeof(boot), "%s/boot", root);
    d = opendir(boot);
    while (d != NULL && (e = readdir(d)) != NULL) {
        const char *release = e->d_name + sizeof(image_prefix) - 1;
        struct lab_kernel k;

        if (strncmp(e->d_name, image_prefix, sizeof(image_prefix) - 1) != 0 ||
            strlen(release) >= sizeof(k.release))
            continue;
        (void)snprintf(k.release, sizeof(k.release), "%s", release);
        (void)snprintf(k.image, sizeof(k.image), "%.3000s/%s", boot, e->d_name);
        if (access(k.image, R_OK) == 0 && (!with_modules || set_modules(root, &k, NULL) == 0) &&
            (best.release[0] == '\0' || strverscmp(k.release, best.release) > 0))
            best = k;
    }
    if (d != NULL)
        (void)closedir(d);
    if (best.release[0] == '\0')
        return errctx_set(ec, ENOENT,
                          "no kernel that can be read is installed in %s%s; say --kernel, or "
                          "install one (Debian: a package linux-image-cloud-...)",
                          boot, with_modules ? " with its modules" : "");
    *ret = best;
    return 0;
}

/* What a bzImage says itself that it is called, "" where it does not. */
static void ask_header(int fd, struct lab_kernel *k)
{
    char magic[sizeof(boot_magic)];
    uint16_t at = 0;
    ssize_t n = 0;

    if (pread(fd, magic, sizeof(magic), MAGIC_AT) == (ssize_t)sizeof(magic) &&
        memcmp(magic, boot_magic, sizeof(magic)) == 0 &&
        pread(fd, &at, sizeof(at), VERSION_AT) == (ssize_t)sizeof(at) && at != 0)
        n = pread(fd, k->release, sizeof(k->release) - 1, VERSION_BASE + at);
    k->release[n > 0 ? n : 0] = '\0';
}

/* What it would say first when it boots, where that is not packed, as in an Image. */
static void ask_banner(int fd, struct lab_kernel *k)
{
    static const char banner[] = "Linux version ";
    const size_t len = sizeof(banner) - 1;
    struct stat st;
    const char *text, *at = NULL;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return;
    text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED)
        return;
    for (const char *from = text, *end = text + st.st_size;
         at == NULL && (from = memmem(from, (size_t)(end - from), banner, len)) != NULL; from += len)
        if (end - from > (ptrdiff_t)(len + sizeof(k->release)) &&
            isdigit((unsigned char)from[len]))
            at = from + len;
    if (at != NULL) {
        memcpy(k->release, at, sizeof(k->release) - 1);
        k->release[sizeof(k->release) - 1] = '\0';
    }
    (void)munmap((void *)(uintptr_t)text, (size_t)st.st_size);
}

/* Images of other kinds do not say, but their name does where it is the usual one. */
static void ask_name(struct lab_kernel *k)
{
    const char *slash = strrchr(k->image, '/');
    const char *name = slash != NULL ? slash + 1 : k->image;

    if (strncmp(name, image_prefix, sizeof(image_prefix) - 1) == 0 &&
        strlen(name) - sizeof(image_prefix) + 1 < sizeof(k->release))
        (void)snprintf(k->release, sizeof(k->release), "%s", name + sizeof(image_prefix) - 1);
}

static int ask_image(struct lab_kernel *k, struct errctx *ec)
{
    CLEANUP_CLOSE int fd = open(k->image, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errctx_set_os(ec, errno, "%s", k->image);
    ask_header(fd, k);
    if (k->release[0] == '\0')
        ask_banner(fd, k);
    if (k->release[0] == '\0')
        ask_name(k);
    k->release[strcspn(k->release, " ")] = '\0';
    for (const char *c = k->release; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("._+~-", *c) == NULL)
            k->release[0] = '\0';
    if (k->release[0] == '\0' || k->release[0] == '.')
        return errctx_set(ec, EINVAL, "%s is no kernel that tells its release, nor is it named "
                          "vmlinuz-RELEASE", k->image);
    return 0;
}

static int can_read(const struct lab_kernel *k, struct errctx *ec)
{
    return access(k->image, R_OK) == 0 ? 0 : errctx_set_os(ec, errno, "%s", k->image);
}

int lab_kernel_find(const char *root, const char *wanted, bool with_modules,
                    struct lab_kernel *ret_kernel, struct errctx *ec)
{
    struct lab_kernel k = { .release = "" };
    int r = 0;

    if (wanted == NULL)
        return newest(root, with_modules, ret_kernel, ec);
    if (strlen(wanted) >= sizeof(k.image) - 64)
        return errctx_set(ec, EINVAL, "--kernel: the path is too long");
    if (strchr(wanted, '/') != NULL || access(wanted, F_OK) == 0) {
        (void)snprintf(k.image, sizeof(k.image), "%s", wanted);
        r = with_modules ? ask_image(&k, ec) : can_read(&k, ec);
    } else if (strlen(wanted) >= sizeof(k.release)) {
        r = errctx_set(ec, EINVAL, "--kernel: \"%.80s\" is no release of a kernel", wanted);
    } else {
        (void)snprintf(k.release, sizeof(k.release), "%s", wanted);
        (void)snprintf(k.image, sizeof(k.image), "%s/boot/%s%s", root, image_prefix, wanted);
        r = can_read(&k, ec);
    }
    if (r == 0 && with_modules)
        r = set_modules(root, &k, ec);
    if (r == 0)
        *ret_kernel = k;
    return r;
}

/* --- which modules ---------------------------------------------------------------------------- */

/* Is the file at @path, up to a colon, a blank or the line's end, module @name? Dashes and
 * underscores are the same. */
static bool is_module(const char *path, size_t len, const char *name)
{
    const char *base = path, *slash;

    while ((slash = memchr(base, '/', len - (size_t)(base - path))) != NULL)
        base = slash + 1;
    for (; *name != '\0'; base++, name++)
        if (base >= path + len || (*base == '-' ? '_' : *base) != *name)
            return false;
    return strncmp(base, ".ko", 3) == 0;
}

/* The line that begins with @name's file, or NULL. */
static const char *find_line(const char *text, const char *name)
{
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n')
        if (is_module(line, strcspn(line, ":\n"), name))
            return line;
    return NULL;
}

static int add(const struct lab_kernel *k, const char *path, size_t len, struct lab_modules *m,
               struct errctx *ec)
{
    char whole[2 * PATH_MAX];

    (void)snprintf(whole, sizeof(whole), "%s/%.*s", k->modules, (int)MIN(len, PATH_MAX - 1), path);
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->paths[i], whole) == 0)
            return 0;
    if (m->n == LAB_MODULES_MAX)
        return errctx_set(ec, E2BIG, "kernel %s needs more than %d modules", k->release,
                          LAB_MODULES_MAX);
    m->paths[m->n] = strdup(whole);
    if (m->paths[m->n] == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the kernel's modules");
    m->n++;
    return 0;
}

/* "file: needs needs", the nearest first: from the line's end to its beginning. */
static int add_line(const struct lab_kernel *k, const char *line, struct lab_modules *m,
                    struct errctx *ec)
{
    const size_t len = strcspn(line, "\n");
    size_t end = len;
    int r = 0;

    while (r == 0 && end > 0) {
        size_t start = end;

        while (start > 0 && line[start - 1] != ' ')
            start--;
        if (end > start)
            r = add(k, line + start, end - start - (line[end - 1] == ':'), m, ec);
        end = start > 0 ? start - 1 : 0;
    }
    return r;
}

static int read_list(const struct lab_kernel *k, const char *name, char **ret_text,
                     struct errctx *ec)
{
    char path[PATH_MAX + 32];
    size_t len;
    int r;

    (void)snprintf(path, sizeof(path), "%s/%s", k->modules, name);
    r = read_file(path, LIST_MAX, ret_text, &len, ec);
    return r < 0 ? errctx_wrap(ec, r, "%s", path) : 0;
}

int lab_modules_list(const struct lab_kernel *kernel, const char *const *names,
                     struct lab_modules *ret_modules, struct errctx *ec)
{
    CLEANUP_FREE char *needs = NULL, *builtin = NULL;
    struct lab_modules m = { .n = 0 };
    int r = read_list(kernel, "modules.dep", &needs, ec);

    if (r == 0)
        r = read_list(kernel, "modules.builtin", &builtin, ec);
    for (size_t i = 0; r == 0 && names[i] != NULL; i++) {
        const char *name = names[i] + (names[i][0] == '?');
        const char *line = find_line(needs, name);

        if (line != NULL)
            r = add_line(kernel, line, &m, ec);
        else if (names[i][0] != '?' && find_line(builtin, name) == NULL)
            r = errctx_set(ec, ENOENT, "kernel %s has no module %s, which the lab needs",
                           kernel->release, name);
    }
    if (r < 0)
        lab_modules_fini(&m);
    else
        *ret_modules = m;
    return r;
}

void lab_modules_fini(struct lab_modules *modules)
{
    for (size_t i = 0; i < modules->n; i++)
        free(modules->paths[i]);
    modules->n = 0;
}
