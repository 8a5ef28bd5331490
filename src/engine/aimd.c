
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "aimd.h"


#define RES_AIMD_ONE  1000000


static uint64_t res_aimd_current(const res_aimd_t *a,
    const res_aimd_conf_t *conf);
static uint64_t res_aimd_bound(uint64_t limit, const res_aimd_conf_t *conf);


void
res_aimd_record(res_aimd_t *a, const res_aimd_conf_t *conf, uint64_t latency,
    int dropped, uint32_t inflight, uint64_t now)
{
    uint64_t  limit, backoff;

    limit = res_aimd_current(a, conf);

    if (dropped || (conf->latency_over != 0 && latency > conf->latency_over)) {

        if (a->cut != 0 && (now < latency || now - latency <= a->cut)) {
            return;
        }

        backoff = conf->backoff < 1000 ? conf->backoff : 1000;

        a->limit = res_aimd_bound(limit * backoff / 1000, conf);
        a->cut = now;

        return;
    }

    if ((uint64_t) inflight * 2 < limit / RES_AIMD_ONE) {
        return;
    }

    limit += (uint64_t) RES_AIMD_ONE * RES_AIMD_ONE / limit;

    a->limit = res_aimd_bound(limit, conf);
}


uint32_t
res_aimd_limit(const res_aimd_t *a, const res_aimd_conf_t *conf)
{
    return (uint32_t) (res_aimd_current(a, conf) / RES_AIMD_ONE);
}


/* the bounds may have changed since it was stored */

static uint64_t
res_aimd_current(const res_aimd_t *a, const res_aimd_conf_t *conf)
{
    return res_aimd_bound(a->limit ? a->limit
                                   : (uint64_t) conf->initial * RES_AIMD_ONE,
                          conf);
}


static uint64_t
res_aimd_bound(uint64_t limit, const res_aimd_conf_t *conf)
{
    uint64_t  min, max;

    max = conf->max < RES_AIMD_MAX ? conf->max : RES_AIMD_MAX;
    min = conf->min < max ? conf->min : max;

    min = (min ? min : 1) * RES_AIMD_ONE;
    max = (max ? max : 1) * RES_AIMD_ONE;

    if (limit < min) {
        return min;
    }

    return limit < max ? limit : max;
}
