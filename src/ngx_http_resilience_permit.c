
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * Permits: what the breakers say to an attempt, and what they are told of it.
 *
 * There are two of them, the one of (tenant, provider) and, if the policy has
 * it, the one of the provider for all tenants.  Both are asked and told under
 * one lock.  Thresholds are never in the zone: a reload applies new ones to
 * old state at once.
 */


/* ms that an attempt counts as at least when another has to follow it */
#define NGX_HTTP_RESILIENCE_PENALTY  5000


static void ngx_http_resilience_permit_key(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_key_t *key);
static res_cell_t *ngx_http_resilience_permit_take(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    res_key_t *key);
static void ngx_http_resilience_permit_ticket(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell, ngx_http_resilience_ticket_t *ticket);
static res_outcome_e ngx_http_resilience_permit_ask(
    ngx_http_resilience_step_t *step, res_cell_t *cell, ngx_msec_t lease,
    ngx_http_resilience_ticket_t *ticket, uint64_t *wait,
    res_transition_t *t, res_transition_t *common);
static uint32_t ngx_http_resilience_permit_limit(
    ngx_http_resilience_policy_t *policy, res_cell_t *cell);
static ngx_uint_t ngx_http_resilience_permit_first(
    ngx_http_resilience_attempt_t *a);
static void ngx_http_resilience_permit_measure(
    ngx_http_resilience_attempt_t *a, res_cell_t *cell);
static res_admit_e ngx_http_resilience_permit_common(
    ngx_http_resilience_step_t *step, ngx_msec_t lease,
    ngx_http_resilience_ticket_t *ticket, uint64_t *wait,
    res_transition_t *t);
static void ngx_http_resilience_permit_vote(ngx_http_resilience_attempt_t *a,
    res_cell_t *cell, res_report_t *report, res_transition_t *t);
static void ngx_http_resilience_permit_restamp(res_breaker_t *b,
    res_permit_t *permit);
static res_cell_t *ngx_http_resilience_permit_cell(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_ticket_t *ticket);
static void ngx_http_resilience_permit_log(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_transition_t *t, uint64_t wait);
static void ngx_http_resilience_permit_log_common(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    res_transition_t *t);
static void ngx_http_resilience_permit_evicted(
    ngx_http_resilience_call_t *call);


res_outcome_e
ngx_http_resilience_permit_admit(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_msec_t lease,
    ngx_http_resilience_ticket_t *ticket, uint64_t *wait)
{
    res_key_t                    key;
    uint64_t                     evicted;
    res_cell_t                  *cell;
    res_table_t                 *table;
    res_outcome_e                rc;
    res_transition_t             t, common;
    ngx_http_resilience_zone_t  *zone;

    zone = call->zone;
    table = zone->shared->table;

    ngx_http_resilience_permit_key(call, step, &key);

    ngx_memzero(&t, sizeof(res_transition_t));
    ngx_memzero(&common, sizeof(res_transition_t));

    ngx_http_resilience_zone_enter(zone);

    evicted = table->evictions;

    cell = ngx_http_resilience_permit_take(call, step, &key);

    rc = ngx_http_resilience_permit_ask(step, cell, lease, ticket, wait, &t,
                                        &common);

    if (rc == RES_SUCCESS) {
        ngx_http_resilience_permit_ticket(zone, cell, ticket);

        /* a hedge, another key and a transparent second sending are none */

        if (call->retried == 0 && !call->resent && !call->rotated
            && call->state != NGX_HTTP_RESILIENCE_CALL_RUNNING)
        {
            res_budget_call(&step->provider->counters->budget,
                            ngx_current_msec);
        }

    } else if (call->retry_granted) {
        res_budget_undo(&step->provider->counters->budget,
                        call->retry_granted);
    }

    ngx_http_resilience_zone_changed(zone, cell, &t);

    evicted = table->evictions - evicted;

    ngx_http_resilience_transition_note(zone, step->provider->counters, cell,
                                        &t);
    ngx_http_resilience_transition_note(zone, step->provider->counters, NULL,
                                        &common);

    ngx_http_resilience_zone_leave(zone);

    if (t.changed) {
        ngx_http_resilience_permit_log(call, step, &t, 0);
    }

    if (common.changed) {
        ngx_http_resilience_permit_log_common(call, step, &common);
    }

    if (evicted) {
        ngx_http_resilience_permit_evicted(call);
    }

    return rc;
}


