
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_limit.h"
#include "ngx_http_resilience_status.h"


/* resilience_status: the zone as JSON */


#define NGX_HTTP_RESILIENCE_LIMIT   100     /* breakers a page, by default */
#define NGX_HTTP_RESILIENCE_MOST    1000


static ngx_int_t ngx_http_resilience_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_status_format(ngx_conf_t *cf,
    ngx_http_resilience_loc_conf_t *rlcf, ngx_str_t *value);
static ngx_int_t ngx_http_resilience_status_query(ngx_http_request_t *r,
    ngx_http_resilience_query_t *q);
static ngx_int_t ngx_http_resilience_status_word(ngx_http_request_t *r,
    const char *name, const char *word);
static ngx_int_t ngx_http_resilience_status_after(ngx_http_request_t *r,
    ngx_http_resilience_query_t *q);
static void ngx_http_resilience_status_json(ngx_http_request_t *r,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_chains(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_providers(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_keys(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_provider_t *provider, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_denied(
    ngx_http_resilience_counters_t *counters, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_latency(
    ngx_http_resilience_counters_t *counters, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_limits(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_breakers(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_breaker(
    ngx_http_resilience_shared_t *shared, res_cell_t *cell,
    ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_state(res_breaker_t *b,
    ngx_http_resilience_out_t *out);


char *
ngx_http_resilience_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_loc_conf_t *rlcf = conf;

    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "admin") == 0) {
            rlcf->admin = 1;
            continue;
        }

        if (ngx_strncmp(value[i].data, "tenants=", 8) == 0) {

            if (ngx_http_resilience_top_conf(cf, &value[i], &rlcf->top)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_http_resilience_status_format(cf, rlcf, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (rlcf->top && !rlcf->prometheus) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"tenants=\" of \"resilience_status\" needs "
                           "\"prometheus\"");
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_resilience_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_resilience_status_format(ngx_conf_t *cf,
    ngx_http_resilience_loc_conf_t *rlcf, ngx_str_t *value)
{
    ngx_uint_t  *format;

    if (ngx_strcmp(value->data, "json") == 0) {
        format = &rlcf->json;

    } else if (ngx_strcmp(value->data, "prometheus") == 0) {
        format = &rlcf->prometheus;

    } else if (ngx_strcmp(value->data, "html") == 0) {
        format = &rlcf->html;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", use \"json\", "
                           "\"prometheus\", \"html\" or \"admin\"", value);
        return NGX_ERROR;
    }

    if (rlcf->json || rlcf->prometheus || rlcf->html) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is one format too many, use one location "
                           "for each", value);
        return NGX_ERROR;
    }

    *format = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                         rc;
    ngx_http_resilience_out_t         out;
    ngx_http_resilience_query_t       q;
    ngx_http_resilience_loc_conf_t   *rlcf;
    ngx_http_resilience_main_conf_t  *rmcf;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);
    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);

    if (rmcf->zone == NULL) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (r->method == NGX_HTTP_POST && rlcf->admin) {
        return ngx_http_resilience_admin(r, rmcf->zone);
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_resilience_status_say(r, NGX_HTTP_NOT_ALLOWED,
                                              "error", rlcf->admin
                                        ? "use GET, HEAD or POST"
                                        : "use GET or HEAD, admin is off");
    }

    ngx_http_resilience_out_init(&out, r->pool);

    if (rlcf->prometheus) {
        ngx_http_resilience_prometheus(rmcf, &out, rlcf->top);

        return ngx_http_resilience_out_send(r, NGX_HTTP_OK,
                                            "text/plain; version=0.0.4", &out);
    }

    rc = ngx_http_resilience_status_query(r, &q);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ngx_http_resilience_out_printf(&out,
            "{\"error\":\"state is closed, open or half_open, limit is from "
            "1 to %d, after is a number that an answer gave as next, order is "
            "state, format is json\"}",
            NGX_HTTP_RESILIENCE_MOST);

        return ngx_http_resilience_out_send(r, NGX_HTTP_BAD_REQUEST,
                                            "application/json", &out);
    }

    if (!q.json && !rlcf->json
        && (rlcf->html || ngx_http_resilience_page_wanted(r)))
    {
        return ngx_http_resilience_page(r);
    }

    ngx_http_resilience_status_json(r, rmcf, &q, &out);

    return ngx_http_resilience_out_send(r, NGX_HTTP_OK, "application/json",
                                        &out);
}


ngx_int_t
ngx_http_resilience_status_say(ngx_http_request_t *r, ngx_uint_t status,
    const char *name, const char *text)
{
    ngx_http_resilience_out_t  out;

    ngx_http_resilience_out_init(&out, r->pool);

    ngx_http_resilience_out_printf(&out, "{\"%s\":\"%s\"}\n", name, text);

    return ngx_http_resilience_out_send(r, status, "application/json", &out);
}


static ngx_int_t
ngx_http_resilience_status_query(ngx_http_request_t *r,
    ngx_http_resilience_query_t *q)
{
    ngx_int_t   n;
    ngx_str_t   value;
    ngx_uint_t  state;

    ngx_memzero(q, sizeof(ngx_http_resilience_query_t));

    q->state = -1;
    q->limit = NGX_HTTP_RESILIENCE_LIMIT;

    if (r->args.len == 0) {
        return NGX_OK;
    }

    n = ngx_http_resilience_status_arg(r, "tenant", &q->tenant);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    q->by_tenant = (n == NGX_OK);

    n = ngx_http_resilience_status_arg(r, "provider", &q->provider);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    q->by_provider = (n == NGX_OK);

    n = ngx_http_resilience_status_arg(r, "state", &value);

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (n == NGX_OK) {
        for (state = RES_CLOSED; state <= RES_HALF_OPEN; state++) {
            if (value.len == ngx_strlen(res_breaker_state_name(state))
                && ngx_strncmp(value.data, res_breaker_state_name(state),
                               value.len) == 0)
            {
                q->state = state;
            }
        }

        if (q->state == -1) {
            return NGX_DECLINED;
        }
    }

    if (ngx_http_arg(r, (u_char *) "limit", 5, &value) == NGX_OK) {
        n = ngx_atoi(value.data, value.len);

        if (n < 1 || n > NGX_HTTP_RESILIENCE_MOST) {
            return NGX_DECLINED;
        }

        q->limit = n;
    }

    n = ngx_http_resilience_status_word(r, "order", "state");
    if (n == NGX_ERROR) {
        return NGX_DECLINED;
    }

    /* of one state all are alike */

    q->ordered = (n == NGX_OK && q->state == -1);

    n = ngx_http_resilience_status_word(r, "format", "json");
    if (n == NGX_ERROR) {
        return NGX_DECLINED;
    }

    q->json = (n == NGX_OK);

    return ngx_http_resilience_status_after(r, q);
}


/* an argument that has one value; NGX_DECLINED: it is not there */

static ngx_int_t
ngx_http_resilience_status_word(ngx_http_request_t *r, const char *name,
    const char *word)
{
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &value) != NGX_OK) {
        return NGX_DECLINED;
    }

    return (value.len == ngx_strlen(word)
            && ngx_strncmp(value.data, word, value.len) == 0) ? NGX_OK
                                                              : NGX_ERROR;
}


/* ordered pages say in the upper half which of the states they are at */

static ngx_int_t
ngx_http_resilience_status_after(ngx_http_request_t *r,
    ngx_http_resilience_query_t *q)
{
    off_t      n;
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) "after", 5, &value) != NGX_OK) {
        return NGX_OK;
    }

    n = ngx_atoof(value.data, value.len);

    if (n == NGX_ERROR || n >> 32 > (q->ordered ? RES_HALF_OPEN : 0)) {
        return NGX_DECLINED;
    }

    q->after = n;

    return NGX_OK;
}


