
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_status.h"


/*
 * A page of breakers, of very many.  Cells are copied a few at a time under
 * the lock; a page looks at a bounded number of them, and the next one goes on
 * where it ended.
 *
 * The breakers of one tenant are looked up.  Those that are open or half-open
 * are found by the table's tripped cells, all others by going from cell to
 * cell.
 */


#define NGX_HTTP_RESILIENCE_PHASES  3


static ngx_int_t ngx_http_resilience_walk_state(
    ngx_http_resilience_walk_t *walk);
static uint32_t ngx_http_resilience_walk_end(ngx_http_resilience_walk_t *walk);
static ngx_uint_t ngx_http_resilience_walk_copy(
    ngx_http_resilience_walk_t *walk, res_cell_t *batch);
static ngx_uint_t ngx_http_resilience_walk_tripped(
    ngx_http_resilience_walk_t *walk);
static res_cell_t *ngx_http_resilience_walk_cell(
    ngx_http_resilience_walk_t *walk);
static ngx_uint_t ngx_http_resilience_walk_asked(
    ngx_http_resilience_walk_t *walk, res_cell_t *cell);


void
ngx_http_resilience_walk_init(ngx_http_resilience_walk_t *walk,
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_query_t *q)
{
    walk->query = q;
    walk->zone = zone;
    walk->phase = q->after >> 32;
    walk->n = (uint32_t) q->after;
    walk->limit = q->limit;
    walk->left = NGX_HTTP_RESILIENCE_LOOK;
    walk->over = 0;
}


ngx_uint_t
ngx_http_resilience_walk_next(ngx_http_resilience_walk_t *walk,
    res_cell_t *batch)
{
    ngx_uint_t  copied;

    for ( ;; ) {

        if (walk->n >= ngx_http_resilience_walk_end(walk)) {

            if (!walk->query->ordered
                || walk->phase + 1 == NGX_HTTP_RESILIENCE_PHASES)
            {
                walk->over = 1;
                return 0;
            }

            walk->phase++;
            walk->n = 0;
            continue;
        }

        if (walk->limit == 0 || walk->left == 0) {
            return 0;
        }

        ngx_http_resilience_zone_enter(walk->zone);

        copied = ngx_http_resilience_walk_copy(walk, batch);

        ngx_http_resilience_zone_leave(walk->zone);

        if (copied) {
            walk->limit -= copied;
            return copied;
        }
    }
}


static ngx_int_t
ngx_http_resilience_walk_state(ngx_http_resilience_walk_t *walk)
{
    static const ngx_int_t  order[NGX_HTTP_RESILIENCE_PHASES] = {
        RES_OPEN, RES_HALF_OPEN, RES_CLOSED
    };

    return walk->query->ordered ? order[walk->phase] : walk->query->state;
}


static uint32_t
ngx_http_resilience_walk_end(ngx_http_resilience_walk_t *walk)
{
    res_table_t  *table;

    table = walk->zone->shared->table;

    return walk->query->by_tenant ? (uint32_t) walk->zone->shared->nproviders
                                  : ngx_min(table->fresh, table->capacity);
}


static ngx_uint_t
ngx_http_resilience_walk_copy(ngx_http_resilience_walk_t *walk,
    res_cell_t *batch)
{
    uint32_t      n, end;
    ngx_int_t     state;
    ngx_uint_t    i, tripped, copied;
    res_cell_t   *cell;
    res_table_t  *table;

    table = walk->zone->shared->table;
    state = ngx_http_resilience_walk_state(walk);
    tripped = ngx_http_resilience_walk_tripped(walk);
    end = ngx_http_resilience_walk_end(walk);
    copied = 0;

    for (i = 0; i < NGX_HTTP_RESILIENCE_BATCH && walk->n < end && walk->left
                && copied < walk->limit; i++)
    {
        walk->left--;

        if (tripped) {
            n = res_table_tripped(table, walk->n);

            if (n != walk->n) {
                walk->n = n;
                continue;
            }
        }

        cell = ngx_http_resilience_walk_cell(walk);
        walk->n++;

        if (cell == NULL || !ngx_http_resilience_walk_asked(walk, cell)) {
            continue;
        }

        ngx_http_resilience_zone_settle(walk->zone, cell);
        res_table_settle(table, cell);

        if (state == -1
            || res_breaker_shown(&cell->breaker)
               == (ngx_uint_t) state)
        {
            batch[copied++] = *cell;
        }
    }

    return copied;
}


/*
 * A breaker that is not closed is among the tripped, but for those that have
 * yet to hear that all of their provider are forced open.
 */

static ngx_uint_t
ngx_http_resilience_walk_tripped(ngx_http_resilience_walk_t *walk)
{
    ngx_int_t                      state;
    ngx_uint_t                     i;
    ngx_http_resilience_shared_t  *shared;

    state = ngx_http_resilience_walk_state(walk);

    if (walk->query->by_tenant || state == -1 || state == RES_CLOSED) {
        return 0;
    }

    if (state == RES_HALF_OPEN) {
        return 1;
    }

    shared = walk->zone->shared;

    for (i = 0; i < shared->nproviders; i++) {
        if (shared->providers[i]->forced == RES_FORCED_OPEN
            && ngx_http_resilience_walk_names(walk->query,
                                              shared->providers[i]))
        {
            return 0;
        }
    }

    return 1;
}


static res_cell_t *
ngx_http_resilience_walk_cell(ngx_http_resilience_walk_t *walk)
{
    res_key_t     key;
    ngx_str_t    *tenant;
    res_table_t  *table;

    table = walk->zone->shared->table;

    if (!walk->query->by_tenant) {
        return res_table_cell(table, walk->n);
    }

    tenant = &walk->query->tenant;

    if (tenant->len > RES_TENANT_LEN) {
        return NULL;
    }

    key.tenant = tenant->data;
    key.tenant_len = tenant->len;
    key.provider = walk->n;
    key.hash = res_table_hash(table, key.tenant, key.tenant_len, key.provider);

    return res_table_find(table, &key);
}


static ngx_uint_t
ngx_http_resilience_walk_asked(ngx_http_resilience_walk_t *walk,
    res_cell_t *cell)
{
    ngx_http_resilience_shared_t  *shared;

    shared = walk->zone->shared;

    return cell->used && cell->provider < shared->nproviders
           && ngx_http_resilience_walk_names(walk->query,
                                             shared->providers[cell->provider]);
}


ngx_uint_t
ngx_http_resilience_walk_names(ngx_http_resilience_query_t *q,
    ngx_http_resilience_counters_t *provider)
{
    return !q->by_provider
           || (q->provider.len == provider->len
               && ngx_memcmp(q->provider.data, provider->name, provider->len)
                  == 0);
}
