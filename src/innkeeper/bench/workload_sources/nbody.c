/* SPDX-License-Identifier: Apache-2.0 */
/* Five bodies under gravity: double-precision arithmetic with divisions and square roots. */
#include <math.h>
#include <string.h>
#include "workload.h"

#define BODIES 5

struct body {
    double position[3], velocity[3], mass;
};

static struct body bodies[BODIES] = {
    {{0, 0, 0}, {0, 0, 0}, 39.5},
    {{4.84, -1.16, -0.10}, {0.61, 2.81, -0.02}, 0.0377},
    {{8.34, 4.12, -0.40}, {-1.01, 1.82, 0.008}, 0.0113},
    {{12.89, -15.11, -0.22}, {1.08, 0.87, -0.01}, 0.0017},
    {{15.38, -25.92, 0.18}, {0.98, 0.59, -0.03}, 0.002},
};

static void advance(double step)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = bodies[i].position[k] - bodies[j].position[k];
                square += d[k] * d[k];
            }
            double magnitude = step / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                bodies[i].velocity[k] -= d[k] * bodies[j].mass * magnitude;
                bodies[j].velocity[k] += d[k] * bodies[i].mass * magnitude;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].position[k] += step * bodies[i].velocity[k];
}

uint64_t nbody(unsigned repetitions)
{
    uint64_t sum = 0, bits;
    for (unsigned i = 0; i < repetitions; i++)
        advance(0.001);
    for (int i = 0; i < BODIES; i++) {
        memcpy(&bits, &bodies[i].position[0], sizeof bits);
        sum = mix(sum, bits);
    }
    return sum;
}
