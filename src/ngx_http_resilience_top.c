
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * resilience_status prometheus tenants=top:n: the most active tenants.
 *
 * They are looked for among the breakers that were used last, so many of those
 * that are closed and of those that are not, and ranked by all that was asked
 * of them.  A tenant with a share s of the calls is not among the last k with
 * the probability (1 - s)^k: with one of a hundred calls, once in 170 looks.
 * That costs calls nothing, and a scrape the same however many tenants there
 * are.
 */


#define NGX_HTTP_RESILIENCE_TOP       100   /* tenants at most */
#define NGX_HTTP_RESILIENCE_TOP_LOOK  512   /* cells of each of two lists */


typedef struct {
    u_char                           tenant[RES_TENANT_LEN];
    size_t                           len;
    uint64_t                         activity;
} ngx_http_resilience_active_t;


static ngx_uint_t ngx_http_resilience_top_look(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_active_t *active);
static ngx_uint_t ngx_http_resilience_top_merge(
    ngx_http_resilience_active_t *active, ngx_uint_t n);
static ngx_uint_t ngx_http_resilience_top_alike(
    ngx_http_resilience_active_t *active, ngx_uint_t i);
static void ngx_http_resilience_top_write(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out, ngx_http_resilience_active_t *active);
static void ngx_http_resilience_top_line(ngx_http_resilience_out_t *out,
    ngx_http_resilience_active_t *active,
    ngx_http_resilience_counters_t *provider, const char *result,
    uint64_t value);
static int ngx_libc_cdecl ngx_http_resilience_top_by_name(const void *one,
    const void *two);
static int ngx_libc_cdecl ngx_http_resilience_top_by_activity(const void *one,
    const void *two);


ngx_int_t
ngx_http_resilience_top_conf(ngx_conf_t *cf, ngx_str_t *value, ngx_uint_t *top)
{
    ngx_int_t  n;

    n = NGX_ERROR;

    if (ngx_strncmp(value->data, "tenants=top:", 12) == 0) {
        n = ngx_atoi(value->data + 12, value->len - 12);
    }

    if (n < 1 || n > NGX_HTTP_RESILIENCE_TOP || *top) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or duplicate parameter \"%V\", use "
                           "\"tenants=top:\" and a number from 1 to %d",
                           value, NGX_HTTP_RESILIENCE_TOP);
        return NGX_ERROR;
    }

    *top = n;

    return NGX_OK;
}


void
ngx_http_resilience_top(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out, ngx_uint_t n)
{
    ngx_uint_t                     i, found;
    ngx_http_resilience_active_t  *active;

    active = ngx_palloc(out->pool, 2 * NGX_HTTP_RESILIENCE_TOP_LOOK
                                   * sizeof(ngx_http_resilience_active_t));
    if (active == NULL) {
        out->failed = 1;
        return;
    }

    ngx_http_resilience_metric_head(out, "resilience_tenant_attempts_total",
                                    "counter",
                                    "Attempts of the most active tenants, as "
                                    "their breakers counted them.");

    found = ngx_http_resilience_top_look(rmcf->zone, active);
    found = ngx_http_resilience_top_merge(active, found);
    found = ngx_min(found, n);

    for (i = 0; i < found; i++) {
        if (!ngx_http_resilience_top_alike(active, i)) {
            ngx_http_resilience_top_write(rmcf, out, &active[i]);
        }
    }
}


static ngx_uint_t
ngx_http_resilience_top_look(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_active_t *active)
{
    uint32_t      number;
    ngx_uint_t    i, n, list;
    res_cell_t   *cell;
    res_table_t  *table;

    table = zone->shared->table;
    n = 0;

    ngx_http_resilience_zone_enter(zone);

    for (list = 0; list < 2; list++) {

        number = table->head[list];

        for (i = 0; i < NGX_HTTP_RESILIENCE_TOP_LOOK; i++) {

            if (number == RES_NO_CELL) {
                break;
            }

            cell = res_table_cell(table, number);
            number = cell->next;

            ngx_memcpy(active[n].tenant, cell->tenant, cell->tenant_len);

            active[n].len = cell->tenant_len;
            active[n].activity = cell->breaker.total_successes
                                 + cell->breaker.total_failures
                                 + cell->breaker.rejected;
            n++;
        }
    }

    ngx_http_resilience_zone_leave(zone);

    return n;
}


/* one entry a tenant, the most active ones first */

