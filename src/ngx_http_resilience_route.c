
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* which provider of the chain is asked next, and when */


/* how often a half-open breaker without a free permit is asked again, ms */
#define NGX_HTTP_RESILIENCE_PERMIT_POLL  50


static ngx_uint_t ngx_http_resilience_route_retry(
    ngx_http_resilience_call_t *call, ngx_http_resilience_attempt_t *a,
    ngx_msec_t *delay);
static ngx_uint_t ngx_http_resilience_route_may_resend(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_route_step(
    ngx_http_resilience_call_t *call, res_outcome_e outcome);
static ngx_int_t ngx_http_resilience_route_try(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    res_outcome_e *outcome);
static ngx_int_t ngx_http_resilience_route_attempt(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    ngx_http_resilience_ticket_t *ticket);
static ngx_int_t ngx_http_resilience_route_when_open(
    ngx_http_resilience_call_t *call);


/* an attempt has ended: is its answer the client's, or what comes next? */

void
ngx_http_resilience_route_on(ngx_http_resilience_call_t *call)
{
    ngx_msec_t                      delay;
    ngx_http_resilience_attempt_t  *a;

    a = call->attempt;

    call->outcome = a->outcome;

    if (call->winner) {
        ngx_http_resilience_call_finish(call,
                                        ngx_http_resilience_answer_end(a));
        return;
    }

    if (a->step->policy->fail_on & res_bit(a->outcome) && !a->stale) {
        call->failed = 1;
    }

    if (call->kept.attempt == NULL && a->status >= NGX_HTTP_SPECIAL_RESPONSE) {
        call->kept.attempt = a;
    }

    if (!ngx_http_resilience_route_moves_on(a, a->outcome)
        || !ngx_http_resilience_route_may_resend(a))
    {
        if (a->status >= NGX_HTTP_SPECIAL_RESPONSE) {
            call->kept.attempt = a;
        }

        ngx_http_resilience_call_spent(call);
        return;
    }

    if (ngx_http_resilience_route_retry(call, a, &delay)) {

        if (delay) {
            ngx_http_resilience_call_wait(call, delay);
            return;
        }

    } else if (!ngx_http_resilience_route_step(call, a->outcome)) {
        ngx_http_resilience_call_spent(call);
        return;
    }

    ngx_http_resilience_route_next(call);
}


ngx_uint_t
ngx_http_resilience_route_moves_on(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome)
{
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;

    return ((policy->retry_on | policy->fallback_on) & res_bit(outcome)) != 0;
}


/* again on the same provider? */

static ngx_uint_t
ngx_http_resilience_route_retry(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a, ngx_msec_t *delay)
{
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;

    *delay = 0;

    if (call->attempts >= call->chain->attempts) {
        return 0;
    }

    if (a->stale && !call->resent) {

        /* the connection's fault, not the provider's, and no retry of ours */

        call->resent = 1;
        return 1;
    }

    if (!(policy->retry_on & res_bit(a->outcome))
        || call->retried >= policy->retries)
    {
        return 0;
    }

    *delay = res_backoff_delay(&policy->backoff, call->retried + 1,
                               call->backoff, ngx_http_resilience_random());

    if ((ngx_msec_int_t) *delay >= ngx_http_resilience_call_left(call)) {
        return 0;
    }

    call->retried++;
    call->backoff = *delay;

    ngx_log_error(NGX_LOG_INFO, call->request->connection->log, 0,
                  "retry %ui of provider \"%V\" after %s in %Mms",
                  call->retried, &a->step->provider->name,
                  res_outcome_name(a->outcome), *delay);

    return 1;
}


/* may the request be sent again, after what became of this one? */

static ngx_uint_t
ngx_http_resilience_route_may_resend(ngx_http_resilience_attempt_t *a)
{
    return a->call->resendable
           || a->step->policy->non_idempotent
           || a->unsent
           || a->stale
           || (RES_UNPROCESSED & res_bit(a->outcome));
}


static ngx_uint_t
ngx_http_resilience_route_step(ngx_http_resilience_call_t *call,
    res_outcome_e outcome)
{
    ngx_http_resilience_step_t  *step;

    step = call->chain->steps.elts;
    step += call->step;

    if (!(step->policy->fallback_on & res_bit(outcome))
        || call->no_fallback
        || call->step + 1 >= call->chain->steps.nelts
        || call->attempts >= call->chain->attempts)
    {
        return 0;
    }

    if (call->open_until == 0 || call->attempts) {
        ngx_log_error(NGX_LOG_INFO, call->request->connection->log, 0,
                      "fallback from provider \"%V\" to \"%V\" after %s",
                      &step[0].provider->name, &step[1].provider->name,
                      res_outcome_name(outcome));
    }

    call->step++;
    call->retried = 0;
    call->backoff = 0;
    call->resent = 0;

    return 1;
}


/* starts the next attempt that is permitted */

void
ngx_http_resilience_route_next(ngx_http_resilience_call_t *call)
{
    ngx_int_t                    rc;
    res_outcome_e                outcome;
    ngx_http_resilience_step_t  *step;

    outcome = RES_SUCCESS;

    for ( ;; ) {

        if (ngx_http_resilience_call_left(call) <= 0) {
            call->outcome = RES_TIMEOUT;
            break;
        }

        step = call->chain->steps.elts;
        step += call->step;

        rc = ngx_http_resilience_route_try(call, step, &outcome);

        if (rc == NGX_OK) {
            return;
        }

        if (rc != NGX_DECLINED) {
            ngx_http_resilience_call_finish(call, rc);
            return;
        }

        call->outcome = outcome;

        if (call->open_until == 0 || call->attempts) {
            ngx_http_resilience_call_trace(call, step->provider, outcome, 0,
                                           0);

            (void) ngx_atomic_fetch_add(
                              &step->provider->counters->outcomes[outcome], 1);
        }

        if (!ngx_http_resilience_route_step(call, outcome)) {
            break;
        }
    }

    rc = ngx_http_resilience_route_when_open(call);

    if (rc == NGX_OK) {
        return;
    }

    if (rc != NGX_DECLINED) {
        ngx_http_resilience_call_finish(call, rc);
        return;
    }

    ngx_http_resilience_call_spent(call);
}


/*
 * NGX_OK: it runs, or the call is over; NGX_DECLINED: refused, see *outcome;
 * or the status to end with.
 */

static ngx_int_t
ngx_http_resilience_route_try(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_outcome_e *outcome)
{
    uint64_t                       wait;
    ngx_int_t                      rc;
    ngx_str_t                     *key;
    ngx_msec_t                     lease;
    res_admit_e                    admit;
    ngx_http_resilience_ticket_t   ticket;

    if (step->provider->key) {
        key = ngx_http_resilience_key_get(step->provider->key,
                                          call->request->connection->log);
        if (key->len == 0) {
            *outcome = RES_NO_KEY;
            return NGX_DECLINED;
        }
    }

    if (step->provider->models) {
        rc = ngx_http_resilience_request_check(call);

        if (rc == NGX_HTTP_BAD_REQUEST) {
            call->outcome = RES_CLIENT_ERROR;

            rc = ngx_http_resilience_answer_error(call, rc, "invalid_json",
                                 "the body is not a JSON object that names "
                                 "a model");

            ngx_http_resilience_call_finish(call, rc);
            return NGX_OK;
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    lease = step->policy->attempt ? step->policy->attempt : 3600 * 1000;
    wait = 0;

    ngx_memzero(&ticket, sizeof(ngx_http_resilience_ticket_t));

    admit = ngx_http_resilience_zone_admit(call, step, lease + 1000, &ticket,
                                           &wait);
    if (admit == RES_ADMIT_YES) {
        return ngx_http_resilience_route_attempt(call, step, &ticket);
    }

    *outcome = (admit == RES_ADMIT_OPEN) ? RES_BREAKER_OPEN : RES_NO_PERMIT;

    if (admit == RES_ADMIT_NO_PERMIT) {
        /* long before its lease ends, the probe may have */
        wait = ngx_min(wait, NGX_HTTP_RESILIENCE_PERMIT_POLL);
    }

    if (!call->refused || wait < call->retry_after) {
        call->retry_after = wait;
        call->least_open = call->step;
    }

    call->refused = 1;

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_resilience_route_attempt(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_ticket_t *ticket)
{
    ngx_http_resilience_attempt_t   none;
    ngx_http_resilience_attempt_t  *a;

    a = ngx_pcalloc(call->request->pool,
                    sizeof(ngx_http_resilience_attempt_t));

    if (a == NULL) {
        ngx_memzero(&none, sizeof(ngx_http_resilience_attempt_t));

        none.call = call;
        none.step = step;
        none.ticket = *ticket;

        ngx_http_resilience_zone_record(&none, RES_RESULT_NEUTRAL);

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    a->call = call;
    a->step = step;
    a->ticket = *ticket;
    a->number = ++call->attempts;
    a->failed_before = call->failed;
    a->next = call->attempt;

    ngx_http_resilience_attempt_move(a, NGX_HTTP_RESILIENCE_PERMITTED);

    call->attempt = a;
    call->state = NGX_HTTP_RESILIENCE_CALL_RUNNING;

    if (ngx_http_resilience_attempt_start(a) != NGX_OK) {
        ngx_http_resilience_zone_record(a, RES_RESULT_NEUTRAL);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


/*
 * No provider was admitted.  NGX_OK: the call waits for one, or tries one all
 * the same, as its chain says; NGX_DECLINED: it is spent.
 */

static ngx_int_t
ngx_http_resilience_route_when_open(ngx_http_resilience_call_t *call)
{
    ngx_msec_int_t                 left;
    ngx_http_resilience_step_t    *step;
    ngx_http_resilience_chain_t   *chain;
    ngx_http_resilience_ticket_t   ticket;

    chain = call->chain;

    if (call->attempts || !call->refused
        || ngx_http_resilience_call_left(call) <= 0)
    {
        return NGX_DECLINED;
    }

    if (chain->open_try) {

        call->step = call->least_open;

        step = chain->steps.elts;
        step += call->step;

        ngx_memzero(&ticket, sizeof(ngx_http_resilience_ticket_t));
        ngx_http_resilience_zone_force(call, step, &ticket);

        return ngx_http_resilience_route_attempt(call, step, &ticket);
    }

    if (chain->open_wait == 0) {
        return NGX_DECLINED;
    }

    if (call->open_until == 0) {
        call->open_until = ngx_current_msec + chain->open_wait;
    }

    left = (ngx_msec_int_t) (call->open_until - ngx_current_msec);
    left = ngx_min(left, ngx_http_resilience_call_left(call));

    if (left <= 0 || call->retry_after > (ngx_msec_t) left) {
        return NGX_DECLINED;
    }

    ngx_http_resilience_call_wait(call, ngx_max(call->retry_after, 1));

    call->step = 0;
    call->refused = 0;

    return NGX_OK;
}