ngx_int_t
ngx_http_resilience_status_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    u_char     *dst, *src;
    ngx_str_t   raw;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &raw) != NGX_OK) {
        return NGX_DECLINED;
    }

    dst = ngx_pnalloc(r->pool, raw.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    value->data = dst;
    src = raw.data;

    ngx_unescape_uri(&dst, &src, raw.len, 0);

    value->len = dst - value->data;

    return NGX_OK;
}


static void
ngx_http_resilience_status_json(ngx_http_request_t *r,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out)
{
    res_table_t                     *table;
    ngx_shm_zone_t                  *shm_zone;
    ngx_core_conf_t                 *ccf;
    ngx_http_resilience_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);
    shm_zone = rmcf->zone->shm_zone;
    table = rmcf->zone->shared->table;

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    ngx_http_resilience_out_printf(out, "{\"zone\":{\"name\":");
    ngx_http_resilience_out_string(out, shm_zone->shm.name.data,
                                      shm_zone->shm.name.len);

    ngx_http_resilience_out_printf(out,
                                      ",\"size\":%uz,\"used\":%uz,"
                                      "\"cells\":%uD,\"capacity\":%uD,"
                                      "\"evictions\":%uL},"
                                      "\"workers\":%i,\"draining\":%s,"
                                      "\"admin\":%s,",
                                      shm_zone->shm.size,
                                      (size_t) table->used
                                          * sizeof(res_cell_t),
                                      table->used, table->capacity,
                                      table->evictions,
                                      ccf->worker_processes,
                                      ngx_exiting ? "true" : "false",
                                      rlcf->admin ? "true" : "false");

    ngx_http_resilience_status_chains(rmcf, out);
    ngx_http_resilience_out_printf(out, ",");
    ngx_http_resilience_status_providers(rmcf, q, out);
    ngx_http_resilience_out_printf(out, ",");
    ngx_http_resilience_status_limits(rmcf, out);
    ngx_http_resilience_out_printf(out, ",");
    ngx_http_resilience_transition_json(rmcf->zone, q, out);
    ngx_http_resilience_out_printf(out, ",");
    ngx_http_resilience_status_breakers(rmcf, q, out);
    ngx_http_resilience_out_printf(out, "}\n");
}


