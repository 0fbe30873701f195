/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold MIB - fill memory of its own with words that no other page has, say "### held", wait for a
 * line, look at all of it, and say "### same". Status 1 when a word is another one.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { STATUS_USAGE = 2 };

static uint64_t next(uint64_t word)
{
    return word * 6364136223846793005ull + 1442695040888963407ull;
}

int main(int argc, char **argv)
{
    const size_t mib = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    const size_t n = mib << 17;
    uint64_t *words, word = 1;
    char line[16];

    if (mib == 0 || mib > 1024)
        return STATUS_USAGE;
    words = mmap(NULL, n * sizeof(*words), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
    if (words == MAP_FAILED)
        return EXIT_FAILURE;
    for (size_t i = 0; i < n; i++)
        words[i] = word = next(word);
    (void)puts("### held");
    (void)fflush(stdout);
    if (fgets(line, sizeof(line), stdin) == NULL)
        return EXIT_FAILURE;
    word = 1;
    for (size_t i = 0; i < n; i++) {
        word = next(word);
        if (words[i] != word)
            return EXIT_FAILURE;
    }
    (void)puts("### same");
    return EXIT_SUCCESS;
}
