
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "backoff.h"


static uint64_t res_backoff_value(const res_backoff_t *b, uint32_t n,
    uint64_t max);
static uint64_t res_backoff_power(const res_backoff_t *b, uint32_t n,
    uint64_t max);
static uint64_t res_backoff_uniform(uint64_t from, uint64_t to,
    uint32_t random);
static uint64_t res_backoff_min(uint64_t a, uint64_t b);
static uint64_t res_backoff_max(uint64_t a, uint64_t b);


uint32_t
res_backoff_delay(const res_backoff_t *b, uint32_t n, uint32_t previous,
    uint32_t random)
{
    uint64_t  v, max, part;

    max = b->max ? b->max : UINT32_MAX;
    v = res_backoff_value(b, n, max);

    switch (b->jitter) {

    case RES_JITTER_FULL:
        v = res_backoff_uniform(0, v, random);
        break;

    case RES_JITTER_EQUAL:
        v = res_backoff_uniform(v / 2, v, random);
        break;

    case RES_JITTER_DECORRELATED:
        v = previous ? previous : b->base;
        v = res_backoff_uniform(b->base, res_backoff_max(b->base, 3 * v),
                                random);
        break;

    case RES_JITTER_SPREAD:
        part = v * res_backoff_min(b->spread, 100) / 100;
        v = res_backoff_uniform(v - part, v + part, random);
        break;

    case RES_JITTER_NONE:
        break;
    }

    return res_backoff_min(v, max);
}


static uint64_t
res_backoff_value(const res_backoff_t *b, uint32_t n, uint64_t max)
{
    switch (b->strategy) {

    case RES_BACKOFF_EXPONENTIAL:
        return res_backoff_power(b, n, max);

    case RES_BACKOFF_LINEAR:
        return res_backoff_min((uint64_t) b->base * n, max);

    case RES_BACKOFF_CONSTANT:
        break;
    }

    return res_backoff_min(b->base, max);
}


/*
 * Counted in microseconds, so that a small factor of a small base grows too:
 * by at least one at each step, which bounds the loop whatever n is.
 */

static uint64_t
res_backoff_power(const res_backoff_t *b, uint32_t n, uint64_t max)
{
    uint64_t  v, limit;
    uint32_t  i;

    if (b->factor <= 1000) {
        return res_backoff_min(b->base, max);
    }

    v = (uint64_t) b->base * 1000;
    limit = max * 1000 * 1000 / b->factor;

    for (i = 1; i < n && v != 0; i++) {

        if (v > limit) {
            return max;
        }

        v = v * b->factor / 1000;
    }

    return res_backoff_min(v / 1000, max);
}


/* both ends included; they are less than 2^35 */

static uint64_t
res_backoff_uniform(uint64_t from, uint64_t to, uint32_t random)
{
    uint64_t  count;

    count = to - from + 1;

    return from + (count >> 32) * random
           + (((count & UINT32_MAX) * random) >> 32);
}


static uint64_t
res_backoff_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}


static uint64_t
res_backoff_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
