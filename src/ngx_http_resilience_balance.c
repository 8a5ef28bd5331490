
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* in which order a call asks the providers of its chain */


static void ngx_http_resilience_balance_weighted(
    ngx_http_resilience_step_t **steps, ngx_uint_t n);
static void ngx_http_resilience_balance_latency(
    ngx_http_resilience_step_t **steps, ngx_uint_t n);
static uint64_t ngx_http_resilience_balance_cost(
    ngx_http_resilience_step_t *step);
static void ngx_http_resilience_balance_first(
    ngx_http_resilience_step_t **steps, ngx_uint_t i);


ngx_http_resilience_step_t **
ngx_http_resilience_balance(ngx_http_resilience_call_t *call)
{
    ngx_uint_t                    i, n;
    ngx_http_resilience_step_t   *step, **steps;
    ngx_http_resilience_chain_t  *chain;

    chain = call->chain;

    if (chain->balance == NGX_HTTP_RESILIENCE_ORDER) {
        return chain->order;
    }

    step = chain->steps.elts;
    n = chain->steps.nelts;

    steps = ngx_palloc(call->request->pool,
                       n * sizeof(ngx_http_resilience_step_t *));
    if (steps == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        steps[i] = &step[i];
    }

    for (i = 0; i + 1 < n; i++) {

        if (chain->balance == NGX_HTTP_RESILIENCE_WEIGHTED) {
            ngx_http_resilience_balance_weighted(&steps[i], n - i);

        } else {
            ngx_http_resilience_balance_latency(&steps[i], n - i);
        }
    }

    return steps;
}


/* one of them goes first, in proportion to its weight */

static void
ngx_http_resilience_balance_weighted(ngx_http_resilience_step_t **steps,
    ngx_uint_t n)
{
    int         i;
    ngx_uint_t  k;
    uint32_t    weights[NGX_HTTP_RESILIENCE_PROVIDERS];

    for (k = 0; k < n; k++) {
        weights[k] = steps[k]->weight;
    }

    i = res_pick_weighted(weights, n, ngx_http_resilience_random());

    if (i > 0) {
        ngx_http_resilience_balance_first(steps, i);
    }
}


/* the better of two that are picked at random goes first */

static void
ngx_http_resilience_balance_latency(ngx_http_resilience_step_t **steps,
    ngx_uint_t n)
{
    uint32_t  i, j;

    res_pick_two(ngx_http_resilience_random(), n, &i, &j);

    if (ngx_http_resilience_balance_cost(steps[j])
        < ngx_http_resilience_balance_cost(steps[i]))
    {
        i = j;
    }

    ngx_http_resilience_balance_first(steps, i);
}


/* read without the lock: at worst it is a guess that is a little off */

static uint64_t
ngx_http_resilience_balance_cost(ngx_http_resilience_step_t *step)
{
    ngx_http_resilience_counters_t  *provider;

    provider = step->provider->counters;

    return res_ewma_cost(&provider->latency, provider->inflight,
                         ngx_current_msec, NGX_HTTP_RESILIENCE_TAU);
}


/* the others keep their order */

static void
ngx_http_resilience_balance_first(ngx_http_resilience_step_t **steps,
    ngx_uint_t i)
{
    ngx_http_resilience_step_t  *first;

    first = steps[i];

    for ( /* void */ ; i > 0; i--) {
        steps[i] = steps[i - 1];
    }

    steps[0] = first;
}
