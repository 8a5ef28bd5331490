
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "breaker.h"

#include <stdatomic.h>
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
    const res_breaker_conf_t *conf, uint64_t now, const res_permit_t *permit,
    const res_report_t *report, res_transition_t *t);
static int res_breaker_half_open_record(res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now, const res_permit_t *permit,
    const res_report_t *report, res_transition_t *t);
static void res_breaker_check(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_report_t *report, res_transition_t *t);
static res_breaker_reason_e res_breaker_trips(const res_breaker_t *b,
    const res_breaker_conf_t *conf);
static void res_breaker_count(res_breaker_t *b, res_result_e result);

static void res_breaker_open(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_report_t *report, res_breaker_reason_e reason,
    res_transition_t *t);
static void res_breaker_half_open(res_breaker_t *b, uint64_t now,
    res_transition_t *t);
static void res_breaker_close(res_breaker_t *b, uint64_t now,
    res_breaker_reason_e reason, res_transition_t *t);
static void res_breaker_enter(res_breaker_t *b, res_breaker_state_e state,
    res_breaker_reason_e reason, uint64_t now, res_transition_t *t);
static uint64_t res_breaker_open_time(const res_breaker_conf_t *conf,
    unsigned reopened);

static int res_breaker_ramps(const res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now, uint32_t random);
static res_admit_e res_breaker_lend(res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now, uint64_t lease,
    res_permit_t *permit);
static int res_breaker_held(const res_breaker_t *b, uint64_t now,
    const res_permit_t *permit);
static void res_breaker_rebase(res_breaker_t *b, uint64_t now);

static void res_breaker_push(res_breaker_t *b, int failed, int slow);
static void res_breaker_amend(res_breaker_t *b, uint32_t sample);
static void res_breaker_fit(res_breaker_t *b, uint32_t window);
static uint32_t res_breaker_bits(const uint64_t *words);

static uint64_t res_breaker_free(const res_breaker_t *b,
    const res_breaker_conf_t *conf);
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
    uint64_t now, uint64_t lease, uint32_t random, res_permit_t *permit,
    res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));
    memset(permit, 0, sizeof(res_permit_t));

    permit->generation = b->generation;
    permit->slot = -1;

    switch (b->forced) {

    case RES_FORCED_OPEN:
        b->rejected++;
        return RES_ADMIT_OPEN;

    case RES_FORCED_CLOSED:
    case RES_FORCED_DISABLED:
        return RES_ADMIT_YES;
    }

    if (conf->off) {
        return RES_ADMIT_YES;
    }

    now = res_breaker_now(b, now);

    if (now < b->rest) {
        b->rejected++;
        return RES_ADMIT_RESTING;
    }

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

        if (res_breaker_ramps(b, conf, now, random)) {
            b->rejected++;
            return RES_ADMIT_NO_PERMIT;
        }

        return RES_ADMIT_YES;
    }
}


/* closed by its probes not long ago, and this one's turn has not come yet */

static int
res_breaker_ramps(const res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint32_t random)
{
    uint64_t  elapsed, permille;

    elapsed = now - b->since;

    if (!b->ramping || elapsed >= conf->ramp) {
        return 0;
    }

    permille = 100 + 900 * elapsed / conf->ramp;

    return ((uint64_t) random * 1000 >> 32) >= permille;
}


int
res_breaker_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, const res_report_t *report,
    res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));

    if (b->forced == RES_FORCED_DISABLED) {
        return 1;
    }

    if (conf->off) {
        res_breaker_count(b, report->result);
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
        return res_breaker_half_open_record(b, conf, now, permit, report, t);

    default: /* RES_CLOSED */
        return res_breaker_closed_record(b, conf, now, permit, report, t);
    }
}


static int
res_breaker_closed_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, const res_report_t *report,
    res_transition_t *t)
{
    int  failed;

    if (report->result == RES_RESULT_NEUTRAL
        || report->result == RES_RESULT_REFUSED)
    {
        return 1;
    }

    failed = (report->result == RES_RESULT_FAILURE);

    if (permit->judged && !failed) {
        return 1;
    }

    res_breaker_count(b, report->result);
    res_breaker_fit(b, conf->window);

    if (!permit->slow) {
        res_breaker_push(b, failed, 0);

    } else if (failed) {
        res_breaker_amend(b, permit->sample);
    }

    if (!failed) {
        b->consecutive = 0;

    } else if (report->first && b->consecutive < UINT32_MAX) {
        b->consecutive++;
    }

    res_breaker_check(b, conf, now, report, t);

    return 1;
}


