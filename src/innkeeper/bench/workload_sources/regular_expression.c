/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions, compiled to a small program that a backtracking machine runs over generated text. */
#include <string.h>
#include "workload.h"

#define TEXT_BYTES (1 << 15)
#define CODE_MAX 96

enum operation { CHARACTER, ANY, CLASS, SPLIT, JUMP, FOUND };

/* `first` and `second` of SPLIT and JUMP count from the instruction itself; `first` is tried first. */
struct instruction {
    uint8_t operation, value;
    int16_t first, second;
};

struct regex {
    struct instruction code[CODE_MAX];
    uint8_t classes[8][256];
    const char *at;
    int length, class_count;
};

static int emit(struct regex *regex, enum operation operation, int value)
{
    if (regex->length == CODE_MAX)
        fail("the expression is too long");
    regex->code[regex->length] = (struct instruction){(uint8_t)operation, (uint8_t)value, 1, 1};
    return regex->length++;
}

static void insert_split(struct regex *regex, int place)
{
    emit(regex, SPLIT, 0);
    memmove(&regex->code[place + 1], &regex->code[place],
            (size_t)(regex->length - place - 1) * sizeof regex->code[0]);
    regex->code[place] = (struct instruction){SPLIT, 0, 1, 1};
}

static void character_class(struct regex *regex)
{
    uint8_t *members = regex->classes[regex->class_count];
    int wanted = 1;
    if (*regex->at == '^') {
        wanted = 0;
        regex->at++;
        memset(members, 1, 256);
        members[0] = members['\n'] = 0;
    }
    for (; *regex->at != ']'; regex->at++) {
        int from = regex->at[0], to = from;
        if (regex->at[1] == '-' && regex->at[2] != ']') {
            to = regex->at[2];
            regex->at += 2;
        }
        for (int member = from; member <= to; member++)
            members[member] = (uint8_t)wanted;
    }
    regex->at++;
    emit(regex, CLASS, regex->class_count++);
}

static void alternatives(struct regex *regex);

static void atom(struct regex *regex)
{
    char c = *regex->at++;
    if (c == '(') {
        alternatives(regex);
        regex->at++;
    } else if (c == '[') {
        character_class(regex);
    } else if (c == '.') {
        emit(regex, ANY, 0);
    } else {
        emit(regex, CHARACTER, c == '\\' ? *regex->at++ : c);
    }
}

static void repeated_atom(struct regex *regex)
{
    int start = regex->length;
    atom(regex);
    char c = *regex->at;
    if (c == '+') {
        int split = emit(regex, SPLIT, 0);
        regex->code[split].first = (int16_t)(start - split);
    } else if (c == '*' || c == '?') {
        insert_split(regex, start);
        if (c == '*') {
            int jump = emit(regex, JUMP, 0);
            regex->code[jump].first = (int16_t)(start - jump);
        }
        regex->code[start].second = (int16_t)(regex->length - start);
    } else {
        return;
    }
    regex->at++;
}

static void alternatives(struct regex *regex)
{
    int start = regex->length;
    while (*regex->at && *regex->at != '|' && *regex->at != ')')
        repeated_atom(regex);
    if (*regex->at != '|')
        return;
    regex->at++;
    insert_split(regex, start);
    int jump = emit(regex, JUMP, 0);
    regex->code[start].second = (int16_t)(regex->length - start);
    alternatives(regex);
    regex->code[jump].first = (int16_t)(regex->length - jump);
}

/* The end of the match that begins at `text`, or NULL. */
static const char *match(const struct regex *regex, const struct instruction *at, const char *text)
{
    for (;; at++, text++) {
        while (at->operation >= SPLIT) {
            if (at->operation == FOUND)
                return text;
            if (at->operation == SPLIT) {
                const char *end = match(regex, at + at->first, text);
                if (end)
                    return end;
                at += at->second;
            } else {
                at += at->first;
            }
        }
        uint8_t c = (uint8_t)*text;
        if (at->operation == CHARACTER ? c != at->value
            : at->operation == ANY     ? c == 0 || c == '\n'
                                       : !regex->classes[at->value][c])
            return NULL;
    }
}

static void write_text(char *text, uint64_t *seed)
{
    static const char *pieces[16] = {"GET /images/", "debian", ".html ", "10.0.2.15:", "8080 ", "error: ", "0x80200000 ",
                                     "user@example.org ", "trap ", "\n", "2026-10-14 ", "aaab ", "=1.5e-3 ", "hart", "7 ", "\n"};
    size_t size = 0;
    while (size + 32 < TEXT_BYTES) {
        const char *piece = pieces[next_random(seed) >> 20 & 15];
        size_t length = strlen(piece);
        memcpy(text + size, piece, length);
        size += length;
    }
    text[size] = 0;
}

uint64_t regular_expression(unsigned repetitions)
{
    static const char *patterns[] = {
        "[a-z]+@[a-z]+(\\.[a-z]+)+", "([0-9]+\\.)+[0-9]+:[0-9]+", "(error|trap|hart)+ ?[^ ]*", "0x[0-9a-f]*0+ ",
        "[0-9]+-[0-9]+-[0-9]+.*aaab", "(a|aa)+b", "[-+]?[0-9]+(\\.[0-9]+)?(e[-+]?[0-9]+)?",
    };
    static char text[TEXT_BYTES];
    static struct regex regex;
    uint64_t seed = 2026, sum = 0;
    for (unsigned r = 0; r < repetitions; r++) {
        write_text(text, &seed);
        for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
            uint64_t found = 0, bytes = 0;
            memset(&regex, 0, sizeof regex);
            regex.at = patterns[i];
            alternatives(&regex);
            emit(&regex, FOUND, 0);
            for (const char *at = text; *at;) {
                const char *end = match(&regex, regex.code, at);
                found += end != NULL;
                bytes += end ? (uint64_t)(end - at) : 0;
                at = end && end > at ? end : at + 1;
            }
            sum = mix(mix(sum, found), bytes);
        }
    }
    return sum;
}
