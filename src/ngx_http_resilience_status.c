
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


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


typedef struct {
    ngx_pool_t                      *pool;
    ngx_chain_t                     *first;
    ngx_chain_t                    **last;
    ngx_buf_t                       *buf;
    off_t                            size;
    unsigned                         failed:1;
} ngx_http_resilience_out_t;


static ngx_int_t ngx_http_resilience_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_status_query(ngx_http_request_t *r,
    ngx_http_resilience_query_t *q);
static ngx_int_t ngx_http_resilience_status_arg(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);
static void ngx_http_resilience_status_json(ngx_http_request_t *r,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_providers(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_breakers(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_query_t *q,
    ngx_http_resilience_out_t *out);
static ngx_uint_t ngx_http_resilience_status_wanted(
    ngx_http_resilience_shared_t *shared, ngx_http_resilience_query_t *q,
    res_cell_t *cell);
static void ngx_http_resilience_status_breaker(
    ngx_http_resilience_shared_t *shared, res_cell_t *cell,
    ngx_http_resilience_out_t *out);
static ngx_int_t ngx_http_resilience_status_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_status_printf(ngx_http_resilience_out_t *out,
    const char *fmt, ...);
static void ngx_http_resilience_status_string(ngx_http_resilience_out_t *out,
    const u_char *data, size_t len);


char *
ngx_http_resilience_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "json") == 0) {
            continue;
        }

        if (ngx_strcmp(value[i].data, "prometheus") == 0
            || ngx_strcmp(value[i].data, "html") == 0
            || ngx_strcmp(value[i].data, "admin") == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" of \"resilience_status\" is not "
                               "supported yet", &value[i]);
            return NGX_CONF_ERROR;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", use \"json\"",
                           &value[i]);
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
    ngx_http_resilience_main_conf_t  *rmcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);

    if (rmcf->zone == NULL) {
        return NGX_HTTP_NOT_FOUND;
    }

    ngx_memzero(&out, sizeof(ngx_http_resilience_out_t));
    out.pool = r->pool;
    out.last = &out.first;

    rc = ngx_http_resilience_status_query(r, &q);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ngx_http_resilience_status_printf(&out,
            "{\"error\":\"state is closed, open or half_open, limit is from "
            "1 to %d, after is a number that an answer gave as next\"}",
            NGX_HTTP_RESILIENCE_MOST);

        return ngx_http_resilience_status_send(r, NGX_HTTP_BAD_REQUEST, &out);
    }

    ngx_http_resilience_status_json(r, rmcf, &q, &out);

    return ngx_http_resilience_status_send(r, NGX_HTTP_OK, &out);
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


static ngx_int_t
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

    ngx_http_resilience_status_printf(out, "{\"zone\":{\"name\":");
    ngx_http_resilience_status_string(out, shm_zone->shm.name.data,
                                      shm_zone->shm.name.len);

    ngx_http_resilience_status_printf(out,
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
    ngx_http_resilience_status_printf(out, ",");
    ngx_http_resilience_status_breakers(rmcf, q, out);
    ngx_http_resilience_status_printf(out, "}\n");
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

    ngx_http_resilience_status_printf(out, "\"providers\":[");

    for (i = 0; i < rmcf->providers.nelts; i++) {

        counters = providers[i]->counters;

        if (q->by_provider
            && (q->provider.len != counters->len
                || ngx_memcmp(q->provider.data, counters->name, counters->len)
                   != 0))
        {
            continue;
        }

        ngx_http_resilience_status_printf(out, "%s{\"name\":", any ? "," : "");
        ngx_http_resilience_status_string(out, counters->name, counters->len);

        ngx_http_resilience_status_printf(out,
                                          ",\"inflight\":%uA,\"attempts\":%uA,"
                                          "\"successes\":%uA,\"failures\":{",
                                          counters->inflight,
                                          counters->attempts,
                                          counters->outcomes[RES_SUCCESS]);
        some = 0;

        for (n = RES_SUCCESS + 1; n < RES_OUTCOMES; n++) {

            if (counters->outcomes[n] == 0) {
                continue;
            }

            ngx_http_resilience_status_printf(out, "%s\"%s\":%uA",
                                              some ? "," : "",
                                              res_outcome_name(n),
                                              counters->outcomes[n]);
            some = 1;
        }

        ngx_http_resilience_status_printf(out, "}}");
        any = 1;
    }

    ngx_http_resilience_status_printf(out, "]");
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

    ngx_http_resilience_status_printf(out, "\"breakers\":[");

    while (n < end && found < q->limit) {

        copied = 0;

        ngx_shmtx_lock(&zone->shpool->mutex);
        res_table_enter(table);

        for (i = 0; i < NGX_HTTP_RESILIENCE_BATCH && n < end
                    && found + copied < q->limit; i++, n++)
        {
            cell = res_table_cell(table, n);

            if (ngx_http_resilience_status_wanted(zone->shared, q, cell)) {
                batch[copied++] = *cell;
            }
        }

        res_table_leave(table);
        ngx_shmtx_unlock(&zone->shpool->mutex);

        for (i = 0; i < copied; i++) {
            if (found++) {
                ngx_http_resilience_status_printf(out, ",");
            }

            ngx_http_resilience_status_breaker(zone->shared, &batch[i], out);
        }
    }

    if (n < last) {
        ngx_http_resilience_status_printf(out, "],\"next\":%uD", n);

    } else {
        ngx_http_resilience_status_printf(out, "],\"next\":null");
    }
}


