
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_body.h"


/* which provider of the chain is asked next, and when */


/* latencies that must be known for a hedge that goes by them */
#define NGX_HTTP_RESILIENCE_HEDGE_SAMPLES  100

/* how often a half-open breaker without a free permit is asked again, ms */
#define NGX_HTTP_RESILIENCE_PERMIT_POLL  50


static ngx_uint_t ngx_http_resilience_route_retry(
    ngx_http_resilience_call_t *call, ngx_http_resilience_attempt_t *a,
    ngx_msec_t *delay);
static ngx_uint_t ngx_http_resilience_route_once(
    ngx_http_resilience_attempt_t *a);
static ngx_msec_t ngx_http_resilience_route_delay(
    ngx_http_resilience_call_t *call, ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_route_in_time(
    ngx_http_resilience_call_t *call, ngx_http_resilience_policy_t *policy,
    ngx_msec_t delay);
static void ngx_http_resilience_route_denied(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_denial_e reason);
static ngx_uint_t ngx_http_resilience_route_may_resend(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_route_would(
    ngx_http_resilience_call_t *call, ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_route_has_next(
    ngx_http_resilience_call_t *call, res_outcome_e outcome);
static ngx_uint_t ngx_http_resilience_route_step(
    ngx_http_resilience_call_t *call, res_outcome_e outcome);
static ngx_int_t ngx_http_resilience_route_try(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    res_outcome_e *outcome);
static void ngx_http_resilience_route_refused(
    ngx_http_resilience_call_t *call, uint64_t wait);
static ngx_int_t ngx_http_resilience_route_attempt(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step,
    ngx_http_resilience_ticket_t *ticket, ngx_http_resilience_turn_t *turn);
static ngx_msec_t ngx_http_resilience_route_hedge_delay(
    ngx_http_resilience_call_t *call, ngx_http_resilience_attempt_t *a);
static ngx_msec_t ngx_http_resilience_route_lease(
    ngx_http_resilience_step_t *step);
static ngx_int_t ngx_http_resilience_route_when_open(
    ngx_http_resilience_call_t *call);
static void ngx_http_resilience_route_wait(ngx_http_resilience_call_t *call,
    ngx_msec_t delay);


/* an attempt has ended: is its answer the client's, or what comes next? */

void
ngx_http_resilience_route_on(ngx_http_resilience_call_t *call)
{
    ngx_msec_t                      delay;
    ngx_uint_t                      resend;
    ngx_http_resilience_attempt_t  *a;

    a = call->settled;

    if (a->cached && call->winner == NULL) {
        ngx_http_resilience_stale_missed(a);
        return;
    }

    call->outcome = a->outcome;

    if (call->winner) {
        ngx_http_resilience_call_finish(call,
                                        ngx_http_resilience_answer_end(a));
        return;
    }

    resend = ngx_http_resilience_route_may_resend(a);

    if (!ngx_http_resilience_route_moves_on(a, a->outcome) || !resend) {

        if (!resend && ngx_http_resilience_route_would(call, a)) {
            ngx_http_resilience_route_denied(a,
                                           NGX_HTTP_RESILIENCE_NOT_IDEMPOTENT);
        }

        if (a->status >= NGX_HTTP_BAD_REQUEST || a->grpc_status) {
            call->kept.attempt = a;
        }

        ngx_http_resilience_call_spent(call);
        return;
    }

    if (ngx_http_resilience_rest_other(a, a->outcome)) {
        ngx_log_error(NGX_LOG_INFO, call->request->connection->log, 0,
                      "another key of provider \"%V\" after %s",
                      &a->step->provider->name, res_outcome_name(a->outcome));

        call->rotated = 1;

        ngx_http_resilience_route_next(call);
        return;
    }

    if (ngx_http_resilience_route_retry(call, a, &delay)) {

        if (delay) {
            ngx_http_resilience_call_wait(call, delay);
            return;
        }

        ngx_http_resilience_route_next(call);
        return;
    }

    ngx_http_resilience_rest(a);

    if (!ngx_http_resilience_route_step(call, a->outcome)) {
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

    if (a->advice & LLM_ADVICE_STOP) {
        return 0;
    }

    return ((policy->retry_on | policy->fallback_on) & res_bit(outcome)) != 0
           || a->should_retry || a->cached
           || ngx_http_resilience_route_once(a)
           || ngx_http_resilience_rest_other(a, outcome);
}


/*
 * A conflict, or a timeout of the provider's own: where its passing troubles
 * are retried, this is, too, once.
 */

static ngx_uint_t
ngx_http_resilience_route_once(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;

    return (a->advice & LLM_ADVICE_ONCE)
           && (policy->retry_on & res_bit(RES_SERVER_ERROR))
           && policy->retries
           && a->call->retried == 0;
}


/* again on the same provider? */

static ngx_uint_t
ngx_http_resilience_route_retry(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a, ngx_msec_t *delay)
{
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;

    *delay = 0;

    if (call->attempts >= call->chain->attempts || call->hedges) {
        return 0;
    }

    if (a->stale && !call->resent) {

        /* the connection's fault, not the provider's, and no retry of ours */

        call->resent = 1;
        return 1;
    }

    if (!(policy->retry_on & res_bit(a->outcome)) && !a->should_retry
        && !ngx_http_resilience_route_once(a))
    {
        return 0;
    }

    if (a->should_not_retry
        || ((a->advice & LLM_ADVICE_MOVE) && !a->should_retry))
    {
        return 0;
    }

    if (call->retried >= policy->retries) {

        if (policy->retries) {
            ngx_http_resilience_route_denied(a,
                                             NGX_HTTP_RESILIENCE_MAX_RETRIES);
        }

        return 0;
    }

    *delay = ngx_http_resilience_route_delay(call, a);

    if (!ngx_http_resilience_route_in_time(call, policy, *delay)) {
        ngx_http_resilience_route_denied(a, NGX_HTTP_RESILIENCE_NO_TIME);
        return 0;
    }

    if (a->hint > policy->hint_max || a->rest > *delay) {
        /* the provider, or its breaker, would refuse it */
        return 0;
    }

    if (!ngx_http_resilience_permit_retry(call, a->step)) {
        ngx_http_resilience_route_denied(a, NGX_HTTP_RESILIENCE_NO_BUDGET);
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


/* the backoff, or what the provider asks for if that is longer */

static ngx_msec_t
ngx_http_resilience_route_delay(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a)
{
    uint32_t    bits;
    ngx_msec_t  delay, hint;

    bits = ngx_http_resilience_random();

    delay = res_backoff_delay(&a->step->policy->backoff, call->retried + 1,
                              call->backoff, bits);

    /* never earlier than was asked, and not all at the same moment */

    hint = a->hint + (a->hint / 10 * (bits & 0xff)) / 256;

    return ngx_max(delay, hint);
}


/* is there enough time for an attempt that begins after the delay? */

static ngx_uint_t
ngx_http_resilience_route_in_time(ngx_http_resilience_call_t *call,
    ngx_http_resilience_policy_t *policy, ngx_msec_t delay)
{
    ngx_msec_int_t  left;

    left = ngx_http_resilience_call_left(call);

    return left == NGX_MAX_INT_T_VALUE
           || left - (ngx_msec_int_t) delay
              > (ngx_msec_int_t) policy->stop_before;
}


const char *
ngx_http_resilience_denial_name(ngx_http_resilience_denial_e reason)
{
    static const char  *names[] = {
        "max_retries", "deadline", "budget", "non_idempotent"
    };

    return names[reason];
}


static void
ngx_http_resilience_route_denied(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_denial_e reason)
{
    (void) ngx_atomic_fetch_add(&a->step->provider->counters->denied[reason],
                                1);
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


/* would anything follow, if the request might be sent again? */

static ngx_uint_t
ngx_http_resilience_route_would(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;

    if (call->attempts >= call->chain->attempts
        || !ngx_http_resilience_route_in_time(call, call->policy, 0))
    {
        return 0;
    }

    return (((policy->retry_on & res_bit(a->outcome)) || a->should_retry)
            && !a->should_not_retry
            && call->retried < policy->retries
            && !call->hedges)
           || ngx_http_resilience_route_has_next(call, a->outcome);
}


/* may the call move on to another provider, and is there one? */

static ngx_uint_t
ngx_http_resilience_route_has_next(ngx_http_resilience_call_t *call,
    res_outcome_e outcome)
{
    ngx_http_resilience_step_t  *step;

    step = call->steps[call->step];

    return ((step->policy->fallback_on | RES_REFUSED) & res_bit(outcome))
           && !call->no_fallback
           && call->step + 1 < call->chain->steps.nelts
           && call->attempts < call->chain->attempts;
}


static ngx_uint_t
ngx_http_resilience_route_step(ngx_http_resilience_call_t *call,
    res_outcome_e outcome)
{
    ngx_http_resilience_step_t  *step;

    if (!ngx_http_resilience_route_has_next(call, outcome)) {
        return 0;
    }

    step = call->steps[call->step];

    if (call->open_until == 0 || call->attempts) {
        ngx_log_error(NGX_LOG_INFO, call->request->connection->log, 0,
                      "fallback from provider \"%V\" to \"%V\" after %s "
                      "in 0ms", &step->provider->name,
                      &call->steps[call->step + 1]->provider->name,
                      res_outcome_name(outcome));

        ngx_http_resilience_tally_move(call);
    }

    call->step++;
    call->retried = 0;
    call->retry_granted = 0;
    call->backoff = 0;
    call->resent = 0;
    call->rotated = 0;

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

        if (!ngx_http_resilience_route_in_time(call, call->policy, 0)) {
            ngx_http_resilience_permit_unsent(call, call->steps[call->step]);
            call->outcome = RES_TIMEOUT;
            break;
        }

        step = call->steps[call->step];

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
    ngx_http_resilience_turn_t     turn;
    ngx_http_resilience_ticket_t   ticket;

    wait = 0;

    *outcome = ngx_http_resilience_rest_turn(call, step, 0, &turn, &wait);

    if (*outcome == RES_NO_KEY) {
        ngx_http_resilience_permit_unsent(call, step);
        return NGX_DECLINED;
    }

    if (*outcome != RES_SUCCESS) {
        ngx_http_resilience_permit_unsent(call, step);
        ngx_http_resilience_route_refused(call, wait);
        return NGX_DECLINED;
    }

    rc = ngx_http_resilience_body_check(call, step);

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

    ngx_memzero(&ticket, sizeof(ngx_http_resilience_ticket_t));

    *outcome = ngx_http_resilience_permit_admit(call, step,
                                         ngx_http_resilience_route_lease(step),
                                         &ticket, &wait);

    if (*outcome == RES_SUCCESS) {
        return ngx_http_resilience_route_attempt(call, step, &ticket, &turn);
    }

    if (*outcome == RES_NO_PERMIT || *outcome == RES_LIMITED) {
        /* another attempt may end at any time */
        wait = NGX_HTTP_RESILIENCE_PERMIT_POLL;
    }

    ngx_http_resilience_route_refused(call, wait);

    return NGX_DECLINED;
}


/* the provider would be one to wait for, for so many ms */

static void
ngx_http_resilience_route_refused(ngx_http_resilience_call_t *call,
    uint64_t wait)
{
    if (!call->refused || wait < call->retry_after) {
        call->retry_after = wait;
        call->least_open = call->step;
    }

    call->refused = 1;
}


static ngx_int_t
ngx_http_resilience_route_attempt(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_ticket_t *ticket,
    ngx_http_resilience_turn_t *turn)
{
    ngx_msec_t                      delay;
    ngx_http_resilience_attempt_t   none;
    ngx_http_resilience_attempt_t  *a;

    a = ngx_pcalloc(call->request->pool,
                    sizeof(ngx_http_resilience_attempt_t));

    if (a == NULL) {
        ngx_memzero(&none, sizeof(ngx_http_resilience_attempt_t));

        none.call = call;
        none.step = step;
        none.ticket = *ticket;

        ngx_http_resilience_permit_record(&none, RES_RESULT_NEUTRAL);

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    a->call = call;
    a->step = step;
    a->hedge = (call->state == NGX_HTTP_RESILIENCE_CALL_RUNNING);
    a->ticket = *ticket;
    a->turn = *turn;
    a->number = ++call->attempts;
    a->next = call->attempt;
    a->usage.input = -1;
    a->usage.output = -1;

    ngx_http_resilience_attempt_move(a, NGX_HTTP_RESILIENCE_PERMITTED);

    call->attempt = a;
    call->running++;
    call->state = NGX_HTTP_RESILIENCE_CALL_RUNNING;

    if (ngx_http_resilience_attempt_start(a) != NGX_OK) {
        ngx_http_resilience_permit_record(a, RES_RESULT_NEUTRAL);
        call->running--;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    delay = ngx_http_resilience_route_hedge_delay(call, a);

    if (delay) {
        ngx_add_timer(&call->timer, delay);
    }

    return NGX_OK;
}


/* ms until the attempt has a hedge beside it; 0: it won't have one */

static ngx_msec_t
ngx_http_resilience_route_hedge_delay(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a)
{
    int64_t                        ms;
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;

    if (call->hedges >= policy->hedge_max
        || !(call->resendable || policy->non_idempotent))
    {
        return 0;
    }

    if (!policy->hedge_p95) {
        return policy->hedge_after;
    }

    ms = res_histogram_percentile(&a->step->provider->counters->first_byte,
                                  950, NGX_HTTP_RESILIENCE_HEDGE_SAMPLES,
                                  ngx_current_msec);

    return (ms < 0) ? 0 : ngx_max((ngx_msec_t) ms, 1);
}


void
ngx_http_resilience_route_hedge(ngx_http_resilience_call_t *call)
{
    ngx_uint_t                     next;
    res_outcome_e                  rc;
    uint64_t                       wait;
    ngx_http_resilience_step_t    *step;
    ngx_http_resilience_turn_t     turn;
    ngx_http_resilience_ticket_t   ticket;

    /* the next provider, or the last one a second time */

    next = call->step;

    if (next + 1 < call->chain->steps.nelts && !call->no_fallback) {
        next++;
    }

    step = call->steps[next];

    if (ngx_exiting || call->attempts >= call->chain->attempts
        || !ngx_http_resilience_route_in_time(call, call->policy, 0))
    {
        return;
    }

    if (ngx_http_resilience_rest_turn(call, step, 0, &turn, &wait)
        != RES_SUCCESS)
    {
        return;
    }

    if (ngx_http_resilience_body_check(call, step) != NGX_OK) {
        return;
    }

    if (!ngx_http_resilience_permit_closed(call, step)) {
        /* the few permits of a half-open one are not for hedges */
        return;
    }

    if (!ngx_http_resilience_permit_retry(call, step)) {
        ngx_http_resilience_route_denied(call->attempt,
                                         NGX_HTTP_RESILIENCE_NO_BUDGET);
        return;
    }

    ngx_memzero(&ticket, sizeof(ngx_http_resilience_ticket_t));

    rc = ngx_http_resilience_permit_admit(call, step,
                                          ngx_http_resilience_route_lease(step),
                                          &ticket, &wait);
    if (rc != RES_SUCCESS) {
        return;
    }

    call->step = next;
    call->hedges++;

    ngx_log_error(NGX_LOG_INFO, call->request->connection->log, 0,
                  "hedge at provider \"%V\" beside \"%V\"",
                  &step->provider->name, &call->attempt->step->provider->name);

    if (ngx_http_resilience_route_attempt(call, step, &ticket, &turn)
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_CRIT, call->request->connection->log, 0,
                      "no memory for a hedge");
    }
}


/*
 * ms after which a permit comes back by itself: later than the attempt's own
 * limit, so that it is certainly lost then.
 */

static ngx_msec_t
ngx_http_resilience_route_lease(ngx_http_resilience_step_t *step)
{
    return (step->policy->attempt ? step->policy->attempt : 3600 * 1000)
           + 1000;
}


/*
 * No provider was admitted.  NGX_OK: the call waits for one, or tries one all
 * the same, as its chain says; NGX_DECLINED: it is spent.
 */

static ngx_int_t
ngx_http_resilience_route_when_open(ngx_http_resilience_call_t *call)
{
    uint64_t                       wait;
    ngx_msec_int_t                 left;
    ngx_http_resilience_step_t    *step;
    ngx_http_resilience_turn_t     turn;
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

        step = call->steps[call->step];

        if (ngx_http_resilience_rest_turn(call, step, 1, &turn, &wait)
            != RES_SUCCESS)
        {
            return NGX_DECLINED;
        }

        ngx_memzero(&ticket, sizeof(ngx_http_resilience_ticket_t));
        ngx_http_resilience_permit_force(call, step, &ticket);

        return ngx_http_resilience_route_attempt(call, step, &ticket, &turn);
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

    ngx_http_resilience_route_wait(call, ngx_max(call->retry_after, 1));

    return NGX_OK;
}


/* looks anew after a while, which the trace has with who is waited for */

static void
ngx_http_resilience_route_wait(ngx_http_resilience_call_t *call,
    ngx_msec_t delay)
{
    ngx_uint_t                       i;
    ngx_http_resilience_trace_t     *t;
    ngx_http_resilience_provider_t  *provider;

    t = call->trace.elts;
    provider = call->steps[call->least_open]->provider;

    for (i = 0; i < call->trace.nelts; i++) {
        if (t[i].provider == provider) {
            t[i].elapsed += delay;
            break;
        }
    }

    ngx_http_resilience_call_wait(call, delay);

    call->step = 0;
    call->refused = 0;
}
