
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "breaker.h"

#include <string.h>


/*
 *                trips                      time is over
 *     closed  -----------------> open  ----------------->  half-open
 *        ^                        ^                         |     |
 *        |                        |       a probe failed    |     |
 *        |                        +-------------------------+     |
 *        |                  enough probes succeeded               |
 *        +--------------------------------------------------------+
 */


static int res_breaker_closed_record(res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now, res_result_e result,
    int first, uint32_t random, res_transition_t *t);
static int res_breaker_half_open_record(res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now, const res_permit_t *permit,
    res_result_e result, uint32_t random, res_transition_t *t);
static res_breaker_reason_e res_breaker_trips(const res_breaker_t *b,
    const res_breaker_conf_t *conf);
static void res_breaker_count(res_breaker_t *b, res_result_e result);

static void res_breaker_open(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint32_t random, res_breaker_reason_e reason,
    res_transition_t *t);
static void res_breaker_half_open(res_breaker_t *b, uint64_t now,
    res_transition_t *t);
static void res_breaker_close(res_breaker_t *b, uint64_t now,
    res_transition_t *t);
static void res_breaker_enter(res_breaker_t *b, res_breaker_state_e state,
    res_breaker_reason_e reason, uint64_t now, res_transition_t *t);
static uint64_t res_breaker_open_time(const res_breaker_conf_t *conf,
    unsigned reopened);

static res_admit_e res_breaker_lend(res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now, uint64_t lease,
    res_permit_t *permit);
static int res_breaker_held(const res_breaker_t *b, uint64_t now,
    const res_permit_t *permit);
static void res_breaker_rebase(res_breaker_t *b, uint64_t now);

static void res_breaker_push(res_breaker_t *b, uint32_t window, int failed);
static void res_breaker_fit(res_breaker_t *b, uint32_t window);

static uint64_t res_breaker_now(const res_breaker_t *b, uint64_t now);
static uint64_t res_breaker_bound(uint64_t value, uint64_t min, uint64_t max);


void
res_breaker_init(res_breaker_t *b, uint64_t now)
{
    memset(b, 0, sizeof(res_breaker_t));

    b->since = now;
}


res_admit_e
res_breaker_admit(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint64_t lease, res_permit_t *permit, res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));

    permit->generation = b->generation;
    permit->lease = 0;
    permit->slot = -1;

    if (conf->off) {
        return RES_ADMIT_YES;
    }

    now = res_breaker_now(b, now);

    if (b->state == RES_OPEN && now >= b->until) {
        res_breaker_half_open(b, now, t);
    }

    switch (b->state) {

    case RES_OPEN:
        b->rejected++;
        return RES_ADMIT_OPEN;

    case RES_HALF_OPEN:
        return res_breaker_lend(b, conf, now, lease, permit);

    default: /* RES_CLOSED */
        return RES_ADMIT_YES;
    }
}


int
res_breaker_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, res_result_e result, int first,
    uint32_t random, res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));

    if (conf->off) {
        res_breaker_count(b, result);
        return 1;
    }

    if (permit->generation != b->generation) {
        return 0;
    }

    now = res_breaker_now(b, now);

    switch (b->state) {

    case RES_OPEN:
        return 0;

    case RES_HALF_OPEN:
        return res_breaker_half_open_record(b, conf, now, permit, result,
                                            random, t);

    default: /* RES_CLOSED */
        return res_breaker_closed_record(b, conf, now, result, first, random,
                                         t);
    }
}


static int
res_breaker_closed_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, res_result_e result, int first, uint32_t random,
    res_transition_t *t)
{
    res_breaker_reason_e  reason;

    if (result == RES_RESULT_NEUTRAL) {
        return 1;
    }

    res_breaker_count(b, result);
    res_breaker_push(b, conf->window, result == RES_RESULT_FAILURE);

    if (result == RES_RESULT_SUCCESS) {
        b->consecutive = 0;

    } else if (first && b->consecutive < UINT32_MAX) {
        b->consecutive++;
    }

    reason = res_breaker_trips(b, conf);

    if (reason != RES_REASON_NONE) {
        res_breaker_open(b, conf, now, random, reason, t);
    }

    return 1;
}