/* the limit, then the tenant's breaker, then that of all tenants */

static res_outcome_e
ngx_http_resilience_permit_ask(ngx_http_resilience_step_t *step,
    res_cell_t *cell, ngx_msec_t lease, ngx_http_resilience_ticket_t *ticket,
    uint64_t *wait, res_transition_t *t, res_transition_t *common)
{
    uint64_t                       now;
    res_admit_e                    rc;
    res_report_t                   report;
    res_transition_t               unused;
    ngx_http_resilience_policy_t  *policy;

    policy = step->policy;
    now = ngx_current_msec;

    if (cell->inflight >= ngx_http_resilience_permit_limit(policy, cell)) {
        *wait = 0;
        return RES_LIMITED;
    }

    rc = res_breaker_admit(&cell->breaker, &policy->breaker, now, lease,
                           ngx_http_resilience_random(), &ticket->permit, t);

    ticket->state = res_breaker_shown(&cell->breaker);

    if (rc != RES_ADMIT_YES) {
        *wait = res_breaker_wait(&cell->breaker, &policy->breaker, now);

    } else if (policy->quorum.tenants) {

        rc = ngx_http_resilience_permit_common(step, lease, ticket, wait,
                                               common);

        if (rc != RES_ADMIT_YES) {
            ngx_memzero(&report, sizeof(res_report_t));
            report.result = RES_RESULT_NEUTRAL;

            (void) res_breaker_record(&cell->breaker, &policy->breaker, now,
                                      &ticket->permit, &report, &unused);
        }
    }

    if (rc != RES_ADMIT_YES) {
        (void) ngx_atomic_fetch_add(
                   &step->provider->counters->asked[ticket->state]
                                               [NGX_HTTP_RESILIENCE_REJECTED],
                   1);
    }

    switch (rc) {

    case RES_ADMIT_YES:
        return RES_SUCCESS;

    case RES_ADMIT_NO_PERMIT:
        return RES_NO_PERMIT;

    default: /* RES_ADMIT_OPEN, RES_ADMIT_RESTING */
        return RES_BREAKER_OPEN;
    }
}


static uint32_t
ngx_http_resilience_permit_limit(ngx_http_resilience_policy_t *policy,
    res_cell_t *cell)
{
    if (policy->adaptive) {
        return res_aimd_limit(&cell->aimd, &policy->aimd);
    }

    return policy->concurrency ? policy->concurrency : UINT32_MAX;
}


void
ngx_http_resilience_permit_force(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_ticket_t *ticket)
{
    res_key_t                    key;
    res_cell_t                  *cell;
    ngx_http_resilience_zone_t  *zone;

    zone = call->zone;

    ngx_http_resilience_permit_key(call, step, &key);

    ngx_http_resilience_zone_enter(zone);

    cell = ngx_http_resilience_permit_take(call, step, &key);

    ngx_http_resilience_permit_ticket(zone, cell, ticket);

    ticket->state = res_breaker_shown(&cell->breaker);

    /* of no generation that is or will be for long */

    ticket->permit.slot = -1;
    ticket->permit.generation = cell->breaker.generation - 1;

    ticket->common.slot = -1;
    ticket->common.generation = step->provider->counters->breaker.generation
                                - 1;

    ngx_http_resilience_zone_leave(zone);
}


static void
ngx_http_resilience_permit_key(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_key_t *key)
{
    key->tenant = call->tenant.data;
    key->tenant_len = call->tenant.len;
    key->provider = step->provider->counters->number;
    key->hash = res_table_hash(call->zone->shared->table, key->tenant,
                               key->tenant_len, key->provider);
}


static res_cell_t *
ngx_http_resilience_permit_take(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_key_t *key)
{
    res_cell_t  *cell;

    cell = res_table_get(call->zone->shared->table, key, ngx_current_msec);

    ngx_http_resilience_zone_settle(call->zone, cell);

    if (cell->credential
        && cell->credential != ngx_http_resilience_key_stamp(step->provider))
    {
        /* another key has nothing to do with why it rests */

        cell->credential = 0;
        cell->breaker.rest = 0;
    }

    return cell;
}


