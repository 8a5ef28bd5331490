
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * Credentials in turn, and what rests for how long.
 *
 * Of several keys of a provider the one rests that was refused, for all worker
 * processes, and others serve.  It is known by a hash, so that it goes on to
 * rest when the file is written anew in another order, and another key does
 * not.  What a 403 says may be about the model that a tenant asked for, so
 * that the key rests for that tenant only.
 *
 * With a single key, or none, it is (tenant, provider) that rests; see
 * ngx_http_resilience_permit_rest().
 */


/* ms, where the answer says nothing */

#define NGX_HTTP_RESILIENCE_REST_PACE   5000
#define NGX_HTTP_RESILIENCE_REST_AUTH   (10 * 60 * 1000)
#define NGX_HTTP_RESILIENCE_REST_MONEY  (60 * 60 * 1000)


static uint64_t ngx_http_resilience_rest_refused(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step);
static uint64_t ngx_http_resilience_rest_ready(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    ngx_http_resilience_key_t *key, ngx_uint_t *first, uint64_t *wait);
static uint64_t ngx_http_resilience_rest_left(ngx_http_resilience_call_t *call,
    uint64_t hash, uint32_t tenant);
static uint32_t ngx_http_resilience_rest_tenant(
    ngx_http_resilience_zone_t *zone, ngx_str_t *tenant, ngx_uint_t provider);