/* as configured; not the names of providers that work as chains */

static void
ngx_http_resilience_status_chains(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out)
{
    ngx_uint_t                     i, n, any;
    ngx_str_t                     *name;
    ngx_http_resilience_chain_t  **chains;

    static const char  *balances[] = { "order", "weighted", "least_latency" };

    chains = rmcf->chains.elts;
    any = 0;

    ngx_http_resilience_out_printf(out, "\"chains\":[");

    for (i = 0; i < rmcf->chains.nelts; i++) {

        if (chains[i]->single) {
            continue;
        }

        name = &chains[i]->name;

        ngx_http_resilience_out_printf(out, "%s{\"name\":", any ? "," : "");
        ngx_http_resilience_out_string(out, name->data, name->len);
        ngx_http_resilience_out_printf(out, ",\"balance\":\"%s\","
                                       "\"providers\":[",
                                       balances[chains[i]->balance]);

        for (n = 0; n < chains[i]->steps.nelts; n++) {
            name = &chains[i]->order[n]->provider_name;

            ngx_http_resilience_out_printf(out, n ? "," : "");
            ngx_http_resilience_out_string(out, name->data, name->len);
        }

        ngx_http_resilience_out_printf(out, "]}");
        any = 1;
    }

    ngx_http_resilience_out_printf(out, "]");
}


