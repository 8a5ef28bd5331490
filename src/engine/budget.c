
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "budget.h"


#define RES_BUDGET_BUCKETS  (RES_BUDGET_WINDOW + 1)


static res_budget_bucket_t *res_budget_bucket(res_budget_t *b, uint64_t now);
static uint64_t res_budget_second(const res_budget_t *b, uint64_t now);


void
res_budget_call(res_budget_t *b, uint64_t now)
{
    res_budget_bucket_t  *bucket;

    bucket = res_budget_bucket(b, now);

    if (bucket->calls < UINT32_MAX) {
        bucket->calls++;
    }
}


int
res_budget_retry(res_budget_t *b, const res_budget_conf_t *conf, uint64_t now)
{
    uint32_t                    i;
    uint64_t                    second, calls, retries, percent;
    res_budget_bucket_t        *bucket;
    const res_budget_bucket_t  *p;

    second = res_budget_second(b, now);
    b->second = second;

    calls = 0;
    retries = 0;

    for (i = 0; i < RES_BUDGET_BUCKETS; i++) {
        p = &b->buckets[i];

        if (p->second <= second && second - p->second <= RES_BUDGET_WINDOW) {
            calls += p->calls;
            retries += p->retries;
        }
    }

    percent = conf->percent < RES_BUDGET_PERCENT ? conf->percent
                                                 : RES_BUDGET_PERCENT;

    if ((retries + 1) * 100
        > calls * percent + (uint64_t) conf->min * RES_BUDGET_WINDOW * 100)
    {
        return 0;
    }

    bucket = res_budget_bucket(b, now);

    if (bucket->retries == UINT32_MAX) {
        return 0;
    }

    bucket->retries++;

    return 1;
}


/*
 * A retry granted when the clock had stepped back was counted in a later
 * second than its own.  It is taken out of its own nevertheless: the window
 * has one less at once, and never less than were sent.
 */

void
res_budget_undo(res_budget_t *b, uint64_t granted)
{
    uint64_t              second;
    res_budget_bucket_t  *bucket;

    second = granted / 1000;
    bucket = &b->buckets[second % RES_BUDGET_BUCKETS];

    if (bucket->second == second && bucket->retries != 0) {
        bucket->retries--;
    }
}


/* the bucket of the current second, emptied of what it held before */

static res_budget_bucket_t *
res_budget_bucket(res_budget_t *b, uint64_t now)
{
    res_budget_bucket_t  *bucket;

    b->second = res_budget_second(b, now);
    bucket = &b->buckets[b->second % RES_BUDGET_BUCKETS];

    if (bucket->second != b->second) {
        bucket->calls = 0;
        bucket->retries = 0;
        bucket->second = b->second;
    }

    return bucket;
}


static uint64_t
res_budget_second(const res_budget_t *b, uint64_t now)
{
    now /= 1000;

    return now > b->second ? now : b->second;
}