static ngx_msec_t ngx_http_resilience_rest_time(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_rest_level(
    ngx_http_resilience_attempt_t *a);


res_outcome_e
ngx_http_resilience_rest_turn(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_uint_t forced,
    ngx_http_resilience_turn_t *turn, uint64_t *wait)
{
    uint64_t                         ready, refused;
    ngx_uint_t                       i, n;
    ngx_http_resilience_key_t       *key;
    ngx_http_resilience_counters_t  *provider;

    ngx_memzero(turn, sizeof(ngx_http_resilience_turn_t));

    if (step->provider->key == NULL) {
        return RES_SUCCESS;
    }

    key = ngx_http_resilience_key_get(step->provider, call->zone,
                                      call->request->connection->log);
    if (key->n == 0) {
        return RES_NO_KEY;
    }

    i = 0;

    if (key->n > 1) {

        ready = ngx_http_resilience_rest_ready(call, step, key, &i, wait);

        if (ready == 0 && !forced) {
            return RES_BREAKER_OPEN;
        }

        /* rather one that this call was not refused yet */

        refused = ngx_http_resilience_rest_refused(call, step);

        if (ready & ~refused) {
            ready &= ~refused;
        }

        if (ready) {
            provider = step->provider->counters;

            n = ngx_atomic_fetch_add(&provider->turn, 1)
                % (ngx_uint_t) __builtin_popcountll(ready);

            while (n--) {
                ready &= ready - 1;
            }

            i = __builtin_ctzll(ready);
        }
    }

    turn->value = key->secrets[i].value;
    turn->hash = key->secrets[i].hash;
    turn->number = i;
    turn->of = key->n;

    return RES_SUCCESS;
}


ngx_uint_t
ngx_http_resilience_rest_other(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome)
{
    uint64_t                     ready, wait;
    ngx_uint_t                   first;
    ngx_http_resilience_key_t   *key;
    ngx_http_resilience_call_t  *call;

    call = a->call;

    if (a->turn.of < 2
        || !(NGX_HTTP_RESILIENCE_OF_KEY & res_bit(outcome))
        || a->step != call->steps[call->step]
        || call->attempts >= call->chain->attempts)
    {
        return 0;
    }

    key = ngx_http_resilience_key_get(a->step->provider, call->zone,
                                      call->request->connection->log);

    ready = ngx_http_resilience_rest_ready(call, a->step, key, &first, &wait);

    return (ready & ~ngx_http_resilience_rest_refused(call, a->step)
            & ~((uint64_t) 1 << a->turn.number))
           != 0;
}


/* the keys that were refused to this call, as bits */

static uint64_t
ngx_http_resilience_rest_refused(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    uint64_t                        refused;
    ngx_http_resilience_attempt_t  *a;

    refused = 0;

    for (a = call->attempt; a; a = a->next) {
        if (a->step == step && a->recorded
            && (NGX_HTTP_RESILIENCE_OF_KEY & res_bit(a->outcome)))
        {
            refused |= (uint64_t) 1 << a->turn.number;
        }
    }

    return refused;
}


/*
 * The keys that do not rest, as bits; of those that do the first one that is
 * back, and in how many ms.
 */

static uint64_t
ngx_http_resilience_rest_ready(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_key_t *key,
    ngx_uint_t *first, uint64_t *wait)
{
    uint32_t    tenant;
    uint64_t    ready, left;
    ngx_uint_t  i;

    ready = 0;

    *first = 0;
    *wait = UINT64_MAX;

    tenant = ngx_http_resilience_rest_tenant(call->zone, &call->tenant,
                                            step->provider->counters->number);

    ngx_http_resilience_zone_enter(call->zone);

    for (i = 0; i < key->n; i++) {

        left = ngx_http_resilience_rest_left(call, key->secrets[i].hash,
                                             tenant);
        if (left == 0) {
            ready |= (uint64_t) 1 << i;
        }

        if (left < *wait) {
            *wait = left;
            *first = i;
        }
    }

    ngx_http_resilience_zone_leave(call->zone);

    return ready;
}


static uint64_t
ngx_http_resilience_rest_left(ngx_http_resilience_call_t *call, uint64_t hash,
    uint32_t tenant)
{
    uint64_t         all, one;
    res_rests_t     *rests;
    res_rest_key_t   key;

    rests = &call->zone->shared->rests;

    key.hash = hash;
    key.tenant = 0;

    all = res_rest_left(rests, &key, ngx_current_msec);

    key.tenant = tenant;

    one = res_rest_left(rests, &key, ngx_current_msec);

    return ngx_max(all, one);
}


/* never 0, which stands for all of them */

static uint32_t
ngx_http_resilience_rest_tenant(ngx_http_resilience_zone_t *zone,
    ngx_str_t *tenant, ngx_uint_t provider)
{
    return (uint32_t) res_table_hash(zone->shared->table, tenant->data,
                                     tenant->len, provider)
           | 1;
}


void
ngx_http_resilience_rest_key(ngx_http_resilience_attempt_t *a)
{
    uint64_t                     wait;
    ngx_msec_t                   ms;
    ngx_uint_t                   level, first;
    res_rest_key_t               key;
    ngx_http_resilience_call_t  *call;
    ngx_http_resilience_zone_t  *zone;

    if (a->turn.of < 2
        || !(NGX_HTTP_RESILIENCE_OF_KEY & res_bit(a->outcome)))
    {
        return;
    }

    ms = ngx_http_resilience_rest_time(a);

    if (ms == 0) {
        return;
    }

    call = a->call;
    zone = call->zone;

    key.hash = a->turn.hash;
    key.tenant = 0;

    if (a->outcome == RES_AUTH && a->status == NGX_HTTP_FORBIDDEN) {
        key.tenant = ngx_http_resilience_rest_tenant(zone, &call->tenant,
                                       a->step->provider->counters->number);
    }

    ngx_http_resilience_zone_enter(zone);

    res_rest_begin(&zone->shared->rests, &key,
                   a->step->provider->counters->number,
                   ngx_current_msec + ms);

    ngx_http_resilience_zone_leave(zone);

    level = ngx_http_resilience_rest_level(a);

    if (key.tenant) {
        ngx_log_error(level, call->request->connection->log, 0,
                      "key %ui of %ui of provider \"%V\" rests for %Mms after "
                      "%s, for tenant \"%V\"", a->turn.number + 1, a->turn.of,
                      &a->step->provider->name, ms,
                      res_outcome_name(a->outcome), &call->tenant);

    } else {
        ngx_log_error(level, call->request->connection->log, 0,
                      "key %ui of %ui of provider \"%V\" rests for %Mms after "
                      "%s", a->turn.number + 1, a->turn.of,
                      &a->step->provider->name, ms,
                      res_outcome_name(a->outcome));
    }

    /* a retry with none of them would be refused */

    if (ngx_http_resilience_rest_ready(call, a->step, a->step->provider->key,
                                       &first, &wait)
        == 0)
    {
        a->rest = ngx_max(a->rest, (ngx_msec_t) wait);
    }
}


/* what the answer asks for, or what is usual after such a one */

static ngx_msec_t
ngx_http_resilience_rest_time(ngx_http_resilience_attempt_t *a)
{
    if (a->hint || !a->step->policy->hints) {
        return a->hint;
    }

    switch (a->outcome) {

    case RES_RATE_LIMITED:
        return NGX_HTTP_RESILIENCE_REST_PACE;

    case RES_QUOTA:
        return NGX_HTTP_RESILIENCE_REST_MONEY;

    case RES_AUTH:
        return NGX_HTTP_RESILIENCE_REST_AUTH;

    default:
        return 0;
    }
}


/* a limit of pace is nothing that anyone has to look after */

static ngx_uint_t
ngx_http_resilience_rest_level(ngx_http_resilience_attempt_t *a)
{
    return (a->outcome == RES_AUTH || a->outcome == RES_QUOTA) ? NGX_LOG_WARN
                                                               : NGX_LOG_INFO;
}


void
ngx_http_resilience_rest(ngx_http_resilience_attempt_t *a)
{
    uint32_t    stamp;
    ngx_msec_t  ms;
    ngx_uint_t  level;

    if (a->step->policy->breaker.off) {
        return;
    }

    ms = a->hint;
    stamp = 0;

    if (NGX_HTTP_RESILIENCE_OF_KEY & res_bit(a->outcome)) {

        if (a->turn.of > 1
            || (a->turn.of == 0 && ngx_http_resilience_request_lent(a)))
        {
            /* its key does, or it is the client's own */
            return;
        }

        if (a->turn.of == 1) {
            ms = ngx_http_resilience_rest_time(a);
            stamp = (uint32_t) a->turn.hash | 1;
        }
    }

    if (ms == 0) {
        return;
    }

    ngx_http_resilience_permit_rest(a, ms, stamp);

    level = ngx_http_resilience_rest_level(a);

    ngx_log_error(level, a->call->request->connection->log, 0,
                  "provider \"%V\" rests for %Mms after %s, for tenant \"%V\"",
                  &a->step->provider->name, ms, res_outcome_name(a->outcome),
                  &a->call->tenant);
}


void
ngx_http_resilience_rest_end(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, ngx_str_t *tenant)
{
    uint32_t  one;

    one = tenant ? ngx_http_resilience_rest_tenant(zone, tenant,
                                                   provider->number) : 0;

    res_rest_end(&zone->shared->rests, provider->number, one);
}


ngx_uint_t
ngx_http_resilience_rest_count(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_key_t *key)
{
    ngx_uint_t      i, n;
    res_rest_key_t  one;

    n = 0;
    one.tenant = 0;

    ngx_http_resilience_zone_enter(zone);

    for (i = 0; i < key->n; i++) {
        one.hash = key->secrets[i].hash;
        n += (res_rest_left(&zone->shared->rests, &one, ngx_current_msec) != 0);
    }

    ngx_http_resilience_zone_leave(zone);

    return n;
}
