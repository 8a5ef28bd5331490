
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "gcra.h"


#define RES_GCRA_MS    1000000                  /* ns */
#define RES_GCRA_AGES  ((uint64_t) 1 << 60)     /* ns, 36 years */


/* the configuration, in bounds */

typedef struct {
    uint64_t  limit;
    uint64_t  period;       /* ms */
    uint64_t  capacity;     /* units */
    uint64_t  tau;          /* ns */
} res_gcra_rate_t;


static void res_gcra_rate(res_gcra_rate_t *rate, const res_gcra_conf_t *conf);
static uint64_t res_gcra_ns(const res_gcra_rate_t *rate, uint64_t units);
static uint64_t res_gcra_units(const res_gcra_rate_t *rate, uint64_t ns);
static uint64_t res_gcra_ahead(res_gcra_t *g, const res_gcra_rate_t *rate,
    uint64_t now);
static uint64_t res_gcra_debt(const res_gcra_rate_t *rate);
static uint64_t res_gcra_ms(uint64_t ns);
static uint64_t res_gcra_min(uint64_t a, uint64_t b);


int
res_gcra_idle(const res_gcra_t *g, uint64_t now)
{
    return g->tat <= now * RES_GCRA_MS;
}


int
res_gcra_take(res_gcra_t *g, const res_gcra_conf_t *conf, uint32_t cost,
    uint64_t now, res_gcra_result_t *r)
{
    uint64_t         ahead, next;
    res_gcra_rate_t  rate;

    r->allowed = 1;
    r->retry_after = 0;
    r->remaining = UINT32_MAX;
    r->reset = 0;

    if (conf->limit == 0) {
        return 1;
    }

    res_gcra_rate(&rate, conf);

    now *= RES_GCRA_MS;
    ahead = res_gcra_ahead(g, &rate, now);
    next = ahead + res_gcra_ns(&rate, cost);

    if (cost > rate.capacity) {
        r->allowed = 0;
        r->retry_after = -1;

    } else if (next > rate.tau) {
        r->allowed = 0;
        r->retry_after = (int64_t) res_gcra_ms(next - rate.tau);

    } else if (cost != 0) {
        g->tat = now + next;
        ahead = next;
    }

    r->remaining = 0;
    r->reset = res_gcra_ms(ahead);

    if (ahead <= rate.tau) {
        r->remaining = (uint32_t) res_gcra_units(&rate, rate.tau - ahead);
    }

    return r->allowed;
}


void
res_gcra_settle(res_gcra_t *g, const res_gcra_conf_t *conf, int64_t delta,
    uint64_t now)
{
    uint64_t         ahead, ns;
    res_gcra_rate_t  rate;

    if (conf->limit == 0) {
        return;
    }

    res_gcra_rate(&rate, conf);

    now *= RES_GCRA_MS;
    ahead = res_gcra_ahead(g, &rate, now);

    if (delta < 0) {
        ns = res_gcra_ns(&rate, -(uint64_t) delta);
        ahead -= res_gcra_min(ahead, ns);

    } else {
        ahead += res_gcra_ns(&rate, (uint64_t) delta);
        ahead = res_gcra_min(ahead, res_gcra_debt(&rate));
    }

    g->tat = now + ahead;
}


static void
res_gcra_rate(res_gcra_rate_t *rate, const res_gcra_conf_t *conf)
{
    rate->period = conf->period ? conf->period : 1;

    rate->limit = res_gcra_min(conf->limit, RES_GCRA_MAX);
    rate->limit = res_gcra_min(rate->limit, rate->period * RES_GCRA_MS);

    rate->capacity = res_gcra_min((uint64_t) conf->burst + 1, RES_GCRA_MAX);
    rate->tau = res_gcra_ns(rate, rate->capacity);
}


/* units * T, rounded down */

static uint64_t
res_gcra_ns(const res_gcra_rate_t *rate, uint64_t units)
{
    uint64_t  product, ms;

    product = res_gcra_min(units, RES_GCRA_MAX) * rate->period;
    ms = product / rate->limit;

    if (ms >= RES_GCRA_AGES / RES_GCRA_MS) {
        return RES_GCRA_AGES;
    }

    return ms * RES_GCRA_MS
           + product % rate->limit * RES_GCRA_MS / rate->limit;
}


/* the most units that come to no more than ns, which is tau at most */

static uint64_t
res_gcra_units(const res_gcra_rate_t *rate, uint64_t ns)
{
    uint64_t  product, rest, period, units;

    /* units * T < ns + 1: rounded up, (ns + 1) / T is one too many */

    ns++;

    product = ns / RES_GCRA_MS * rate->limit;
    rest = product % rate->period * RES_GCRA_MS
           + ns % RES_GCRA_MS * rate->limit;

    period = rate->period * RES_GCRA_MS;
    units = product / rate->period + (rest + period - 1) / period - 1;

    return res_gcra_min(units, rate->capacity);
}


/*
 * How far TAT is ahead of now, in ns.  One too far is brought back for good,
 * as the time it's too far from goes on.
 */

static uint64_t
res_gcra_ahead(res_gcra_t *g, const res_gcra_rate_t *rate, uint64_t now)
{
    uint64_t  ahead;

    if (g->tat <= now) {
        return 0;
    }

    ahead = res_gcra_min(g->tat - now, res_gcra_debt(rate));
    g->tat = now + ahead;

    return ahead;
}


/* the most that TAT may be ahead of now, in ns */

static uint64_t
res_gcra_debt(const res_gcra_rate_t *rate)
{
    return rate->tau + rate->period * RES_GCRA_MS * RES_GCRA_DEBT;
}


/* rounded up */

static uint64_t
res_gcra_ms(uint64_t ns)
{
    return (ns + RES_GCRA_MS - 1) / RES_GCRA_MS;
}


static uint64_t
res_gcra_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
