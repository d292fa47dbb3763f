/* SPDX-License-Identifier: Apache-2.0 */
/* LZ compression with a hash table, and decompression, of generated text. */
#include <string.h>
#include "workload.h"

#define BYTES (1 << 20)
#define HASH_BITS 14

static uint8_t text[BYTES], packed[BYTES + BYTES / 8 + 64], unpacked[BYTES + 64];

static size_t compress_block(const uint8_t *in, size_t size, uint8_t *out)
{
    static uint32_t table[1 << HASH_BITS];
    uint8_t *start = out;
    size_t at = 0, literal = 0;
    memset(table, 0, sizeof table);
    while (at + 4 < size) {
        uint32_t word;
        memcpy(&word, in + at, 4);
        uint32_t hash = (word * 2654435761u) >> (32 - HASH_BITS);
        size_t candidate = table[hash];
        table[hash] = (uint32_t)at;
        if (candidate >= at || at - candidate > 65535 || memcmp(in + candidate, in + at, 4)) {
            at++;
            if (at - literal < 127)
                continue;
        }
        size_t count = at - literal;
        size_t length = 0;
        if (count < 127)
            while (length < 255 && at + length < size && in[candidate + length] == in[at + length])
                length++;
        *out++ = (uint8_t)count;
        memcpy(out, in + literal, count);
        out += count;
        *out++ = (uint8_t)length;
        if (length) {
            uint16_t distance = (uint16_t)(at - candidate);
            memcpy(out, &distance, 2);
            out += 2;
        }
        at += length;
        literal = at;
    }
    *out++ = (uint8_t)(size - literal);
    memcpy(out, in + literal, size - literal);
    out += size - literal;
    *out++ = 0;
    return (size_t)(out - start);
}

static size_t decompress_block(const uint8_t *in, size_t size, uint8_t *out)
{
    const uint8_t *end = in + size;
    uint8_t *start = out;
    while (in < end) {
        size_t count = *in++;
        memcpy(out, in, count);
        in += count;
        out += count;
        size_t length = *in++;
        if (length) {
            uint16_t distance;
            memcpy(&distance, in, 2);
            in += 2;
            for (size_t i = 0; i < length; i++, out++)
                *out = out[-distance];
        }
    }
    return (size_t)(out - start);
}

uint64_t compress(unsigned repetitions)
{
    static const char *words[16] = {"the ", "virtual ", "machine ", "page ", "table ", "of ", "a ", "hart ",
                                    "takes ", "trap ", "and ", "returns ", "to ", "guest ", "memory ", "fault "};
    uint64_t seed = 99, sum = 0;
    for (unsigned r = 0; r < repetitions; r++) {
        size_t size = 0;
        while (size + 16 < BYTES) {
            uint64_t number = next_random(&seed);
            const char *word = words[number & 15];
            size_t length = strlen(word);
            memcpy(text + size, word, length);
            size += length;
            if ((number >> 8 & 7) == 0)
                text[size++] = (uint8_t)(number >> 16);
        }
        size_t packed_size = compress_block(text, size, packed);
        if (decompress_block(packed, packed_size, unpacked) != size || memcmp(text, unpacked, size))
            fail("decompression gives another text");
        sum = mix(sum, packed_size);
    }
    return sum;
}
