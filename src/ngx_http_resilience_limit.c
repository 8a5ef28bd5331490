
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_limit.h"


/*
 * A request and its limits.
 *
 * Each limit is asked once a request, before the body is read and before any
 * attempt.  Those with a key are asked before access is controlled, as they
 * may be there to guard it; those of a tenant after that, as before no one
 * knows that it is the tenant who asks.
 *
 * A request that is refused is counted by no limit.  What a call cost in
 * tokens is known when it is over, and is settled then.
 */


/* what a request takes of a limit */

typedef struct {
    ngx_http_resilience_limit_t     *limit;
    uint64_t                         hash;
    int64_t                          taken;     /* units, 0: refused */
    res_gcra_result_t                result;
} ngx_http_resilience_charge_t;


typedef struct {
    ngx_http_request_t              *request;
    ngx_array_t                      list;      /* _charge_t */
    ngx_str_t                        tenant;    /* empty: not asked for yet */
    unsigned                         refused:1;
    unsigned                         told:1;
} ngx_http_resilience_charges_t;


static ngx_int_t ngx_http_resilience_limit_preaccess(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_limit_precontent(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_limit_check(ngx_http_request_t *r,
    ngx_uint_t keyed);
static ngx_http_resilience_charges_t *ngx_http_resilience_limit_charges(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_limit_gather(
    ngx_http_resilience_charges_t *charges, ngx_uint_t keyed);
static ngx_uint_t ngx_http_resilience_limit_asked(
    ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_limit_t *limit);
static ngx_int_t ngx_http_resilience_limit_key_of(
    ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_limit_t *limit, ngx_str_t *key);
static int64_t ngx_http_resilience_limit_cost(ngx_http_request_t *r,
    ngx_http_resilience_limit_t *limit);
static ngx_http_resilience_charge_t *ngx_http_resilience_limit_take(
    ngx_http_resilience_charges_t *charges, ngx_uint_t first);
static void ngx_http_resilience_limit_count(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges, ngx_uint_t first);
static void ngx_http_resilience_limit_log(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_charge_t *worst);
static void ngx_http_resilience_limit_full(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone);
static ngx_int_t ngx_http_resilience_limit_refuse(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_charge_t *worst);
static ngx_int_t ngx_http_resilience_limit_wait(ngx_http_request_t *r,
    ngx_http_resilience_charge_t *worst);
static ngx_int_t ngx_http_resilience_limit_tell(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges);
static ngx_int_t ngx_http_resilience_limit_tell_policy(ngx_http_request_t *r);
static void ngx_http_resilience_limit_settle(void *data);
static int64_t ngx_http_resilience_limit_spent(ngx_http_request_t *r);
static uint64_t ngx_http_resilience_limit_seconds(uint64_t ms);


ngx_int_t
ngx_http_resilience_limit_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *preaccess, *precontent;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    preaccess = ngx_array_push(
                       &cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    precontent = ngx_array_push(
                       &cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);

    if (preaccess == NULL || precontent == NULL) {
        return NGX_ERROR;
    }

    *preaccess = ngx_http_resilience_limit_preaccess;
    *precontent = ngx_http_resilience_limit_precontent;

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_limit_preaccess(ngx_http_request_t *r)
{
    return ngx_http_resilience_limit_check(r, 1);
}


static ngx_int_t
ngx_http_resilience_limit_precontent(ngx_http_request_t *r)
{
    return ngx_http_resilience_limit_check(r, 0);
}


static ngx_int_t
ngx_http_resilience_limit_check(ngx_http_request_t *r, ngx_uint_t keyed)
{
    ngx_int_t                        rc;
    ngx_uint_t                       first;
    ngx_http_resilience_charge_t    *worst;
    ngx_http_resilience_charges_t   *charges;
    ngx_http_resilience_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);

    if (rlcf->limits == NULL || r != r->main) {
        return NGX_DECLINED;
    }

    charges = ngx_http_resilience_limit_charges(r);

    if (charges == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (charges->refused) {
        /* this is its error page */
        return NGX_DECLINED;
    }

    first = charges->list.nelts;

    rc = ngx_http_resilience_limit_gather(charges, keyed);

    if (rc != NGX_OK) {
        return rc;
    }

    if (charges->list.nelts > first) {

        worst = ngx_http_resilience_limit_take(charges, first);

        if (worst) {
            ngx_http_resilience_limit_count(r, charges, first);
            ngx_http_resilience_limit_log(r, charges, worst);

            if (!rlcf->dry_run) {
                return ngx_http_resilience_limit_refuse(r, charges, worst);
            }
        }
    }

    if (!keyed && rlcf->headers && !charges->told) {
        charges->told = 1;

        if (ngx_http_resilience_limit_tell(r, charges) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return NGX_DECLINED;
}


/* a redirect clears the contexts: they are found by their cleanup */

static ngx_http_resilience_charges_t *
ngx_http_resilience_limit_charges(ngx_http_request_t *r)
{
    ngx_http_cleanup_t             *cln;
    ngx_http_resilience_charges_t  *charges;

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_resilience_limit_settle) {
            return cln->data;
        }
    }

    charges = ngx_pcalloc(r->pool, sizeof(ngx_http_resilience_charges_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (charges == NULL || cln == NULL
        || ngx_array_init(&charges->list, r->pool, 2,
                          sizeof(ngx_http_resilience_charge_t))
           != NGX_OK)
    {
        return NULL;
    }

    charges->request = r;

    cln->handler = ngx_http_resilience_limit_settle;
    cln->data = charges;

    return charges;
}


/* the limits that are to be asked now, and whose state they are asked for */

static ngx_int_t
ngx_http_resilience_limit_gather(ngx_http_resilience_charges_t *charges,
    ngx_uint_t keyed)
{
    ngx_int_t                        rc;
    ngx_str_t                        key;
    ngx_uint_t                       i;
    ngx_http_request_t              *r;
    ngx_http_resilience_limit_t    **limits;
    ngx_http_resilience_charge_t    *charge;
    ngx_http_resilience_loc_conf_t  *rlcf;

    r = charges->request;
    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);
    limits = rlcf->limits->elts;

    for (i = 0; i < rlcf->limits->nelts; i++) {

        if ((limits[i]->key != NULL) != keyed
            || ngx_http_resilience_limit_asked(charges, limits[i]))
        {
            continue;
        }

        rc = ngx_http_resilience_limit_key_of(charges, limits[i], &key);

        if (rc != NGX_OK) {
            return rc;
        }

        if (key.len == 0) {
            continue;
        }

        charge = ngx_array_push(&charges->list);

        if (charge == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        charge->limit = limits[i];
        charge->hash = res_siphash(limits[i]->hash_key, key.data, key.len);
        charge->taken = ngx_http_resilience_limit_cost(r, limits[i]);
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_resilience_limit_asked(ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_limit_t *limit)
{
    ngx_uint_t                     i;
    ngx_http_resilience_charge_t  *charge;

    charge = charges->list.elts;

    for (i = 0; i < charges->list.nelts; i++) {
        if (charge[i].limit == limit) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_resilience_limit_key_of(ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_limit_t *limit, ngx_str_t *key)
{
    ngx_int_t                         rc;
    ngx_http_request_t               *r;
    ngx_http_resilience_main_conf_t  *rmcf;

    r = charges->request;

    if (limit->key) {
        return ngx_http_complex_value(r, limit->key, key) == NGX_OK
                   ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (charges->tenant.len == 0) {

        rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);

        rc = ngx_http_resilience_tenant_get(r, rmcf->zone, &charges->tenant);

        if (rc == NGX_HTTP_UNAUTHORIZED) {

            /* a call says that by itself, and better */

            charges->tenant.len = 0;

            return (r->content_handler == ngx_http_resilience_handler)
                       ? NGX_DECLINED : NGX_HTTP_UNAUTHORIZED;
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    *key = charges->tenant;

    return NGX_OK;
}


/* a body of unknown length is not estimated before it has come */

static int64_t
ngx_http_resilience_limit_cost(ngx_http_request_t *r,
    ngx_http_resilience_limit_t *limit)
{
    int64_t  cost;

    if (!limit->tokens) {
        return 1;
    }

    cost = llm_estimate(r->headers_in.content_length_n);

    return ngx_min(cost, UINT32_MAX);
}


/*
 * All or nothing.  The charge that has to wait for the longest time, or has
 * no use to wait; NULL: none has to.
 */

static ngx_http_resilience_charge_t *
ngx_http_resilience_limit_take(ngx_http_resilience_charges_t *charges,
    ngx_uint_t first)
{
    uint64_t                          full;
    ngx_uint_t                        i;
    res_limiter_t                    *limiter;
    ngx_http_request_t               *r;
    ngx_http_resilience_charge_t     *charge, *worst;
    ngx_http_resilience_main_conf_t  *rmcf;

    r = charges->request;
    rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);
    limiter = rmcf->zone->shared->limits->limiter;

    charge = charges->list.elts;
    worst = NULL;

    ngx_http_resilience_zone_enter(rmcf->zone);

    full = limiter->full;

    for (i = first; i < charges->list.nelts; i++) {

        if (res_limiter_take(limiter, charge[i].hash, &charge[i].limit->conf,
                             (uint32_t) charge[i].taken, ngx_current_msec,
                             &charge[i].result))
        {
            continue;
        }

        charge[i].taken = 0;

        if (worst == NULL
            || (uint64_t) charge[i].result.retry_after
               > (uint64_t) worst->result.retry_after)
        {
            worst = &charge[i];
        }
    }

    if (worst) {
        for (i = 0; i < charges->list.nelts; i++) {
            res_limiter_settle(limiter, charge[i].hash, &charge[i].limit->conf,
                               -charge[i].taken, ngx_current_msec);
            charge[i].taken = 0;
        }
    }

    full = limiter->full - full;

    ngx_http_resilience_zone_leave(rmcf->zone);

    if (full) {
        ngx_http_resilience_limit_full(r, rmcf->zone);
    }

    return worst;
}


static void
ngx_http_resilience_limit_count(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges, ngx_uint_t first)
{
    ngx_uint_t                       i;
    ngx_http_resilience_charge_t    *charge;
    ngx_http_resilience_limited_t   *limited;
    ngx_http_resilience_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);
    charge = charges->list.elts;

    for (i = first; i < charges->list.nelts; i++) {

        if (charge[i].result.allowed) {
            continue;
        }

        limited = charge[i].limit->limited;

        (void) ngx_atomic_fetch_add(rlcf->dry_run ? &limited->dry
                                                  : &limited->refused, 1);
    }
}


/* a key is not shown, it may be a credential */

static void
ngx_http_resilience_limit_log(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_charge_t *worst)
{
    u_char                          *p;
    const char                      *dry;
    ngx_http_resilience_loc_conf_t  *rlcf;
    u_char                           wait[64], tenant[128];

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);

    if (worst->result.retry_after < 0) {
        p = ngx_sprintf(wait, "it is more than there ever is at once");

    } else {
        p = ngx_sprintf(wait, "retry after %uLs",
                        ngx_http_resilience_limit_seconds(
                                       (uint64_t) worst->result.retry_after));
    }

    *p = '\0';
    *tenant = '\0';

    if (worst->limit->key == NULL) {
        *ngx_snprintf(tenant, sizeof(tenant) - 1, " and tenant \"%V\"",
                      &charges->tenant)
            = '\0';
    }

    dry = rlcf->dry_run ? ", dry run," : "";

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "limiting %V%s by limit \"%V\"%s: %s",
                  &worst->limit->kind, dry, &worst->limit->name, tenant, wait);
}


/* a zone that is too small says so once a minute */

static void
ngx_http_resilience_limit_full(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone)
{
    ngx_atomic_uint_t              last, now;
    ngx_http_resilience_limits_t  *limits;

    limits = zone->shared->limits;

    now = ngx_time();
    last = limits->full_logged;

    if (now - last < 60
        || !ngx_atomic_cmp_set(&limits->full_logged, last, now))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "zone \"%V\" is too small for so many keys of limits, what "
                  "finds no place is let through, %uL times so far",
                  &zone->shm_zone->shm.name, limits->limiter->full);
}


static ngx_int_t
ngx_http_resilience_limit_refuse(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges,
    ngx_http_resilience_charge_t *worst)
{
    u_char       *p;
    const size_t  size = NGX_HTTP_RESILIENCE_NAME + 160;

    charges->refused = 1;

    if (ngx_http_resilience_limit_wait(r, worst) != NGX_OK
        || ngx_http_resilience_limit_tell(r, charges) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->content_handler != ngx_http_resilience_handler) {
        return NGX_HTTP_TOO_MANY_REQUESTS;
    }

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (worst->result.retry_after < 0) {
        *ngx_snprintf(p, size - 1, "the request counts as %L tokens, limit "
                      "\"%V\" never has more than %uL at once",
                      ngx_http_resilience_limit_cost(r, worst->limit),
                      &worst->limit->name,
                      (uint64_t) worst->limit->conf.burst + 1) = '\0';

    } else {
        *ngx_snprintf(p, size - 1, "limit \"%V\" of %uD %V in %uD seconds is "
                      "reached, retry after %uL seconds",
                      &worst->limit->name, worst->limit->conf.limit,
                      &worst->limit->kind, worst->limit->conf.period / 1000,
                      ngx_http_resilience_limit_seconds(
                             (uint64_t) worst->result.retry_after)) = '\0';
    }

    ngx_http_resilience_call_limited(r, (char *) p);

    return NGX_DONE;
}


/* a client that can have it later is told when, another one not to come */

static ngx_int_t
ngx_http_resilience_limit_wait(ngx_http_request_t *r,
    ngx_http_resilience_charge_t *worst)
{
    ngx_str_t  value;
    u_char     buf[NGX_INT64_LEN];

    if (worst->result.retry_after < 0) {
        ngx_str_set(&value, "false");

        return ngx_http_resilience_answer_add(r, "x-should-retry", &value);
    }

    value.data = buf;
    value.len = ngx_sprintf(buf, "%uL", ngx_http_resilience_limit_seconds(
                                       (uint64_t) worst->result.retry_after))
                - buf;

    return ngx_http_resilience_answer_add(r, "Retry-After", &value);
}


/* draft-ietf-httpapi-ratelimit-headers-10; of a refusal, why it was one */

static ngx_int_t
ngx_http_resilience_limit_tell(ngx_http_request_t *r,
    ngx_http_resilience_charges_t *charges)
{
    u_char                        *p;
    uint64_t                       ms;
    ngx_str_t                      value;
    ngx_uint_t                     i;
    ngx_http_resilience_charge_t  *charge;

    if (charges->list.nelts == 0) {
        return NGX_OK;
    }

    charge = charges->list.elts;

    p = ngx_pnalloc(r->pool, charges->list.nelts
                             * (NGX_HTTP_RESILIENCE_NAME + 2 * NGX_INT64_LEN
                                + sizeof(", \"\";r=;t=") - 1));
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    for (i = 0; i < charges->list.nelts; i++) {

        if (charges->refused && charge[i].result.allowed) {
            continue;
        }

        ms = (charge[i].result.retry_after > 0)
                 ? (uint64_t) charge[i].result.retry_after
                 : charge[i].result.reset;

        p = ngx_sprintf(p, "%s\"%V\";r=%uD;t=%uL",
                        (p == value.data) ? "" : ", ",
                        &charge[i].limit->name, charge[i].result.remaining,
                        ngx_http_resilience_limit_seconds(ms));
    }

    value.len = p - value.data;

    if (ngx_http_resilience_answer_add(r, "RateLimit", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_resilience_limit_tell_policy(r);
}


static ngx_int_t
ngx_http_resilience_limit_tell_policy(ngx_http_request_t *r)
{
    u_char                           *p;
    ngx_str_t                         value;
    ngx_uint_t                        i;
    ngx_http_resilience_limit_t     **limits;
    ngx_http_resilience_loc_conf_t   *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);
    limits = rlcf->limits->elts;

    p = ngx_pnalloc(r->pool, rlcf->limits->nelts
                             * (NGX_HTTP_RESILIENCE_NAME + 2 * NGX_INT64_LEN
                                + sizeof(", \"\";q=;w=") - 1));
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    for (i = 0; i < rlcf->limits->nelts; i++) {
        p = ngx_sprintf(p, "%s\"%V\";q=%uD;w=%uD", i ? ", " : "",
                        &limits[i]->name, limits[i]->conf.limit,
                        limits[i]->conf.period / 1000);
    }

    value.len = p - value.data;

    return ngx_http_resilience_answer_add(r, "RateLimit-Policy", &value);
}


/* runs once at the end of every request, after the end of its call */

static void
ngx_http_resilience_limit_settle(void *data)
{
    ngx_http_resilience_charges_t *charges = data;

    int64_t                           spent;
    ngx_uint_t                        i;
    ngx_http_request_t               *r;
    ngx_http_resilience_charge_t     *charge;
    ngx_http_resilience_main_conf_t  *rmcf;

    r = charges->request;
    rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);
    charge = charges->list.elts;

    for (i = 0; i < charges->list.nelts; i++) {

        if (!charge[i].limit->tokens || charge[i].taken == 0) {
            continue;
        }

        spent = ngx_http_resilience_limit_spent(r);

        if (spent == charge[i].taken) {
            continue;
        }

        ngx_http_resilience_zone_enter(rmcf->zone);

        res_limiter_settle(rmcf->zone->shared->limits->limiter,
                           charge[i].hash, &charge[i].limit->conf,
                           spent - charge[i].taken, ngx_current_msec);

        ngx_http_resilience_zone_leave(rmcf->zone);
    }
}


/*
 * Tokens that the request has cost.  A call that no one answered well costs
 * nothing, unless its client left while it was being answered: that is paid
 * for.  By now the body's length is known however it came.
 */

static int64_t
ngx_http_resilience_limit_spent(ngx_http_request_t *r)
{
    int64_t                         estimate;
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *a;

    call = ngx_http_resilience_get_call(r);
    estimate = llm_estimate(r->headers_in.content_length_n);

    if (call == NULL) {
        return estimate;
    }

    a = call->winner;

    if (a) {
        return (a->status < NGX_HTTP_BAD_REQUEST)
                   ? llm_spent(&a->usage, estimate) : 0;
    }

    return (call->outcome == RES_CLIENT_ABORT && call->attempts) ? estimate
                                                                 : 0;
}


static uint64_t
ngx_http_resilience_limit_seconds(uint64_t ms)
{
    return (ms + 999) / 1000;
}