static int
res_breaker_half_open_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, res_result_e result,
    uint32_t random, res_transition_t *t)
{
    if (!res_breaker_held(b, now, permit)) {
        return 0;
    }

    b->leases[permit->slot] = 0;

    res_breaker_count(b, result);

    switch (result) {

    case RES_RESULT_SUCCESS:
        b->succeeded++;

        if (b->succeeded >= res_breaker_bound(conf->successes, 1, UINT8_MAX)) {
            res_breaker_close(b, now, t);
        }

        break;

    case RES_RESULT_FAILURE:
        res_breaker_open(b, conf, now, random, RES_REASON_PROBE_FAILED, t);
        break;

    case RES_RESULT_NEUTRAL:
        break;
    }

    return 1;
}


static res_breaker_reason_e
res_breaker_trips(const res_breaker_t *b, const res_breaker_conf_t *conf)
{
    uint64_t  failed;

    if (conf->failures != 0 && b->consecutive >= conf->failures) {
        return RES_REASON_FAILURES;
    }

    if (conf->error_rate == 0
        || b->seen < res_breaker_bound(conf->min_calls, 1, b->window))
    {
        return RES_REASON_NONE;
    }

    failed = res_breaker_failed(b);

    return failed * 100 >= (uint64_t) conf->error_rate * b->seen
               ? RES_REASON_ERROR_RATE : RES_REASON_NONE;
}


static void
res_breaker_count(res_breaker_t *b, res_result_e result)
{
    switch (result) {

    case RES_RESULT_SUCCESS:
        b->total_successes++;
        break;

    case RES_RESULT_FAILURE:
        b->total_failures++;
        break;

    case RES_RESULT_NEUTRAL:
        break;
    }
}


static void
res_breaker_open(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint32_t random, res_breaker_reason_e reason,
    res_transition_t *t)
{
    uint64_t  time;

    time = res_breaker_open_time(conf, b->reopened);
    time += (time * random >> 32) / 10;

    b->until = now + time;
    b->opened++;

    if (b->reopened < UINT8_MAX) {
        b->reopened++;
    }

    res_breaker_enter(b, RES_OPEN, reason, now, t);
}


static void
res_breaker_half_open(res_breaker_t *b, uint64_t now, res_transition_t *t)
{
    b->succeeded = 0;
    memset(b->leases, 0, sizeof(b->leases));

    res_breaker_enter(b, RES_HALF_OPEN, RES_REASON_OPEN_ELAPSED, now, t);
}


static void
res_breaker_close(res_breaker_t *b, uint64_t now, res_transition_t *t)
{
    memset(b->failed, 0, sizeof(b->failed));
    b->head = 0;
    b->seen = 0;
    b->consecutive = 0;

    b->reopened = 0;
    b->closed++;

    res_breaker_enter(b, RES_CLOSED, RES_REASON_PROBES_SUCCEEDED, now, t);
}


static void
res_breaker_enter(res_breaker_t *b, res_breaker_state_e state,
    res_breaker_reason_e reason, uint64_t now, res_transition_t *t)
{
    t->changed = 1;
    t->from = b->state;
    t->to = state;
    t->reason = reason;

    b->generation++;
    b->since = now;
    b->state = state;
}


/* the first time and its doublings; they fit in 32 bits */

static uint64_t
res_breaker_open_time(const res_breaker_conf_t *conf, unsigned reopened)
{
    uint64_t  time, max;

    time = conf->open;
    max = res_breaker_bound(conf->open_max, time, UINT32_MAX);

    while (reopened != 0 && time < max) {
        time *= 2;
        reopened--;
    }

    return time < max ? time : max;
}


static res_admit_e
res_breaker_lend(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint64_t lease, res_permit_t *permit)
{
    uint64_t  elapsed, probes;
    uint32_t  i;

    res_breaker_rebase(b, now);

    permit->generation = b->generation;

    elapsed = now - b->since;
    lease = res_breaker_bound(lease, 1, UINT32_MAX - elapsed);
    probes = res_breaker_bound(conf->probes, 1, RES_BREAKER_PROBES);

    for (i = 0; i < probes; i++) {

        if (b->leases[i] > elapsed) {
            continue;
        }

        b->leases[i] = elapsed + lease;

        permit->lease = b->leases[i];
        permit->slot = i;

        return RES_ADMIT_YES;
    }

    b->rejected++;

    return RES_ADMIT_NO_PERMIT;
}


/* a later holder of the slot has a later lease */

static int
res_breaker_held(const res_breaker_t *b, uint64_t now,
    const res_permit_t *permit)
{
    uint32_t  lease;

    if (permit->slot < 0 || permit->slot >= RES_BREAKER_PROBES) {
        return 0;
    }

    lease = b->leases[permit->slot];

    return lease == permit->lease && lease > now - b->since;
}


