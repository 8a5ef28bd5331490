
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_status.h"


/*
 * The last changes of the breakers' states, for people: a ring in the zone,
 * written under its lock.  A writer that dies in between leaves one entry
 * that is half the old one, or none; no reader trusts what is in it.
 */


static ngx_uint_t ngx_http_resilience_transition_list(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_transition_t *list);


void
ngx_http_resilience_transition_note(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, res_cell_t *cell,
    res_transition_t *t)
{
    ngx_http_resilience_transition_t   *entry;
    ngx_http_resilience_transitions_t  *ring;

    if (!t->changed) {
        return;
    }

    ring = &zone->shared->transitions;
    entry = &ring->entries[ring->noted % NGX_HTTP_RESILIENCE_TRANSITIONS];

    entry->id = ring->noted + 1;
    entry->at = ngx_current_msec;
    entry->provider = provider->number;
    entry->from = t->from;
    entry->to = t->to;
    entry->reason = t->reason;
    entry->common = (cell == NULL);
    entry->len = 0;

    if (cell) {
        ngx_memcpy(entry->tenant, cell->tenant, cell->tenant_len);
        entry->len = cell->tenant_len;
    }

    ring->noted++;
}


void
ngx_http_resilience_transition_said(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, res_cell_t *cell,
    ngx_uint_t from)
{
    res_breaker_t     *b;
    res_transition_t   t;

    b = cell ? &cell->breaker : &provider->breaker;

    t.from = from;
    t.to = res_breaker_shown(b);
    t.reason = RES_REASON_ADMIN;
    t.changed = (t.from != t.to);

    ngx_http_resilience_transition_note(zone, provider, cell, &t);
}


void
ngx_http_resilience_transition_copy(ngx_http_resilience_shared_t *to,
    ngx_http_resilience_shared_t *from, uint16_t *map)
{
    ngx_uint_t                         i;
    ngx_http_resilience_transition_t  *entry;

    to->transitions = from->transitions;

    for (i = 0; i < NGX_HTTP_RESILIENCE_TRANSITIONS; i++) {
        entry = &to->transitions.entries[i];

        entry->provider = (entry->provider < from->nproviders)
                              ? map[entry->provider] : RES_NO_PROVIDER;
    }
}


void
ngx_http_resilience_transition_json(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_query_t *q, ngx_http_resilience_out_t *out)
{
    ngx_uint_t                         i, n, any;
    ngx_http_resilience_counters_t    *provider;
    ngx_http_resilience_transition_t  *t;
    ngx_http_resilience_transition_t   list[NGX_HTTP_RESILIENCE_TRANSITIONS];

    n = ngx_http_resilience_transition_list(zone, list);
    any = 0;

    ngx_http_resilience_out_printf(out, "\"transitions\":[");

    for (i = 0; i < n; i++) {

        t = &list[i];
        provider = zone->shared->providers[t->provider];

        if (!ngx_http_resilience_walk_names(q, provider)
            || (q->by_tenant
                && (t->common || q->tenant.len != t->len
                    || ngx_memcmp(q->tenant.data, t->tenant, t->len) != 0)))
        {
            continue;
        }

        ngx_http_resilience_out_printf(out, "%s{\"id\":%uL,\"ago_ms\":%uL,"
                                       "\"tenant\":", any ? "," : "", t->id,
                                       (ngx_current_msec > t->at)
                                           ? ngx_current_msec - t->at : 0);
        if (t->common) {
            ngx_http_resilience_out_printf(out, "null");

        } else {
            ngx_http_resilience_out_string(out, t->tenant, t->len);
        }

        ngx_http_resilience_out_printf(out, ",\"provider\":");
        ngx_http_resilience_out_string(out, provider->name, provider->len);
        ngx_http_resilience_out_printf(out, ",\"from\":\"%s\","
                                       "\"to\":\"%s\",\"reason\":\"%s\"}",
                                       res_breaker_state_name(t->from),
                                       res_breaker_state_name(t->to),
                                       res_breaker_reason_name(t->reason));
        any = 1;
    }

    ngx_http_resilience_out_printf(out, "]");
}


/* a copy, the latest first; returns how many there are */

static ngx_uint_t
ngx_http_resilience_transition_list(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_transition_t *list)
{
    ngx_uint_t                          i, n;
    ngx_http_resilience_transition_t   *entry;
    ngx_http_resilience_transitions_t  *ring;

    ring = &zone->shared->transitions;
    n = 0;

    ngx_http_resilience_zone_enter(zone);

    for (i = 1; i <= ring->noted && i <= NGX_HTTP_RESILIENCE_TRANSITIONS; i++)
    {
        entry = &ring->entries[(ring->noted - i)
                               % NGX_HTTP_RESILIENCE_TRANSITIONS];

        if (entry->provider < zone->shared->nproviders
            && entry->len <= RES_TENANT_LEN)
        {
            list[n++] = *entry;
        }
    }

    ngx_http_resilience_zone_leave(zone);

    return n;
}