static int
res_breaker_half_open_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, const res_report_t *report,
    res_transition_t *t)
{
    if (!res_breaker_held(b, now, permit)) {
        return 0;
    }

    b->leases[permit->slot] = 0;

    res_breaker_count(b, report->result);

    switch (report->result) {

    case RES_RESULT_SUCCESS:
        b->succeeded++;

        if (b->succeeded >= res_breaker_bound(conf->successes, 1, UINT8_MAX)) {
            res_breaker_close(b, now, RES_REASON_PROBES_SUCCEEDED, t);
            b->ramping = 1;
        }

        break;

    case RES_RESULT_FAILURE:
    case RES_RESULT_REFUSED:
        res_breaker_open(b, conf, now, report, RES_REASON_PROBE_FAILED, t);
        break;

    case RES_RESULT_NEUTRAL:
        break;
    }

    return 1;
}


void
res_breaker_slow(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, res_permit_t *permit, const res_report_t *report,
    res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));

    if (conf->off || b->forced == RES_FORCED_DISABLED || permit->slow
        || permit->generation != b->generation || b->state != RES_CLOSED)
    {
        return;
    }

    res_breaker_fit(b, conf->window);
    res_breaker_push(b, 0, 1);

    permit->slow = 1;
    permit->sample = b->samples;

    res_breaker_check(b, conf, res_breaker_now(b, now), report, t);
}


void
res_breaker_trip(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_report_t *report, res_breaker_reason_e reason,
    res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));

    if (conf->off || b->forced != RES_FORCED_NONE || b->state != RES_CLOSED) {
        return;
    }

    res_breaker_open(b, conf, res_breaker_now(b, now), report, reason, t);
}


void
res_breaker_rest(res_breaker_t *b, uint64_t now, uint32_t hint)
{
    now = res_breaker_now(b, now);

    if (now + hint > b->rest) {
        b->rest = now + hint;
    }
}


void
res_breaker_force(res_breaker_t *b, res_forced_e forced, uint64_t now,
    res_transition_t *t)
{
    memset(t, 0, sizeof(res_transition_t));

    if (b->forced == forced) {
        return;
    }

    res_breaker_reset(b, now, t);

    b->forced = forced;
}


void
res_breaker_reset(res_breaker_t *b, uint64_t now, res_transition_t *t)
{
    uint32_t  closed;

    memset(t, 0, sizeof(res_transition_t));

    closed = b->closed;

    res_breaker_close(b, res_breaker_now(b, now), RES_REASON_ADMIN, t);

    b->forced = RES_FORCED_NONE;
    b->rest = 0;

    if (t->from == RES_CLOSED) {
        b->closed = closed;
        t->changed = 0;
    }
}


static void
res_breaker_check(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_report_t *report, res_transition_t *t)
{
    res_breaker_reason_e  reason;

    if (b->forced != RES_FORCED_NONE) {
        return;
    }

    reason = res_breaker_trips(b, conf);

    if (reason != RES_REASON_NONE) {
        res_breaker_open(b, conf, now, report, reason, t);
    }
}


static res_breaker_reason_e
res_breaker_trips(const res_breaker_t *b, const res_breaker_conf_t *conf)
{
    uint64_t  seen;

    if (conf->failures != 0 && b->consecutive >= conf->failures) {
        return RES_REASON_FAILURES;
    }

    seen = b->seen;

    if (seen == 0 || seen < res_breaker_bound(conf->min_calls, 1, b->window)) {
        return RES_REASON_NONE;
    }

    if (conf->error_rate != 0
        && (uint64_t) res_breaker_failed(b) * 100 >= conf->error_rate * seen)
    {
        return RES_REASON_ERROR_RATE;
    }

    if (conf->slow_rate != 0
        && (uint64_t) res_breaker_slowed(b) * 100 >= conf->slow_rate * seen)
    {
        return RES_REASON_SLOW_RATE;
    }

    return RES_REASON_NONE;
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
    case RES_RESULT_REFUSED:
        break;
    }
}


