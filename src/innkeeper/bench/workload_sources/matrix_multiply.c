/* SPDX-License-Identifier: Apache-2.0 */
/* Double-precision matrix product, 200 by 200. */
#include <string.h>
#include "workload.h"

#define SIZE 200

uint64_t matrix_multiply(unsigned repetitions)
{
    static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
    uint64_t sum = 0, bits;
    for (int i = 0; i < SIZE; i++)
        for (int k = 0; k < SIZE; k++) {
            a[i][k] = (i - k) * 0.25;
            b[i][k] = (i + k) * 0.125;
        }
    for (unsigned r = 0; r < repetitions; r++) {
        memset(c, 0, sizeof c);
        for (int i = 0; i < SIZE; i++)
            for (int k = 0; k < SIZE; k++)
                for (int j = 0; j < SIZE; j++)
                    c[i][j] += a[i][k] * b[k][j];
        a[0][0] += 1.0;
        memcpy(&bits, &c[SIZE / 3][SIZE / 2], sizeof bits);
        sum = mix(sum, bits);
    }
    return sum;
}
