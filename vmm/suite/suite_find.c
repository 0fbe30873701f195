/* SPDX-License-Identifier: Apache-2.0 */
/* The tests of a folder. See suite.h and docs/suite.md. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/read_file.h"
#include "vmm/suite/suite.h"

enum { MANIFEST_MAX = 1 << 20, PATH_BYTES = 4096 };

struct place {
    const char *dir;
    const struct suite_kind *kind; /* of the images there */
};

/* What is in a folder and may matter, sorted. */
struct listing {
    char **file;
    bool *taken; /* by a manifest */
    size_t n;
};

static void free_listing(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->file[i]);
    free(l->file);
    free(l->taken);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int list(const char *dir, struct listing *ret, struct errctx *ec)
{
    struct listing l = { 0 };
    DIR *d = opendir(dir);
    const struct dirent *entry;
    int r = 0;

    if (d == NULL)
        return errctx_set_os(ec, errno, "%s", dir);
    while (r == 0 && (entry = readdir(d)) != NULL) {
        char **grown;

        if (!is_visible(entry))
            continue;
        grown = realloc(l.file, (l.n + 1) * sizeof(*grown));
        if (grown != NULL)
            l.file = grown;
        if (grown == NULL || (l.file[l.n] = strdup(entry->d_name)) == NULL)
            r = errctx_set(ec, ENOMEM, "no memory for the folder %s", dir);
        else
            l.n++;
    }
    (void)closedir(d);
    l.taken = calloc(l.n + 1, sizeof(*l.taken));
    if (r == 0 && l.taken == NULL)
        r = errctx_set(ec, ENOMEM, "no memory for the folder %s", dir);
    if (r < 0) {
        free_listing(&l);
        return r;
    }
    if (l.n > 0)
        qsort(l.file, l.n, sizeof(*l.file), by_name);
    *ret = l;
    return 0;
}

/* Length of a name without its last ending. */
static size_t stem(const char *file)
{
    const char *dot = strrchr(file, '.');

    return dot != NULL && dot != file ? (size_t)(dot - file) : strlen(file);
}

static bool is_manifest(const char *file)
{
    return strcmp(file + stem(file), ".json") == 0;
}