static void
res_breaker_open(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_report_t *report, res_breaker_reason_e reason,
    res_transition_t *t)
{
    uint64_t  time;

    time = res_breaker_open_time(conf, b->reopened);

    if (report->hint > time) {
        time = report->hint;
    }

    time += (time * report->random >> 32) / 10;

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
res_breaker_close(res_breaker_t *b, uint64_t now, res_breaker_reason_e reason,
    res_transition_t *t)
{
    memset(b->failed, 0, sizeof(b->failed));
    memset(b->slow, 0, sizeof(b->slow));
    b->head = 0;
    b->seen = 0;
    b->consecutive = 0;

    b->reopened = 0;
    b->ramping = 0;
    b->closed++;

    res_breaker_enter(b, RES_CLOSED, reason, now, t);
}


static void
res_breaker_enter(res_breaker_t *b, res_breaker_state_e state,
    res_breaker_reason_e reason, uint64_t now, res_transition_t *t)
{
    uint64_t  end;

    t->changed = 1;
    t->from = b->state;
    t->to = state;
    t->reason = reason;

    if (b->state == RES_OPEN) {
        end = (now < b->until) ? now : b->until;
        t->open = (end > b->since) ? end - b->since : 0;
    }

    b->generation++;
    b->since = now;

    /* a death before this must not leave the old permits in a new state */

    atomic_signal_fence(memory_order_seq_cst);

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


/* into a ring that fits, as the next one */

static void
res_breaker_push(res_breaker_t *b, int failed, int slow)
{
    uint32_t  i;
    uint64_t  bit;

    i = b->head / 64;
    bit = (uint64_t) 1 << b->head % 64;

    b->failed[i] = failed ? b->failed[i] | bit : b->failed[i] & ~bit;
    b->slow[i] = slow ? b->slow[i] | bit : b->slow[i] & ~bit;

    b->head = (b->head + 1) % b->window;
    b->samples++;

    if (b->seen < b->window) {
        b->seen++;
    }
}


/* an outcome that is in the ring (and that fits), if it still is, has failed */

static void
res_breaker_amend(res_breaker_t *b, uint32_t sample)
{
    uint32_t  age, n;

    age = b->samples - sample;

    if (age >= b->seen) {
        return;
    }

    n = (b->head + b->window - 1 - age) % b->window;

    b->failed[n / 64] |= (uint64_t) 1 << n % 64;
}


/*
 * Makes the ring one of so many outcomes, the newest are kept.  A ring that
 * is none (all zero, or its last writer died half-way) becomes an empty one.
 */

static void
res_breaker_fit(res_breaker_t *b, uint32_t window)
{
    uint32_t  i, n, from, keep;
    uint64_t  failed[RES_BREAKER_WINDOW / 64], slow[RES_BREAKER_WINDOW / 64];

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

    memcpy(failed, b->failed, sizeof(failed));
    memcpy(slow, b->slow, sizeof(slow));
    memset(b->failed, 0, sizeof(b->failed));
    memset(b->slow, 0, sizeof(b->slow));

    from = b->head + b->window - keep;

    for (i = 0; i < keep; i++) {
        n = (from + i) % b->window;
        b->failed[i / 64] |= (failed[n / 64] >> n % 64 & 1) << i % 64;
        b->slow[i / 64] |= (slow[n / 64] >> n % 64 & 1) << i % 64;
    }

    b->window = window;
    b->head = keep % window;
    b->seen = keep;
}


uint64_t
res_breaker_wait(const res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now)
{
    uint64_t  until;

    if (b->forced == RES_FORCED_OPEN) {
        return conf->open;
    }

    if (conf->off || b->forced != RES_FORCED_NONE) {
        return 0;
    }

    now = res_breaker_now(b, now);
    until = b->rest;

    if (b->state == RES_OPEN && b->until > until) {
        until = b->until;
    }

    if (b->state == RES_HALF_OPEN && res_breaker_free(b, conf) > until) {
        until = res_breaker_free(b, conf);
    }

    return until > now ? until - now : 0;
}


/* when the next half-open permit is free */

static uint64_t
res_breaker_free(const res_breaker_t *b, const res_breaker_conf_t *conf)
{
    uint64_t  probes;
    uint32_t  i, end;

    probes = res_breaker_bound(conf->probes, 1, RES_BREAKER_PROBES);
    end = UINT32_MAX;

    for (i = 0; i < probes; i++) {
        if (b->leases[i] < end) {
            end = b->leases[i];
        }
    }

    return b->since + end;
}


uint32_t
res_breaker_failed(const res_breaker_t *b)
{
    return res_breaker_bits(b->failed);
}


uint32_t
res_breaker_slowed(const res_breaker_t *b)
{
    return res_breaker_bits(b->slow);
}


static uint32_t
res_breaker_bits(const uint64_t *words)
{
    uint32_t  i, n;

    n = 0;

    for (i = 0; i < RES_BREAKER_WINDOW / 64; i++) {
        n += __builtin_popcountll(words[i]);
    }

    return n;
}


int
res_breaker_idle(const res_breaker_t *b)
{
    return b->state == RES_CLOSED && b->forced == RES_FORCED_NONE;
}


res_breaker_state_e
res_breaker_shown(const res_breaker_t *b)
{
    if (b->forced == RES_FORCED_OPEN || b->state == RES_OPEN) {
        return RES_OPEN;
    }

    return (b->state == RES_HALF_OPEN) ? RES_HALF_OPEN : RES_CLOSED;
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
        "slow_rate",
        "tenants",
        "probe_failed",
        "probes_succeeded",
        "open_elapsed",
        "admin"
    };

    if (reason >= sizeof(names) / sizeof(names[0])) {
        return "unknown";
    }

    return names[reason];
}


const char *
res_breaker_forced_name(unsigned forced)
{
    static const char  *names[] = { "none", "open", "closed", "disabled" };

    if (forced >= sizeof(names) / sizeof(names[0])) {
        return "unknown";
    }

    return names[forced];
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
