/* SPDX-License-Identifier: Apache-2.0 */
/* held - take 16 MiB, write to each page and say which nodes they are on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGES = 4096, PAGE = 4096, MAX_NODES = 1024, PER_MIB = (1 << 20) / PAGE };

int main(void)
{
    static void *pages[PAGES];
    static int status[PAGES], count[MAX_NODES];
    const char *comma = "";
    char *memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("held");
        return 1;
    }
    (void)madvise(memory, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE); /* spread page by page */
    for (int i = 0; i < PAGES; i++)
        *(char *)(pages[i] = memory + (size_t)i * PAGE) = 1;
    /* Without nodes to move them to it tells where they are: move_pages(2). */
    if (syscall(SYS_move_pages, 0, (long)PAGES, pages, NULL, status, 0) != 0) {
        perror("held: move_pages");
        return 1;
    }
    for (int i = 0; i < PAGES; i++)
        if (status[i] >= 0 && status[i] < MAX_NODES)
            count[status[i]]++;
    for (int n = 0; n < MAX_NODES; n++)
        if (count[n] >= PER_MIB / 2) {
            (void)printf("%s%d MiB on node %d", comma, (count[n] + PER_MIB / 2) / PER_MIB, n);
            comma = ", ";
        }
    (void)puts("");
    return 0;
}