static void
ngx_http_resilience_permit_ticket(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell, ngx_http_resilience_ticket_t *ticket)
{
    ticket->cell = res_table_number(zone->shared->table, cell);
    ticket->incarnation = cell->incarnation;
    ticket->held = 1;

    ngx_http_resilience_flight_take(zone, ticket, cell->provider);
}


/* the breaker of all tenants; it never stands in for a tenant's own */

static res_admit_e
ngx_http_resilience_permit_common(ngx_http_resilience_step_t *step,
    ngx_msec_t lease, ngx_http_resilience_ticket_t *ticket, uint64_t *wait,
    res_transition_t *t)
{
    res_admit_e                      rc;
    ngx_http_resilience_counters_t  *provider;

    provider = step->provider->counters;

    rc = res_breaker_admit(&provider->breaker, &step->policy->common,
                           ngx_current_msec, lease,
                           ngx_http_resilience_random(),
                           &ticket->common, t);

    if (rc != RES_ADMIT_YES) {
        *wait = res_breaker_wait(&provider->breaker, &step->policy->common,
                                 ngx_current_msec);

        ticket->state = res_breaker_shown(&provider->breaker);
    }

    return rc;
}


void
ngx_http_resilience_permit_record(ngx_http_resilience_attempt_t *a,
    res_result_e result)
{
    uint64_t                         wait;
    res_cell_t                      *cell;
    res_report_t                     report;
    res_transition_t                 t, common;
    ngx_http_resilience_zone_t      *zone;
    ngx_http_resilience_counters_t  *provider;

    if (!a->ticket.held) {
        return;
    }

    a->ticket.held = 0;

    a->failed = (result == RES_RESULT_FAILURE);

    zone = a->call->zone;
    provider = a->step->provider->counters;
    wait = 0;

    report.result = result;
    report.first = ngx_http_resilience_permit_first(a);
    report.hint = (uint32_t) a->hint;
    report.random = ngx_http_resilience_random();

    ngx_memzero(&t, sizeof(res_transition_t));
    ngx_memzero(&common, sizeof(res_transition_t));

    ngx_http_resilience_zone_enter(zone);

    cell = ngx_http_resilience_permit_cell(zone, &a->ticket);

    if (cell && !ngx_http_resilience_cache_served(a->request)) {
        ngx_http_resilience_permit_measure(a, cell);
    }

    ngx_http_resilience_flight_give(zone, &a->ticket, provider->number);

    if (cell) {
        ngx_http_resilience_zone_settle(zone, cell);

        (void) res_breaker_record(&cell->breaker, &a->step->policy->breaker,
                                  ngx_current_msec, &a->ticket.permit,
                                  &report, &t);

        ngx_http_resilience_zone_changed(zone, cell, &t);

        wait = res_breaker_wait(&cell->breaker, &a->step->policy->breaker,
                                ngx_current_msec);

        if (a->step->policy->quorum.tenants) {
            ngx_http_resilience_permit_vote(a, cell, &report, &common);
        }

        ngx_http_resilience_transition_note(zone, provider, cell, &t);
        ngx_http_resilience_transition_note(zone, provider, NULL, &common);
    }

    ngx_http_resilience_zone_leave(zone);

    a->rest = (ngx_msec_t) wait;

    if (t.changed) {
        ngx_http_resilience_permit_log(a->call, a->step, &t, wait);
    }

    if (common.changed) {
        ngx_http_resilience_permit_log_common(a->call, a->step, &common);
    }
}


/* of the call's attempts at this provider, is it the first one to fail? */

static ngx_uint_t
ngx_http_resilience_permit_first(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_attempt_t  *other;

    for (other = a->call->attempt; other; other = other->next) {
        if (other != a && other->step == a->step && other->failed) {
            return 0;
        }
    }

    return 1;
}


/* what it took, where that says something of the provider's load */