static void
ngx_http_resilience_status_providers(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_query_t *q, ngx_http_resilience_out_t *out)
{
    ngx_uint_t                        i, n, any, some;
    res_table_t                      *table;
    ngx_http_resilience_counters_t   *counters;
    ngx_http_resilience_provider_t  **providers;

    table = rmcf->zone->shared->table;
    providers = rmcf->providers.elts;
    any = 0;

    ngx_http_resilience_out_printf(out, "\"providers\":[");

    for (i = 0; i < rmcf->providers.nelts; i++) {

        counters = providers[i]->counters;

        if (!ngx_http_resilience_walk_names(q, counters)) {
            continue;
        }

        ngx_http_resilience_out_printf(out, "%s{\"name\":", any ? "," : "");
        ngx_http_resilience_out_string(out, counters->name, counters->len);

        ngx_http_resilience_out_printf(out,
                                          ",\"inflight\":%ui,\"attempts\":%uA,"
                                          "\"successes\":%uA,\"failures\":{",
                                          counters->inflight,
                                          counters->attempts,
                                          counters->outcomes[RES_SUCCESS]);
        some = 0;

        for (n = RES_SUCCESS + 1; n < RES_OUTCOMES; n++) {

            if (counters->outcomes[n] == 0) {
                continue;
            }

            ngx_http_resilience_out_printf(out, "%s\"%s\":%uA",
                                              some ? "," : "",
                                              res_outcome_name(n),
                                              counters->outcomes[n]);
            some = 1;
        }

        ngx_http_resilience_out_printf(out,
                              "},\"tokens\":{\"input\":%uA,\"output\":%uA}",
                              counters->input_tokens,
                              counters->output_tokens);

        ngx_http_resilience_status_keys(rmcf->zone, providers[i], out);
        ngx_http_resilience_out_printf(out, ",\"retry_denied\":{");
        ngx_http_resilience_status_denied(counters, out);
        ngx_http_resilience_out_printf(out, "},\"latency_ms\":{");
        ngx_http_resilience_status_latency(counters, out);
        ngx_http_resilience_out_printf(out, "},\"tripped\":%uD,\"breaker\":{",
                                       table->tripped[counters->number]);
        ngx_http_resilience_status_state(&counters->breaker, out);
        ngx_http_resilience_out_printf(out, "}}");
        any = 1;
    }

    ngx_http_resilience_out_printf(out, "]");
}


/* of a provider that has its own */

static void
ngx_http_resilience_status_keys(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_provider_t *provider, ngx_http_resilience_out_t *out)
{
    ngx_http_resilience_key_t  *key;

    if (provider->key == NULL) {
        return;
    }

    key = ngx_http_resilience_key_get(provider, zone, out->pool->log);

    ngx_http_resilience_out_printf(out,
                                      ",\"keys\":{\"count\":%ui,"
                                      "\"resting\":%ui}", key->n,
                                      ngx_http_resilience_rest_count(zone,
                                                                     key));
}


static void
ngx_http_resilience_status_denied(ngx_http_resilience_counters_t *counters,
    ngx_http_resilience_out_t *out)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_RESILIENCE_DENIALS; i++) {
        ngx_http_resilience_out_printf(out, "%s\"%s\":%uA",
                                          i ? "," : "",
                                       ngx_http_resilience_denial_name(i),
                                          counters->denied[i]);
    }
}


/* to the commit, of the last one to two minutes; -1: nothing is known */

static void
ngx_http_resilience_status_latency(ngx_http_resilience_counters_t *counters,
    ngx_http_resilience_out_t *out)
{
    int64_t     ms;
    ngx_uint_t  i;

    static struct {
        const char  *name;
        uint32_t     permille;
    } percentiles[] = { { "p50", 500 }, { "p95", 950 }, { "p99", 990 } };

    for (i = 0; i < 3; i++) {

        ms = res_histogram_percentile(&counters->first_byte,
                                      percentiles[i].permille, 1,
                                      ngx_current_msec);

        if (ms < 0) {
            ngx_http_resilience_out_printf(out, "%s\"%s\":null",
                                              i ? "," : "",
                                              percentiles[i].name);
            continue;
        }

        ngx_http_resilience_out_printf(out, "%s\"%s\":%L", i ? "," : "",
                                          percentiles[i].name, ms);
    }
}


static void
ngx_http_resilience_status_limits(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out)
{
    ngx_uint_t                     i;
    ngx_http_resilience_limit_t  **limits;

    limits = rmcf->limits.elts;

    ngx_http_resilience_out_printf(out, "\"limits\":[");

    for (i = 0; i < rmcf->limits.nelts; i++) {

        ngx_http_resilience_out_printf(out, "%s{\"name\":", i ? "," : "");
        ngx_http_resilience_out_string(out, limits[i]->name.data,
                                          limits[i]->name.len);

        ngx_http_resilience_out_printf(out,
                                          ",\"kind\":\"%V\",\"rate\":\"%V\","
                                          "\"burst\":%uD,\"limited\":%uA,"
                                          "\"dry_run\":%uA}",
                                          &limits[i]->kind, &limits[i]->rate,
                                          limits[i]->conf.burst
                                              + limits[i]->tokens,
                                          limits[i]->limited->refused,
                                          limits[i]->limited->dry);
    }

    ngx_http_resilience_out_printf(out, "]");
}


