
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include "ngx_http_resilience_limit.h"


/*
 * resilience_status: the zone as JSON.
 *
 * Cells are copied a few at a time under the lock and written out without it.
 * A page looks at a bounded number of them; "next" says where the next page
 * begins.
 */


#define NGX_HTTP_RESILIENCE_LIMIT   100     /* breakers a page, by default */
#define NGX_HTTP_RESILIENCE_MOST    1000
#define NGX_HTTP_RESILIENCE_BATCH   32      /* cells copied at a time */
#define NGX_HTTP_RESILIENCE_LOOK    20000   /* cells looked at for a page */


typedef struct {
    ngx_str_t                        tenant;
    ngx_str_t                        provider;
    ngx_int_t                        state;   /* -1: any */
    ngx_uint_t                       limit;
    ngx_uint_t                       after;
    unsigned                         by_tenant:1;
    unsigned                         by_provider:1;
} ngx_http_resilience_query_t;


static ngx_int_t ngx_http_resilience_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_status_query(ngx_http_request_t *r,
    ngx_http_resilience_query_t *q);
static void ngx_http_resilience_status_json(ngx_http_request_t *r,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
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
static ngx_uint_t ngx_http_resilience_status_asked(
    ngx_http_resilience_shared_t *shared, ngx_http_resilience_query_t *q,
    res_cell_t *cell);
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

        if (ngx_strcmp(value[i].data, "json") == 0) {
            continue;
        }

        if (ngx_strcmp(value[i].data, "admin") == 0) {
            rlcf->admin = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "prometheus") == 0) {
            rlcf->prometheus = 1;
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

        if (ngx_strcmp(value[i].data, "html") == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" of \"resilience_status\" is not "
                               "supported yet", &value[i]);
            return NGX_CONF_ERROR;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", use \"json\", "
                           "\"prometheus\", \"tenants=top:number\" or "
                           "\"admin\"", &value[i]);
        return NGX_CONF_ERROR;
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
            "1 to %d, after is a number that an answer gave as next\"}",
            NGX_HTTP_RESILIENCE_MOST);

        return ngx_http_resilience_out_send(r, NGX_HTTP_BAD_REQUEST,
                                            "application/json", &out);
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

    if (ngx_http_arg(r, (u_char *) "after", 5, &value) == NGX_OK) {
        n = ngx_atoi(value.data, value.len);

        if (n == NGX_ERROR) {
            return NGX_DECLINED;
        }

        q->after = n;
    }

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
    res_table_t      *table;
    ngx_shm_zone_t   *shm_zone;
    ngx_core_conf_t  *ccf;

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
                                      "\"workers\":%i,\"draining\":%s,",
                                      shm_zone->shm.size,
                                      (size_t) table->used
                                          * sizeof(res_cell_t),
                                      table->used, table->capacity,
                                      table->evictions,
                                      ccf->worker_processes,
                                      ngx_exiting ? "true" : "false");

    ngx_http_resilience_status_providers(rmcf, q, out);
    ngx_http_resilience_out_printf(out, ",");
    ngx_http_resilience_status_limits(rmcf, out);
    ngx_http_resilience_out_printf(out, ",");
    ngx_http_resilience_status_breakers(rmcf, q, out);
    ngx_http_resilience_out_printf(out, "}\n");
}


static void
ngx_http_resilience_status_providers(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_query_t *q, ngx_http_resilience_out_t *out)
{
    ngx_uint_t                        i, n, any, some;
    ngx_http_resilience_counters_t   *counters;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;
    any = 0;

    ngx_http_resilience_out_printf(out, "\"providers\":[");

    for (i = 0; i < rmcf->providers.nelts; i++) {

        counters = providers[i]->counters;

        if (q->by_provider
            && (q->provider.len != counters->len
                || ngx_memcmp(q->provider.data, counters->name, counters->len)
                   != 0))
        {
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
        ngx_http_resilience_out_printf(out, "},\"breaker\":{");
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
    uint32_t                       n, end, last;
    ngx_uint_t                     i, found, copied;
    res_cell_t                    *cell;
    res_table_t                   *table;
    ngx_http_resilience_zone_t    *zone;
    res_cell_t                     batch[NGX_HTTP_RESILIENCE_BATCH];

    zone = rmcf->zone;
    table = zone->shared->table;
    found = 0;

    n = (uint32_t) ngx_min(q->after, (ngx_uint_t) table->capacity);
    last = ngx_min(table->fresh, table->capacity);

    end = (last - ngx_min(n, last) > NGX_HTTP_RESILIENCE_LOOK)
              ? n + NGX_HTTP_RESILIENCE_LOOK : last;

    ngx_http_resilience_out_printf(out, "\"breakers\":[");

    while (n < end && found < q->limit) {

        copied = 0;

        ngx_http_resilience_zone_enter(zone);

        for (i = 0; i < NGX_HTTP_RESILIENCE_BATCH && n < end
                    && found + copied < q->limit; i++, n++)
        {
            cell = res_table_cell(table, n);

            if (!ngx_http_resilience_status_asked(zone->shared, q, cell)) {
                continue;
            }

            ngx_http_resilience_zone_settle(zone, cell);

            if (q->state == -1
                || res_breaker_shown(&cell->breaker)
                   == (res_breaker_state_e) q->state)
            {
                batch[copied++] = *cell;
            }
        }

        ngx_http_resilience_zone_leave(zone);

        for (i = 0; i < copied; i++) {
            if (found++) {
                ngx_http_resilience_out_printf(out, ",");
            }

            ngx_http_resilience_status_breaker(zone->shared, &batch[i], out);
        }
    }

    if (n < last) {
        ngx_http_resilience_out_printf(out, "],\"next\":%uD", n);

    } else {
        ngx_http_resilience_out_printf(out, "],\"next\":null");
    }
}


static ngx_uint_t
ngx_http_resilience_status_asked(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_query_t *q, res_cell_t *cell)
{
    ngx_http_resilience_counters_t  *provider;

    if (!cell->used || cell->provider >= shared->nproviders) {
        return 0;
    }

    if (q->by_tenant
        && (q->tenant.len != cell->tenant_len
            || ngx_memcmp(q->tenant.data, cell->tenant, cell->tenant_len) != 0))
    {
        return 0;
    }

    if (!q->by_provider) {
        return 1;
    }

    provider = shared->providers[cell->provider];

    return q->provider.len == provider->len
           && ngx_memcmp(q->provider.data, provider->name, provider->len) == 0;
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
    uint64_t  now, since, until;

    now = ngx_current_msec;

    since = (now > b->since) ? now - b->since : 0;
    until = (b->state == RES_OPEN) ? ngx_max(b->until, b->rest) : b->rest;

    ngx_http_resilience_out_printf(out, "\"state\":\"%s\",\"forced\":",
                                      res_breaker_state_name(
                                         res_breaker_shown(b)));

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
