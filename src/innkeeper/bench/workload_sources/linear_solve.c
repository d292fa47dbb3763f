/* SPDX-License-Identifier: Apache-2.0 */
/* A system of 160 linear equations in double precision: LU factors with partial pivoting, then the solution. */
#include <math.h>
#include <string.h>
#include "workload.h"

#define SIZE 160

static double a[SIZE][SIZE], x[SIZE];

static void generate(uint64_t *seed)
{
    for (int row = 0; row < SIZE; row++) {
        x[row] = 0;
        for (int column = 0; column < SIZE; column++) {
            a[row][column] = (double)(int32_t)(next_random(seed) >> 32) / 2147483648.0;
            x[row] += a[row][column];
        }
    }
}

static void swap_rows(int one, int other)
{
    for (int column = 0; column < SIZE; column++) {
        double kept = a[one][column];
        a[one][column] = a[other][column];
        a[other][column] = kept;
    }
    double kept = x[one];
    x[one] = x[other];
    x[other] = kept;
}

static void factor(void)
{
    for (int step = 0; step < SIZE; step++) {
        int pivot = step;
        for (int row = step + 1; row < SIZE; row++)
            if (fabs(a[row][step]) > fabs(a[pivot][step]))
                pivot = row;
        if (pivot != step)
            swap_rows(pivot, step);
        for (int row = step + 1; row < SIZE; row++) {
            double ratio = a[row][step] / a[step][step];
            a[row][step] = ratio;
            for (int column = step + 1; column < SIZE; column++)
                a[row][column] -= ratio * a[step][column];
        }
    }
}

static void substitute(void)
{
    for (int row = 0; row < SIZE; row++)
        for (int column = 0; column < row; column++)
            x[row] -= a[row][column] * x[column];
    for (int row = SIZE - 1; row >= 0; row--) {
        for (int column = row + 1; column < SIZE; column++)
            x[row] -= a[row][column] * x[column];
        x[row] /= a[row][row];
    }
}

uint64_t linear_solve(unsigned repetitions)
{
    uint64_t seed = 11, sum = 0, bits;
    for (unsigned r = 0; r < repetitions; r++) {
        generate(&seed);
        factor();
        substitute();
        for (int row = 0; row < SIZE; row++) {
            if (fabs(x[row] - 1.0) > 1e-6)
                fail("the solution is wrong");
            memcpy(&bits, &x[row], sizeof bits);
            sum = mix(sum, bits);
        }
    }
    return sum;
}
