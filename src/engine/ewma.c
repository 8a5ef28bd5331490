
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ewma.h"


#define RES_EWMA_SQUARES  10


static double res_ewma_decay(const res_ewma_t *e, uint64_t now, uint32_t tau);


void
res_ewma_record(res_ewma_t *e, uint64_t ms, uint64_t now, uint32_t tau)
{
    double    above;
    uint64_t  us;

    us = (ms < UINT32_MAX ? ms : UINT32_MAX) * 1000;

    if (us == 0) {
        us = 1;
    }

    if (us < e->value) {
        above = (double) (e->value - us) * res_ewma_decay(e, now, tau);
        us += (uint64_t) above;
    }

    e->value = us;

    if (e->at < now) {
        e->at = now;
    }
}


uint64_t
res_ewma_cost(const res_ewma_t *e, uint32_t inflight, uint64_t now,
    uint32_t tau)
{
    double  cost;

    if (e->value == 0) {
        return inflight ? RES_EWMA_UNKNOWN + inflight : 0;
    }

    cost = (double) e->value * res_ewma_decay(e, now, tau)
           * ((double) inflight + 1);

    return cost < (double) RES_EWMA_UNKNOWN ? (uint64_t) cost
                                            : RES_EWMA_UNKNOWN;
}


/*
 * e^(-elapsed / tau).  No function of libm is used, as nginx may come without
 * it: the series of e^(-x / 1024), to the power of 1024 by squares.
 */

static double
res_ewma_decay(const res_ewma_t *e, uint64_t now, uint32_t tau)
{
    double  x, decay;
    int     i;

    if (now <= e->at) {
        return 1;
    }

    if ((now - e->at) / 64 >= tau) {
        return 0;               /* less than 10^-27 */
    }

    x = (double) (now - e->at) / tau / (1 << RES_EWMA_SQUARES);

    decay = 1 - x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4)));

    for (i = 0; i < RES_EWMA_SQUARES; i++) {
        decay *= decay;
    }

    return decay;
}


void
res_pick_two(uint32_t random, uint32_t n, uint32_t *i, uint32_t *j)
{
    uint64_t  pair;

    if (n < 2) {
        *i = 0;
        *j = 0;
        return;
    }

    pair = ((uint64_t) n * (n - 1) * random) >> 32;

    *i = (uint32_t) (pair / (n - 1));
    *j = (uint32_t) (pair % (n - 1));

    if (*j >= *i) {
        (*j)++;
    }
}


int
res_pick_weighted(const uint32_t weights[], uint32_t n, uint32_t random)
{
    uint32_t  i;
    uint64_t  sum, point;

    sum = 0;

    for (i = 0; i < n; i++) {
        sum += weights[i];
    }

    /* below the sum, which may have more than 32 bits */

    point = (sum >> 32) * random + (((sum & UINT32_MAX) * random) >> 32);

    for (i = 0; i < n; i++) {

        if (point < weights[i]) {
            return (int) i;
        }

        point -= weights[i];
    }

    return -1;
}