static void
ngx_http_resilience_permit_measure(ngx_http_resilience_attempt_t *a,
    res_cell_t *cell)
{
    ngx_msec_t                       elapsed;
    ngx_uint_t                       dropped;
    ngx_http_resilience_policy_t    *policy;
    ngx_http_resilience_counters_t  *provider;

    policy = a->step->policy;
    provider = a->step->provider->counters;

    dropped = (a->outcome == RES_RATE_LIMITED || a->outcome == RES_OVERLOADED
               || (a->outcome == RES_TIMEOUT && !a->unfair));

    elapsed = a->committed ? a->first_byte : ngx_current_msec - a->started;

    /* a quick refusal must not make a provider look quick */

    if (a->committed) {
        res_ewma_record(&provider->latency, elapsed, ngx_current_msec,
                        NGX_HTTP_RESILIENCE_TAU);

    } else if (a->outcome != RES_CANCELLED
               && (policy->fallback_on & res_bit(a->outcome)))
    {
        res_ewma_record(&provider->latency,
                        ngx_max(elapsed, NGX_HTTP_RESILIENCE_PENALTY),
                        ngx_current_msec, NGX_HTTP_RESILIENCE_TAU);
    }

    if (!a->committed && !dropped) {
        return;
    }

    if (policy->adaptive) {
        res_aimd_record(&cell->aimd, &policy->aimd, elapsed, dropped,
                        cell->inflight, ngx_current_msec);
    }
}


void
ngx_http_resilience_permit_rest(ngx_http_resilience_attempt_t *a,
    ngx_msec_t ms, uint32_t stamp)
{
    res_cell_t                  *cell;
    ngx_http_resilience_zone_t  *zone;

    zone = a->call->zone;

    ngx_http_resilience_zone_enter(zone);

    cell = ngx_http_resilience_permit_cell(zone, &a->ticket);

    if (cell) {

        if (ngx_current_msec + ms > cell->breaker.rest) {
            cell->credential = stamp;
        }

        res_breaker_rest(&cell->breaker, ngx_current_msec, (uint32_t) ms);
    }

    ngx_http_resilience_zone_leave(zone);
}


ngx_uint_t
ngx_http_resilience_permit_closed(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    res_key_t                        key;
    res_cell_t                      *cell;
    ngx_uint_t                       closed;
    ngx_http_resilience_counters_t  *provider;

    provider = step->provider->counters;

    ngx_http_resilience_permit_key(call, step, &key);

    ngx_http_resilience_zone_enter(call->zone);

    cell = res_table_find(call->zone->shared->table, &key);

    closed = (cell == NULL || res_breaker_idle(&cell->breaker))
             && (step->policy->quorum.tenants == 0
                 || res_breaker_idle(&provider->breaker));

    ngx_http_resilience_zone_leave(call->zone);

    return closed;
}


void
ngx_http_resilience_permit_unsent(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    if (call->retry_granted == 0) {
        return;
    }

    ngx_http_resilience_zone_enter(call->zone);

    res_budget_undo(&step->provider->counters->budget, call->retry_granted);

    ngx_http_resilience_zone_leave(call->zone);

    call->retry_granted = 0;
}


ngx_uint_t
ngx_http_resilience_permit_retry(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    ngx_uint_t  granted;

    if (!step->policy->budgeted) {
        return 1;
    }

    ngx_http_resilience_zone_enter(call->zone);

    granted = res_budget_retry(&step->provider->counters->budget,
                               &step->policy->budget, ngx_current_msec);

    ngx_http_resilience_zone_leave(call->zone);

    call->retry_granted = granted ? ngx_current_msec : 0;

    return granted;
}


/* what a tenant's attempt says of the provider as a whole */

static void
ngx_http_resilience_permit_vote(ngx_http_resilience_attempt_t *a,
    res_cell_t *cell, res_report_t *report, res_transition_t *t)
{
    int                              counted;
    res_breaker_t                   *b;
    ngx_http_resilience_policy_t    *policy;
    ngx_http_resilience_counters_t  *provider;

    policy = a->step->policy;
    provider = a->step->provider->counters;
    b = &provider->breaker;

    if (report->result == RES_RESULT_FAILURE
        && !(RES_PROVIDER_FAILED & res_bit(a->outcome)))
    {
        report->result = RES_RESULT_NEUTRAL;
    }

    counted = res_breaker_record(b, &policy->common, ngx_current_msec,
                                 &a->ticket.common, report, t);

    if (t->changed && t->to == RES_CLOSED) {
        res_quorum_clear(&provider->quorum);
    }

    if (t->changed || !counted
        || (report->result != RES_RESULT_SUCCESS
            && report->result != RES_RESULT_FAILURE))
    {
        return;
    }

    if (res_quorum_vote(&provider->quorum, &policy->quorum, ngx_current_msec,
                        cell->hash, report->result == RES_RESULT_FAILURE))
    {
        res_breaker_trip(b, &policy->common, ngx_current_msec, report,
                         RES_REASON_TENANTS, t);
    }
}


