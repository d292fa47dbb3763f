/* SPDX-License-Identifier: Apache-2.0 */
/* Integer work in the manner of CoreMark: a linked list searched and reversed, a small matrix, a state machine
 * over text, each feeding a CRC. */
#include "workload.h"

struct node {
    struct node *next;
    uint16_t key, data;
};

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    for (int i = 0; i < 32; i++) {
        uint16_t bit = (uint16_t)((value ^ crc) & 1);
        value >>= 1;
        crc >>= 1;
        if (bit)
            crc ^= 0xa001;
    }
    return crc;
}

static uint16_t list_work(struct node *nodes, int count, uint16_t crc)
{
    struct node *head = NULL;
    for (int i = 0; i < count; i++) {
        nodes[i].key = (uint16_t)((i * 7919) & 1023);
        nodes[i].data = (uint16_t)(i ^ crc);
        nodes[i].next = head;
        head = &nodes[i];
    }
    for (uint16_t wanted = 0; wanted < 64; wanted++) {
        struct node *at = head;
        while (at && at->key != wanted)
            at = at->next;
        if (at)
            crc = crc16(crc, at->data);
        struct node *reversed = NULL;
        for (at = head; at;) {
            struct node *next = at->next;
            at->next = reversed;
            reversed = at;
            at = next;
        }
        head = reversed;
    }
    return crc;
}

static uint16_t matrix_work(int16_t *a, int16_t *b, int size, uint16_t crc)
{
    for (int i = 0; i < size * size; i++) {
        a[i] = (int16_t)(i * 3 + crc);
        b[i] = (int16_t)(i * 5 - crc);
    }
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++) {
            int32_t sum = 0;
            for (int k = 0; k < size; k++) {
                int32_t product = a[row * size + k] * b[k * size + column];
                sum += ((product >> 2) & 15) * ((product >> 5) & 127);
            }
            crc = crc16(crc, (uint32_t)sum);
        }
    return crc;
}

static uint16_t state_work(const char *text, int length, uint16_t crc)
{
    enum { START, INTEGER, FRACTION, EXPONENT, INVALID } state = START;
    uint32_t transitions[5] = {0};
    for (int i = 0; i < length; i++) {
        char c = text[i];
        transitions[state]++;
        switch (state) {
        case START: state = c >= '0' && c <= '9' ? INTEGER : c == '.' ? FRACTION : c == ',' ? START : INVALID; break;
        case INTEGER: state = c == '.' ? FRACTION : c == ',' ? START : c == 'e' ? EXPONENT : c < '0' ? INVALID : INTEGER; break;
        case FRACTION: state = c == 'e' ? EXPONENT : c == ',' ? START : c < '0' ? INVALID : FRACTION; break;
        case EXPONENT: state = c == ',' ? START : c < '0' || c > '9' ? INVALID : EXPONENT; break;
        case INVALID: state = c == ',' ? START : INVALID; break;
        }
    }
    for (int i = 0; i < 5; i++)
        crc = crc16(crc, transitions[i]);
    return crc;
}

uint64_t integer_mix(unsigned repetitions)
{
    static struct node nodes[256];
    static int16_t a[40 * 40], b[40 * 40];
    static char text[4096];
    static const char alphabet[] = "0123456789.,e+-x";
    uint64_t seed = 12345;
    uint16_t crc = 0xffff;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = alphabet[next_random(&seed) & 15];
    for (unsigned i = 0; i < repetitions * 10; i++) {
        crc = list_work(nodes, 256, crc);
        crc = matrix_work(a, b, 40, crc);
        crc = state_work(text, sizeof text, crc);
    }
    return crc;
}