static ngx_uint_t
ngx_http_resilience_top_merge(ngx_http_resilience_active_t *active,
    ngx_uint_t n)
{
    ngx_uint_t  i, last;

    if (n == 0) {
        return 0;
    }

    ngx_qsort(active, n, sizeof(ngx_http_resilience_active_t),
              ngx_http_resilience_top_by_name);

    last = 0;

    for (i = 1; i < n; i++) {

        if (ngx_http_resilience_top_by_name(&active[last], &active[i]) == 0) {
            active[last].activity += active[i].activity;
            continue;
        }

        active[++last] = active[i];
    }

    ngx_qsort(active, last + 1, sizeof(ngx_http_resilience_active_t),
              ngx_http_resilience_top_by_activity);

    return last + 1;
}


/*
 * Two names that are no UTF-8 may be written alike; a series must not be there
 * twice, or all of the scrape is void.
 */

static ngx_uint_t
ngx_http_resilience_top_alike(ngx_http_resilience_active_t *active,
    ngx_uint_t i)
{
    size_t      n, len, other_len;
    ngx_uint_t  k;
    u_char      name[NGX_HTTP_RESILIENCE_LABEL];
    u_char      other[NGX_HTTP_RESILIENCE_LABEL];

    len = ngx_http_resilience_out_escape(name, active[i].tenant,
                                         active[i].len);

    for (k = 0; k < i; k++) {
        n = active[k].len;

        other_len = ngx_http_resilience_out_escape(other, active[k].tenant, n);

        if (len == other_len && ngx_memcmp(name, other, len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* of each provider, also where it was asked too long ago to be met above */

static void
ngx_http_resilience_top_write(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out, ngx_http_resilience_active_t *active)
{
    uint64_t                          successes, failures, rejected;
    res_key_t                         key;
    ngx_uint_t                        i;
    res_cell_t                       *cell;
    res_table_t                      *table;
    ngx_http_resilience_counters_t   *counters;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;
    table = rmcf->zone->shared->table;

    key.tenant = active->tenant;
    key.tenant_len = (uint8_t) active->len;

    for (i = 0; i < rmcf->providers.nelts; i++) {

        counters = providers[i]->counters;

        key.provider = (uint16_t) counters->number;
        key.hash = res_table_hash(table, key.tenant, key.tenant_len,
                                  key.provider);

        successes = 0;
        failures = 0;
        rejected = 0;

        ngx_http_resilience_zone_enter(rmcf->zone);

        cell = res_table_find(table, &key);

        if (cell) {
            successes = cell->breaker.total_successes;
            failures = cell->breaker.total_failures;
            rejected = cell->breaker.rejected;
        }

        ngx_http_resilience_zone_leave(rmcf->zone);

        if (cell == NULL) {
            continue;
        }

        ngx_http_resilience_top_line(out, active, counters, "success",
                                     successes);
        ngx_http_resilience_top_line(out, active, counters, "failure",
                                     failures);
        ngx_http_resilience_top_line(out, active, counters, "rejected",
                                     rejected);
    }
}


static void
ngx_http_resilience_top_line(ngx_http_resilience_out_t *out,
    ngx_http_resilience_active_t *active,
    ngx_http_resilience_counters_t *provider, const char *result,
    uint64_t value)
{
    ngx_http_resilience_out_printf(out,
                                   "resilience_tenant_attempts_total{tenant=");
    ngx_http_resilience_out_label(out, active->tenant, active->len);
    ngx_http_resilience_out_printf(out, ",provider=");
    ngx_http_resilience_out_label(out, provider->name, provider->len);
    ngx_http_resilience_out_printf(out, ",result=\"%s\"} %uL\n", result,
                                   value);
}


static int ngx_libc_cdecl
ngx_http_resilience_top_by_name(const void *one, const void *two)
{
    const ngx_http_resilience_active_t *a = one;
    const ngx_http_resilience_active_t *b = two;

    if (a->len != b->len) {
        return (a->len > b->len) ? 1 : -1;
    }

    return ngx_memcmp(a->tenant, b->tenant, a->len);
}


static int ngx_libc_cdecl
ngx_http_resilience_top_by_activity(const void *one, const void *two)
{
    const ngx_http_resilience_active_t *a = one;
    const ngx_http_resilience_active_t *b = two;

    if (a->activity != b->activity) {
        return (a->activity < b->activity) ? 1 : -1;
    }

    return ngx_http_resilience_top_by_name(one, two);
}
