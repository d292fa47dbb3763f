/* SPDX-License-Identifier: Apache-2.0 */
/* A byte code interpreter running the Collatz steps: a dispatch through a jump table at every operation. */
#include "workload.h"

enum { PUSH, LOAD, STORE, ADD, MUL, SHR, AND, JUMP_IF, JUMP, DUP, LESS, HALT };

static const int16_t program[] = {
    /* n = 1 */ PUSH, 1, STORE, 0,
    /* 4: x = n */ LOAD, 0, STORE, 1,
    /* 8: while x != 1 (as 1 < x) */ PUSH, 1, LOAD, 1, LESS, JUMP_IF, 17, JUMP, 46,
    /* 17: steps++ */ LOAD, 2, PUSH, 1, ADD, STORE, 2,
    /* 24: if x & 1 */ LOAD, 1, PUSH, 1, AND, JUMP_IF, 37,
    /* 31: x >>= 1 */ LOAD, 1, SHR, STORE, 1, -1,
    /* 37: x = 3x + 1 */ PUSH, 3, LOAD, 1, MUL, -2, STORE, 1, -1,
    /* 46: n++ until the limit */ PUSH, 1, LOAD, 0, ADD, DUP, STORE, 0, LOAD, 3, LESS, JUMP_IF, 4, HALT,
};

/* -1 jumps to the loop's head at 8, -2 adds one: short forms, so that the switch is not too regular. */
static uint64_t __attribute__((noinline)) interpret(uint64_t limit)
{
    uint64_t stack[16], variables[4] = {0, 0, 0, limit};
    uint64_t *top = stack;
    for (const int16_t *at = program;;) {
        switch (*at++) {
        case PUSH: *top++ = (uint64_t)*at++; break;
        case LOAD: *top++ = variables[*at++]; break;
        case STORE: variables[*at++] = *--top; break;
        case ADD: top--; top[-1] += *top; break;
        case MUL: top--; top[-1] *= *top; break;
        case SHR: top[-1] >>= 1; break;
        case AND: top--; top[-1] &= *top; break;
        case LESS: top--; top[-1] = top[-1] < *top; break;
        case DUP: *top = top[-1]; top++; break;
        case JUMP_IF: at = *--top ? program + *at : at + 1; break;
        case JUMP: at = program + *at; break;
        case -1: at = program + 8; break;
        case -2: top[-1]++; break;
        default: return variables[2];
        }
    }
}

uint64_t interpreter(unsigned repetitions)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < repetitions; i++)
        sum = mix(sum, interpret(6000 + i));
    return sum;
}