void
ngx_http_resilience_permit_commit(ngx_http_resilience_attempt_t *a)
{
    res_cell_t                      *cell;
    res_report_t                     report;
    res_transition_t                 t, common;
    ngx_http_resilience_zone_t      *zone;
    ngx_http_resilience_counters_t  *provider;

    if (!a->ticket.held
        || (a->ticket.permit.slot < 0 && a->ticket.common.slot < 0))
    {
        return;
    }

    zone = a->call->zone;
    provider = a->step->provider->counters;

    ngx_memzero(&report, sizeof(res_report_t));
    ngx_memzero(&t, sizeof(res_transition_t));
    ngx_memzero(&common, sizeof(res_transition_t));

    report.result = RES_RESULT_SUCCESS;

    ngx_http_resilience_zone_enter(zone);

    cell = ngx_http_resilience_permit_cell(zone, &a->ticket);

    if (cell && a->ticket.permit.slot >= 0) {
        ngx_http_resilience_zone_settle(zone, cell);

        /* a permit that is void stays so */

        if (res_breaker_record(&cell->breaker, &a->step->policy->breaker,
                               ngx_current_msec, &a->ticket.permit, &report,
                               &t))
        {
            ngx_http_resilience_permit_restamp(&cell->breaker,
                                               &a->ticket.permit);
        }

        ngx_http_resilience_zone_changed(zone, cell, &t);

        ngx_http_resilience_transition_note(zone, provider, cell, &t);
    }

    if (a->ticket.common.slot >= 0) {

        if (res_breaker_record(&provider->breaker, &a->step->policy->common,
                               ngx_current_msec, &a->ticket.common, &report,
                               &common))
        {
            ngx_http_resilience_permit_restamp(&provider->breaker,
                                               &a->ticket.common);
        }

        if (common.changed) {
            res_quorum_clear(&provider->quorum);
        }

        ngx_http_resilience_transition_note(zone, provider, NULL, &common);
    }

    ngx_http_resilience_zone_leave(zone);

    if (t.changed) {
        ngx_http_resilience_permit_log(a->call, a->step, &t, 0);
    }

    if (common.changed) {
        ngx_http_resilience_permit_log_common(a->call, a->step, &common);
    }
}


/*
 * A probe that was judged: if the breaker is closed by now, how it ends is an
 * outcome like others, but for a success, which was counted; while other
 * probes are still out, the rest of it is no news.
 */

static void
ngx_http_resilience_permit_restamp(res_breaker_t *b, res_permit_t *permit)
{
    permit->slot = -1;
    permit->lease = 0;
    permit->judged = 1;
    permit->generation = b->generation - (b->state != RES_CLOSED);
}


void
ngx_http_resilience_permit_slow(ngx_http_resilience_attempt_t *a)
{
    uint64_t                     wait;
    res_cell_t                  *cell;
    res_report_t                 report;
    res_transition_t             t;
    ngx_http_resilience_zone_t  *zone;

    if (!a->ticket.held) {
        return;
    }

    zone = a->call->zone;
    wait = 0;

    ngx_memzero(&report, sizeof(res_report_t));
    ngx_memzero(&t, sizeof(res_transition_t));

    report.random = ngx_http_resilience_random();

    ngx_http_resilience_zone_enter(zone);

    cell = ngx_http_resilience_permit_cell(zone, &a->ticket);

    if (cell) {
        ngx_http_resilience_zone_settle(zone, cell);

        res_breaker_slow(&cell->breaker, &a->step->policy->breaker,
                         ngx_current_msec, &a->ticket.permit, &report, &t);

        ngx_http_resilience_zone_changed(zone, cell, &t);

        ngx_http_resilience_transition_note(zone, a->step->provider->counters,
                                            cell, &t);

        wait = res_breaker_wait(&cell->breaker, &a->step->policy->breaker,
                                ngx_current_msec);
    }

    ngx_http_resilience_zone_leave(zone);

    if (t.changed) {
        ngx_http_resilience_permit_log(a->call, a->step, &t, wait);
    }
}