/*
 * Leases are 32 bits of ms after since.  A breaker that stays half-open for
 * weeks, as one rarely used may, would run out of them and never again give
 * a valid permit: count from now on.  Permits still out keep their slots to
 * the end of their leases, but their outcomes are dropped.
 */

static void
res_breaker_rebase(res_breaker_t *b, uint64_t now)
{
    uint64_t  elapsed;
    uint32_t  i;

    elapsed = now - b->since;

    if (elapsed <= UINT32_MAX / 2) {
        return;
    }

    for (i = 0; i < RES_BREAKER_PROBES; i++) {
        b->leases[i] -= res_breaker_bound(elapsed, 0, b->leases[i]);
    }

    b->generation++;
    b->since = now;
}


static void
res_breaker_push(res_breaker_t *b, uint32_t window, int failed)
{
    uint64_t  bit, *word;

    res_breaker_fit(b, window);

    word = &b->failed[b->head / 64];
    bit = (uint64_t) 1 << b->head % 64;

    if (failed) {
        *word |= bit;

    } else {
        *word &= ~bit;
    }

    b->head = (b->head + 1) % b->window;

    if (b->seen < b->window) {
        b->seen++;
    }
}


/*
 * Makes the ring one of so many outcomes, the newest are kept.  A ring that
 * is none (all zero, or its last writer died half-way) becomes an empty one.
 */

static void
res_breaker_fit(res_breaker_t *b, uint32_t window)
{
    uint32_t  i, n, from, keep;
    uint64_t  old[RES_BREAKER_WINDOW / 64];

    window = res_breaker_bound(window, 1, RES_BREAKER_WINDOW);
    keep = b->seen;

    if (b->window > RES_BREAKER_WINDOW || b->head >= b->window
        || b->seen > b->window)
    {
        keep = 0;

    } else if (b->window == window) {
        return;
    }

    if (keep > window) {
        keep = window;
    }

    memcpy(old, b->failed, sizeof(old));
    memset(b->failed, 0, sizeof(b->failed));

    from = b->head + b->window - keep;

    for (i = 0; i < keep; i++) {
        n = (from + i) % b->window;
        b->failed[i / 64] |= (old[n / 64] >> n % 64 & 1) << i % 64;
    }

    b->window = window;
    b->head = keep % window;
    b->seen = keep;
}


uint64_t
res_breaker_wait(const res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now)
{
    uint64_t  elapsed, probes;
    uint32_t  i, end;

    if (conf->off) {
        return 0;
    }

    now = res_breaker_now(b, now);

    switch (b->state) {

    case RES_OPEN:
        return b->until > now ? b->until - now : 0;

    case RES_HALF_OPEN:
        elapsed = now - b->since;
        probes = res_breaker_bound(conf->probes, 1, RES_BREAKER_PROBES);
        end = UINT32_MAX;

        for (i = 0; i < probes; i++) {
            if (b->leases[i] < end) {
                end = b->leases[i];
            }
        }

        return end > elapsed ? end - elapsed : 0;

    default: /* RES_CLOSED */
        return 0;
    }
}


uint32_t
res_breaker_failed(const res_breaker_t *b)
{
    uint32_t  i, failed;

    failed = 0;

    for (i = 0; i < RES_BREAKER_WINDOW / 64; i++) {
        failed += __builtin_popcountll(b->failed[i]);
    }

    return failed;
}


int
res_breaker_idle(const res_breaker_t *b)
{
    return b->state == RES_CLOSED;
}


const char *
res_breaker_state_name(unsigned state)
{
    static const char  *names[] = { "closed", "open", "half_open" };

    if (state >= sizeof(names) / sizeof(names[0])) {
        return "unknown";
    }

    return names[state];
}


const char *
res_breaker_reason_name(unsigned reason)
{
    static const char  *names[] = {
        "none",
        "failures",
        "error_rate",
        "probe_failed",
        "probes_succeeded",
        "open_elapsed"
    };

    if (reason >= sizeof(names) / sizeof(names[0])) {
        return "unknown";
    }

    return names[reason];
}


/* a step back in time is taken for none */

static uint64_t
res_breaker_now(const res_breaker_t *b, uint64_t now)
{
    return now > b->since ? now : b->since;
}


static uint64_t
res_breaker_bound(uint64_t value, uint64_t min, uint64_t max)
{
    if (value < min) {
        return min;
    }

    return value < max ? value : max;
}