static void
ngx_http_resilience_status_breakers(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_query_t *q, ngx_http_resilience_out_t *out)
{
    ngx_uint_t                   i, n, any;
    ngx_http_resilience_walk_t   walk;
    res_cell_t                   batch[NGX_HTTP_RESILIENCE_BATCH];

    ngx_http_resilience_walk_init(&walk, rmcf->zone, q);
    any = 0;

    ngx_http_resilience_out_printf(out, "\"breakers\":[");

    for ( ;; ) {
        n = ngx_http_resilience_walk_next(&walk, batch);

        if (n == 0) {
            break;
        }

        for (i = 0; i < n; i++) {
            ngx_http_resilience_out_printf(out, any ? "," : "");
            ngx_http_resilience_status_breaker(rmcf->zone->shared, &batch[i],
                                               out);
            any = 1;
        }
    }

    if (walk.over) {
        ngx_http_resilience_out_printf(out, "],\"next\":null");

    } else {
        ngx_http_resilience_out_printf(out, "],\"next\":%uL",
                                       (uint64_t) walk.phase << 32 | walk.n);
    }
}


static void
ngx_http_resilience_status_breaker(ngx_http_resilience_shared_t *shared,
    res_cell_t *cell, ngx_http_resilience_out_t *out)
{
    uint32_t                         failed, slow;
    res_breaker_t                   *b;
    ngx_http_resilience_counters_t  *provider;

    b = &cell->breaker;
    provider = shared->providers[cell->provider];

    failed = b->seen ? res_breaker_failed(b) * 1000 / b->seen : 0;
    slow = b->seen ? res_breaker_slowed(b) * 1000 / b->seen : 0;

    ngx_http_resilience_out_printf(out, "{\"tenant\":");
    ngx_http_resilience_out_string(out, cell->tenant, cell->tenant_len);
    ngx_http_resilience_out_printf(out, ",\"provider\":");
    ngx_http_resilience_out_string(out, provider->name, provider->len);
    ngx_http_resilience_out_printf(out, ",");

    ngx_http_resilience_status_state(b, out);

    ngx_http_resilience_out_printf(out,
                                      ",\"failures\":%uL,\"successes\":%uL,"
                                      "\"consecutive\":%uD,"
                                      "\"error_rate\":%uD.%uD,"
                                      "\"slow_rate\":%uD.%uD,"
                                      "\"inflight\":%uD}",
                                      b->total_failures, b->total_successes,
                                      b->consecutive,
                                      failed / 10, failed % 10,
                                      slow / 10, slow % 10,
                                      cell->inflight);
}


/* the members that a tenant's and a provider's breaker have in common */

static void
ngx_http_resilience_status_state(res_breaker_t *b,
    ngx_http_resilience_out_t *out)
{
    uint64_t    now, since, until;
    ngx_uint_t  state;

    now = ngx_current_msec;

    since = (now > b->since) ? now - b->since : 0;
    until = (b->state == RES_OPEN) ? ngx_max(b->until, b->rest) : b->rest;

    state = res_breaker_shown(b);

    ngx_http_resilience_out_printf(out, "\"state\":\"%s\",\"forced\":",
                                      res_breaker_state_name(state));

    if (b->forced == RES_FORCED_NONE) {
        ngx_http_resilience_out_printf(out, "null");

    } else {
        ngx_http_resilience_out_printf(out, "\"%s\"",
                                          res_breaker_forced_name(b->forced));
    }

    ngx_http_resilience_out_printf(out,
                                      ",\"rejected\":%uL,\"opened\":%uD,"
                                      "\"closed\":%uD,\"since_ms\":%uL,"
                                      "\"retry_in_ms\":%uL",
                                      b->rejected, b->opened, b->closed,
                                      since, (until > now) ? until - now : 0);
}