static ngx_uint_t
ngx_http_resilience_status_wanted(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_query_t *q, res_cell_t *cell)
{
    ngx_http_resilience_counters_t  *provider;

    if (!cell->used || cell->provider >= shared->nproviders) {
        return 0;
    }

    if (q->state != -1 && cell->breaker.state != q->state) {
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
    uint64_t                         now, since, retry;
    uint32_t                         rate;
    res_breaker_t                   *b;
    ngx_http_resilience_counters_t  *provider;

    b = &cell->breaker;
    now = ngx_current_msec;
    provider = shared->providers[cell->provider];

    since = (now > b->since) ? now - b->since : 0;
    retry = (b->state == RES_OPEN && b->until > now) ? b->until - now : 0;
    rate = b->seen ? res_breaker_failed(b) * 1000 / b->seen : 0;

    ngx_http_resilience_status_printf(out, "{\"tenant\":");
    ngx_http_resilience_status_string(out, cell->tenant, cell->tenant_len);
    ngx_http_resilience_status_printf(out, ",\"provider\":");
    ngx_http_resilience_status_string(out, provider->name, provider->len);

    ngx_http_resilience_status_printf(out,
                                      ",\"state\":\"%s\",\"failures\":%uL,"
                                      "\"successes\":%uL,\"rejected\":%uL,"
                                      "\"opened\":%uD,\"closed\":%uD,"
                                      "\"consecutive\":%uD,"
                                      "\"error_rate\":%uD.%uD,"
                                      "\"since_ms\":%uL,\"retry_in_ms\":%uL,"
                                      "\"inflight\":%uD}",
                                      res_breaker_state_name(b->state),
                                      b->total_failures, b->total_successes,
                                      b->rejected, b->opened, b->closed,
                                      b->consecutive, rate / 10, rate % 10,
                                      since, retry, cell->inflight);
}


static ngx_int_t
ngx_http_resilience_status_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_http_resilience_out_t *out)
{
    ngx_int_t         rc;
    ngx_table_elt_t  *h;

    if (out->failed || out->buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");
    ngx_http_resilience_unlink(h);

    r->headers_out.status = status;
    r->headers_out.content_length_n = out->size;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out->buf->last_buf = 1;

    return ngx_http_output_filter(r, out->first);
}


/* at most a page's quarter at a time */

static void
ngx_http_resilience_status_printf(ngx_http_resilience_out_t *out,
    const char *fmt, ...)
{
    u_char       *p;
    va_list       args;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (out->failed) {
        return;
    }

    if (out->buf == NULL || out->buf->end - out->buf->last < 1024) {

        b = ngx_create_temp_buf(out->pool, 16 * 1024);
        cl = ngx_alloc_chain_link(out->pool);

        if (b == NULL || cl == NULL) {
            out->failed = 1;
            return;
        }

        cl->buf = b;
        cl->next = NULL;

        *out->last = cl;
        out->last = &cl->next;
        out->buf = b;
    }

    va_start(args, fmt);
    p = ngx_vslprintf(out->buf->last, out->buf->end, fmt, args);
    va_end(args);

    out->size += p - out->buf->last;
    out->buf->last = p;
}


static void
ngx_http_resilience_status_string(ngx_http_resilience_out_t *out,
    const u_char *data, size_t len)
{
    llm_str_t  text;
    u_char     buf[6 * NGX_HTTP_RESILIENCE_NAME * 2];

    text.data = data;
    text.len = ngx_min(len, (size_t) 2 * NGX_HTTP_RESILIENCE_NAME);

    len = llm_json_escape(buf, text);

    ngx_http_resilience_status_printf(out, "\"%*s\"", len, buf);
}