ngx_int_t
ngx_http_resilience_permit_say(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, ngx_str_t *tenant,
    res_forced_e forced, ngx_uint_t reset)
{
    res_key_t          key;
    ngx_uint_t         from;
    res_cell_t        *cell;
    res_table_t       *table;
    res_transition_t   t;

    table = zone->shared->table;

    if (tenant == NULL) {

        ngx_http_resilience_zone_enter(zone);

        from = res_breaker_shown(&provider->breaker);

        ngx_http_resilience_zone_epoch(zone, provider,
                                       reset ? RES_FORCED_NONE : forced);

        res_breaker_reset(&provider->breaker, ngx_current_msec, &t);
        res_breaker_force(&provider->breaker, provider->forced,
                          ngx_current_msec, &t);
        res_quorum_clear(&provider->quorum);

        ngx_http_resilience_rest_end(zone, provider, NULL);

        ngx_http_resilience_transition_said(zone, provider, NULL, from);

        ngx_http_resilience_zone_leave(zone);

        return NGX_OK;
    }

    if (tenant->len > RES_TENANT_LEN) {
        return NGX_DECLINED;
    }

    key.tenant = tenant->data;
    key.tenant_len = tenant->len;
    key.provider = provider->number;
    key.hash = res_table_hash(table, key.tenant, key.tenant_len, key.provider);

    ngx_http_resilience_zone_enter(zone);

    cell = res_table_find(table, &key);

    if (cell) {
        ngx_http_resilience_zone_settle(zone, cell);

        cell->breaker.rest = 0;
        ngx_http_resilience_rest_end(zone, provider, tenant);

        from = res_breaker_shown(&cell->breaker);

        if (reset) {
            res_breaker_reset(&cell->breaker, ngx_current_msec, &t);

        } else {
            res_breaker_force(&cell->breaker, forced, ngx_current_msec, &t);
        }

        ngx_http_resilience_zone_changed(zone, cell, &t);

        ngx_http_resilience_transition_said(zone, provider, cell, from);
    }

    ngx_http_resilience_zone_leave(zone);

    return cell ? NGX_OK : NGX_DECLINED;
}


/* the cell that a ticket was for, NULL when it was given up since */

static res_cell_t *
ngx_http_resilience_permit_cell(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_ticket_t *ticket)
{
    res_cell_t  *cell;

    cell = res_table_cell(zone->shared->table, ticket->cell);

    return (cell->used && cell->incarnation == ticket->incarnation) ? cell
                                                                    : NULL;
}


static void
ngx_http_resilience_permit_log(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_transition_t *t, uint64_t wait)
{
    ngx_log_error(NGX_LOG_WARN, call->request->connection->log, 0,
                  "breaker of tenant \"%V\" and provider \"%V\" went from %s "
                  "to %s: %s, next attempt in %uLms",
                  &call->tenant, &step->provider->name,
                  res_breaker_state_name(t->from),
                  res_breaker_state_name(t->to),
                  res_breaker_reason_name(t->reason), wait);
}


static void
ngx_http_resilience_permit_log_common(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_transition_t *t)
{
    ngx_log_error(NGX_LOG_WARN, call->request->connection->log, 0,
                  "breaker of all tenants and provider \"%V\" went from %s "
                  "to %s: %s", &step->provider->name,
                  res_breaker_state_name(t->from),
                  res_breaker_state_name(t->to),
                  res_breaker_reason_name(t->reason));
}


/* a zone that is too small says so once a minute */

static void
ngx_http_resilience_permit_evicted(ngx_http_resilience_call_t *call)
{
    ngx_atomic_uint_t              last, now;
    ngx_http_resilience_shared_t  *shared;

    shared = call->zone->shared;

    now = ngx_time();
    last = shared->eviction_logged;

    if (now - last < 60
        || !ngx_atomic_cmp_set(&shared->eviction_logged, last, now))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, call->request->connection->log, 0,
                  "zone \"%V\" is full with %uD breakers, the least recently "
                  "used are forgotten, %uL so far",
                  &call->zone->shm_zone->shm.name,
                  shared->table->capacity, shared->table->evictions);
}
