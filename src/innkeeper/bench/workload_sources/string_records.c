/* SPDX-License-Identifier: Apache-2.0 */
/* In the manner of Dhrystone: records copied, strings compared and copied, small procedures called. */
#include <string.h>
#include "workload.h"

struct record {
    struct record *next;
    int kind, number;
    char text[31];
};

static int __attribute__((noinline)) pick(char one, char two)
{
    return one == two ? 1 : 0;
}

static int __attribute__((noinline)) compare(const char *one, const char *two)
{
    int at = 2;
    while (at <= 2 && pick(one[at], two[at + 1]))
        at++;
    return strcmp(one, two) > 0 ? at + 7 : at;
}

static void __attribute__((noinline)) exchange(struct record *record)
{
    struct record *next = record->next;
    *next = *record;
    next->number = record->number + 5;
    next->next = record;
    record->kind = next->kind ^ 1;
}

uint64_t string_records(unsigned repetitions)
{
    static struct record first, second;
    char one[31] = "DHRYSTONE PROGRAM, 1'ST STRING", two[31];
    uint64_t sum = 0;
    first.next = &second;
    first.number = 40;
    for (unsigned i = 0; i < repetitions; i++) {
        memcpy(two, "DHRYSTONE PROGRAM, 2'ND STRING", 31);
        two[20] = (char)('0' + i % 10);
        strcpy(first.text, one);
        int result = compare(one, two);
        exchange(&first);
        second.next = &second == &first ? NULL : &first;
        first.next = &second;
        first.number = (int)(i % 1000) * result / 7;
        sum += (uint64_t)(second.number + first.kind) + strlen(second.text);
    }
    return sum;
}