/* Folders, pipes and devices are left alone. */
static bool is_regular(const char *dir, const char *file)
{
    char path[PATH_BYTES];
    struct stat st;

    return snprintf(path, sizeof(path), "%s/%s", dir, file) < (int)sizeof(path) &&
           stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_image(const struct place *at, const char *file)
{
    char path[PATH_BYTES], head[SUITE_HEAD];
    CLEANUP_CLOSE int fd = -1;
    struct stat st;
    ssize_t n;

    if (snprintf(path, sizeof(path), "%s/%s", at->dir, file) >= (int)sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO waits for nobody */
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    n = read(fd, head, sizeof(head));
    return n > 0 && at->kind->is_image(head, (size_t)n);
}

/* The test receives its place at once, so that suite_fini() finds it. */
static int add(struct suite *s, const char *name, size_t len, struct suite_test **ret,
               struct errctx *ec)
{
    struct suite_test *grown = realloc(s->tests, (s->n + 1) * sizeof(*grown));
    struct suite_test *t;

    if (grown == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a test");
    s->tests = grown;
    t = &s->tests[s->n++];
    *t = (struct suite_test){ .name = strndup(name, len), .config = strdup("") };
    if (t->name == NULL || t->config == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a test");
    *ret = t;
    return 0;
}

static int no_image(const char *kind, const char *manifest, const char *kernel, struct errctx *ec)
{
    if (kernel != NULL)
        return errctx_set(ec, EINVAL, "%s: there is no %s %s", manifest, kind, kernel);
    return errctx_set(ec, EINVAL, "%s: there is no %s %.*s or %.*s.*", manifest, kind,
                      (int)stem(manifest), manifest, (int)stem(manifest), manifest);
}

/* The image of @manifest: @kernel, or the one of its stem. */
static int find_image(const struct place *at, struct listing *l, const char *manifest,
                      const char *kernel, struct suite_test *t, struct errctx *ec)
{
    size_t found = l->n;

    for (size_t i = 0; i < l->n; i++) {
        const bool fits = kernel != NULL ? strcmp(l->file[i], kernel) == 0
                                         : stem(l->file[i]) == stem(manifest) &&
                                               strncmp(l->file[i], manifest, stem(manifest)) == 0;

        if (!fits || is_manifest(l->file[i]) || !is_image(at, l->file[i]))
            continue;
        if (found < l->n)
            return errctx_set(ec, EINVAL, "%s: it may be about %s or %s: \"kernel\" must say",
                              manifest, l->file[found], l->file[i]);
        found = i;
    }
    if (found == l->n)
        return no_image(at->kind->name, manifest, kernel, ec);
    l->taken[found] = true;
    t->image = strdup(l->file[found]);
    return t->image != NULL ? 0 : errctx_set(ec, ENOMEM, "no memory for a test");
}

static int add_manifest(const struct place *at, struct listing *l, const char *file,
                        struct suite *s, struct errctx *ec)
{
    CLEANUP_FREE char *text = NULL, *kernel = NULL;
    char path[PATH_BYTES];
    struct suite_test *t;
    size_t len;
    int r = add(s, file, stem(file), &t, ec);

    if (r < 0)
        return r;
    if (snprintf(path, sizeof(path), "%s/%s", at->dir, file) >= (int)sizeof(path))
        return errctx_set(ec, ENAMETOOLONG, "%s: the path is too long", file);
    r = read_file(path, MANIFEST_MAX, &text, &len, ec);
    if (r == 0)
        r = suite_manifest_read(text, len, t, &kernel, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "%s", file);
    return find_image(at, l, file, kernel, t, ec);
}

static int add_image(const char *file, struct suite *s, struct errctx *ec)
{
    struct suite_test *t;
    int r = add(s, file, stem(file), &t, ec);

    if (r < 0)
        return r;
    t->image = strdup(file);
    return t->image != NULL ? 0 : errctx_set(ec, ENOMEM, "no memory for a test");
}

static int by_test_name(const void *a, const void *b)
{
    const struct suite_test *x = a, *y = b;
    const int names = strcmp(x->name, y->name);

    return names != 0 ? names : strcmp(x->image, y->image);
}

static int check_names(const struct suite *s, struct errctx *ec)
{
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->tests[i].name, s->tests[i - 1].name) == 0)
            return errctx_set(ec, EINVAL,
                              "%s and %s would both be called %s: a manifest must tell them apart",
                              s->tests[i - 1].image, s->tests[i].image, s->tests[i].name);
    return 0;
}

int suite_find(const char *dir, const struct suite_kind *kind, struct suite *ret_suite,
               struct errctx *ec)
{
    const struct place at = { dir, kind };
    struct suite s = { 0 };
    struct listing l = { 0 };
    int r = list(dir, &l, ec);

    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < l.n; i++)
        if (is_manifest(l.file[i]) && is_regular(dir, l.file[i]))
            r = add_manifest(&at, &l, l.file[i], &s, ec);
    for (size_t i = 0; r == 0 && i < l.n; i++)
        if (!l.taken[i] && !is_manifest(l.file[i]) && is_image(&at, l.file[i]))
            r = add_image(l.file[i], &s, ec);
    free_listing(&l);
    if (r == 0 && s.n > 0)
        qsort(s.tests, s.n, sizeof(*s.tests), by_test_name);
    if (r == 0)
        r = check_names(&s, ec);
    if (r < 0)
        suite_fini(&s);
    else
        *ret_suite = s;
    return r;
}

void suite_fini(struct suite *s)
{
    for (size_t i = 0; i < s->n; i++)
        suite_test_fini(&s->tests[i]);
    free(s->tests);
    *s = (struct suite){ 0 };
}
